"""Intervals of failure detection by cluster bootstrap, and paired differences of two detectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomseg.metrics.bootstrap import (
    Interval,
    Intervals,
    PairedDifference,
    bootstrap_intervals,
    paired_difference,
    resample_weights,
)
from anomseg.metrics.failure import FailureDetection
from anomseg.metrics.per_image import PerImage

#: Figures that are resampled, all of `FailureResult`.
FAILURE_FIGURES = ("aupr_error", "aupr_success", "auroc", "fpr95", "fpr95_pooled")


def failure_intervals(state: FailureDetection, samples: int = 1000, seed: int = 0, level: float = 0.95) -> Intervals:
    """Percentile intervals of `FAILURE_FIGURES`: whole groups are resampled.

    Args:
        state: Frames with their groups.
        samples: Resamples.
        seed: Of the resampling; equal seeds give equal resamples of equal groups.
        level: Coverage.

    Returns:
        The intervals, or the reason why there are none: fewer than two groups, or fewer than two with errors.
    """
    reason = _reason(state)
    groups = len(_group_names(state.images))
    if reason:
        return Intervals(None, reason, level, 0, 0, groups)
    found = bootstrap_intervals(state.images, samples, seed, level)
    success = bootstrap_intervals(state.images.exchanged(), samples, seed, level)
    assert found.figures is not None  # noqa: S101 - `_reason` asks for what these need
    figures = {"aupr_error": found.figures["ap"], "auroc": found.figures["auroc"]}
    if success.figures is not None:
        figures["aupr_success"] = success.figures["ap"]
    figures["fpr95"] = _interval(_resampled_means(state.images, samples, seed), level)
    figures["fpr95_pooled"] = found.figures["fpr95"]
    return Intervals(figures, None, level, found.samples, found.dropped, groups)


def failure_difference(
    first: FailureDetection, second: FailureDetection, samples: int = 1000, seed: int = 0, level: float = 0.95
) -> PairedDifference:
    """Differences of two detectors that judge one segmentation, first less second, over shared resamples.

    Args:
        first: One detector's frames.
        second: The other's: the same frames and groups, and the same right and wrong pixels.
        samples: Resamples.
        seed: Of the resampling.
        level: Coverage.

    Raises:
        DataError: Frames, groups or the numbers of right and wrong pixels differ, or there are none of either.
    """
    found = paired_difference(first.images, second.images, samples, seed, level)
    success = paired_difference(first.images.exchanged(), second.images.exchanged(), samples, seed, level)
    means = first.images.compute().fpr95, second.images.compute().fpr95
    difference = {
        "aupr_error": found.difference["ap"],
        "aupr_success": success.difference["ap"],
        "auroc": found.difference["auroc"],
        "fpr95_pooled": found.difference["fpr95"],
    }
    if means[0] is not None and means[1] is not None:
        difference["fpr95"] = means[0] - means[1]
    reason, groups = _reason(first), found.intervals.groups
    if reason or found.intervals.figures is None or success.intervals.figures is None:
        return PairedDifference(difference, Intervals(None, reason, level, 0, 0, groups))
    apart = _resampled_means(first.images, samples, seed) - _resampled_means(second.images, samples, seed)
    figures = {
        "aupr_error": found.intervals.figures["ap"],
        "aupr_success": success.intervals.figures["ap"],
        "auroc": found.intervals.figures["auroc"],
        "fpr95": _interval(apart, level),
        "fpr95_pooled": found.intervals.figures["fpr95"],
    }
    kept = found.intervals
    return PairedDifference(difference, Intervals(figures, None, level, kept.samples, kept.dropped, groups))


def _group_names(images: PerImage) -> list[str]:
    return sorted({row.group for row in images.figures()})


def _reason(state: FailureDetection) -> str | None:
    rows = state.images.figures()
    count = len({row.group for row in rows})
    for kind, having in (("wrong", [row.anomaly for row in rows]), ("right", [row.inlier for row in rows])):
        found = len({row.group for row, pixels in zip(rows, having, strict=True) if pixels})
        if found < 2:
            return f"{found} of {count} groups of frames have {kind} pixels; an interval needs at least 2"
    return None


def _resampled_means(images: PerImage, samples: int, seed: int) -> NDArray[np.float64]:
    """``(samples,)`` the mean FPR95 of the images of each resample; NaN where none of them has one."""
    names = _group_names(images)
    row_of = {name: row for row, name in enumerate(names)}
    sums, counts = np.zeros(len(names)), np.zeros(len(names))
    for row in images.figures():
        if row.fpr95 is not None:
            sums[row_of[row.group]] += row.fpr95
            counts[row_of[row.group]] += 1
    weights = resample_weights(len(names), samples, seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weights @ sums) / (weights @ counts)


def _interval(values: NDArray[np.float64], level: float) -> Interval:
    tail = (1 - level) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)
