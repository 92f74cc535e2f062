"""Cards' parts on classes: false positives on misclassified inliers, closed and open-set segmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomseg.evaluation.class_state import ClassState
from anomseg.evaluation.states import DetectorState
from anomseg.metrics import EQUAL_FPR, FalsePositives, OpenSetHalves, OpenSetPoint, judged_intervals

NO_ANOMALY = "no frame with anomalies was evaluated"


def class_parts(state: DetectorState, seed: int, outside: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """``misclassified``, ``open_set`` and ``own_segmentation`` of a card, and why they are null.

    Args:
        state: A finished state.
        seed: Of the resampling.
        outside: A threshold of another run and whose it is, where one was asked for.
    """
    classes = state.classes
    if classes is None or not state.evaluable:
        reason = state.no_classes if classes is None else NO_ANOMALY
        parts = dict.fromkeys(("misclassified", "open_set", "own_segmentation"))
        return {**parts, "classes_reason": reason}
    return {
        "misclassified": _misclassified(state, classes, seed),
        "open_set": _open_set(state, classes, classes.open_set, outside),
        "own_segmentation": _open_set(state, classes, classes.own, outside) if classes.own is not None else None,
        "classes_reason": None,
    }


def _misclassified(state: DetectorState, classes: ClassState, seed: int) -> dict[str, Any]:
    result = classes.misclassified.compute(state.curve)
    means = classes.images.compute()
    intervals = judged_intervals(classes.images, seed=seed)
    found, equal = result.at_recall, result.at_fpr
    limits = {name: list(interval) for name, interval in (intervals.figures or {}).items()}
    return {
        "efpr95": found.efpr,
        "cfpr95": found.cfpr,
        "threshold95": found.threshold,
        "share_of_false_positives": {"fpr": EQUAL_FPR, "base": result.base, **_point(equal)},
        "share_of_false_positives95": {"base": result.base, **_point(found)},
        "pixels": {"right": result.right, "wrong": result.wrong, "unjudged": result.unjudged},
        "per_image_mean": asdict(means),
        "ci95": {**limits, "samples": intervals.samples, "groups": intervals.groups} if limits else None,
        "ci95_reason": intervals.reason,
    }


def _point(figures: FalsePositives) -> dict[str, Any]:
    return {
        "misclassified": figures.share,
        "fpr_reached": figures.fpr,
        "efpr": figures.efpr,
        "cfpr": figures.cfpr,
        "threshold": figures.threshold,
    }


def _open_set(
    state: DetectorState, classes: ClassState, halves: OpenSetHalves, outside: Mapping[str, Any] | None
) -> dict[str, Any]:
    curve = halves.whole()
    found = curve.at(state.curve.threshold_at_recall())
    best = curve.at(state.result.best_f1_threshold)
    closed = curve.closed()
    table = {
        classes.names[index]: {
            "closed": _plain(closed[index]),
            "at_tpr95": _plain(found.iou[index]),
            "at_best_f1": _plain(best.iou[index]),
        }
        for index in classes.known
    }
    return {
        "closed_miou": _mean(closed, classes.known),
        "closed_accuracy": _plain(curve.accuracy()),
        "at_tpr95": _told(found, classes.known),
        "at_best_f1": {**_told(best, classes.known), "oracle": True},
        "at_other_run": (
            {**_told(curve.at(outside["threshold"]), classes.known), "from": _but_threshold(outside)}
            if outside
            else None
        ),
        **_crossed(halves, classes, strict=state.curve.fpr_rule == "first>"),
        "iou": table,
    }


def _crossed(halves: OpenSetHalves, classes: ClassState, *, strict: bool) -> dict[str, Any]:
    """``two_fold``: each half at the other's threshold, and the mean of both weighted by images; or why it is null."""
    if halves.second is None:
        reason = "the frames are of one group, or were counted by an earlier version; two halves need two groups"
        return {"two_fold": None, "two_fold_reason": reason}
    crossed = halves.crossed(strict=strict)
    told = [{"frames": half.frames, **_told(half.point, classes.known)} for half in crossed or ()]
    if not told or any(half["miou"] is None for half in told):
        return {"two_fold": None, "two_fold_reason": "one half of the groups shows no anomaly or no known class"}
    frames = sum(half["frames"] for half in told)
    mean = sum(half["frames"] * half["miou"] for half in told) / frames
    return {"two_fold": {"miou": mean, "frames": frames, "halves": told}, "two_fold_reason": None}


def _but_threshold(outside: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in outside.items() if key != "threshold"}


def _told(point: OpenSetPoint, known: Sequence[int]) -> dict[str, Any]:
    return {
        "miou": _mean(point.iou, known),
        "threshold": point.threshold,
        "tpr": _plain(point.tpr),
        "fpr": _plain(point.fpr),
    }


def _mean(iou: NDArray[np.float64], known: Sequence[int]) -> float | None:
    present = iou[list(known)]
    present = present[~np.isnan(present)]
    return float(present.mean()) if present.size else None


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
