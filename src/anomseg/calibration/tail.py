"""The tail scale: any score as the rarity of it among in-distribution pixels, in [0, 1).

A score ``s`` is as odd as the share of in-distribution pixels that score at least as high, the rank p-value
``p(s) = (1 + #{calibration pixels >= s}) / (1 + pixels)`` of conformal prediction (Vovk et al., "Algorithmic Learning
in a Random World", 2005). The calibrated score is its logarithm, ``-log10 p(s) / decades``: with six decades, 0.5
stands for one false alarm in 10^3 pixels and 0.75 for one in 10^4.5. It depends on the *order* of scores alone, so a
strictly monotone change of the raw score changes nothing. That such a scale makes the margins of different scores
comparable is a choice of this library, not of the paper that defines the margin.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.metrics.counts import score_keys, scores_of_keys
from anomseg.metrics.inputs import as_numpy, check_finite
from anomseg.metrics.statefile import open_state, write_state

#: Levels of the scale that are kept exactly; a multiple of the thresholds that the margin looks at.
LEVELS = 4000
_LARGEST = np.float32(np.finfo(np.float32).max)


def exceedances(pixels: int, decades: float) -> NDArray[np.int64]:
    """How many calibration pixels may score as high as a score that reaches each level.

    Args:
        pixels: Calibration pixels, N.
        decades: Powers of ten that the scale spans.

    Returns:
        ``(LEVELS - 1,)`` int64 for the levels ``1 .. LEVELS - 1``: the greatest n with
        ``(1 + n) / (1 + N) <= 10 ** (-decades * level / LEVELS)``; -1 where there is none.

    Example:
        >>> exceedances(999, 3.0)[[1332, 1999, 2666]].tolist()  # one in 10, in 31.6, in 100
        [99, 30, 8]
    """
    rates = 10.0 ** (-decades * np.arange(1, LEVELS) / LEVELS)
    # Rounding must not lose a count where the rate is a round number, such as 1 in 1000.
    return np.floor((pixels + 1) * rates * (1 + 1e-12)).astype(np.int64) - 1


def knots_of(ordered: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Distinct smallest scores above each of some descending-by-rarity scores, and the last row of each.

    Args:
        ordered: ``(L,)`` float32 ascending, the highest in-distribution score that does not reach each level.

    Returns:
        The next float32 above each, ``(K,)`` strictly ascending, and the greatest index into ``ordered`` of each.
    """
    with np.errstate(over="ignore"):
        above = np.nextafter(ordered, np.float32(np.inf), dtype=np.float32)
    above = above[np.isfinite(above)]
    last = np.flatnonzero(np.append(above[1:] != above[:-1], True)) if above.size else np.zeros(0, np.intp)
    return above[last], last


