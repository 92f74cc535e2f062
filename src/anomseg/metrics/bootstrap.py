"""Confidence intervals by cluster bootstrap: whole sequences or scenes are resampled, not pixels.

Frames of one sequence resemble each other, so resampling frames (or pixels) would give intervals far too narrow.
Resamples are evaluated on the per-frame histograms of `PerImage`; the point estimate beside them stays exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import DataError
from anomseg.metrics.curve import Curve, auroc, average_precision, fpr_at_recall
from anomseg.metrics.grouping import group_edges, grouped
from anomseg.metrics.per_image import FIGURES, ImageFigures, ImageHistogram, PerImage

_CHUNK_CELLS = 1 << 21
Interval = tuple[float, float]


@dataclass(frozen=True)
class Intervals:
    """Percentile intervals of the pooled figures.

    Attributes:
        figures: ``{"ap": (low, high), "auroc": ..., "fpr95": ...}``; None when they cannot be had.
        reason: Why not, in one line; None when they can.
        level: Coverage, such as 0.95.
        samples: Resamples used.
        dropped: Resamples left out since they had no anomalous or no inlier pixel.
        groups: Groups resampled.
    """

    figures: dict[str, Interval] | None
    reason: str | None
    level: float
    samples: int
    dropped: int
    groups: int


@dataclass(frozen=True)
class PairedDifference:
    """Differences of pooled figures, first less second, over the same resamples of the same frames.

    Attributes:
        difference: ``{"ap": ..., "auroc": ..., "fpr95": ...}`` on all frames, from the histograms (within about
            1e-3 of the exact one).
        intervals: Percentile intervals, see `Intervals`.
    """

    difference: dict[str, float]
    intervals: Intervals


@dataclass(frozen=True)
class _Groups:
    """Counts by group (G) at the bins that hold anomalous pixels (K, descending); float64, exact integers."""

    names: list[str]
    anomaly: NDArray[np.float64]
    at_or_above: NDArray[np.float64]
    above: NDArray[np.float64]
    inliers: NDArray[np.float64]


@dataclass(frozen=True)
class Resamples:
    """The pooled figures of one detector in every resample, computed once for all that compares it; see `resampled`.

    Attributes:
        point: On all frames, from the histograms.
        values: ``(samples,)`` of each figure; NaN in a resample without anomalous or without inlier pixels.
        reason: Why there can be no interval; None where there can.
        groups: Groups resampled.
        samples: Resamples.
        seed: Of the resampling.
        rules: Rules for FPR95 and AP.
        pixels: Frame, group, inlier and anomalous pixels of every frame: what two must share to be compared.
    """

    point: dict[str, float]
    values: dict[str, NDArray[np.float64]]
    reason: str | None
    groups: int
    samples: int
    seed: int
    rules: tuple[str, str]
    pixels: tuple[tuple[str, str, int, int], ...]


def resampled(frames: PerImage | Resamples, samples: int = 1000, seed: int = 0) -> Resamples:
    """Resample the figures of one detector; whoever compares it with many does this once.

    Args:
        frames: Frames with their groups; its rules for AP and FPR95 are used. What is resampled already is given back.
        samples: Resamples.
        seed: Of the resampling; equal seeds give equal resamples of equal groups.

    Raises:
        DataError: It is resampled already, with another number or seed.
    """
    if isinstance(frames, Resamples):
        if (frames.samples, frames.seed) != (samples, seed):
            raise DataError(
                f"{frames.samples} resamples of seed {frames.seed} are at hand, not {samples} of seed {seed}; resample "
                "the frames themselves"
            )
        return frames
    groups = _groups(frames)
    count = len(groups.names)
    point = {name: float(one[0]) for name, one in _figures(groups, np.ones((1, count)), frames).items()}
    reason = _reason(groups)
    # Without two groups that differ every resample would be the same.
    values = _figures(groups, resample_weights(count, 0 if reason else samples, seed), frames) if count else {}
    pixels = tuple((one.frame, one.group, one.inlier, one.anomaly) for one in frames.figures())
    return Resamples(point, values, reason, count, samples, seed, (frames.fpr_rule, frames.ap_rule), pixels)


def bootstrap_intervals(
    frames: PerImage | Resamples, samples: int = 1000, seed: int = 0, level: float = 0.95
) -> Intervals:
    """Intervals of pooled AP, AUROC and FPR95.

    Args:
        frames: Frames with their groups, or their `Resamples`.
        samples: Resamples.
        seed: Of the resampling.
        level: Coverage.

    Returns:
        The intervals, or the reason why there are none: fewer than two groups, or fewer than two with anomalies.
    """
    found = resampled(frames, samples, seed)
    if found.reason:
        return Intervals(None, found.reason, level, 0, 0, found.groups)
    return _intervals(found.values, level, found.groups)


def paired_difference(
    first: PerImage | Resamples,
    second: PerImage | Resamples,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> PairedDifference:
    """Differences of two detectors on the same frames, and their intervals.

    Args:
        first: One detector's frames, or their `Resamples`.
        second: The other's: the same frames, groups, labels and rules.
        samples: Resamples, shared by both.
        seed: Of the resampling.
        level: Coverage.

    Returns:
        First less second.

    Raises:
        DataError: Frames, groups, pixel counts or rules differ, or there are no anomalous or no inlier pixels.
    """
    return mean_paired_difference([first], [second], samples, seed, level)


def mean_paired_difference(
    firsts: Sequence[PerImage | Resamples],
    seconds: Sequence[PerImage | Resamples],
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> PairedDifference:
    """The mean over runs of one thing, trained with several seeds say, of its differences from others on equal frames.

    Every resample draws the same groups in all runs, so that the interval tells how much the mean depends on the
    frames; what another choice of seeds would give is not in it.

    Args:
        firsts: Frames of each run of the one, or their `Resamples`.
        seconds: Frames of what each of them is compared with; it may be the same each time.
        samples: Resamples, shared by all.
        seed: Of the resampling.
        level: Coverage.

    Returns:
        The mean of first less second.

    Raises:
        DataError: There is no run, or frames, groups, pixel counts or rules differ, or there are no anomalous or no
            inlier pixels.

    Example:
        >>> from anomseg.metrics import PerImage
        >>> mean_paired_difference([], [])
        Traceback (most recent call last):
        anomseg.errors.DataError: there are no runs to compare
    """
    if not firsts:
        raise DataError("there are no runs to compare")
    pairs = [
        (resampled(first, samples, seed), resampled(second, samples, seed))
        for first, second in zip(firsts, seconds, strict=True)
    ]
    known = pairs[0][0]
    for first, second in pairs:
        _check_paired(first, second)
        _check_paired(known, first)
    if np.isnan(known.point.get("ap", np.nan)):
        raise DataError("no anomalous or no inlier pixels, so there is nothing to compare; check the label table")
    count = len(pairs)
    difference = {name: sum(one.point[name] - other.point[name] for one, other in pairs) / count for name in FIGURES}
    if known.reason:
        return PairedDifference(difference, Intervals(None, known.reason, level, 0, 0, known.groups))
    drawn: dict[str, NDArray[Any]] = {
        name: np.sum([one.values[name] - other.values[name] for one, other in pairs], axis=0) / count
        for name in FIGURES
    }
    return PairedDifference(difference, _intervals(drawn, level, known.groups))


def _check_paired(first: Resamples, second: Resamples) -> None:
    if first.rules != second.rules:
        raise DataError("the two were evaluated with different FPR or AP rules; use one protocol")
    if first.pixels != second.pixels:
        odd = sorted({row[0] for row in set(first.pixels) ^ set(second.pixels)})
        raise DataError(
            f"the two were evaluated on different frames or labels (such as {odd[0]!r}); use the same frames for both"
        )


def _reason(groups: _Groups) -> str | None:
    count = len(groups.names)
    if count < 2:
        return f"{count} group of frames; an interval needs at least 2"
    anomalous = int(np.count_nonzero(groups.anomaly.any(axis=1)))
    if anomalous < 2:
        return f"{anomalous} of {count} groups contain anomalies; an interval needs at least 2"
    return None


def _groups(per_image: PerImage) -> _Groups:
    pairs = _regrouped(list(per_image.histograms()))
    names = sorted({figures.group for figures, _ in pairs})
    row_of = {name: row for row, name in enumerate(names)}
    bins = np.unique(np.concatenate([np.zeros(0, np.uint32), *(histogram.anomaly_bins for _, histogram in pairs)]))
    anomaly, at_or_above, above = (np.zeros((len(names), bins.size)) for _ in range(3))
    inliers = np.zeros(len(names))
    for figures, histogram in pairs:
        row = row_of[figures.group]
        anomaly[row, np.searchsorted(bins, histogram.anomaly_bins)] += histogram.anomaly_counts
        below = np.concatenate(([0], np.cumsum(histogram.inlier_counts)))
        at_or_above[row] += below[-1] - below[np.searchsorted(histogram.inlier_bins, bins, side="left")]
        above[row] += below[-1] - below[np.searchsorted(histogram.inlier_bins, bins, side="right")]
        inliers[row] += figures.inlier
    return _Groups(names, anomaly[:, ::-1], at_or_above[:, ::-1], above[:, ::-1], inliers)


def _regrouped(pairs: list[tuple[ImageFigures, ImageHistogram]]) -> list[tuple[ImageFigures, ImageHistogram]]:
    """The frames' histograms by groups that all of them share, so that their number does not grow with the frames."""
    pooled = []
    for name in ("inlier", "anomaly"):
        bins = [getattr(histogram, f"{name}_bins") for _, histogram in pairs]
        counts = [getattr(histogram, f"{name}_counts") for _, histogram in pairs]
        keys, inverse = np.unique(np.concatenate([np.zeros(0, np.uint32), *bins]), return_inverse=True)
        totals = np.bincount(inverse, np.concatenate([np.zeros(0, np.int64), *counts]), minlength=keys.size)
        pooled.append((keys, totals.astype(np.int64)))
    edges = group_edges(pooled[0], pooled[1])
    return [
        (
            figures,
            ImageHistogram(
                *grouped(histogram.inlier_bins, histogram.inlier_counts, edges),
                *grouped(histogram.anomaly_bins, histogram.anomaly_counts, edges),
            ),
        )
        for figures, histogram in pairs
    ]


