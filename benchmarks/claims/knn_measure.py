"""From distances and maps to figures: pooled AP, nAP, AUROC, FPR95 with intervals, on the library's own states.

A map that repeats each cell's score (nearest upsampling) needs no pixels: a frame's cells, each with how many inlier
and anomalous pixels it covers, give the figures at full label resolution exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from knn_cache import CachedFrame
from knn_search import Cells
from numpy.typing import NDArray

from anomseg.metrics import (
    PerImage,
    PixelCurve,
    PixelResult,
    ScoreCounts,
    bootstrap_intervals,
    count_scores,
    paired_difference,
)
from anomseg.metrics.counts import score_keys
from anomseg.segmenters.base import SegmentationOutput
from anomseg.types import ANOMALY, INLIER, VOID

SAMPLES = 1000
RECALL = 0.95
POINTS = 4000
MEMORY = 256 << 20
Map = Callable[[int, CachedFrame], NDArray[np.float32]]


@dataclass(frozen=True)
class Tally:
    """How many pixels of each kind the cells of a frame cover.

    Attributes:
        inlier: ``(n,)`` int64.
        anomaly: ``(n,)`` int64.
        void: Void pixels of the frame.
    """

    inlier: NDArray[np.int64]
    anomaly: NDArray[np.int64]
    void: int


def cell_of_pixels(one: CachedFrame, layer: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row of the feature map that each row of the image falls into, and the same of columns."""
    found = []
    for padded, inside, own, cells in zip(*one.geometry, one.grid(layer), strict=True):
        place = (np.arange(own) + 0.5) * inside / own
        found.append(np.minimum((place * cells / padded).astype(np.int64), cells - 1))
    return found[0], found[1]


def label_of(one: CachedFrame) -> NDArray[np.uint8]:
    """The anomaly label of a frame; without one all that is not void in its class map is an inlier."""
    label = one.frame.label
    if label is not None:
        return label
    classes = one.frame.classes
    assert classes is not None
    return np.where(classes == VOID, VOID, INLIER).astype(np.uint8)


def tally(one: CachedFrame, layer: str, cells: Cells) -> Tally:
    """Count the pixels under each of a frame's cells."""
    label = label_of(one)
    rows, columns = cell_of_pixels(one, layer)
    height, width = one.grid(layer)
    place = rows[:, None] * width + columns
    chosen = cells.of((height, width))
    inlier, anomaly = (
        np.bincount(place[label == kind], minlength=height * width)[chosen].astype(np.int64)
        for kind in (INLIER, ANOMALY)
    )
    return Tally(inlier, anomaly, int((label == VOID).sum()))


def weighted_counts(scores: NDArray[np.float32], pixels: Tally) -> ScoreCounts:
    """The counts of a frame whose cells carry so many pixels each."""
    keys = score_keys(scores.astype(np.float32))
    parts = []
    for weights in (pixels.inlier, pixels.anomaly):
        held = weights > 0
        distinct, inverse = np.unique(keys[held], return_inverse=True)
        totals = np.bincount(inverse, weights[held], minlength=distinct.size).astype(np.int64)
        parts += [distinct.astype(np.uint32), totals]
    return ScoreCounts(*parts, void=pixels.void)


