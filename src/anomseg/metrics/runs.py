"""Sparse counts as sorted runs: exact, additive, and cheap to add to."""

from __future__ import annotations

import numpy as np

from anomseg.metrics.counts import Counts, Keys


class SortedRuns:
    """Counts by key, kept as runs of distinct ascending keys.

    A new run is merged into its neighbour when that is less than twice its size, so a key is moved a logarithmic
    number of times. What `consolidated` returns depends only on what was added, never on the order.

    Example:
        >>> runs = SortedRuns()
        >>> runs.add(np.array([1, 5], np.uint32), np.array([2, 1]))
        >>> runs.add(np.array([5, 9], np.uint32), np.array([1, 1]))
        >>> [part.tolist() for part in runs.consolidated()]
        [[1, 5, 9], [2, 2, 1]]
    """

    def __init__(self) -> None:
        self._runs: list[tuple[Keys, Counts]] = []
        self.total = 0

    def add(self, keys: Keys, counts: Counts) -> None:
        """Add counts for distinct ascending keys."""
        if keys.size == 0:
            return
        self.total += int(counts.sum())
        self._runs.append((keys, counts))
        while len(self._runs) > 1 and self._runs[-2][0].size < 2 * self._runs[-1][0].size:
            self._runs[-2:] = [_merged(self._runs[-2:])]

    def consolidated(self) -> tuple[Keys, Counts]:
        """Distinct ascending keys and their counts."""
        if len(self._runs) > 1:
            self._runs = [_merged(self._runs)]
        return self._runs[0] if self._runs else (np.zeros(0, np.uint32), np.zeros(0, np.int64))


def _merged(runs: list[tuple[Keys, Counts]]) -> tuple[Keys, Counts]:
    keys = np.concatenate([keys for keys, _ in runs])
    order = np.argsort(keys, kind="stable")  # the stable sort takes advantage of the runs
    keys = keys[order]
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    return keys[starts], np.add.reduceat(np.concatenate([counts for _, counts in runs])[order], starts)
