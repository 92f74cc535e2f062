"""Segmentation where some images are negative: none of their content is known, so "unknown" is a right answer there.

Zendel et al., "WildDash - Creating Hazard-Aware Benchmarks", ECCV 2018. What the publication leaves open is settled
here: figures are pooled over pixels, the meta figure over regular and negative images alike, and on negative images
a pixel of a class is right where that class or "unknown" is predicted; its void pixels count nowhere.
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
from anomseg.metrics.inputs import as_numpy, check_same_shape, check_values
from anomseg.metrics.segmentation import check_prediction, confusion_matrix, iou_of_confusion, mean_iou
from anomseg.metrics.statefile import open_state, write_state
from anomseg.types import VOID


@dataclass(frozen=True)
class NegativeImagesResult:
    """Figures with the rule of negative images; a mean is NaN where nothing was counted.

    Attributes:
        meta_iou: ``(K,)`` float64 over all images; NaN for a class that is neither in the targets nor predicted.
        meta_miou: Its mean.
        classic_iou: The same over regular images, where "unknown" is wrong.
        classic_miou: Its mean.
        negative_iou: The same over negative images, where "unknown" is right.
        negative_miou: Its mean.
        unknown: Share of the valid pixels of negative images that are called unknown; NaN without any.
        frames: Regular and negative frames counted.
    """

    meta_iou: NDArray[np.float64]
    meta_miou: float
    classic_iou: NDArray[np.float64]
    classic_miou: float
    negative_iou: NDArray[np.float64]
    negative_miou: float
    unknown: float
    frames: tuple[int, int]


class NegativeImagesIoU:
    """Additive state of the meta, classic and negative mean IoU.

    Args:
        num_classes: Number K of known classes; a prediction of K is "unknown", as in an open-set map.

    Example:
        >>> state = NegativeImagesIoU(2)
        >>> state.update([0, 1, 2, 2], [0, 1, 1, 255], negative=False, frame="street")
        >>> state.update([2, 2, 0, 1], [0, 1, 0, 0], negative=True, frame="garden")
        >>> result = state.compute()
        >>> result.classic_iou.tolist(), result.negative_iou.round(3).tolist(), result.meta_iou.round(3).tolist()
        ([1.0, 0.5], [0.667, 0.5], [0.75, 0.5])
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self._ledgers = (FrameLedger(), FrameLedger())
        # Regular images, then negative ones as they are predicted, before "unknown" is counted as right.
        self._counts = np.zeros((2, num_classes + 1, num_classes + 1), np.int64)

    @property
    def frames(self) -> list[str]:
        """Ids of the counted frames, sorted."""
        return sorted([*self._ledgers[0].ids, *self._ledgers[1].ids])

    def update(self, prediction: Any, target: Any, *, negative: bool, frame: str | None = None) -> None:
        """Count one frame.

        Args:
            prediction: Known classes 0 .. K - 1, or K for "unknown"; any shape, NumPy or tensor.
            target: Known classes, 255 void, same shape; of a negative image the best that can be said of it.
            negative: The image is a negative one.
            frame: Its id.

        Raises:
            FrameError: Shapes differ or a value is not in the table; the state is unchanged.
            DataError: The frame was counted before.
        """
        for ledger in self._ledgers:
            ledger.check(frame)
        predicted, targets = as_numpy(prediction), as_numpy(target)
        check_same_shape(predicted, targets, "prediction and target", frame)
        valid = targets != VOID
        in_table = ~valid | ((targets >= 0) & (targets < self.num_classes))
        check_values(targets, in_table, frame, f"classes 0..{self.num_classes - 1}, 255 void")
        check_prediction(predicted, valid, self.num_classes + 1, frame)
        self._counts[int(negative)] += confusion_matrix(targets[valid], predicted[valid], self.num_classes + 1)
        self._ledgers[int(negative)].add(frame)

    def merge(self, *others: NegativeImagesIoU) -> NegativeImagesIoU:
        """A new state over the frames of this one and of others.

        Raises:
            DataError: A frame is in two of them.
            CompatibilityError: The numbers of classes differ.
        """
        merged = NegativeImagesIoU(self.num_classes)
        for state in (self, *others):
            if state.num_classes != self.num_classes:
                raise CompatibilityError("states with different numbers of classes do not merge; use one label table")
            for ledger in state._ledgers:
                for own in merged._ledgers:
                    own.union(ledger)  # a frame is regular or negative, not both
            regular, negative = (own.union(other) for own, other in zip(merged._ledgers, state._ledgers, strict=True))
            merged._ledgers = (regular, negative)
            merged._counts += state._counts
        return merged

    def missing(self, expected: Iterable[str]) -> list[str]:
        """Expected frames that have not been counted."""
        found = set(self.frames)
        return [frame for frame in expected if frame not in found]

    def compute(self) -> NegativeImagesResult:
        """The figures; NaN where nothing was counted."""
        classes = self.num_classes
        regular, negative = self._counts
        forgiven = negative.copy()
        known = np.arange(classes)
        forgiven[known, known] += forgiven[known, classes]
        forgiven[known, classes] = 0
        meta, classic, alone = (
            iou_of_confusion(counts)[:classes] for counts in (regular + forgiven, regular, forgiven)
        )
        pixels = int(negative.sum())
        unknown = int(negative[:, classes].sum()) / pixels if pixels else float("nan")
        return NegativeImagesResult(
            meta, mean_iou(meta), classic, mean_iou(classic), alone, mean_iou(alone), unknown,
            (len(self._ledgers[0]), len(self._ledgers[1])),
        )  # fmt: skip

    def save(self, path: str | Path) -> None:
        """Write the state to one file, atomically.

        Raises:
            DataError: The file cannot be written.
        """
        meta = {"regular": self._ledgers[0].to_json(), "negative": self._ledgers[1].to_json()}
        write_state(path, type(self).__name__, meta, {"counts": self._counts})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a state that `save` wrote.

        Raises:
            DataError: The file is missing or damaged.
            CompatibilityError: It holds another kind of state.
        """
        with open_state(path, cls.__name__) as reader:
            counts = reader.array("counts")
            state = cls(counts.shape[1] - 1)
            state._counts = counts
            regular, negative = (FrameLedger.from_json(reader.meta[name]) for name in ("regular", "negative"))
            state._ledgers = (regular, negative)
        return state
