"""CFPR and EFPR of single images, and their intervals by cluster bootstrap."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import DataError
from anomseg.metrics.bootstrap import Intervals, PairedDifference, resample_weights
from anomseg.metrics.curve import Curve, fpr_at_recall
from anomseg.metrics.grouping import group_edges, grouped
from anomseg.metrics.misclassified import EQUAL_FPR, JudgedCounts
from anomseg.metrics.per_image import ImageFigures, ImageHistogram, PerImage

#: Figures that are resampled; see `judged_intervals`.
JUDGED_FIGURES = ("efpr95", "cfpr95", "efpr_at_fpr", "cfpr_at_fpr", "share", "share_less_base")
_CHUNK_CELLS = 1 << 21
_Values = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class JudgedMeans:
    """Means over the images where the figures are defined, each at its own threshold of 95 % recall.

    Attributes:
        cfpr95: False-positive rate over the rightly classified inliers; None where no image has any.
        efpr95: The same over the wrongly classified.
        cfpr_frames: Images with anomalies and rightly classified inliers.
        efpr_frames: Images with anomalies and wrongly classified inliers.
    """

    cfpr95: float | None
    efpr95: float | None
    cfpr_frames: int
    efpr_frames: int


@dataclass(frozen=True)
class JudgedImages:
    """Additive state: anomalies against the rightly, and against the wrongly classified inliers of each image.

    Attributes:
        right: Figures and histograms of the former.
        wrong: Of the latter.
    """

    right: PerImage = field(default_factory=PerImage)
    wrong: PerImage = field(default_factory=PerImage)

    def add(self, counts: JudgedCounts, frame: str, group: str = "") -> None:
        """Count one frame.

        Raises:
            DataError: The frame was counted before.
        """
        self.right.add(counts.right, frame, group)
        self.wrong.add(counts.wrong, frame, group)

    def merge(self, *others: JudgedImages) -> JudgedImages:
        """A new state over the frames of this one and of others.

        Raises:
            DataError: A frame is in two of them.
            CompatibilityError: Their rules differ.
        """
        return JudgedImages(
            self.right.merge(*(other.right for other in others)), self.wrong.merge(*(other.wrong for other in others))
        )

    def compute(self) -> JudgedMeans:
        """The means over images, as published for DiCNet."""
        right, wrong = self.right.compute(), self.wrong.compute()
        return JudgedMeans(right.fpr95, wrong.fpr95, right.frames, wrong.frames)


def judged_intervals(
    images: JudgedImages, samples: int = 1000, seed: int = 0, level: float = 0.95, fpr: float = EQUAL_FPR
) -> Intervals:
    """Percentile intervals of the pooled figures: whole groups are resampled, each with its own thresholds.

    Args:
        images: Frames with their groups.
        samples: Resamples.
        seed: Of the resampling; equal seeds give equal resamples of equal groups.
        level: Coverage.
        fpr: The false-positive rate, over judged inliers, at which detectors are compared.

    Returns:
        Intervals of ``efpr95`` and ``cfpr95``; of ``efpr_at_fpr``, ``cfpr_at_fpr`` and ``share`` (of the wrongly
        classified among false positives) at the rate ``fpr``; of ``share_less_base``, the share less that of the
        wrongly classified among inliers. Or the reason why there are none.
    """
    groups = _groups(images)
    reason = _reason(groups)
    if reason:
        return Intervals(None, reason, level, 0, 0, len(groups.names))
    values = _figures(groups, resample_weights(len(groups.names), samples, seed), images, fpr)
    return _intervals(values, level, len(groups.names))


def judged_difference(
    first: JudgedImages,
    second: JudgedImages,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    fpr: float = EQUAL_FPR,
) -> PairedDifference:
    """Differences of two detectors on the same frames, first less second, over shared resamples.

    Args:
        first: One detector's frames.
        second: The other's: the same frames, groups, labels and judgements.
        samples: Resamples.
        seed: Of the resampling.
        level: Coverage.
        fpr: See `judged_intervals`.

    Raises:
        DataError: Frames, groups, or the pixels judged right and wrong differ, or there is nothing to compare.
    """
    if _pixels(first) != _pixels(second):
        raise DataError(
            "the two were judged on different frames or by different networks; compare detectors of one network on "
            "the same frames"
        )
    pair = [(_groups(images), images) for images in (first, second)]
    common = pair[0][0]
    if not (common.anomaly.any() and (common.right.any() or common.wrong.any())):
        raise DataError("no anomalous or no judged pixels, so there is nothing to compare; check the label table")
    count = len(common.names)
    point = [_figures(groups, np.ones((1, count)), images, fpr) for groups, images in pair]
    difference = {name: float(point[0][name][0] - point[1][name][0]) for name in JUDGED_FIGURES}
    reason = _reason(common)
    if reason:
        return PairedDifference(difference, Intervals(None, reason, level, 0, 0, count))
    weights = resample_weights(count, samples, seed)
    values = [_figures(groups, weights, images, fpr) for groups, images in pair]
    apart = {name: values[0][name] - values[1][name] for name in JUDGED_FIGURES}
    return PairedDifference(difference, _intervals(apart, level, count))


@dataclass(frozen=True)
class _Groups:
    """Counts by group (G) at shared bins (K, descending); float64, exact integers."""

    names: list[str]
    anomaly: NDArray[np.float64]
    right: NDArray[np.float64]
    wrong: NDArray[np.float64]


def _pixels(images: JudgedImages) -> list[tuple[str, str, int, int, int]]:
    return [
        (right.frame, right.group, right.anomaly, right.inlier, wrong.inlier)
        for right, wrong in zip(images.right.figures(), images.wrong.figures(), strict=True)
    ]


def _reason(groups: _Groups) -> str | None:
    count = len(groups.names)
    anomalous = int(np.count_nonzero(groups.anomaly.any(axis=1)))
    if count < 2 or anomalous < 2:
        return f"{anomalous} of {count} groups contain anomalies; an interval needs at least 2"
    return None if groups.wrong.any() and groups.right.any() else "no inlier was classified rightly, or none wrongly"


def _groups(images: JudgedImages) -> _Groups:
    right, wrong = list(images.right.histograms()), list(images.wrong.histograms())
    edges = group_edges(_pooled([*right, *wrong], "inlier"), _pooled(right, "anomaly"))
    names = sorted({figures.group for figures, _ in right})
    tables = {
        kind: _table(pairs, column, names, edges)
        for kind, pairs, column in (
            ("anomaly", right, "anomaly"),
            ("right", right, "inlier"),
            ("wrong", wrong, "inlier"),
        )
    }
    return _Groups(names, **tables)


def _pooled(
    pairs: list[tuple[ImageFigures, ImageHistogram]], column: str
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    bins = [np.zeros(0, np.uint32), *(getattr(histogram, f"{column}_bins") for _, histogram in pairs)]
    counts = [np.zeros(0, np.int64), *(getattr(histogram, f"{column}_counts") for _, histogram in pairs)]
    keys, inverse = np.unique(np.concatenate(bins), return_inverse=True)
    return keys, np.bincount(inverse, np.concatenate(counts), minlength=keys.size).astype(np.int64)


def _table(
    pairs: list[tuple[ImageFigures, ImageHistogram]], column: str, names: list[str], edges: NDArray[np.uint32]
) -> NDArray[np.float64]:
    row_of = {name: row for row, name in enumerate(names)}
    table = np.zeros((len(names), edges.size))
    for figures, histogram in pairs:
        keys, counts = grouped(getattr(histogram, f"{column}_bins"), getattr(histogram, f"{column}_counts"), edges)
        table[row_of[figures.group], np.searchsorted(edges, keys)] += counts
    return table[:, ::-1]


def _figures(groups: _Groups, weights: NDArray[np.float64], images: JudgedImages, fpr: float) -> _Values:
    """Each figure of each resample; NaN where it is not defined there."""
    values = {name: np.full(len(weights), np.nan) for name in JUDGED_FIGURES}
    step = max(1, _CHUNK_CELLS // max(groups.anomaly.shape[1], 1))
    for start in range(0, len(weights), step):
        rows = slice(start, start + step)
        for name, value in _figures_of(groups, weights[rows], images, fpr).items():
            values[name][rows] = value
    return values


def _figures_of(groups: _Groups, weights: NDArray[np.float64], images: JudgedImages, fpr: float) -> _Values:
    anomaly, right, wrong = (weights @ part for part in (groups.anomaly, groups.right, groups.wrong))
    above = {"cfpr": np.cumsum(right, axis=1), "efpr": np.cumsum(wrong, axis=1)}
    flagged = above["cfpr"] + above["efpr"]
    total = flagged[:, -1:]
    # The last bin within the rate; before the first one nothing is flagged.
    last = np.count_nonzero(flagged <= fpr * total, axis=1)[:, None]
    values: _Values = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for name, part in (("cfpr", right), ("efpr", wrong)):
            of_all = above[name][:, -1]
            curve = Curve(anomaly, above[name], above[name] - part, of_all, np.zeros(0, np.float32))
            values[f"{name}95"] = np.where(curve.anomalies > 0, fpr_at_recall(curve, images.right.fpr_rule), np.nan)
            values[f"{name}_at_fpr"] = _before(above[name], last) / of_all
        values["share"] = _before(above["efpr"], last) / _before(flagged, last)
        values["share_less_base"] = values["share"] - above["efpr"][:, -1] / total[:, 0]
    return values


def _before(cumulative: NDArray[np.float64], count: NDArray[np.int64]) -> NDArray[np.float64]:
    padded = np.concatenate([np.zeros((len(cumulative), 1)), cumulative], axis=1)
    return np.take_along_axis(padded, count, axis=1)[:, 0]


def _intervals(values: _Values, level: float, groups: int) -> Intervals:
    tail = (1 - level) / 2
    kept = ~np.isnan(values["efpr95"])
    figures = {}
    for name in JUDGED_FIGURES:
        defined = values[name][~np.isnan(values[name])]
        if defined.size:
            low, high = np.quantile(defined, [tail, 1 - tail])
            figures[name] = (float(low), float(high))
    return Intervals(figures, None, level, int(kept.sum()), int((~kept).sum()), groups)
