"""False alarms a user would meet: components on frames without any anomaly, at a threshold that finds most objects.

Pixel rates say little of how often a system would act. Here a threshold is fixed by what has to be found (so many of
the anomalous objects), and what is counted are connected regions that would have been reported on clean frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import CompatibilityError, ConfigError, DataError, FrameError
from anomseg.metrics.component import label_components
from anomseg.metrics.counts import keys_at_least, score_keys
from anomseg.metrics.frames import FrameLedger
from anomseg.metrics.inputs import frame_name, scores_and_label
from anomseg.metrics.statefile import open_state, write_state
from anomseg.types import ANOMALY, VOID

RECALL, COVERAGE = 0.8, 0.5


class ObjectRecall:
    """Additive state: the highest threshold at which each anomalous object is found.

    An object is a connected component (8 neighbours) of anomalous pixels. It is found at a threshold when at least a
    share of its pixels reaches it.

    Args:
        min_anomaly: Objects of fewer pixels do not count.
        coverage: Share of an object's pixels that has to be found, in (0, 1].

    Raises:
        ConfigError: The coverage is out of range.

    Example:
        >>> state = ObjectRecall(min_anomaly=1)
        >>> state.update([[0.9, 0.7, 0.0, 0.2]], [[1, 1, 0, 1]], "a")
        >>> [round(state.threshold(recall), 3) for recall in (0.5, 1.0)]
        [0.9, 0.2]
    """

    def __init__(self, min_anomaly: int = 100, coverage: float = COVERAGE) -> None:
        if not 0 < coverage <= 1:
            raise ConfigError(f"a coverage of {coverage:g} is not in (0, 1]; write for instance 0.5")
        self.min_anomaly = min_anomaly
        self.coverage = float(coverage)
        self._frames = FrameLedger()
        self._found: list[NDArray[np.float32]] = []

    @property
    def frames(self) -> list[str]:
        """Ids of the counted frames, sorted."""
        return self._frames.ids

    @property
    def objects(self) -> int:
        """Objects counted."""
        return sum(part.size for part in self._found)

    def update(self, score: Any, label: Any, frame: str | None = None) -> None:
        """Count the objects of one frame.

        Args:
            score: ``(H, W)`` finite scores, higher = more anomalous, NumPy or tensor; converted to float32.
            label: The same shape, 0 inlier, 1 anomaly, 255 void.
            frame: Its id.

        Raises:
            FrameError: The frame cannot be used; the state is unchanged.
            DataError: The frame was counted before.
        """
        self._frames.check(frame)
        scores, labels = _maps(score, label, frame)
        objects, count = label_components(labels == ANOMALY)
        inside = objects > 0
        # Pixels by object, then by falling score: the needed one is at a fixed place of each object's run.
        order = np.lexsort((-scores[inside].astype(np.float64), objects[inside]))
        sizes = np.bincount(objects[inside], minlength=count + 1)[1:]
        starts = np.cumsum(sizes) - sizes
        needed = np.ceil(sizes * self.coverage - 1e-9).astype(np.int64)
        large = sizes >= self.min_anomaly
        self._found.append(scores[inside][order][(starts + needed - 1)[large]])
        self._frames.add(frame)

    def threshold(self, recall: float = RECALL) -> float:
        """The highest threshold at which so many of the objects are found; ``score >= threshold`` is reported.

        Args:
            recall: Share of the objects, in (0, 1].

        Raises:
            DataError: No object was counted.
            ConfigError: The recall is out of range.
        """
        if not 0 < recall <= 1:
            raise ConfigError(f"an object recall of {recall:g} is not in (0, 1]; write for instance 0.8")
        found = self._sorted()
        if found.size == 0:
            raise DataError("no anomalous object is large enough to count, so no threshold finds any")
        return float(found[math.ceil(found.size * recall - 1e-9) - 1])

    def recall_at(self, threshold: float) -> float:
        """Share of the objects found at a threshold; NaN without any."""
        found = self._sorted()
        return float((found >= np.float64(threshold)).mean()) if found.size else math.nan

    def _sorted(self) -> NDArray[np.float32]:
        return np.sort(np.concatenate([np.zeros(0, np.float32), *self._found]))[::-1]

    def merge(self, *others: ObjectRecall) -> ObjectRecall:
        """A new state over the frames of this one and of others.

        Raises:
            DataError: A frame is in two of them.
            CompatibilityError: They count objects differently.
        """
        merged = ObjectRecall(self.min_anomaly, self.coverage)
        for state in (self, *others):
            if (state.min_anomaly, state.coverage) != (self.min_anomaly, self.coverage):
                raise CompatibilityError("states that count objects differently do not merge; use one size")
            merged._frames = merged._frames.union(state._frames)
            merged._found += state._found
        return merged

    def save(self, path: str | Path) -> None:
        """Write the state to one file, atomically.

        Raises:
            DataError: The file cannot be written.
        """
        meta = {"min_anomaly": self.min_anomaly, "coverage": self.coverage, "frames": self._frames.to_json()}
        write_state(path, type(self).__name__, meta, {"found": self._sorted()})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a state that `save` wrote.

        Raises:
            DataError: The file is missing or damaged.
            CompatibilityError: It holds another kind of state.
        """
        with open_state(path, cls.__name__) as reader:
            state = cls(reader.meta["min_anomaly"], reader.meta["coverage"])
            state._found = [reader.array("found")]
            state._frames = FrameLedger.from_json(reader.meta["frames"])
        return state


