"""Histograms of evaluated frames, in the groups that intervals resample, and figures of parts of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from anomseg.errors import DataError
from anomseg.evaluation.checkpoint import Checkpoint
from anomseg.metrics import (
    ImageFigures,
    JudgedImages,
    PairedDifference,
    PerImage,
    PixelCurve,
    Resamples,
    ScoreCounts,
    bootstrap_intervals,
    judged_difference,
    judged_intervals,
    mean_paired_difference,
    paired_difference,
    probability_figures,
)
from anomseg.metrics.bootstrap import resample_weights
from anomseg.metrics.counts import score_keys, scores_of_keys
from anomseg.metrics.curve import auroc, average_precision, curve_of_counts, fpr_at_recall
from anomseg.metrics.per_image import ImageHistogram

BLOCK = 20
"""Neighbouring frames of one sequence that are resampled together: a video has few sequences, and frames next to each
other are nearly the same picture."""
SAMPLES = 1000
Json = dict[str, Any]


def load_states(folder: Path) -> tuple[PerImage, JudgedImages | None]:
    """The per-frame histograms of one detector's results, and those by whether its network classifies rightly.

    Returns:
        All pixels, and the judged ones; None where there were no classes to judge by.

    Raises:
        DataError: There are none.
    """
    found = Checkpoint(folder / "state").read()
    if found is None:
        raise DataError(f"{folder} holds no finished evaluation")
    parts = found[1]
    judged = [parts.get(f"{name}_images") for name in ("right", "wrong")]
    both = None if judged[0] is None or judged[1] is None else JudgedImages(*map(PerImage.load, judged))
    return PerImage.load(parts["per_image"]), both


def rebuilt(frames: PerImage, group: Callable[[int, ImageFigures], str | None]) -> PerImage:
    """The same frames in other groups.

    Args:
        frames: Their histograms.
        group: Gives the group of a frame from its place among all, sorted by id; None leaves the frame out.
    """
    new = PerImage(frames.fpr_rule, frames.ap_rule)
    for place, (figures, histogram) in enumerate(frames.histograms()):
        name = group(place, figures)
        if name is not None:
            # The histogram is taken over as it is: counting it anew would make it coarser.
            new._ledger.add(figures.frame)
            new._figures[figures.frame] = replace(figures, group=name)
            new._histograms[figures.frame] = histogram
    return new


def in_blocks(frames: PerImage, size: int = BLOCK) -> PerImage:
    """Frames of videos in blocks of neighbours; sets whose frames are groups of their own stay as they are."""
    if not is_video(frames):
        return frames
    return rebuilt(frames, lambda place, one: f"{one.group}/{place // size}")


def is_video(frames: PerImage) -> bool:
    """Whether frames come in sequences."""
    return len(sequences(frames)) < len(frames.frames)


def sequences(frames: PerImage) -> list[str]:
    """Names of the sequences, sorted; blocks of one sequence count as one."""
    return sorted({one.group.partition("/")[0] for one in frames.figures()})


def judged_in_blocks(images: JudgedImages, size: int = BLOCK) -> JudgedImages:
    """Judged frames in the blocks of `in_blocks`."""
    return JudgedImages(in_blocks(images.right, size), in_blocks(images.wrong, size))


def part_of(frames: PerImage, sequence: str) -> PerImage:
    """The frames of one sequence, in the groups that they have."""
    return rebuilt(frames, lambda _, one: one.group if one.group.partition("/")[0] == sequence else None)


def pooled(frames: PerImage) -> Json:
    """Figures over all pixels of some frames, from their histograms (within about 1e-3 of the exact ones)."""
    parts: list[np.ndarray] = []
    for name in ("inlier", "anomaly"):
        held = [histogram for _, histogram in frames.histograms()]
        bins = np.concatenate([np.zeros(0, np.uint32), *(getattr(one, f"{name}_bins") for one in held)])
        counts = np.concatenate([np.zeros(0, np.int64), *(getattr(one, f"{name}_counts") for one in held)])
        keys, inverse = np.unique(bins, return_inverse=True)
        parts += [keys, np.bincount(inverse, counts, minlength=keys.size).astype(np.int64)]
    counted = ScoreCounts(*parts, void=0)
    if not counted.anomaly or not counted.inlier:
        return {"frames": len(frames.frames), "prevalence": 0.0}
    curve = curve_of_counts(counted)
    ap = float(average_precision(curve, frames.ap_rule))
    prevalence = counted.anomaly / (counted.anomaly + counted.inlier)
    return {
        "ap": ap,
        "nap": (ap - prevalence) / (1 - prevalence),
        "auroc": float(auroc(curve)),
        "fpr95": float(fpr_at_recall(curve, frames.fpr_rule)),
        "prevalence": prevalence,
        "frames": len(frames.frames),
    }


def intervals_of(frames: PerImage | Resamples) -> Json:
    """Intervals of the pooled figures, empty where there are none, and over how many groups."""
    found = bootstrap_intervals(frames)
    return {"ci95": {name: list(limits) for name, limits in (found.figures or {}).items()}, "groups": found.groups}


def judged_limits(images: JudgedImages) -> Json:
    """Intervals of the figures of misclassified inliers; empty where there are none."""
    return {name: list(limits) for name, limits in (judged_intervals(images).figures or {}).items()}


def judged_gap(first: JudgedImages, second: JudgedImages) -> Json:
    """First less second in the figures of misclassified inliers of one network, with paired intervals."""
    paired = judged_difference(first, second)
    limits = paired.intervals.figures or {}
    return {name: {"value": value, "ci95": list(limits.get(name, ()))} for name, value in paired.difference.items()}


def logistic(frames: PerImage, slope: float, intercept: float) -> PerImage:
    """The same frames with ``1 / (1 + exp(-(slope x + intercept)))`` of their scores, which keeps their order."""

    def turned(bins: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores = scores_of_keys(bins).astype(np.float64)
        keys = score_keys(expit(slope * scores + intercept).astype(np.float32))
        kept, inverse = np.unique(keys, return_inverse=True)
        return kept, np.bincount(inverse, counts, minlength=kept.size).astype(np.int64)

    new = rebuilt(frames, lambda _, one: one.group)
    for figures, one in frames.histograms():
        inlier, anomaly = turned(one.inlier_bins, one.inlier_counts), turned(one.anomaly_bins, one.anomaly_counts)
        new._histograms[figures.frame] = ImageHistogram(*inlier, *anomaly)
    return new


def probability_of(frames: PerImage) -> Json:
    """ECE and Brier score of scores in [0, 1], from the histograms, each score the lowest of its bin."""
    curve = PixelCurve()
    for figures, one in frames.histograms():
        parts = (one.inlier_bins, one.inlier_counts, one.anomaly_bins, one.anomaly_counts)
        curve.add(ScoreCounts(*parts, void=0), figures.frame)
    found = asdict(probability_figures(curve))
    return {name: value for name, value in found.items() if name != "bins"}


def brier_gain(frames: PerImage) -> Json:
    """Brier score of always saying the prevalence, less that of a score in [0, 1], with its interval over groups.

    Scores are those of the histograms, each the lowest of its bin.
    """
    sums: dict[str, list[float]] = {}
    for figures, histogram in frames.histograms():
        total = sums.setdefault(figures.group, [0.0, 0.0, 0.0])
        for name, truth in (("inlier", 0.0), ("anomaly", 1.0)):
            scores = scores_of_keys(getattr(histogram, f"{name}_bins")).astype(np.float64)
            counts = getattr(histogram, f"{name}_counts")
            total[0] += float((counts * (scores - truth) ** 2).sum())
            total[1] += float(counts.sum()) * truth
            total[2] += float(counts.sum())
    rows = np.array(list(sums.values()))

    def gain(drawn: np.ndarray) -> np.ndarray:
        prevalence = drawn[:, 1] / drawn[:, 2]
        return prevalence * (1 - prevalence) - drawn[:, 0] / drawn[:, 2]

    value = float(gain(rows.sum(axis=0)[None])[0])
    if len(rows) < 2:
        return {"value": value, "ci95": []}
    drawn = resample_weights(len(rows), SAMPLES, 0) @ rows
    return {"value": value, "ci95": [float(one) for one in np.quantile(gain(drawn), [0.025, 0.975])]}


def difference(first: PerImage | Resamples, second: PerImage | Resamples) -> Json:
    """First less second in AP, AUROC and FPR95 on the same frames, with paired intervals."""
    return _told(paired_difference(first, second))


def mean_difference(firsts: Sequence[Resamples], seconds: Sequence[Resamples]) -> Json:
    """The mean over seeds of first less second, on the same frames, with paired intervals."""
    return _told(mean_paired_difference(firsts, seconds))


def _told(paired: PairedDifference) -> Json:
    limits = paired.intervals.figures or {}
    return {name: {"value": value, "ci95": list(limits.get(name, ()))} for name, value in paired.difference.items()}


def share(flagged: Sequence[float], pixels: Sequence[float]) -> Json:
    """A share of pixels with its interval over groups.

    Args:
        flagged: Pixels that count, by group.
        pixels: All pixels, by group.
    """
    own, every = np.array(flagged, float), np.array(pixels, float)
    value = float(own.sum() / every.sum()) if every.sum() else None
    if value is None or len(own) < 2:
        return {"value": value, "ci95": [], "groups": len(own)}
    draws = resample_weights(len(own), SAMPLES, 0)
    totals = draws @ every
    drawn = (draws @ own)[totals > 0] / totals[totals > 0]
    return {"value": value, "ci95": [float(one) for one in np.quantile(drawn, [0.025, 0.975])], "groups": len(own)}
