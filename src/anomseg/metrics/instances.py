"""Average precision of anomalous instances, from an anomaly map by way of its components.

Nekrasov et al., "OoDIS: Anomaly Instance Segmentation Benchmark", 2024, which takes the region-level average
precision of Cityscapes (Cordts et al., CVPR 2016) for one class: a prediction finds an instance where their
intersection over union exceeds a least overlap, .50 to .95 in steps of .05.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import CompatibilityError, FrameError
from anomseg.metrics.component import label_components
from anomseg.metrics.frames import FrameLedger
from anomseg.metrics.inputs import as_numpy, check_finite, check_same_shape, frame_name
from anomseg.metrics.statefile import open_state, write_state

OVERLAP_PERCENT = tuple(range(50, 100, 5))
VOID_INSTANCE = -1
FOUND, FALSE, IGNORED = 1, 0, -1


@dataclass(frozen=True)
class InstanceResult:
    """Figures over the instances of all frames.

    Attributes:
        ap: Mean of average precision over the least overlaps; NaN without instances.
        ap50: At .50 alone.
        by_overlap: At each, ``"0.50"`` to ``"0.95"``.
        instances: Instances that are large enough.
        predictions: Predicted instances.
        frames: Frames counted.
    """

    ap: float
    ap50: float
    by_overlap: dict[str, float]
    instances: int
    predictions: int
    frames: int


def predicted_instances(
    score: Any, threshold: float, *, void: Any = None, min_size: int = 10
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Components of ``score > threshold`` as instances.

    Args:
        score: ``(H, W)`` finite scores, higher = more anomalous, NumPy or tensor.
        threshold: Of the mask.
        void: ``(H, W)`` bool of pixels that belong to no prediction, or None.
        min_size: Components of fewer pixels are dropped.

    Returns:
        ``(H, W)`` int32, 0 where there is none, 1 .. n the components (8-connected); and ``(n,)`` float64, the mean
        score of each, which is how sure it is.

    Raises:
        FrameError: Scores are not finite, or no map.

    Example:
        >>> ids, sure = predicted_instances(np.array([[9, 0, 1, 3]]), 0.5, min_size=1)
        >>> ids.tolist(), sure.tolist()
        ([[1, 0, 2, 2]], [9.0, 2.0])
    """
    scores = as_numpy(score)
    if scores.ndim != 2:
        raise FrameError(f"scores of shape {scores.shape} are no map (height, width)")
    check_finite(scores)
    # Scores of few bits must not have the threshold rounded to theirs.
    mask = scores > np.float64(threshold)
    if void is not None:
        mask &= ~as_numpy(void).astype(bool)
    ids, count = label_components(mask)
    sizes = np.bincount(ids.ravel(), minlength=count + 1)
    keep = sizes >= max(min_size, 1)
    keep[0] = False
    number = np.zeros(count + 1, np.int32)
    number[keep] = np.arange(1, int(keep.sum()) + 1)
    sums = np.bincount(ids.ravel(), weights=scores.ravel().astype(np.float64), minlength=count + 1)
    return number[ids], sums[keep] / sizes[keep]


def match_instances(
    predicted: NDArray[Any], count: int, truth: NDArray[Any], min_region: int = 10
) -> tuple[NDArray[np.int8], int]:
    """What becomes of each prediction at each least overlap.

    Predictions do not overlap each other, nor do instances, so with an overlap above one half each finds one instance
    at most and each instance is found once at most. A prediction that finds nothing is ignored where more than the
    least overlap of it lies on void or on instances that are too small to count, and false otherwise.

    Args:
        predicted: ``(H, W)`` integers, 0 none, 1 .. ``count`` predictions.
        count: How many predictions there are.
        truth: ``(H, W)`` integers, 0 none, -1 void, 1 and above instances.
        min_region: Instances of fewer pixels do not count.

    Returns:
        ``(count, 10)`` int8 of 1 (found one), 0 (false) and -1 (ignored), by least overlap; and how many instances
        count.
    """
    numbers, index = np.unique(truth, return_inverse=True)
    cells = predicted.ravel().astype(np.int64) * len(numbers) + index.ravel()
    table = np.bincount(cells, minlength=(count + 1) * len(numbers)).reshape(count + 1, len(numbers))
    sizes, own = table.sum(axis=0), table[1:].sum(axis=1)
    instance = numbers > 0
    counted = instance & (sizes >= min_region)
    ignored = table[1:][:, (numbers == VOID_INSTANCE) | (instance & ~counted)].sum(axis=1)
    common = table[1:][:, counted]
    union = own[:, None] + sizes[counted][None, :] - common
    state = np.full((count, len(OVERLAP_PERCENT)), FALSE, np.int8)
    for column, percent in enumerate(OVERLAP_PERCENT):
        # In whole numbers, so that an overlap that is exactly the least one is told from one that exceeds it.
        found = (common * 100 > union * percent).any(axis=1)
        state[~found & (ignored * 100 > own * percent), column] = IGNORED
        state[found, column] = FOUND
    return state, int(counted.sum())