@dataclass(frozen=True)
class CleanAlarmsResult:
    """What would have been reported on clean frames.

    Attributes:
        per_hundred: Components on a hundred frames; NaN without any frame.
        alarmed: Share of the frames with at least one; NaN without any.
        components: Components in all.
        frames: Clean frames.
        threshold: ``score >= threshold`` was reported.
    """

    per_hundred: float
    alarmed: float
    components: int
    frames: int
    threshold: float


class CleanAlarms:
    """Additive state: connected components at a threshold on frames without an anomaly.

    Args:
        threshold: ``score >= threshold`` is reported.
        min_prediction: Components of fewer pixels are dropped, as a system would.

    Example:
        >>> state = CleanAlarms(0.5, min_prediction=2)
        >>> state.update([[0.9, 0.7, 0.0, 0.6]], [[0, 0, 0, 0]], "a")
        >>> state.update([[0.1, 0.2, 0.0, 0.0]], [[0, 0, 0, 0]], "b")
        >>> state.compute().per_hundred, state.compute().alarmed
        (50.0, 0.5)
    """

    def __init__(self, threshold: float, min_prediction: int = 500) -> None:
        self.threshold = float(threshold)
        self.min_prediction = min_prediction
        self._frames = FrameLedger()
        self._components = 0
        self._alarmed = 0

    @property
    def frames(self) -> list[str]:
        """Ids of the counted frames, sorted."""
        return self._frames.ids

    def update(self, score: Any, label: Any, frame: str | None = None) -> None:
        """Count one frame.

        Args:
            score: ``(H, W)`` finite scores, higher = more anomalous, NumPy or tensor; converted to float32.
            label: The same shape, 0 inlier, 255 void; void pixels are cleared before components are found.
            frame: Its id.

        Raises:
            FrameError: The frame cannot be used, or shows an anomaly; the state is unchanged.
            DataError: The frame was counted before.
        """
        self._frames.check(frame)
        scores, labels = _maps(score, label, frame)
        if (labels == ANOMALY).any():
            raise FrameError(f"{frame_name(frame)} shows an anomaly, so it is no clean frame; leave it out here")
        reported = (score_keys(scores) >= keys_at_least(self.threshold)) & (labels != VOID)
        regions, count = label_components(reported)
        found = int((np.bincount(regions.ravel(), minlength=count + 1)[1:] >= self.min_prediction).sum())
        self._components += found
        self._alarmed += found > 0
        self._frames.add(frame)

    def merge(self, *others: CleanAlarms) -> CleanAlarms:
        """A new state over the frames of this one and of others.

        Raises:
            DataError: A frame is in two of them.
            CompatibilityError: Sizes or thresholds differ.
        """
        merged = CleanAlarms(self.threshold, self.min_prediction)
        for state in (self, *others):
            if (state.threshold, state.min_prediction) != (self.threshold, self.min_prediction):
                raise CompatibilityError("alarms at different thresholds or sizes do not merge; use one threshold")
            merged._frames = merged._frames.union(state._frames)
            merged._components += state._components
            merged._alarmed += state._alarmed
        return merged

    def compute(self) -> CleanAlarmsResult:
        """The figures."""
        frames = len(self._frames)
        shares = (self._components / frames, self._alarmed / frames) if frames else (math.nan, math.nan)
        return CleanAlarmsResult(100 * shares[0], shares[1], self._components, frames, self.threshold)

    def save(self, path: str | Path) -> None:
        """Write the state to one file, atomically.

        Raises:
            DataError: The file cannot be written.
        """
        meta = {
            "threshold": self.threshold.hex(),
            "min_prediction": self.min_prediction,
            "components": self._components,
            "alarmed": self._alarmed,
            "frames": self._frames.to_json(),
        }
        write_state(path, type(self).__name__, meta, {})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a state that `save` wrote.

        Raises:
            DataError: The file is missing or damaged.
            CompatibilityError: It holds another kind of state.
        """
        with open_state(path, cls.__name__) as reader:
            state = cls(float.fromhex(reader.meta["threshold"]), reader.meta["min_prediction"])
            state._components, state._alarmed = int(reader.meta["components"]), int(reader.meta["alarmed"])
            state._frames = FrameLedger.from_json(reader.meta["frames"])
        return state


def _maps(score: Any, label: Any, frame: str | None) -> tuple[NDArray[np.float32], NDArray[Any]]:
    scores, labels = scores_and_label(score, label, frame)
    if scores.ndim != 2:
        raise FrameError(f"{frame_name(frame)} has shape {scores.shape}; components need one map (height, width)")
    return scores, labels