def resample_weights(groups: int, samples: int, seed: int) -> NDArray[np.float64]:
    """``(samples, groups)``: how often each group is drawn; a resample draws as many groups as there are."""
    draws = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=samples)
    return draws.astype(np.float64)


def _figures(groups: _Groups, weights: NDArray[np.float64], rules: PerImage) -> dict[str, NDArray[np.float64]]:
    """Each figure of each resample; NaN where a resample has no anomalous or no inlier pixel."""
    values = {name: np.full(len(weights), np.nan) for name in FIGURES}
    bins = groups.anomaly.shape[1]
    usable = np.flatnonzero((weights @ groups.anomaly.sum(axis=1) > 0) & (weights @ groups.inliers > 0))
    step = max(1, _CHUNK_CELLS // max(bins, 1))
    for start in range(0, usable.size, step):
        rows = usable[start : start + step]
        part = weights[rows]
        curve = Curve(
            part @ groups.anomaly,
            part @ groups.at_or_above,
            part @ groups.above,
            part @ groups.inliers,
            np.zeros(0, np.float32),
        )
        values["ap"][rows] = average_precision(curve, rules.ap_rule)
        values["auroc"][rows] = auroc(curve)
        values["fpr95"][rows] = fpr_at_recall(curve, rules.fpr_rule)
    return values


def _intervals(values: dict[str, NDArray[Any]], level: float, groups: int) -> Intervals:
    kept = ~np.isnan(values["ap"])
    tail = (1 - level) / 2
    figures = {}
    for name in FIGURES:
        low, high = np.quantile(values[name][kept], [tail, 1 - tail])
        figures[name] = (float(low), float(high))
    return Intervals(figures, None, level, int(kept.sum()), int((~kept).sum()), groups)
