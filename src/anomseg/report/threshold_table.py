"""Exact counts at a few hundred thresholds of one detector, which are also the steps its shown maps are kept in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anomseg.metrics import PixelCurve
from anomseg.types import UInt8Array

#: A level of a shown map has to fit into eight bits, level 0 being below every threshold.
MOST_THRESHOLDS = 255
HISTOGRAM_BINS = 80
_RECALLS, _RANKS, _EVEN = 80, 80, 80
_OUTSIDE = 1e-3


@dataclass(frozen=True)
class ThresholdTable:
    """What a detector's scores mean at each of its thresholds; ``score >= threshold`` is positive.

    Attributes:
        thresholds: ``(n,)`` float64, ascending, each a float32; n at most 255. The first is the lowest score of all.
        true_positives: ``(n,)`` int64, anomalous pixels at or above each.
        false_positives: ``(n,)`` int64, inliers at or above each.
        anomaly: All anomalous pixels.
        inlier: All inliers.
        edges: ``(HISTOGRAM_BINS + 1,)`` float64, ends of the bins of the histograms, evenly spaced.
        anomaly_bins: ``(HISTOGRAM_BINS,)`` int64, anomalous pixels in each; what lies beyond is in the end bins.
        inlier_bins: ``(HISTOGRAM_BINS,)`` int64, inliers in each.
        best_f1: Place of the threshold of greatest F1: an oracle, chosen on the ground truth.
        recall95: Place of the threshold of FPR95.
    """

    thresholds: NDArray[np.float64]
    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]
    anomaly: int
    inlier: int
    edges: NDArray[np.float64]
    anomaly_bins: NDArray[np.int64]
    inlier_bins: NDArray[np.int64]
    best_f1: int
    recall95: int

    @cached_property
    def _steps(self) -> NDArray[np.float32]:
        return self.thresholds.astype(np.float32)

    def levels(self, score: NDArray[np.float32]) -> UInt8Array:
        """How many thresholds each score reaches, so that ``levels > k`` is exactly ``score >= thresholds[k]``.

        Args:
            score: Finite float32 of any shape.

        Returns:
            uint8 of the same shape, 0 to n.
        """
        return np.searchsorted(self._steps, score, side="right").astype(np.uint8)


def threshold_table(curve: PixelCurve) -> ThresholdTable | None:
    """The table of a finished curve; None where it has no anomalous or no inlier pixel.

    Thresholds are spread evenly over recall, over ranks of the inliers (finely where few are flagged), and over the
    scores themselves, so that no part of any curve is without them. Counts there are the state's own, hence exact.
    """
    if not curve.anomaly or not curve.inlier:
        return None
    points, result = curve.points(_RECALLS), curve.compute()
    ranks = np.concatenate([np.linspace(0, 1, _RANKS // 2), 1 - np.geomspace(1e-6, 0.5, _RANKS // 2)])
    inlier = inlier_quantiles(curve, np.append(ranks, [_OUTSIDE, 1 - _OUTSIDE]))
    anomalous = points.threshold[:-1]
    low = min(float(inlier[-2]), float(anomalous.min()))
    high = max(float(inlier[-1]), float(anomalous.max()))
    if not low < high:
        low, high = low - 0.5, high + 0.5
    recall95 = curve.threshold_at_recall()
    candidates = np.concatenate(
        [
            points.threshold,
            inlier[:-2],
            np.linspace(low, high, _EVEN),
            [result.best_f1_threshold, recall95],
        ]
    )
    thresholds = np.unique(candidates.astype(np.float32)).astype(np.float64)
    hits, alarms = curve.counts_at(thresholds)
    edges = np.linspace(low, high, HISTOGRAM_BINS + 1)
    return ThresholdTable(
        thresholds,
        hits,
        alarms,
        curve.anomaly,
        curve.inlier,
        edges,
        *_bins(curve, edges),
        best_f1=int(np.searchsorted(thresholds, np.float32(result.best_f1_threshold))),
        recall95=int(np.searchsorted(thresholds, np.float32(recall95))),
    )


def inlier_quantiles(curve: PixelCurve, shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores of the inliers at some shares of them, from lowest (0) to highest (1).

    Args:
        curve: With at least one inlier.
        shares: In [0, 1], any order.

    Returns:
        The score of the pixel of each rank, same shape.
    """
    ranks = np.clip(np.floor(shares * curve.inlier), 0, curve.inlier - 1)
    found, seen = np.zeros(ranks.shape), 0
    for run in curve.scores():
        if run.anomalous or not run.pixels.size:
            continue
        up_to = seen + np.cumsum(run.pixels)
        here = (ranks >= seen) & (ranks < up_to[-1])
        found[here] = run.score[np.searchsorted(up_to, ranks[here], side="right")]
        seen = int(up_to[-1])
    return found


def _bins(curve: PixelCurve, edges: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    parts = []
    for counts, total in zip(curve.counts_at(edges[1:-1]), (curve.anomaly, curve.inlier), strict=True):
        parts.append(-np.diff(np.concatenate([[total], counts, [0]])).astype(np.int64))
    return parts[0], parts[1]
