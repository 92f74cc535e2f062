"""Scores of in-distribution pixels frame by frame, as counts on a fixed grid: what risks of single frames are read off.

A pooled count cannot say how false alarms spread over frames, and it is the frames, not the pixels, that are drawn
independently. Counting every frame exactly would keep every pixel; a grid of 2048 scores to each power of two, the
same for all data, keeps a few thousand numbers a frame. Thresholds on that grid are exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import ConfigError, FrameError, unknown_name
from anomseg.metrics.counts import Counts, Keys, keys_at_least, run_lengths, score_keys, scores_of_keys
from anomseg.metrics.frames import FrameLedger
from anomseg.metrics.inputs import as_numpy, check_finite, check_same_shape, frame_name
from anomseg.metrics.statefile import open_state, write_state

Loss = Literal["pixels", "frames"]
LOSSES: tuple[Loss, ...] = get_args(Loss)
_BITS = 12


@dataclass(frozen=True)
class FrameCounts:
    """The in-distribution scores of one frame on the grid.

    Attributes:
        group: Its sequence; empty where it belongs to none.
        cells: ``(n,)`` uint32, numbers of the cells that occur, ascending.
        counts: ``(n,)`` int64, pixels in each.
    """

    group: str
    cells: Keys
    counts: Counts

    @property
    def pixels(self) -> int:
        """Pixels counted."""
        return int(self.counts.sum())


class FrameScores:
    """Additive state: the scores of each frame's in-distribution pixels on the grid.

    Frames keep the order in which they were counted, by which `units` forms blocks.

    Example:
        >>> state = FrameScores()
        >>> state.update([[0.5, 2.0], [3.0, 9.0]], [[True, True], [True, False]], "a")
        >>> state.losses(2.0).tolist(), state.losses(2.0, "frames").tolist()
        ([0.6666666666666666], [1.0])
    """

    def __init__(self) -> None:
        self._ledger = FrameLedger()
        self._rows: dict[str, FrameCounts] = {}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def frames(self) -> list[str]:
        """Ids of the counted frames, in the order of counting."""
        return list(self._rows)

    @property
    def groups(self) -> list[str]:
        """The sequence of each frame, in the order of `frames`; empty where it has none."""
        return [row.group for row in self._rows.values()]

    def update(self, score: Any, valid: Any, frame: str, group: str = "") -> None:
        """Count one frame.

        Args:
            score: Finite scores of any shape, NumPy or tensor; converted to float32.
            valid: True where a pixel is in-distribution, same shape; None counts all.
            frame: Its id.
            group: Its sequence.

        Raises:
            FrameError: Shapes differ, a score is NaN or infinite, or no pixel counts; the state is unchanged.
            DataError: The frame was counted before.
        """
        self._ledger.check(frame)
        with np.errstate(over="ignore"):
            scores = as_numpy(score).astype(np.float32, copy=False)
        check_finite(scores, frame)
        if valid is not None:
            mask = as_numpy(valid).astype(bool, copy=False)
            check_same_shape(scores, mask, "score and mask of valid pixels", frame)
            scores = scores[mask]
        if scores.size == 0:
            raise FrameError(f"{frame_name(frame)} has no in-distribution pixel, so it says nothing of false alarms")
        self._ledger.add(frame)
        self._rows[frame] = FrameCounts(group, *run_lengths(np.sort(score_keys(np.ravel(scores)) >> _BITS)))

    def merge(self, *others: FrameScores) -> FrameScores:
        """A new state over the frames of this one and then of others, in that order.

        Raises:
            DataError: A frame is in two of them.
        """
        merged = FrameScores()
        for state in (self, *others):
            merged._ledger = merged._ledger.union(state._ledger)
            merged._rows.update(state._rows)
        return merged

    def only(self, frames: Iterable[str]) -> FrameScores:
        """A state over some of the frames, in the order given."""
        state = FrameScores()
        for frame in frames:
            state._ledger.add(frame)
            state._rows[frame] = self._rows[frame]
        return state

    def units(self, block: int = 1) -> list[list[str]]:
        """Frames in units that are taken to be drawn independently.

        Args:
            block: Consecutive frames of a sequence that make one unit, in the order of counting. What is left over at
                the end of a sequence joins the unit before it; a sequence shorter than a block is one unit.

        Raises:
            ConfigError: The block is not positive, or longer than 1 where frames belong to no sequence.

        Example:
            >>> state = FrameScores()
            >>> for name in ("a1", "a2", "b1", "a3", "a4", "a5"): state.update([0.0], None, name, name[0])
            >>> state.units(2)
            [['a1', 'a2'], ['a3', 'a4', 'a5'], ['b1']]
        """
        return form_units(self.frames, self.groups, block)

    def losses(self, threshold: float, loss: Loss = "pixels") -> NDArray[np.float64]:
        """The loss of each frame at a threshold, in the order of `frames`.

        Args:
            threshold: ``score >= threshold`` is an alarm; exact for thresholds on the grid, else that of the next one
                below, which is no smaller.
            loss: ``pixels``: the share of the frame's in-distribution pixels that raise an alarm; ``frames``: 1 where
                any does.

        Returns:
            ``(F,)`` in [0, 1].

        Raises:
            ConfigError: There is no such loss.
        """
        cell = int(keys_at_least(threshold)) >> _BITS
        found = []
        for row in self._rows.values():
            alarms = int(row.counts[np.searchsorted(row.cells, cell) :].sum())
            found.append(alarms / row.pixels if check_loss(loss) == "pixels" else float(alarms > 0))
        return np.array(found, np.float64)

    def steps(self, units: Sequence[Sequence[str]], loss: Loss) -> tuple[Keys, NDArray[np.float64]]:
        """How the summed loss of units rises as the threshold falls through the cells of the grid.

        A unit's loss is the mean of its frames'.

        Args:
            units: From `units`.
            loss: See `losses`.

        Returns:
            Cells that occur, descending, and the summed loss at the threshold that is the cell's lowest score.
        """
        cells, weights = [], []
        for unit in units:
            for row in (self._rows[frame] for frame in unit):
                if check_loss(loss) == "pixels":
                    cells.append(row.cells)
                    weights.append(row.counts / (row.pixels * len(unit)))
                else:
                    cells.append(row.cells[-1:])
                    weights.append(np.array([1 / len(unit)]))
        keys, inverse = np.unique(np.concatenate(cells), return_inverse=True)
        rises = np.bincount(inverse, np.concatenate(weights))
        return keys[::-1], np.cumsum(rises[::-1])

    def save(self, path: str | Path) -> None:
        """Write the state to one file, atomically.

        Raises:
            DataError: The file cannot be written.
        """
        rows = list(self._rows.values())
        meta = {"bits": _BITS, "frames": list(self._rows), "groups": [row.group for row in rows]}
        arrays = {
            "lengths": np.array([row.cells.size for row in rows], np.int64),
            "cells": np.concatenate([np.zeros(0, np.uint32), *(row.cells for row in rows)]),
            "counts": np.concatenate([np.zeros(0, np.int64), *(row.counts for row in rows)]),
        }
        write_state(path, type(self).__name__, meta, dict(arrays))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a state that `save` wrote.

        Raises:
            DataError: The file is missing or damaged.
            CompatibilityError: It holds another kind of state.
        """
        state = cls()
        with open_state(path, cls.__name__) as reader:
            if reader.meta["bits"] != _BITS:
                raise ValueError(f"a grid of {reader.meta['bits']} bits")
            cuts = np.cumsum(reader.array("lengths"))[:-1]
            cells, counts = (np.split(reader.array(name), cuts) for name in ("cells", "counts"))
            for row, (frame, group) in enumerate(zip(reader.meta["frames"], reader.meta["groups"], strict=True)):
                state._ledger.add(frame)
                state._rows[frame] = FrameCounts(group, cells[row], counts[row])
        return state


