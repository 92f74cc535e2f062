"""Open-set IoU with the threshold of the other half of the frames, so that none is judged by its own labels.

Grcić, Bevandić and Šegvić, "DenseHybrid", ECCV 2022: the threshold of 95 % recall on one test town is used on the
other, and the two figures are averaged by the number of images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import CompatibilityError
from anomseg.metrics.openset_curve import OpenSetCurve, OpenSetPoint, PixelKinds


@dataclass(frozen=True)
class CrossedHalf:
    """One half of the frames at the threshold of the other.

    Attributes:
        point: Its figures.
        frames: Frames in it.
    """

    point: OpenSetPoint
    frames: int


class OpenSetHalves:
    """Additive open-set states of two disjoint halves of the frames.

    Args:
        first: State of one half; of all frames where there is no other.
        second: State of the other half; None where the frames cannot be halved.

    Raises:
        CompatibilityError: The halves have different numbers of classes.

    Example:
        >>> halves = OpenSetHalves.empty(1, halved=True)
        >>> halves.first.update([0, 0], [0.25, 0.75], [0, 1], "a")
        >>> halves.second.update([0, 0], [0.5, 1.0], [0, 1], "b")
        >>> [(half.point.threshold, half.point.iou.tolist()) for half in halves.crossed()]
        [(1.0, [0.5]), (0.75, [1.0])]
    """

    def __init__(self, first: OpenSetCurve, second: OpenSetCurve | None = None) -> None:
        if second is not None and second.num_classes != first.num_classes:
            raise CompatibilityError("halves with different numbers of classes do not compare; use one label table")
        self.first = first
        self.second = second

    @classmethod
    def empty(cls, num_classes: int, *, halved: bool) -> Self:
        """States without frames.

        Args:
            num_classes: Number K of known classes.
            halved: There are two halves.
        """
        return cls(OpenSetCurve(num_classes), OpenSetCurve(num_classes) if halved else None)

    @property
    def frames(self) -> list[str]:
        """Ids of the counted frames, sorted."""
        return sorted([*self.first.frames, *(self.second.frames if self.second is not None else [])])

    def add(self, kinds: PixelKinds, score: NDArray[np.float32], frame: str, *, second: bool) -> None:
        """Count one frame; see `OpenSetCurve.add`.

        Args:
            kinds: From `pixel_kinds`.
            score: Finite float32.
            frame: Its id.
            second: It belongs to the second half, where there are two.
        """
        (self.second if second and self.second is not None else self.first).add(kinds, score, frame)

    def merge(self, *others: OpenSetHalves) -> OpenSetHalves:
        """New states over the frames of these and of others; without halves where some have none.

        Raises:
            DataError: A frame is in two of them.
            CompatibilityError: The numbers of classes differ.
        """
        seconds = [state.second for state in (self, *others) if state.second is not None]
        if len(seconds) == 1 + len(others):
            first = self.first.merge(*(other.first for other in others))
            return OpenSetHalves(first, seconds[0].merge(*seconds[1:]))
        return OpenSetHalves(self.whole().merge(*(other.whole() for other in others)))

    def whole(self) -> OpenSetCurve:
        """The state of all frames."""
        return self.first if self.second is None else self.first.merge(self.second)

    def crossed(self, recall: float = 0.95, *, strict: bool = False) -> tuple[CrossedHalf, CrossedHalf] | None:
        """Each half at the threshold where the other half's recall reaches a level.

        Args:
            recall: The level.
            strict: Recall has to exceed it.

        Returns:
            The first half, then the second; None where there is one half only, or one without an anomalous pixel.
        """
        if self.second is None:
            return None
        thresholds = [half.threshold_at_recall(recall, strict=strict) for half in (self.second, self.first)]
        if thresholds[0] is None or thresholds[1] is None:
            return None
        return (
            CrossedHalf(self.first.at(thresholds[0]), len(self.first.frames)),
            CrossedHalf(self.second.at(thresholds[1]), len(self.second.frames)),
        )
