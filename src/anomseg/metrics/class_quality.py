"""How well the quality of a segmentation is foretold, class by class: predicted against true overlap of each image.

After Xia et al., "Synthesize then Compare", ECCV 2020: mean absolute error, its spread, and both correlations over the
images that show the class, then the mean over classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import CompatibilityError, FrameError, unknown_name
from anomseg.metrics.frames import FrameLedger
from anomseg.metrics.inputs import as_numpy, frame_name
from anomseg.metrics.statefile import Content, StateReader, open_state, write_state
from anomseg.types import Measure

#: Fewest images from which a correlation is told: two points lie on a line whatever they are.
FEWEST = 3
QUALITY_FIGURES = ("mae", "std", "pearson", "spearman")

Values = NDArray[np.float64]


@dataclass(frozen=True)
class QualityFigures:
    """Predicted against true overlap over some images.

    Attributes:
        frames: Images where both are known.
        mae: Mean absolute error; None without images.
        std: Standard deviation of the absolute error (of the images as they are, not of a sample); None without.
        pearson: Correlation in [-1, 1]; None where it is not defined.
        spearman: Rank correlation in [-1, 1], ties at their mean rank; None where it is not defined.
        reason: Why there is no correlation; None where there is one.
    """

    frames: int
    mae: float | None
    std: float | None
    pearson: float | None
    spearman: float | None
    reason: str | None = None


@dataclass(frozen=True)
class ClassQualityResult:
    """Figures of predicted overlap.

    Attributes:
        measure: ``iou`` or ``dice``.
        classes: Figures of each class, by its name.
        mean: Means over the classes where a figure is defined; ``frames`` is that of all images counted.
        counted: For each figure the number of classes that its mean is over.
        image: Figures of the images as wholes: the mean over an image's classes, predicted against true.
    """

    measure: Measure
    classes: dict[str, QualityFigures]
    mean: QualityFigures
    counted: dict[str, int]
    image: QualityFigures


class ClassQuality:
    """Additive state of predicted against true overlap of the classes of each image.

    Args:
        names: Class names.
        measure: The overlap: ``iou`` or ``dice``.

    Raises:
        ConfigError: There is no such measure.

    Example:
        >>> state = ClassQuality(["road", "car"])
        >>> for frame, road, car in (("a", 0.9, 0.5), ("b", 0.8, 0.7), ("c", 0.7, float("nan"))):
        ...     state.update([road, 0.6], [road, car], frame)
        >>> result = state.compute()
        >>> result.classes["road"].pearson, result.classes["car"].frames, result.classes["car"].reason
        (1.0, 2, '2 images show the class, and a correlation needs 3')
    """

    def __init__(self, names: Sequence[str], measure: Measure = "iou") -> None:
        if measure not in get_args(Measure):
            raise unknown_name("measure of overlap", measure, get_args(Measure))
        self.names = tuple(names)
        self.measure: Measure = measure
        self._ledger = FrameLedger()
        self._rows: dict[str, tuple[str, Values, Values]] = {}

    @property
    def frames(self) -> list[str]:
        """Ids of the counted frames, sorted."""
        return self._ledger.ids

    @property
    def groups(self) -> list[str]:
        """The group of each counted frame, in the order of `frames`."""
        return [self._rows[frame][0] for frame in self.frames]

    def update(self, predicted: Any, true: Any, frame: str, group: str = "") -> None:
        """Count one frame.

        Args:
            predicted: ``(C,)`` predicted overlap of each class, NaN where nothing is predicted.
            true: ``(C,)`` its true overlap in [0, 1], NaN where the truth does not show the class: an overlap with
                nothing is not defined.
            frame: Its id.
            group: Its sequence or scene, the unit of resampling; the frame's own id when empty.

        Raises:
            FrameError: There are not as many values as classes, a true one is out of [0, 1], or one is infinite; the
                state is unchanged.
            DataError: The frame was counted before.
        """
        self._ledger.check(frame)
        parts = [np.array(as_numpy(values), np.float64) for values in (predicted, true)]
        for values, kind in zip(parts, ("predicted", "true"), strict=True):
            if values.shape != (len(self.names),):
                raise FrameError(
                    f"{frame_name(frame)}: {kind} quality has shape {values.shape} for {len(self.names)} classes; give "
                    "one value a class"
                )
            if np.isinf(values).any():
                raise FrameError(f"{frame_name(frame)}: {kind} quality is infinite; write NaN where nothing is known")
        if ((parts[1] < 0) | (parts[1] > 1)).any():
            raise FrameError(f"{frame_name(frame)}: true quality is out of [0, 1]; it is a share of overlap")
        self._ledger.add(frame)
        self._rows[frame] = (group or frame, parts[0], parts[1])

    def merge(self, *others: ClassQuality) -> ClassQuality:
        """A new state over the frames of this one and of others.

        Raises:
            DataError: A frame is in two of them.
            CompatibilityError: Their classes or measures differ.
        """
        merged = ClassQuality(self.names, self.measure)
        for state in (self, *others):
            if (state.names, state.measure) != (self.names, self.measure):
                raise CompatibilityError("states of other classes or another measure do not merge; use one detector")
            merged._ledger = merged._ledger.union(state._ledger)
            merged._rows.update(state._rows)
        return merged

    def missing(self, expected: Iterable[str]) -> list[str]:
        """Expected frames that have not been counted."""
        return self._ledger.missing(expected)

    def values(self) -> tuple[Values, Values]:
        """Predicted and true overlap, ``(N, C)`` each, in the order of `frames`; NaN in both where either is."""
        rows = [self._rows[frame] for frame in self.frames]
        empty = np.zeros((0, len(self.names)))
        predicted, true = (np.stack([row[part] for row in rows]) if rows else empty for part in (1, 2))
        unknown = np.isnan(predicted) | np.isnan(true)
        return np.where(unknown, np.nan, predicted), np.where(unknown, np.nan, true)

    def image_values(self) -> tuple[Values, Values]:
        """Means over each image's classes, predicted and true, ``(N,)`` each; NaN where an image has none."""
        means = []
        for values in self.values():
            known = ~np.isnan(values)
            sums = np.where(known, values, 0.0).sum(axis=1)
            counts = known.sum(axis=1)
            means.append(np.where(counts > 0, sums / np.maximum(counts, 1), np.nan))
        return means[0], means[1]

    def compute(self) -> ClassQualityResult:
        """The figures; None where undefined."""
        predicted, true = self.values()
        classes = {name: quality_figures(predicted[:, index], true[:, index]) for index, name in enumerate(self.names)}
        means: dict[str, float | None] = {}
        counted: dict[str, int] = {}
        for figure in QUALITY_FIGURES:
            defined = [value for part in classes.values() if (value := getattr(part, figure)) is not None]
            means[figure] = float(np.mean(defined)) if defined else None
            counted[figure] = len(defined)
        reason = None if counted["pearson"] else "no class has a correlation"
        mean = QualityFigures(len(self._ledger), **means, reason=reason)
        return ClassQualityResult(self.measure, classes, mean, counted, quality_figures(*self.image_values(), "count"))

    def content(self) -> Content:
        """What `save` writes, for states that hold this one."""
        rows = [self._rows[frame] for frame in self.frames]
        meta = {"names": list(self.names), "measure": self.measure, "frames": self.frames, "groups": self.groups}
        empty = np.zeros((0, len(self.names)))
        return meta, {
            name: np.stack([row[part] for row in rows]) if rows else empty
            for part, name in ((1, "predicted"), (2, "true"))
        }

    def save(self, path: str | Path) -> None:
        """Write the state to one file, atomically.

        Raises:
            DataError: The file cannot be written.
        """
        write_state(path, type(self).__name__, *self.content())

    @classmethod
    def read(cls, reader: StateReader) -> Self:
        """The inverse of `content`."""
        state = cls([str(name) for name in reader.meta["names"]], reader.meta["measure"])
        columns = (reader.meta["frames"], reader.meta["groups"], reader.array("predicted"), reader.array("true"))
        for frame, group, predicted, true in zip(*columns, strict=True):
            state._ledger.add(frame)
            state._rows[frame] = (group, predicted, true)
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


