"""Closed-set intersection over union."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import CompatibilityError, FrameError
from anomseg.metrics.frames import FrameLedger
from anomseg.metrics.inputs import as_numpy, check_same_shape, check_values, frame_name
from anomseg.metrics.statefile import open_state, write_state
from anomseg.types import VOID


@dataclass(frozen=True)
class SegmentationResult:
    """Closed-set figures.

    Attributes:
        iou: ``(C,)`` float64 in [0, 1]; NaN for a class that is neither in the targets nor predicted.
        miou: Mean over the other classes; NaN when nothing was counted.
        accuracy: Share of right pixels; NaN when nothing was counted.
        confusion: ``(C, C)`` int64, targets down, predictions across.
        frames: Frames counted.
    """

    iou: NDArray[np.float64]
    miou: float
    accuracy: float
    confusion: NDArray[np.int64]
    frames: int


def confusion_matrix(target: NDArray[Any], prediction: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Count pairs of values below ``classes``; ``(classes, classes)`` int64, targets down, predictions across."""
    pairs = target.astype(np.int64) * classes + prediction.astype(np.int64)
    return np.bincount(pairs.ravel(), minlength=classes * classes).reshape(classes, classes)


def iou_of_confusion(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Intersection over union of each class; NaN where a class is in neither targets nor predictions.

    Example:
        >>> iou_of_confusion(np.array([[2, 1, 0], [0, 1, 0], [0, 0, 0]])).round(3).tolist()
        [0.667, 0.5, nan]
    """
    right = np.diagonal(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - right
    return np.where(union > 0, right / np.maximum(union, 1), np.nan)


def mean_iou(iou: NDArray[np.float64]) -> float:
    """Mean over classes that are not NaN; NaN when all are."""
    present = iou[~np.isnan(iou)]
    return float(present.mean()) if present.size else float("nan")


def check_prediction(prediction: NDArray[Any], valid: NDArray[np.bool_], classes: int, frame: str | None) -> None:
    """Refuse a predicted class that does not exist, on valid pixels.

    Raises:
        FrameError: It is not of integers, or a value is not in 0 .. classes - 1.
    """
    if prediction.dtype.kind not in "iub":
        raise FrameError(f"{frame_name(frame)}: predictions are {prediction.dtype}; give integer class indices")
    values = prediction[valid]
    if values.size and (values.min() < 0 or values.max() >= classes):
        raise FrameError(
            f"{frame_name(frame)}: predicted classes lie in {values.min()}..{values.max()}, expected 0..{classes - 1}; "
            "check the number of classes"
        )


class SegmentationIoU:
    """Additive state of closed-set IoU, pooled over all pixels.

    Args:
        num_classes: Classes 0 .. num_classes - 1; 255 in the target is ignored.

    Example:
        >>> state = SegmentationIoU(2)
        >>> state.update([[0, 1, 1]], [[0, 0, 255]], "a")
        >>> result = state.compute()
        >>> result.iou.tolist(), result.miou, result.accuracy
        ([0.5, 0.0], 0.25, 0.5)
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self._frames = FrameLedger()
        self._confusion = np.zeros((num_classes, num_classes), np.int64)

    @property
    def frames(self) -> list[str]:
        """Ids of the counted frames, sorted."""
        return self._frames.ids

    def update(self, prediction: Any, target: Any, frame: str | None = None) -> None:
        """Count one frame.

        Args:
            prediction: Class indices of any shape, NumPy or tensor.
            target: Class indices, 255 void, same shape.
            frame: Its id.

        Raises:
            FrameError: Shapes differ or a value is not a class; the state is unchanged.
            DataError: The frame was counted before.
        """
        self._frames.check(frame)
        predicted, targets = as_numpy(prediction), as_numpy(target)
        check_same_shape(predicted, targets, "prediction and target", frame)
        valid = targets != VOID
        in_table = ~valid | ((targets >= 0) & (targets < self.num_classes))
        check_values(targets, in_table, frame, f"classes 0..{self.num_classes - 1}, 255 void")
        check_prediction(predicted, valid, self.num_classes, frame)
        self._confusion += confusion_matrix(targets[valid], predicted[valid], self.num_classes)
        self._frames.add(frame)

    def merge(self, *others: SegmentationIoU) -> SegmentationIoU:
        """A new state over the frames of this one and of others.

        Raises:
            DataError: A frame is in two of them.
            CompatibilityError: The numbers of classes differ.
        """
        merged = SegmentationIoU(self.num_classes)
        for state in (self, *others):
            if state.num_classes != self.num_classes:
                raise CompatibilityError("states with different numbers of classes do not merge; use one label table")
            merged._frames = merged._frames.union(state._frames)
            merged._confusion += state._confusion
        return merged

    def missing(self, expected: Iterable[str]) -> list[str]:
        """Expected frames that have not been counted."""
        return self._frames.missing(expected)

    def compute(self) -> SegmentationResult:
        """The figures; NaN where nothing was counted."""
        iou = iou_of_confusion(self._confusion)
        total = int(self._confusion.sum())
        accuracy = float(np.trace(self._confusion) / total) if total else float("nan")
        return SegmentationResult(iou, mean_iou(iou), accuracy, self._confusion.copy(), len(self._frames))

    def save(self, path: str | Path) -> None:
        """Write the state to one file, atomically.

        Raises:
            DataError: The file cannot be written.
        """
        write_state(path, type(self).__name__, {"frames": self._frames.to_json()}, {"confusion": self._confusion})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a state that `save` wrote.

        Raises:
            DataError: The file is missing or damaged.
            CompatibilityError: It holds another kind of state.
        """
        with open_state(path, cls.__name__) as reader:
            confusion = reader.array("confusion")
            state = cls(len(confusion))
            state._confusion = confusion
            state._frames = FrameLedger.from_json(reader.meta["frames"])
        return state
