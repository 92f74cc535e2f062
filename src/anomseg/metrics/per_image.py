"""Figures of each frame by itself, their means, and the small histograms that intervals are drawn from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import CompatibilityError
from anomseg.metrics.counts import Counts, Keys, ScoreCounts, count_scores
from anomseg.metrics.curve import ApRule, FprRule, auroc, average_precision, check_rules, curve_of_counts, fpr_at_recall
from anomseg.metrics.frames import FrameLedger
from anomseg.metrics.grouping import group_edges, grouped
from anomseg.metrics.statefile import Content, StateReader, open_state, write_state

FIGURES = ("ap", "auroc", "fpr95")


@dataclass(frozen=True)
class ImageFigures:
    """One frame by itself.

    Attributes:
        frame: Its id.
        group: Its sequence or scene, the unit of resampling.
        inlier: Inlier pixels.
        anomaly: Anomalous pixels.
        void: Void pixels.
        ap: Average precision within the frame; None without anomalous or without inlier pixels.
        auroc: The same.
        fpr95: The same.
    """

    frame: str
    group: str
    inlier: int
    anomaly: int
    void: int
    ap: float | None
    auroc: float | None
    fpr95: float | None


@dataclass(frozen=True)
class ImageHistogram:
    """Counts of one frame by groups of neighbouring scores, see `group_edges`.

    Attributes:
        inlier_bins: Lowest score keys of the groups, ascending, uint32.
        inlier_counts: int64.
        anomaly_bins: The same groups where they hold anomalous pixels.
        anomaly_counts: int64.
    """

    inlier_bins: Keys
    inlier_counts: Counts
    anomaly_bins: Keys
    anomaly_counts: Counts


@dataclass(frozen=True)
class PerImageResult:
    """Means over the frames where the figures are defined, None when there is none.

    Clean frames have no AP and are left out here; the pooled figures keep them.
    """

    ap: float | None
    auroc: float | None
    fpr95: float | None
    frames: int


class PerImage:
    """Additive state of per-image figures.

    Args:
        fpr_rule: See `fpr_at_recall`.
        ap_rule: See `average_precision`.

    Raises:
        ConfigError: A rule does not exist.

    Example:
        >>> state = PerImage()
        >>> state.update([[0.9, 0.1]], [[1, 0]], "a")
        >>> state.update([[0.05, 0.01]], [[1, 0]], "b")
        >>> state.compute().ap
        1.0
    """

    def __init__(self, fpr_rule: FprRule = "first>=", ap_rule: ApRule = "step") -> None:
        check_rules(fpr_rule, ap_rule)
        self.fpr_rule: FprRule = fpr_rule
        self.ap_rule: ApRule = ap_rule
        self._ledger = FrameLedger()
        self._figures: dict[str, ImageFigures] = {}
        self._histograms: dict[str, ImageHistogram] = {}

    @property
    def frames(self) -> list[str]:
        """Ids of the counted frames, sorted."""
        return self._ledger.ids

    def update(self, score: Any, label: Any, frame: str, group: str = "") -> None:
        """Count one frame.

        Args:
            score: Finite scores, higher = more anomalous, NumPy or tensor; converted to float32.
            label: 0 inlier, 1 anomaly, 255 void, same shape.
            frame: Its id.
            group: Its sequence or scene; the frame's own id when empty.

        Raises:
            FrameError: The frame cannot be used; the state is unchanged.
            DataError: The frame was counted before.
        """
        self._ledger.check(frame)
        self.add(count_scores(score, label, frame), frame, group)

    def add(self, counts: ScoreCounts, frame: str, group: str = "") -> None:
        """Count one frame that has been reduced to counts already, see `update`."""
        self._ledger.add(frame)
        ap = area = fpr = None
        if counts.anomaly and counts.inlier:
            curve = curve_of_counts(counts)
            ap = float(average_precision(curve, self.ap_rule))
            area = float(auroc(curve))
            fpr = float(fpr_at_recall(curve, self.fpr_rule))
        self._figures[frame] = ImageFigures(
            frame, group or frame, counts.inlier, counts.anomaly, counts.void, ap, area, fpr
        )
        inlier, anomaly = (counts.inlier_keys, counts.inlier_counts), (counts.anomaly_keys, counts.anomaly_counts)
        edges = group_edges(inlier, anomaly)
        self._histograms[frame] = ImageHistogram(*grouped(*inlier, edges), *grouped(*anomaly, edges))

    def merge(self, *others: PerImage) -> PerImage:
        """A new state over the frames of this one and of others.

        Raises:
            DataError: A frame is in two of them.
            CompatibilityError: Their rules differ.
        """
        merged = PerImage(self.fpr_rule, self.ap_rule)
        for state in (self, *others):
            if (state.fpr_rule, state.ap_rule) != (self.fpr_rule, self.ap_rule):
                raise CompatibilityError(
                    "states with different FPR or AP rules do not merge; evaluate with one protocol"
                )
            merged._ledger = merged._ledger.union(state._ledger)
            merged._figures.update(state._figures)
            merged._histograms.update(state._histograms)
        return merged

    def missing(self, expected: Iterable[str]) -> list[str]:
        """Expected frames that have not been counted."""
        return self._ledger.missing(expected)

    def figures(self) -> list[ImageFigures]:
        """All frames, sorted by id."""
        return [self._figures[frame] for frame in self.frames]

    def rows(self) -> list[dict[str, Any]]:
        """All frames as dictionaries, sorted by id: the rows of ``per_image.csv``; None where undefined."""
        return [asdict(figures) for figures in self.figures()]

    def histograms(self) -> Iterator[tuple[ImageFigures, ImageHistogram]]:
        """All frames with their histograms, sorted by id."""
        return ((self._figures[frame], self._histograms[frame]) for frame in self.frames)

    def compute(self) -> PerImageResult:
        """Means over the frames that have both anomalous and inlier pixels, whatever the order they came in."""
        means: dict[str, float | None] = {}
        for name in FIGURES:
            values = [getattr(figures, name) for figures in self.figures() if figures.ap is not None]
            means[name] = math.fsum(values) / len(values) if values else None
        return PerImageResult(**means, frames=sum(figures.ap is not None for figures in self._figures.values()))

    def regrouped(self, group: Callable[[int, ImageFigures], str]) -> PerImage:
        """The same frames in other groups, for resampling.

        Args:
            group: Gives the group of a frame from its place among all, sorted by id, and its figures.
        """
        state = PerImage(self.fpr_rule, self.ap_rule)
        state._ledger = state._ledger.union(self._ledger)
        for place, (row, histogram) in enumerate(self.histograms()):
            state._figures[row.frame] = replace(row, group=group(place, row))
            state._histograms[row.frame] = histogram
        return state

    def exchanged(self) -> PerImage:
        """The same frames with anomalous and inlier pixels exchanged and scores turned round, for resampling.

        Histograms are exchanged; the exact figures of single frames cannot be had from them and are None.
        """
        state = PerImage(self.fpr_rule, self.ap_rule)
        state._ledger = state._ledger.union(self._ledger)
        for row, histogram in self.histograms():
            state._figures[row.frame] = ImageFigures(
                row.frame, row.group, row.anomaly, row.inlier, row.void, None, None, None
            )
            state._histograms[row.frame] = ImageHistogram(
                ~histogram.anomaly_bins[::-1],
                histogram.anomaly_counts[::-1],
                ~histogram.inlier_bins[::-1],
                histogram.inlier_counts[::-1],
            )
        return state

    def content(self) -> Content:
        """What `save` writes, for states that hold this one."""
        pairs = list(self.histograms())
        arrays: dict[str, NDArray[Any]] = {}
        for name in ("inlier", "anomaly"):
            bins = [getattr(histogram, f"{name}_bins") for _, histogram in pairs]
            counts = [getattr(histogram, f"{name}_counts") for _, histogram in pairs]
            arrays[f"{name}_lengths"] = np.array([part.size for part in bins], np.int64)
            arrays[f"{name}_bins"] = np.concatenate([np.zeros(0, np.uint32), *bins])
            arrays[f"{name}_counts"] = np.concatenate([np.zeros(0, np.int64), *counts])
        # JSON writes floats in the shortest form that reads back to the same bits.
        return {"fpr_rule": self.fpr_rule, "ap_rule": self.ap_rule, "rows": self.rows()}, dict(arrays)

    def save(self, path: str | Path) -> None:
        """Write the state to one file, atomically.

        Raises:
            DataError: The file cannot be written.
        """
        write_state(path, type(self).__name__, *self.content())

    @classmethod
    def read(cls, reader: StateReader) -> Self:
        """The inverse of `content`."""
        state = cls(reader.meta["fpr_rule"], reader.meta["ap_rule"])
        rows = [ImageFigures(**row) for row in reader.meta["rows"]]
        parts = []
        for name in ("inlier", "anomaly"):
            cuts = np.cumsum(reader.array(f"{name}_lengths"))[:-1]
            parts += [np.split(reader.array(f"{name}_bins"), cuts), np.split(reader.array(f"{name}_counts"), cuts)]
        for row, *histogram in zip(rows, *parts, strict=True) if rows else ():
            state._ledger.add(row.frame)
            state._figures[row.frame] = row
            state._histograms[row.frame] = ImageHistogram(*histogram)
        return state

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a state that `save` wrote.

        Raises:
            DataError: The file is missing or damaged.
            CompatibilityError: It holds another kind of state.
        """
        with open_state(path, cls.__name__) as reader:
            return cls.read(reader)
