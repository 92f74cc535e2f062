"""What is right and wrong in one frame's segmentation: the ground truth of this task, made at run time for a network.

A data set may be coarser than the network, so that its class stands for a set of the network's: a pixel is right where
the predicted class is one of the set. It may be finer: a network's class is then right on any that it stands for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from anomseg.evaluation.class_table import ClassTable
from anomseg.types import ANOMALY, INLIER, VOID, Frame, Measure, UInt8Array

Unknown = Literal["void", "wrong"]
RIGHT, WRONG = 0, 1


@dataclass(frozen=True)
class FailureJudgement:
    """What is right and wrong in one frame.

    Attributes:
        judged: ``(H, W)`` uint8: 0 right, 1 wrong, 255 where that cannot be said.
        overlap: By measure (``iou``, ``dice``) the true overlap of each network class, ``(C,)`` float64; NaN where
            the frame does not show the class, or where its pixels cannot be told from another's.
    """

    judged: UInt8Array
    overlap: dict[Measure, NDArray[np.float64]]


@dataclass(frozen=True)
class FailureJudge:
    """Compares a network's class maps with those of a data set.

    Args:
        table: How the classes compare.
        unknown: What becomes of pixels that no class of the network can name, and of anomalies: ``void``, or
            ``wrong``, whatever is predicted there.
    """

    table: ClassTable
    unknown: Unknown = "void"

    def judge(self, prediction: UInt8Array | None, classes: UInt8Array | None, label: UInt8Array) -> FailureJudgement:
        """Judge one frame.

        Args:
            prediction: ``(H, W)`` uint8, in the network's classes.
            classes: ``(H, W)`` uint8, in the data set's classes, 255 void.
            label: ``(H, W)`` uint8: 1 anomaly, 255 void, else 0.
        """
        assert prediction is not None and classes is not None  # noqa: S101, PT018 - the plan asks for both
        nameable = self._nameable[classes]
        known = (label == INLIER) & nameable
        judged = np.full(label.shape, VOID, np.uint8)
        found, true = prediction[known], classes[known]
        judged[known] = np.where(self._lookup[found, true] == true, RIGHT, WRONG)
        count = len(self.table.target)
        column = np.where(known, classes, np.uint8(count))
        if self.unknown == "wrong":
            judged[(label == ANOMALY) | ((label == INLIER) & (classes < count) & ~nameable)] = WRONG
        valid = judged != VOID
        pairs = prediction[valid].astype(np.int64) * (count + 1) + column[valid]
        table = np.bincount(pairs, minlength=len(self.table.network) * (count + 1)).reshape(-1, count + 1)
        return FailureJudgement(judged, self._overlap(table))

    def _overlap(self, table: NDArray[np.int64]) -> dict[Measure, NDArray[np.float64]]:
        """True overlap of each network class from counts of pixels ``(C, K + 1)``, the last column being unknown."""
        shared, of_truth = np.zeros(len(table)), np.zeros(len(table))
        for index, own in enumerate(self._own):
            shared[index] = table[index, list(own)].sum()
            of_truth[index] = table[:, list(own)].sum()
        both = table.sum(axis=1) + of_truth
        with np.errstate(invalid="ignore", divide="ignore"):
            iou = np.where(of_truth > 0, shared / (both - shared), np.nan)
            dice = np.where(of_truth > 0, 2 * shared / both, np.nan)
        return {"iou": iou, "dice": dice}

    @cached_property
    def _own(self) -> tuple[tuple[int, ...], ...]:
        """The data set's classes that make up each network class; none where one of them may be another's as well."""
        sets = self.table.network.to(self.table.target).sets
        claims = [sum(index in allowed for allowed in sets) for index in range(len(self.table.target))]
        return tuple(allowed if all(claims[index] == 1 for index in allowed) else () for allowed in sets)

    @property
    def unscored(self) -> tuple[str, ...]:
        """Network classes whose overlap cannot be told in this data set."""
        return tuple(name for name, own in zip(self.table.network.names, self._own, strict=True) if not own)

    @cached_property
    def _lookup(self) -> UInt8Array:
        return self.table.lookup()

    @cached_property
    def _nameable(self) -> NDArray[np.bool_]:
        nameable = np.zeros(256, bool)
        nameable[: len(self.table.target)] = self.table.reachable()
        return nameable


@dataclass(frozen=True)
class ShownPixels:
    """The label of a frame that has none: 0 where its class map names a class, 255 elsewhere."""

    classes: Callable[[], UInt8Array] | UInt8Array

    def __call__(self) -> UInt8Array:
        """Decode now; raises `FrameError` as the class map does."""
        classes = self.classes() if callable(self.classes) else self.classes
        return np.where(classes == VOID, np.uint8(VOID), np.uint8(INLIER))


def judgeable(frame: Frame) -> Frame:
    """A frame as this task reads it: with a class map it has a label, of its own or `ShownPixels`; else it has none."""
    if frame.load_classes is None:
        return replace(frame, load_label=None)
    return frame if frame.has_label else replace(frame, load_label=ShownPixels(frame.load_classes))
