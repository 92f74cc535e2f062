"""Maximal detection margin: the widest interval of thresholds in which a detector stays above a quality.

Ackermann, Sakaridis and Yu, "Maskomaly: Zero-Shot Mask Anomaly Segmentation", BMVC 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import CompatibilityError, DataError
from anomseg.metrics.inputs import scores_and_label
from anomseg.types import ANOMALY, INLIER


@dataclass(frozen=True)
class DetectionMargin:
    """The margin and where it lies.

    Attributes:
        value: Longest run of consecutive thresholds with F1 > ``quality``, as a share of all thresholds, in [0, 1].
        quality: F1 has to be greater than this.
        steps: Number of thresholds ``i / steps``.
        interval: Ends ``(low, high)`` of the run: ``low`` is its first threshold, ``high`` the first one after it
            (1 where the run goes to the end), so ``high - low == value``; of equally long runs the lowest; None
            where no threshold is good enough.
    """

    value: float
    quality: float
    steps: int
    interval: tuple[float, float] | None


def margin_thresholds(steps: int = 1000) -> NDArray[np.float64]:
    """The thresholds ``i / steps`` for ``i`` in 0 .. steps - 1; the first asks for ``score > 0``.

    Since positive means ``score >= threshold`` everywhere, the first is the least positive number instead of 0.

    Example:
        >>> margin_thresholds(4)[1:].tolist()
        [0.25, 0.5, 0.75]
    """
    thresholds = np.arange(steps) / steps
    thresholds[0] = np.nextafter(0.0, 1.0)
    return thresholds


def f1_curve(true_positives: Any, false_positives: Any, positives: int) -> NDArray[np.float64]:
    """F1 from counts, elementwise, in [0, 1].

    Args:
        true_positives: ``(n,)`` anomalous pixels above each threshold.
        false_positives: ``(n,)`` inliers above each threshold.
        positives: All anomalous pixels, at least one.
    """
    return 2 * np.asarray(true_positives) / (np.asarray(true_positives) + np.asarray(false_positives) + positives)


def margin_from_counts(true_positives: Any, false_positives: Any, positives: int, quality: float = 0.7) -> float:
    """The margin from counts at evenly spaced thresholds, such as ``PixelCurve.counts_at(margin_thresholds(n))``.

    Args:
        true_positives: ``(n,)`` anomalous pixels above each threshold.
        false_positives: ``(n,)`` inliers above each threshold.
        positives: All anomalous pixels.
        quality: F1 has to be greater than this.

    Returns:
        Longest run of consecutive thresholds with F1 > ``quality``, as a share of all thresholds, in [0, 1].

    Raises:
        DataError: There is no anomalous pixel.
    """
    if positives == 0:
        raise DataError("no anomalous pixel, so the maximal detection margin is undefined; add frames with anomalies")
    return detection_margin(f1_curve(true_positives, false_positives, positives), quality).value


def detection_margin(f1: Any, quality: float = 0.7) -> DetectionMargin:
    """The margin and its ends, from F1 at the thresholds of `margin_thresholds`.

    Args:
        f1: ``(n,)`` F1 at ``i / n``.
        quality: F1 has to be greater than this.

    Example:
        >>> detection_margin([0.2, 0.8, 0.9, 0.1, 0.75], quality=0.7)
        DetectionMargin(value=0.4, quality=0.7, steps=5, interval=(0.2, 0.6))
    """
    good = np.asarray(f1) > quality
    edges = np.diff(good.astype(np.int8), prepend=0, append=0)
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if starts.size == 0:
        return DetectionMargin(0.0, quality, good.size, None)
    longest = int(np.argmax(stops - starts))
    start, stop = int(starts[longest]), int(stops[longest])
    return DetectionMargin((stop - start) / good.size, quality, good.size, (start / good.size, stop / good.size))


def maximal_detection_margin(score: Any, label: Any, quality: float = 0.7, steps: int = 1000) -> float:
    """The maximal detection margin over all pixels of a map (or of several, stacked).

    Not invariant to monotone maps of the score: that is its purpose.

    Args:
        score: Scores in [0, 1] of any shape, NumPy or tensor. Compared with the thresholds as real numbers, in the
            precision they come in.
        label: 0 inlier, 1 anomaly, 255 void, same shape.
        quality: F1 has to be greater than this.
        steps: Number of thresholds ``i / steps``.

    Returns:
        The margin in [0, 1].

    Raises:
        CompatibilityError: Scores leave [0, 1].
        FrameError: Shapes differ, scores are not finite, or label values are not in {0, 1, 255}.
        DataError: There is no anomalous pixel.

    Example:
        >>> maximal_detection_margin([0.9, 0.6, 0.3, 0.1], [1, 1, 0, 0], quality=0.7, steps=10)
        0.5
        >>> maximal_detection_margin([0.9, 0.6, 0.3, 0.1], [1, 1, 0, 0], quality=0.9, steps=10)
        0.3
    """
    scores, labels = scores_and_label(score, label, dtype=np.float64)
    check_unit_interval(scores)
    anomaly, inlier = np.sort(scores[labels == ANOMALY]), np.sort(scores[labels == INLIER])
    thresholds = margin_thresholds(steps)
    true_positives = anomaly.size - np.searchsorted(anomaly, thresholds)
    false_positives = inlier.size - np.searchsorted(inlier, thresholds)
    return margin_from_counts(true_positives, false_positives, anomaly.size, quality)


def check_unit_interval(scores: NDArray[Any]) -> None:
    """Refuse scores outside [0, 1].

    Raises:
        CompatibilityError: With the range found.
    """
    if scores.size and (scores.min() < 0 or scores.max() > 1):
        raise CompatibilityError(
            f"the maximal detection margin needs scores in [0, 1], these lie in "
            f"[{scores.min():.4g}, {scores.max():.4g}]; calibrate the detector first"
        )