@dataclass(frozen=True, eq=False)
class TailScale:
    """A strictly increasing map from scores to [0, 1), exact at every level ``i / LEVELS``.

    Between two levels, and outside the range that was seen, it goes on in a strictly increasing way (as far as
    float32 has numbers), so pixels keep their order; ties arise only where float32 runs out.

    Attributes:
        decades: Powers of ten of the false-alarm rate between 0 and 1.
        pixels: In-distribution pixels that it was made from.
        knots: ``(K,)`` float32, strictly ascending: the smallest scores that reach a level.
        levels: ``(K,)`` int64, strictly ascending in 1 .. LEVELS - 1: the highest level that each of them reaches.

    Raises:
        CompatibilityError: The table is damaged.
    """

    decades: float
    pixels: int
    knots: NDArray[np.float32]
    levels: NDArray[np.int64]

    def __post_init__(self) -> None:
        check_decades(self.decades)
        sound = (
            self.knots.ndim == self.levels.ndim == 1
            and self.knots.size == self.levels.size > 0
            and bool(np.isfinite(self.knots).all())
            and bool((np.diff(self.knots.astype(np.float64)) > 0).all() and (np.diff(self.levels) > 0).all())
            and 1 <= self.levels[0] <= self.levels[-1] < LEVELS
        )
        if not sound or self.pixels < 1:
            raise CompatibilityError("the calibration's table is damaged; run 'anomseg calibrate' again")

    @property
    def reach(self) -> float:
        """The highest threshold that any score can reach: below 1 - 1 / LEVELS where pixels are too few for it."""
        return float(self.levels[-1] / LEVELS)

    def false_alarm_rate(self, threshold: float) -> float:
        """Upper bound on the share of in-distribution pixels with a calibrated score >= ``threshold``.

        Exact on the calibration pixels at thresholds ``i / LEVELS``.

        Example:
            >>> TailScale(6.0, 10, np.float32([0.0]), np.array([500])).false_alarm_rate(0.5)
            0.001
        """
        return float(10.0 ** (-self.decades * threshold))

    def __call__(self, score: Any, frame: str | None = None) -> NDArray[np.float32]:
        """Calibrated scores.

        Args:
            score: Finite scores of any shape, NumPy or tensor; compared as float32.
            frame: Id for messages.

        Returns:
            float32 of the same shape, in [0, 1).

        Raises:
            FrameError: A score is NaN or infinite.
        """
        with np.errstate(over="ignore"):
            raw = as_numpy(score).astype(np.float32, copy=False)
        check_finite(raw, frame)
        row = np.searchsorted(self.knots, raw, side="right")  # 0 below the first knot
        below, above, inverse = self._segments
        low, high = (bound[row] for bound in self._bounds)
        values = raw.astype(np.float64)
        # Each form below is a chain of correctly rounded increasing steps, hence increasing itself.
        inside = (values - below[row]) * inverse[row]
        before = 1.0 / (1.0 + np.maximum(above[0] - values, 0.0) / self._spread)
        after = 1.0 - self._spread / (np.maximum(values - below[-1], 0.0) + self._spread)
        part = np.where(row == 0, before, np.where(row == self.knots.size, after, inside))
        share = np.clip(part, 0.0, 1.0)
        return np.clip(low + (high - low) * share, low, high).astype(np.float32)

    @cached_property
    def _spread(self) -> float:
        spread = float(self.knots[-1]) - float(self.knots[0])
        return spread if spread > 0 else 1.0

    @cached_property
    def _segments(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """By segment, of which there are K + 1: its lower knot, its upper knot, one over the distance."""
        knots = self.knots.astype(np.float64)
        below, above = np.concatenate((knots[:1], knots)), np.concatenate((knots, knots[-1:]))
        gaps = above - below
        return below, above, 1.0 / np.where(gaps > 0, gaps, 1.0)

    @cached_property
    def _bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """By segment: the least and the greatest float32 that belong to its level and to no other."""
        reached = np.concatenate(([0], self.levels))
        return _least_float32(reached / LEVELS), _below(_least_float32((reached + 1) / LEVELS))

    def threshold(self, value: Any) -> NDArray[np.float64]:
        """The smallest raw score whose calibrated score is at least ``value``.

        Args:
            value: Thresholds of the calibrated score, any shape.

        Returns:
            float64 of the same shape: ``calibrated >= value`` exactly where ``raw >= result``; ``-inf`` where every
            score qualifies, ``inf`` where none does.
        """
        wanted = np.asarray(value, np.float64)
        limits = score_keys(np.array([-_LARGEST, _LARGEST], np.float32)).astype(np.int64)
        low = np.full(wanted.shape, limits[0])  # the answer is in [low, high]; high + 1 stands for none
        high = np.full(wanted.shape, limits[1] + 1)
        while (low < high).any():
            middle = (low + high) // 2
            reached = self(scores_of_keys(np.minimum(middle, limits[1]).astype(np.uint32))) >= wanted
            reached &= middle <= limits[1]
            open_ = low < high
            high = np.where(open_ & reached, middle, high)
            low = np.where(open_ & ~reached, middle + 1, low)
        found = scores_of_keys(np.minimum(low, limits[1]).astype(np.uint32)).astype(np.float64)
        return np.where(low > limits[1], np.inf, np.where(low == limits[0], -np.inf, found))

    @property
    def sha256(self) -> str:
        """Identity of the table, 64 hexadecimal digits."""
        told = f"{float(self.decades)!r} {self.pixels}".encode()
        return hashlib.sha256(told + self.knots.tobytes() + self.levels.tobytes()).hexdigest()

    def save(self, path: str | Path) -> None:
        """Write the table to one file beside metric states, atomically.

        Raises:
            DataError: The file cannot be written.
        """
        meta = {"decades": self.decades, "pixels": self.pixels}
        write_state(path, type(self).__name__, meta, {"knots": self.knots, "levels": self.levels})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The inverse of `save`.

        Raises:
            DataError: The file is missing or damaged.
            CompatibilityError: It holds something else, or a damaged table.
        """
        with open_state(path, cls.__name__) as reader:
            return cls(
                float(reader.meta["decades"]), int(reader.meta["pixels"]), reader.array("knots"), reader.array("levels")
            )

    def tensors(self) -> dict[str, Tensor]:
        """The table as tensors, as saved."""
        return {"knots": torch.from_numpy(self.knots.copy()), "levels": torch.from_numpy(self.levels.copy())}

    @classmethod
    def from_parts(cls, parameters: dict[str, Any], pixels: int, tensors: dict[str, Tensor]) -> Self:
        """The inverse of `tensors`.

        Raises:
            CompatibilityError: Parts are missing or damaged.
        """
        try:
            knots = tensors["knots"].numpy().astype(np.float32)
            levels = tensors["levels"].numpy().astype(np.int64)
            return cls(float(parameters["decades"]), int(pixels), knots, levels)
        except (KeyError, TypeError, ValueError) as error:
            raise CompatibilityError(f"the calibration lacks {error}; run 'anomseg calibrate' again") from error


def check_decades(decades: float) -> float:
    """A scale spans between half a decade and fifteen.

    Raises:
        ConfigError: Anything else.
    """
    if not 0.5 <= decades <= 15:
        raise ConfigError(f"a scale of {decades} decades is out of range; give 0.5 to 15, such as 6 for rates to 1e-6")
    return decades


def tail_scale(ordered_scores: Any, decades: float = 6.0) -> TailScale:
    """The scale from in-distribution scores at hand; `ScoreStatistics` makes it from any number of frames.

    Args:
        ordered_scores: ``(N,)`` finite scores, ascending.
        decades: Powers of ten of the false-alarm rate between 0 and 1.

    Raises:
        DataError: There is no score.

    Example:
        >>> scale = tail_scale(np.arange(1000, dtype=np.float32), decades=3)
        >>> [round(float(value), 2) for value in scale(np.float32([-5, 900, 990, 5000]))]
        [0.0, 0.33, 0.65, 1.0]
    """
    scores = np.asarray(ordered_scores, np.float32)
    if scores.size == 0:
        raise DataError("no in-distribution score to calibrate on; give frames with valid pixels")
    allowed = exceedances(scores.size, check_decades(decades))
    allowed = allowed[allowed >= 0]
    return scale_of(scores[scores.size - 1 - allowed], scores.size, decades)


def scale_of(highest: NDArray[np.float32], pixels: int, decades: float) -> TailScale:
    """The scale from the highest in-distribution score that does not reach each level, levels 1, 2, ... in order."""
    knots, last = knots_of(highest)
    if knots.size == 0:
        raise DataError("every in-distribution score is the largest float32, so there is nothing to calibrate")
    return TailScale(decades, pixels, knots, (last + 1).astype(np.int64))


def _least_float32(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The least float32 numbers at or above some numbers, as float64."""
    rounded = values.astype(np.float32)
    short = rounded.astype(np.float64) < values
    return np.where(short, np.nextafter(rounded, np.float32(np.inf)), rounded).astype(np.float64)


def _below(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The next float32 numbers below some float32 numbers, as float64."""
    return np.nextafter(values.astype(np.float32), np.float32(-np.inf)).astype(np.float64)
