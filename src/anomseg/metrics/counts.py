"""One frame as counts: how many inlier and anomalous pixels have which score, exactly.

Every pixel metric is a function of these counts, so several metric states share one sort of the frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomseg.metrics.inputs import scores_and_label
from anomseg.types import ANOMALY, INLIER

Keys = NDArray[np.uint32]
Counts = NDArray[np.int64]

_SIGN = np.uint32(0x80000000)


@dataclass(frozen=True)
class ScoreCounts:
    """Distinct scores of one frame with how often each occurs.

    Attributes:
        inlier_keys: ``(N,)`` uint32, distinct keys of inlier scores, ascending.
        inlier_counts: ``(N,)`` int64, how often each occurs.
        anomaly_keys: ``(K,)`` uint32, distinct keys of anomalous scores, ascending.
        anomaly_counts: ``(K,)`` int64.
        void: Number of void pixels.
    """

    inlier_keys: Keys
    inlier_counts: Counts
    anomaly_keys: Keys
    anomaly_counts: Counts
    void: int

    @property
    def inlier(self) -> int:
        """Number of inlier pixels."""
        return int(self.inlier_counts.sum())

    @property
    def anomaly(self) -> int:
        """Number of anomalous pixels."""
        return int(self.anomaly_counts.sum())


def score_keys(score: NDArray[np.float32]) -> Keys:
    """Order-preserving uint32 keys: ``a < b`` exactly when ``key(a) < key(b)``, and -0.0 equals 0.0.

    Args:
        score: Finite float32 of any shape.

    Returns:
        uint32 of the same shape.

    Example:
        >>> keys = score_keys(np.array([-2, -0.0, 0.0, 1e-45, 3], np.float32))
        >>> bool((np.diff(keys.astype(np.int64)) >= 0).all()), bool(keys[1] == keys[2])
        (True, True)
    """
    bits = np.add(score, np.float32(0)).view(np.uint32)  # adding zero turns -0.0 into 0.0
    # Negative floats order backwards by their bits: flip all of them; of the others flip the sign alone.
    bits ^= (bits.view(np.int32) >> 31).view(np.uint32) | _SIGN
    return bits


def scores_of_keys(keys: Keys) -> NDArray[np.float32]:
    """The inverse of `score_keys`.

    Example:
        >>> scores_of_keys(score_keys(np.array([-1.5, 0.0, 2.0], np.float32))).tolist()
        [-1.5, 0.0, 2.0]
    """
    keys = np.asarray(keys, np.uint32)
    return np.where(keys & _SIGN, keys ^ _SIGN, ~keys).astype(np.uint32).view(np.float32)


def keys_at_least(thresholds: Any) -> Keys:
    """For each threshold the smallest key whose score is >= it, compared as real numbers.

    A float64 threshold that float32 cannot represent rounds up, so ``score >= t`` means the same as in float64.

    Args:
        thresholds: float64, any shape; infinities allowed.

    Returns:
        uint32 keys of the same shape; that of ``+inf`` is above every finite score's.

    Raises:
        ValueError: A threshold is NaN.
    """
    exact = np.atleast_1d(np.asarray(thresholds, np.float64))
    if np.isnan(exact).any():
        raise ValueError("a threshold is NaN")
    with np.errstate(over="ignore", under="ignore"):
        rounded = exact.astype(np.float32)
    rounded = np.where(rounded.astype(np.float64) < exact, np.nextafter(rounded, np.float32(np.inf)), rounded)
    return score_keys(rounded).reshape(np.shape(thresholds))


def run_lengths(ordered: Keys) -> tuple[Keys, Counts]:
    """Distinct values of an ascending array and how often each occurs."""
    if ordered.size == 0:
        return ordered.astype(np.uint32), np.zeros(0, np.int64)
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return ordered[starts], np.diff(starts, append=ordered.size)


def count_scores(score: Any, label: Any, frame: str | None = None) -> ScoreCounts:
    """Count the scores of one frame by class.

    Args:
        score: Finite scores of any shape, higher = more anomalous, NumPy or tensor; converted to float32.
        label: 0 inlier, 1 anomaly, 255 void, same shape.
        frame: Id for messages.

    Returns:
        The counts.

    Raises:
        FrameError: Shapes differ, a score is NaN or infinite, or a label value is not in {0, 1, 255}.

    Example:
        >>> counts = count_scores([[0.5, 0.5, 2.0, 9.0]], [[0, 0, 1, 255]])
        >>> counts.inlier, counts.anomaly, counts.void, counts.inlier_counts.tolist()
        (2, 1, 1, [2])
    """
    scores, labels = scores_and_label(score, label, frame)
    keys = score_keys(scores)
    inlier = np.sort(keys[labels == INLIER])  # np.sort is vectorised for uint32; np.unique is several times slower
    anomaly = np.sort(keys[labels == ANOMALY])
    return ScoreCounts(*run_lengths(inlier), *run_lengths(anomaly), void=scores.size - inlier.size - anomaly.size)