def average_precision(found: NDArray[np.bool_], confidence: NDArray[Any], instances: int) -> float:
    """Area below precision over recall by the trapezoidal rule, begun at recall 0 with precision 1.

    Args:
        found: ``(n,)`` whether each prediction found an instance.
        confidence: ``(n,)``; predictions of one confidence count together.
        instances: How many there are to find.

    Returns:
        0 to 1; NaN where there is nothing to find.

    Example:
        >>> average_precision(np.array([True, False]), np.array([0.9, 0.8]), 2)
        0.5
    """
    if instances == 0:
        return math.nan
    if len(confidence) == 0:
        return 0.0
    order = np.argsort(-confidence, kind="stable")
    last = np.append(np.flatnonzero(np.diff(confidence[order])), len(order) - 1)
    hits = np.cumsum(found[order])[last]
    recall = np.concatenate([[0.0], hits / instances])
    precision = np.concatenate([[1.0], hits / (last + 1)])
    return float(np.sum(np.diff(recall) * (precision[1:] + precision[:-1]) / 2))


class InstanceAP:
    """Additive state of the average precision of instances.

    Args:
        min_region: Instances of fewer pixels do not count; 10 in OoDIS.

    Example:
        >>> truth = np.zeros((4, 8), int); truth[:, :4] = 1
        >>> state = InstanceAP(min_region=1)
        >>> state.update(truth, [0.9], truth, "a")
        >>> state.compute().ap
        1.0
    """

    def __init__(self, min_region: int = 10) -> None:
        self.min_region = min_region
        self._frames = FrameLedger()
        self._state: list[NDArray[np.int8]] = []
        self._confidence: list[NDArray[np.float64]] = []
        self._instances = 0

    @property
    def frames(self) -> list[str]:
        """Ids of the counted frames, sorted."""
        return self._frames.ids

    def update(self, predicted: Any, confidence: Any, truth: Any, frame: str | None = None) -> None:
        """Count one frame.

        Args:
            predicted: ``(H, W)`` integers, 0 none, 1 .. n predictions, as `predicted_instances` gives them.
            confidence: ``(n,)`` finite, one for each.
            truth: ``(H, W)`` integers, 0 none, -1 void, 1 and above instances; None is no ground truth.
            frame: Its id.

        Raises:
            FrameError: The frame cannot be used; the state is unchanged.
            DataError: The frame was counted before.
        """
        self._frames.check(frame)
        if truth is None:
            raise FrameError(f"{frame_name(frame)} has no ground truth; leave it out of the evaluation")
        guesses, instances = as_numpy(predicted), as_numpy(truth)
        sure = np.atleast_1d(as_numpy(confidence).astype(np.float64))
        check_same_shape(guesses, instances, "predicted and true instances", frame)
        check_finite(sure, frame)
        if guesses.dtype.kind not in "iu" or instances.dtype.kind not in "iu" or guesses.ndim != 2:
            raise FrameError(f"{frame_name(frame)}: instances are maps (height, width) of whole numbers")
        if guesses.size and (guesses.min() < 0 or guesses.max() > len(sure) or instances.min() < VOID_INSTANCE):
            raise FrameError(
                f"{frame_name(frame)}: predictions are numbered 0 to {len(sure)}, one confidence each, and instances "
                "from -1 (void)"
            )
        state, count = match_instances(guesses, len(sure), instances, self.min_region)
        present = np.bincount(guesses.ravel(), minlength=len(sure) + 1)[1:] > 0
        self._state.append(state[present])
        self._confidence.append(sure[present])
        self._instances += count
        self._frames.add(frame)

    def merge(self, *others: InstanceAP) -> InstanceAP:
        """A new state over the frames of this one and of others.

        Raises:
            DataError: A frame is in two of them.
            CompatibilityError: Their least sizes differ.
        """
        merged = InstanceAP(self.min_region)
        for state in (self, *others):
            if state.min_region != self.min_region:
                raise CompatibilityError("instance states with different least sizes do not merge; use one min_region")
            merged._frames = merged._frames.union(state._frames)
            merged._state += state._state
            merged._confidence += state._confidence
            merged._instances += state._instances
        return merged

    def missing(self, expected: Iterable[str]) -> list[str]:
        """Expected frames that have not been counted."""
        return self._frames.missing(expected)

    def compute(self) -> InstanceResult:
        """The figures; NaN without instances."""
        state, confidence = self._arrays()
        values = {}
        for column, percent in enumerate(OVERLAP_PERCENT):
            kept = state[:, column] != IGNORED
            found = state[kept, column] == FOUND
            values[f"{percent / 100:.2f}"] = average_precision(found, confidence[kept], self._instances)
        return InstanceResult(
            ap=math.fsum(values.values()) / len(values),
            ap50=values["0.50"],
            by_overlap=values,
            instances=self._instances,
            predictions=len(confidence),
            frames=len(self._frames),
        )

    def save(self, path: str | Path) -> None:
        """Write the state to one file, atomically.

        Raises:
            DataError: The file cannot be written.
        """
        state, confidence = self._arrays()
        meta = {"min_region": self.min_region, "instances": self._instances, "frames": self._frames.to_json()}
        write_state(path, type(self).__name__, meta, {"state": state, "confidence": confidence})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a state that `save` wrote.

        Raises:
            DataError: The file is missing or damaged.
            CompatibilityError: It holds another kind of state.
        """
        with open_state(path, cls.__name__) as reader:
            state = cls(reader.meta["min_region"])
            state._instances = int(reader.meta["instances"])
            state._state, state._confidence = [reader.array("state")], [reader.array("confidence")]
            state._frames = FrameLedger.from_json(reader.meta["frames"])
        return state

    def _arrays(self) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
        if not self._state:
            return np.zeros((0, len(OVERLAP_PERCENT)), np.int8), np.zeros(0)
        return np.concatenate(self._state), np.concatenate(self._confidence)
