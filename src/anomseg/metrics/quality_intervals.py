"""Intervals of predicted class quality by cluster bootstrap, and paired differences of two detectors."""

from __future__ import annotations

import numpy as np

from anomseg.errors import DataError
from anomseg.metrics.bootstrap import Interval, Intervals, PairedDifference, resample_weights
from anomseg.metrics.class_quality import FEWEST, ClassQuality, Values

#: Figures that are resampled: means over classes, and those of images as wholes.
QUALITY_INTERVALS = ("mae", "pearson", "spearman", "image_mae", "image_pearson", "image_spearman")
_CHUNK_CELLS = 1 << 20
#: Below this share of the squared values a weighted variance is rounding error.
_TINY = 1e-12


def quality_intervals(state: ClassQuality, samples: int = 1000, seed: int = 0, level: float = 0.95) -> Intervals:
    """Percentile intervals of `QUALITY_INTERVALS`: whole groups are resampled.

    A resample leaves out of a mean the classes that are not defined there.

    Args:
        state: Frames with their groups.
        samples: Resamples.
        seed: Of the resampling; equal seeds give equal resamples of equal groups.
        level: Coverage.

    Returns:
        Intervals of the figures that are defined, or the reason why there are none: fewer than two groups.
    """
    groups = len(set(state.groups))
    if groups < 2:
        return Intervals(None, _too_few(groups), level, 0, 0, groups)
    values = _resampled(state, resample_weights(groups, samples, seed))
    return Intervals(_intervals(values, level), None, level, samples, 0, groups)


def quality_difference(
    first: ClassQuality, second: ClassQuality, samples: int = 1000, seed: int = 0, level: float = 0.95
) -> PairedDifference:
    """Differences of two detectors that judge one segmentation, first less second, over shared resamples.

    Args:
        first: One detector's frames.
        second: The other's: the same classes, frames, groups and true overlaps.
        samples: Resamples.
        seed: Of the resampling.
        level: Coverage.

    Raises:
        DataError: They are not of one segmentation and one set of frames.
    """
    same = (first.names, first.measure, first.frames, first.groups) == (
        second.names,
        second.measure,
        second.frames,
        second.groups,
    )
    truths = [state.content()[1]["true"] for state in (first, second)]
    if not same or not np.array_equal(truths[0], truths[1], equal_nan=True):  # type: ignore[arg-type]
        raise DataError("the two judge different frames, classes or segmentations; compare detectors of one network")
    groups = len(set(first.groups))
    everything = np.ones((1, groups))
    point = [_resampled(state, everything) for state in (first, second)]
    apart = {name: float(point[0][name][0] - point[1][name][0]) for name in QUALITY_INTERVALS}
    difference = {name: value for name, value in apart.items() if not np.isnan(value)}
    if groups < 2:
        return PairedDifference(difference, Intervals(None, _too_few(groups), level, 0, 0, groups))
    weights = resample_weights(groups, samples, seed)
    values = [_resampled(state, weights) for state in (first, second)]
    limits = _intervals({name: values[0][name] - values[1][name] for name in difference}, level)
    return PairedDifference(difference, Intervals(limits, None, level, samples, 0, groups))


def _too_few(groups: int) -> str:
    return f"{groups} group of frames; an interval needs at least 2"


def _intervals(values: dict[str, Values], level: float) -> dict[str, Interval]:
    tail = (1 - level) / 2
    figures = {}
    for name, column in values.items():
        defined = column[~np.isnan(column)]
        if defined.size:
            low, high = np.quantile(defined, [tail, 1 - tail])
            figures[name] = (float(low), float(high))
    return figures


def _resampled(state: ClassQuality, weights: Values) -> dict[str, Values]:
    """Each figure of each resample, ``(S,)``; NaN where it is not defined there. ``weights`` is ``(S, groups)``."""
    names = sorted(set(state.groups))
    columns = np.array([names.index(group) for group in state.groups], np.intp)
    predicted, true = state.values()
    step = max(1, _CHUNK_CELLS // max(1, columns.size))
    parts = []
    for start in range(0, len(weights), step):
        chunk = weights[start : start + step][:, columns]
        of_classes = [_figures(predicted[:, index], true[:, index], chunk) for index in range(len(state.names))]
        of_image = _figures(*state.image_values(), chunk)
        parts.append(np.concatenate([_mean_of_defined(np.array(of_classes)), np.array(of_image)]))
    return dict(zip(QUALITY_INTERVALS, np.concatenate(parts, axis=1), strict=True))


def _mean_of_defined(values: Values) -> Values:
    """Means over the classes of ``(C, 3, S)``."""
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    return np.where(counts > 0, np.where(known, values, 0.0).sum(axis=0) / np.maximum(counts, 1), np.nan)


def _figures(predicted: Values, true: Values, weights: Values) -> tuple[Values, Values, Values]:
    """Error and both correlations of weighted images, ``(S,)`` each."""
    known = ~np.isnan(predicted)
    first, second, weight = predicted[known], true[known], weights[:, known]
    if not first.size:
        nothing = np.full(len(weights), np.nan)
        return nothing, nothing, nothing
    total = weight.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mae = np.where(total > 0, (weight @ np.abs(first - second)) / total, np.nan)
    return mae, _pearson(first, second, weight), _pearson(_ranks(first, weight), _ranks(second, weight), weight)


def _ranks(values: Values, weight: Values) -> Values:
    """``(S, N)`` mean ranks of values of which each occurs as often as its weight says."""
    _, inverse = np.unique(values, return_inverse=True)
    counts = np.zeros((len(weight), int(inverse.max()) + 1))
    np.add.at(counts.T, inverse, weight.T)
    return (np.cumsum(counts, axis=1) - (counts - 1) / 2)[:, inverse]


def _pearson(first: Values, second: Values, weight: Values) -> Values:
    """``(S,)`` correlation of ``(N,)`` or ``(S, N)`` values; NaN where one is constant or too few are drawn."""
    total = weight.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        one = first - (weight * first).sum(axis=1, keepdims=True) / total
        other = second - (weight * second).sum(axis=1, keepdims=True) / total
        spread = [(weight * part**2).sum(axis=1) for part in (one, other)]
        scale = [(weight * np.broadcast_to(part, weight.shape) ** 2).sum(axis=1) for part in (first, second)]
        found = (weight * one * other).sum(axis=1) / np.sqrt(spread[0] * spread[1])
    flat = (spread[0] <= _TINY * scale[0]) | (spread[1] <= _TINY * scale[1])
    few = (weight > 0).sum(axis=1) < FEWEST
    return np.where(flat | few, np.nan, found)
