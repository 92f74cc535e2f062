"""Scores of in-distribution pixels, counted exactly and additively."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomseg.calibration.tail import TailScale, check_decades, exceedances, scale_of
from anomseg.errors import DataError
from anomseg.metrics.counts import run_lengths, score_keys, scores_of_keys
from anomseg.metrics.frames import FrameLedger
from anomseg.metrics.inputs import as_numpy, check_finite, check_same_shape
from anomseg.metrics.paged import DEFAULT_BUDGET, PagedCounter


class ScoreStatistics:
    """Additive state: how often each float32 score occurs among in-distribution pixels.

    Args:
        memory_budget: Bytes of counts held in memory; beyond it they are memory-mapped files.

    Example:
        >>> statistics = ScoreStatistics()
        >>> statistics.update([[1.0, 2.0], [3.0, 9.0]], [[True, True], [True, False]], "a")
        >>> statistics.pixels, statistics.at_ranks(np.array([0, 2])).tolist()
        (3, [1.0, 3.0])
    """

    def __init__(self, memory_budget: int = DEFAULT_BUDGET) -> None:
        self.memory_budget = memory_budget
        self._counts = PagedCounter(memory_budget)
        self._frames = FrameLedger()

    @property
    def pixels(self) -> int:
        """Pixels counted."""
        return self._counts.total

    @property
    def frames(self) -> list[str]:
        """Ids of the counted frames, sorted."""
        return self._frames.ids

    def update(self, score: Any, valid: Any = None, frame: str | None = None) -> None:
        """Count one frame.

        Args:
            score: Finite scores of any shape, NumPy or tensor; converted to float32.
            valid: True where a pixel is in-distribution, same shape; None counts all.
            frame: Its id; without one a frame counted twice cannot be noticed.

        Raises:
            FrameError: Shapes differ, or a score is NaN or infinite; the state is unchanged.
            DataError: The frame was counted before.
        """
        self._frames.check(frame)
        with np.errstate(over="ignore"):
            scores = as_numpy(score).astype(np.float32, copy=False)
        check_finite(scores, frame)
        if valid is not None:
            mask = as_numpy(valid).astype(bool, copy=False)
            check_same_shape(scores, mask, "score and mask of valid pixels", frame)
            scores = scores[mask]
        keys = np.sort(score_keys(np.ravel(scores)))
        self._frames.add(frame)
        if keys.size:
            self._counts.add(*run_lengths(keys))

    def merge(self, *others: ScoreStatistics) -> ScoreStatistics:
        """A new state over the frames of this one and of others, which stay as they are.

        Raises:
            DataError: A frame is in two of them.
        """
        merged = ScoreStatistics(self.memory_budget)
        for state in (self, *others):
            merged._frames = merged._frames.union(state._frames)
            for keys, counts in state._counts.items():
                if keys.size:
                    merged._counts.add(keys, counts)
        return merged

    def at_ranks(self, ranks: NDArray[np.int64]) -> NDArray[np.float32]:
        """Order statistics: the scores at some ranks, 0 for the lowest score.

        Args:
            ranks: ``(n,)`` in 0 .. pixels - 1, ascending.

        Returns:
            ``(n,)`` float32, exact.
        """
        found = np.empty(ranks.size, np.uint32)
        done, counted = 0, 0
        for keys, counts in self._counts.items():
            upto = counted + np.cumsum(counts)
            if keys.size == 0:
                continue
            last = int(np.searchsorted(ranks, upto[-1], side="left"))
            found[done:last] = keys[np.searchsorted(upto, ranks[done:last], side="right")]
            done, counted = last, int(upto[-1])
        return scores_of_keys(found)

    def at_or_above(self, threshold: float) -> int:
        """How many counted pixels score at least ``threshold``."""
        return int(self._counts.count_at([threshold])[0])

    def scale(self, decades: float = 6.0) -> TailScale:
        """The tail scale of these scores; equal to the last bit whatever the order or the merging of frames.

        Args:
            decades: Powers of ten of the false-alarm rate between 0 and 1.

        Raises:
            ConfigError: The number of decades is out of range.
            DataError: No pixel was counted.
        """
        allowed = exceedances(self.pixels, check_decades(decades))
        if self.pixels == 0:
            raise DataError("no in-distribution pixel to calibrate on; give frames with valid pixels")
        return scale_of(self.at_ranks(self.pixels - 1 - allowed[allowed >= 0]), self.pixels, decades)