def spread(one: CachedFrame, layer: str, scores: NDArray[np.float32], upsample: str) -> NDArray[np.float32]:
    """A map ``(H, W)`` at label size out of the scores of all cells.

    Args:
        one: The frame.
        layer: The feature map the cells belong to.
        scores: ``(h * w,)``.
        upsample: ``"nearest"`` repeats each cell; ``"bilinear"`` goes through the padded input, as the library does.
    """
    grid = scores.reshape(one.grid(layer))
    if upsample == "nearest":
        return grid[np.ix_(*cell_of_pixels(one, layer))]
    padded, inside, own = one.geometry
    touched = [-(-cells * part // whole) for cells, part, whole in zip(grid.shape, inside, padded, strict=True)]
    grid = grid[: touched[0], : touched[1]]  # cells in the padding take the score of the nearest one outside it
    grid = np.pad(grid, [(0, cells - kept) for cells, kept in zip(one.grid(layer), touched, strict=True)], "edge")
    maps = torch.from_numpy(np.ascontiguousarray(grid, np.float32))[None, None]
    return SegmentationOutput(maps, padded, inside).upsample(maps, own)[0, 0].numpy()


@dataclass(frozen=True)
class Measured:
    """One score over the frames of a set.

    Attributes:
        result: Pooled figures.
        threshold: The greatest threshold that still finds 95 % of the anomalous pixels.
        per_image: Histograms for the intervals.
    """

    result: PixelResult
    threshold: float
    per_image: PerImage

    def figures(self, seed: int = 0) -> dict[str, Any]:
        """Pooled figures with 95 % intervals, ready for JSON."""
        intervals = bootstrap_intervals(self.per_image, SAMPLES, seed)
        return {
            **{name: getattr(self.result, name) for name in ("ap", "nap", "auroc", "fpr95", "prevalence", "frames")},
            "groups": intervals.groups,
            "ci95": {name: list(limits) for name, limits in (intervals.figures or {}).items()},
        }


def measured(counts: Iterable[tuple[CachedFrame, ScoreCounts]]) -> Measured:
    """Pool the counts of all frames; only the small histograms of each frame stay in memory."""
    curve, per_image = PixelCurve(memory_budget=MEMORY), PerImage()
    for one, own in counts:
        curve.add(own, one.frame.id)
        per_image.add(own, one.frame.id, one.frame.cluster)
    points = curve.points(POINTS)
    return Measured(curve.compute(), float(points.threshold[int(np.argmax(points.recall >= RECALL))]), per_image)


def of_cells(
    frames: Sequence[CachedFrame], tallies: Sequence[Tally], scores: Sequence[NDArray[np.float32]]
) -> Measured:
    """Measure a score given cell by cell, each repeated over its pixels."""
    triples = zip(frames, tallies, scores, strict=True)
    return measured((one, weighted_counts(own, pixels)) for one, pixels, own in triples)


def of_maps(frames: Sequence[CachedFrame], score: Map) -> Measured:
    """Measure a score given as maps at label size, made one at a time."""
    pairs = enumerate(frames)
    return measured((one, count_scores(score(place, one), label_of(one), one.frame.id)) for place, one in pairs)


def false_alarms(frames: Sequence[CachedFrame], score: Map, threshold: float, seed: int = 0) -> dict[str, Any]:
    """Share of the pixels of frames without anomalies that reach a threshold, with a 95 % interval over groups."""
    above: dict[str, int] = {}
    total: dict[str, int] = {}
    for place, one in enumerate(frames):
        scores = score(place, one)[label_of(one) != VOID]
        above[one.frame.cluster] = above.get(one.frame.cluster, 0) + int((scores >= threshold).sum())
        total[one.frame.cluster] = total.get(one.frame.cluster, 0) + scores.size
    flags, pixels = np.array(list(above.values()), float), np.array(list(total.values()), float)
    draws = np.random.default_rng(seed).multinomial(len(pixels), np.full(len(pixels), 1 / len(pixels)), size=SAMPLES)
    shares = (draws @ flags) / np.maximum(draws @ pixels, 1)
    limits = [float(limit) for limit in np.quantile(shares, [0.025, 0.975])]
    return {"share": float(flags.sum() / pixels.sum()), "ci95": limits, "frames": len(frames), "groups": len(pixels)}


def difference(first: Measured | PerImage, second: Measured | PerImage, seed: int = 0) -> dict[str, Any]:
    """First less second in AP, AUROC and FPR95 on the same frames, with paired intervals, ready for JSON."""
    states = [one.per_image if isinstance(one, Measured) else one for one in (first, second)]
    paired = paired_difference(states[0], states[1], SAMPLES, seed)
    limits = paired.intervals.figures or {}
    return {name: {"value": value, "ci95": list(limits.get(name, ()))} for name, value in paired.difference.items()}