def form_units(frames: Sequence[str], groups: Sequence[str], block: int = 1) -> list[list[str]]:
    """Frames in blocks of consecutive ones of a sequence, see `FrameScores.units`.

    Args:
        frames: Ids in order.
        groups: The sequence of each; empty where it has none.
        block: Frames in a unit.

    Raises:
        ConfigError: The block is not positive, or longer than 1 where frames belong to no sequence.
    """
    if block < 1:
        raise ConfigError(f"a block of {block} frames is none; give 1 or more")
    if block == 1:
        return [[frame] for frame in frames]
    sequences: dict[str, list[str]] = {}
    for frame, group in zip(frames, groups, strict=True):
        if not group:
            raise ConfigError(
                f"frame {frame!r} belongs to no sequence, so blocks of {block} frames cannot be formed; give a block "
                "of 1"
            )
        sequences.setdefault(group, []).append(frame)
    units = []
    for members in sequences.values():
        starts = [index * block for index in range(max(1, len(members) // block))]
        units += [members[start:end] for start, end in zip(starts, [*starts[1:], len(members)], strict=True)]
    return units


def check_loss(loss: str) -> Loss:
    """Refuse a loss that does not exist.

    Raises:
        ConfigError: With the nearest name.
    """
    for known in LOSSES:
        if loss == known:
            return known
    raise unknown_name("loss", loss, LOSSES)


def score_above(cell: int) -> float:
    """The lowest score above a cell: the least threshold at which the cell raises no alarm; infinite above the last."""
    key = np.array([(int(cell) + 1) << _BITS], np.uint32)
    return float(scores_of_keys(key)[0])
