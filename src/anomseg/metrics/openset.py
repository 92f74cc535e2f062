"""Open-set intersection over union: known classes, with pixels above a threshold given to the anomaly.

Grcić, Bevandić and Šegvić, "DenseHybrid", ECCV 2022, section on open-set segmentation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import CompatibilityError
from anomseg.metrics.frames import FrameLedger
from anomseg.metrics.inputs import as_numpy, check_finite, check_same_shape, check_values
from anomseg.metrics.segmentation import check_prediction, confusion_matrix, iou_of_confusion, mean_iou
from anomseg.metrics.statefile import open_state, write_state
from anomseg.types import VOID


@dataclass(frozen=True)
class OpenSetResult:
    """Open-set figures, and the closed-set ones they are to be compared with.

    Attributes:
        iou: ``(K,)`` float64 of the known classes: known pixels called anomaly are false negatives, anomalous pixels
            called a class are its false positives. NaN for a class that is neither in the targets nor predicted.
        miou: Mean over the known classes that are not NaN.
        closed_iou: ``(K,)`` the same without the threshold and without anomalous pixels.
        closed_miou: Its mean.
        confusion: ``(K + 1, K + 1)`` int64, targets down, predictions across, the anomaly last.
        frames: Frames counted.
    """

    iou: NDArray[np.float64]
    miou: float
    closed_iou: NDArray[np.float64]
    closed_miou: float
    confusion: NDArray[np.int64]
    frames: int


def open_set_inputs(
    prediction: Any, score: Any, target: Any, classes: int, frame: str | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
    """A frame of open-set segmentation as arrays, checked.

    Args:
        prediction: Known classes 0 .. K - 1 of any shape, NumPy or tensor.
        score: Finite scores, same shape.
        target: Known classes, K = anomaly, 255 void, same shape.
        classes: K.
        frame: The frame's id.

    Returns:
        Prediction, score, target, and where the target is not void.

    Raises:
        FrameError: Shapes differ, scores are not finite or a value is not in the table.
    """
    predicted, scores, targets = as_numpy(prediction), as_numpy(score), as_numpy(target)
    check_same_shape(predicted, targets, "prediction and target", frame)
    check_same_shape(scores, targets, "score and target", frame)
    check_finite(scores, frame)
    valid = targets != VOID
    in_table = ~valid | ((targets >= 0) & (targets <= classes))
    check_values(targets, in_table, frame, f"classes 0..{classes - 1}, {classes} anomaly, 255 void")
    check_prediction(predicted, valid, classes, frame)
    return predicted, scores, targets, valid


class OpenSetIoU:
    """Additive state of open-set IoU, pooled over all pixels.

    Args:
        num_classes: Number K of known classes.
        threshold: ``score > threshold`` is called anomaly; take it from other data than the frames counted.

    Example:
        >>> state = OpenSetIoU(1, threshold=0.5)
        >>> state.update(prediction=[0, 0, 0], score=[0.1, 0.1, 0.9], target=[0, 0, 1])
        >>> state.compute().miou
        1.0
    """

    def __init__(self, num_classes: int, threshold: float) -> None:
        self.num_classes = num_classes
        self.threshold = float(threshold)
        self._frames = FrameLedger()
        self._open = np.zeros((num_classes + 1, num_classes + 1), np.int64)
        self._closed = np.zeros((num_classes, num_classes), np.int64)

    @property
    def frames(self) -> list[str]:
        """Ids of the counted frames, sorted."""
        return self._frames.ids

    def update(self, prediction: Any, score: Any, target: Any, frame: str | None = None) -> None:
        """Count one frame.

        Args:
            prediction: Known classes 0 .. K - 1 of any shape, NumPy or tensor.
            score: Anomaly scores, same shape, higher = more anomalous.
            target: Known classes, K = anomaly, 255 void, same shape.
            frame: Its id.

        Raises:
            FrameError: Shapes differ, scores are not finite or a value is not in the table; the state is unchanged.
            DataError: The frame was counted before.
        """
        self._frames.check(frame)
        classes = self.num_classes
        predicted, scores, targets, valid = open_set_inputs(prediction, score, target, classes, frame)
        known = valid & (targets != classes)
        rejected = scores.astype(np.float64) > self.threshold
        self._open += confusion_matrix(targets[valid], np.where(rejected, classes, predicted)[valid], classes + 1)
        self._closed += confusion_matrix(targets[known], predicted[known], classes)
        self._frames.add(frame)

    def merge(self, *others: OpenSetIoU) -> OpenSetIoU:
        """A new state over the frames of this one and of others.

        Raises:
            DataError: A frame is in two of them.
            CompatibilityError: Classes or thresholds differ.
        """
        merged = OpenSetIoU(self.num_classes, self.threshold)
        for state in (self, *others):
            if (state.num_classes, state.threshold) != (self.num_classes, self.threshold):
                raise CompatibilityError(
                    "open-set states with different classes or thresholds do not merge; use one threshold"
                )
            merged._frames = merged._frames.union(state._frames)
            merged._open += state._open
            merged._closed += state._closed
        return merged

    def missing(self, expected: Iterable[str]) -> list[str]:
        """Expected frames that have not been counted."""
        return self._frames.missing(expected)

    def compute(self) -> OpenSetResult:
        """The figures; NaN where nothing was counted."""
        iou = iou_of_confusion(self._open)[: self.num_classes]
        closed = iou_of_confusion(self._closed)
        return OpenSetResult(iou, mean_iou(iou), closed, mean_iou(closed), self._open.copy(), len(self._frames))

    def save(self, path: str | Path) -> None:
        """Write the state to one file, atomically.

        Raises:
            DataError: The file cannot be written.
        """
        meta = {"threshold": self.threshold.hex(), "frames": self._frames.to_json()}
        write_state(path, type(self).__name__, meta, {"open": self._open, "closed": self._closed})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a state that `save` wrote.

        Raises:
            DataError: The file is missing or damaged.
            CompatibilityError: It holds another kind of state.
        """
        with open_state(path, cls.__name__) as reader:
            closed = reader.array("closed")
            state = cls(len(closed), float.fromhex(reader.meta["threshold"]))
            state._open, state._closed = reader.array("open"), closed
            state._frames = FrameLedger.from_json(reader.meta["frames"])
        return state