def quality_figures(predicted: Values, true: Values, shown: str = "show the class") -> QualityFigures:
    """Figures of some pairs of overlaps.

    Args:
        predicted: ``(N,)``, NaN where unknown.
        true: ``(N,)``, NaN where undefined.
        shown: What the images do that count, for the reason.
    """
    known = ~(np.isnan(predicted) | np.isnan(true))
    first, second = predicted[known], true[known]
    count = int(first.size)
    if not count:
        return QualityFigures(0, None, None, None, None, f"no images {shown}")
    apart = np.abs(first - second)
    reason = None
    if count < FEWEST:
        images = "1 image" if count == 1 else f"{count} images"
        reason = f"{images} {shown}, and a correlation needs {FEWEST}"
    elif np.ptp(first) == 0 or np.ptp(second) == 0:
        reason = f"the {'predicted' if np.ptp(first) == 0 else 'true'} overlap is the same in all images"
    if reason:
        return QualityFigures(count, float(apart.mean()), float(apart.std()), None, None, reason)
    return QualityFigures(
        count, float(apart.mean()), float(apart.std()), pearson(first, second), pearson(ranks(first), ranks(second))
    )


def pearson(first: Values, second: Values) -> float:
    """Correlation of two lists of numbers that are not constant, in [-1, 1]."""
    one, other = first - first.mean(), second - second.mean()
    one, other = one / np.abs(one).max(), other / np.abs(other).max()
    return float(np.clip((one @ other) / np.sqrt((one @ one) * (other @ other)), -1, 1))


def ranks(values: Values) -> Values:
    """Ranks from 1 on, equal values at their mean rank.

    Example:
        >>> ranks(np.array([0.3, 0.1, 0.3])).tolist()
        [2.5, 1.0, 2.5]
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]
