"""Figures of a precision-recall and ROC curve, as pure functions of counts.

A curve is given by the scores at which recall rises. For each such score, in descending order, three numbers decide
every figure: how many anomalous pixels have it, how many inliers are at or above it, and how many strictly above.
All arrays may have leading axes (resamples of the bootstrap), and entries without anomalous pixels change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import unknown_name
from anomseg.metrics.counts import ScoreCounts, scores_of_keys

FprRule = Literal["first>=", "first>", "nearest"]
ApRule = Literal["step", "trapezoid"]
FPR_RULES: tuple[FprRule, ...] = get_args(FprRule)
AP_RULES: tuple[ApRule, ...] = get_args(ApRule)


@dataclass(frozen=True)
class Curve:
    """Counts at the scores of anomalous pixels, descending.

    Attributes:
        anomaly: ``(..., K)`` anomalous pixels with each score; at least one in total.
        at_or_above: ``(..., K)`` inliers whose score is >= it.
        above: ``(..., K)`` inliers whose score is > it.
        inliers: ``(...)`` all inliers, at least one.
        scores: ``(K,)`` float32, the scores themselves; empty where only ranks are known.
    """

    anomaly: NDArray[Any]
    at_or_above: NDArray[Any]
    above: NDArray[Any]
    inliers: Any
    scores: NDArray[np.float32]

    @cached_property
    def true_positives(self) -> NDArray[Any]:
        """``(..., K)`` anomalous pixels at or above each score."""
        return np.cumsum(self.anomaly, axis=-1)

    @property
    def anomalies(self) -> Any:
        """``(...)`` all anomalous pixels."""
        return self.true_positives[..., -1]

    @property
    def recall(self) -> NDArray[np.float64]:
        """``(..., K)`` true-positive rate at each score."""
        return self.true_positives / np.expand_dims(self.anomalies, -1)

    @property
    def precision(self) -> NDArray[np.float64]:
        """``(..., K)`` precision at each score; 0 where nothing is at or above it."""
        return self.true_positives / np.maximum(self.true_positives + self.at_or_above, 1)


def check_rules(fpr_rule: str, ap_rule: str) -> None:
    """Refuse rules that do not exist.

    Raises:
        ConfigError: With the nearest name.
    """
    if fpr_rule not in FPR_RULES:
        raise unknown_name("FPR rule", fpr_rule, FPR_RULES)
    if ap_rule not in AP_RULES:
        raise unknown_name("AP rule", ap_rule, AP_RULES)


def curve_of_counts(counts: ScoreCounts) -> Curve:
    """The curve of one frame by itself."""
    keys = counts.anomaly_keys[::-1]
    cumulative = np.concatenate(([0], np.cumsum(counts.inlier_counts)))
    below = cumulative[np.searchsorted(counts.inlier_keys, keys, side="left")]
    up_to = cumulative[np.searchsorted(counts.inlier_keys, keys, side="right")]
    inliers = int(cumulative[-1])
    return Curve(counts.anomaly_counts[::-1], inliers - below, inliers - up_to, inliers, scores_of_keys(keys))


def average_precision(curve: Curve, rule: ApRule = "step") -> Any:
    """Area under the precision-recall curve.

    Args:
        curve: Counts at descending scores.
        rule: ``"step"`` sums precision times rise of recall (scikit-learn's ``average_precision_score``);
            ``"trapezoid"`` interpolates linearly between the points of scikit-learn's
            ``precision_recall_curve``, its start at precision 1 included. The latter is optimistic; some
            published figures use it.

    Returns:
        ``(...)`` in [0, 1].
    """
    height = curve.precision
    if rule == "trapezoid":
        # Inliers between two anomalous scores lower precision before recall rises again.
        earlier = curve.true_positives - curve.anomaly
        predicted = earlier + curve.above
        left = np.where(predicted > 0, earlier / np.maximum(predicted, 1), 1.0)
        height = (height + left) / 2
    return (curve.anomaly * height).sum(axis=-1) / curve.anomalies


def auroc(curve: Curve) -> Any:
    """Area under the ROC curve: the chance that an anomalous pixel outscores an inlier, ties counted half.

    Returns:
        ``(...)`` in [0, 1].
    """
    losses = (curve.anomaly * (curve.at_or_above + curve.above).astype(np.float64)).sum(axis=-1)
    return 1.0 - losses / (2.0 * curve.anomalies * curve.inliers)


def fpr_at_recall(curve: Curve, rule: FprRule = "first>=", recall: float = 0.95) -> Any:
    """False-positive rate at a recall.

    Args:
        curve: Counts at descending scores.
        rule: ``"first>="`` the highest threshold whose recall reaches the level (SMIYC, Fishyscapes);
            ``"first>"`` exceeds it (DenseHybrid, RbA); ``"nearest"`` the recall closest to the level, and of all
            thresholds with that recall the lowest, the curve ending where recall first is 1 (CAOS, PEBAL). In the
            last, inliers between two anomalous scores count against the higher one.
        recall: The level.

    Returns:
        ``(...)`` in [0, 1].

    Example:
        >>> counts = np.array([19, 1])
        >>> curve = Curve(counts, np.array([0, 20]), np.array([0, 20]), 20, np.array([2, 0], np.float32))
        >>> [float(fpr_at_recall(curve, rule)) for rule in FPR_RULES]
        [0.0, 1.0, 1.0]
    """
    chosen, above = _index_at_recall(curve, rule, recall)
    counts = np.where(above, *(_entry(part, chosen) for part in (curve.above, curve.at_or_above)))
    return counts / curve.inliers


def scores_at_recall(curve: Curve, rule: FprRule = "first>=", recall: float = 0.95) -> tuple[np.float32, bool]:
    """Where `fpr_at_recall` counts: the score, and whether false positives are those above it or also those at it.

    Args:
        curve: One curve with its scores.
        rule: As there.
        recall: The level.
    """
    chosen, above = _index_at_recall(curve, rule, recall)
    return np.float32(curve.scores[chosen]), bool(above)


def _index_at_recall(curve: Curve, rule: FprRule, recall: float) -> tuple[Any, Any]:
    """``(...)`` the entry that decides, and whether its own inliers are left out."""
    rate = curve.recall
    if rule == "nearest":
        distance = np.abs(rate - recall)
        count = distance.shape[-1]
        chosen = count - 1 - np.argmin(distance[..., ::-1], axis=-1)
        full = _entry(rate, chosen) == 1.0
        first_full = np.argmax(rate == 1.0, axis=-1)
        return np.where(full, first_full, np.minimum(chosen + 1, count - 1)), ~full
    first = np.argmax(rate >= recall if rule == "first>=" else rate > recall, axis=-1)
    return first, np.zeros(np.shape(first), bool)


def _entry(values: NDArray[Any], index: Any) -> Any:
    return np.take_along_axis(values, np.expand_dims(index, -1), -1)[..., 0]


def best_f1(curve: Curve) -> tuple[float, float]:
    """The greatest F1 over all thresholds, and the lowest threshold that reaches it (``score >= threshold``).

    Args:
        curve: One curve with its scores.

    Returns:
        F1 in (0, 1] and the threshold, a float32 score.
    """
    f1 = 2 * curve.true_positives / (curve.true_positives + curve.at_or_above + curve.anomalies)
    best = f1.size - 1 - int(np.argmax(f1[::-1]))
    return float(f1[best]), float(curve.scores[best])
