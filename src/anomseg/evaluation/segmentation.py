"""Closed-set accuracy of the network that the detectors share, overall and by sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from anomseg.errors import FrameError
from anomseg.evaluation.checkpoint import Checkpoint
from anomseg.evaluation.class_table import ClassTable
from anomseg.evaluation.states import FOLDER as STATE_FOLDER
from anomseg.evaluation.states import check_frames
from anomseg.metrics import SegmentationIoU, SegmentationResult
from anomseg.types import VOID, Frame, UInt8Array

FOLDER = "segmentation"


@dataclass
class SegmentationState:
    """Additive closed-set state, one table of counts a sequence.

    Args:
        table: How classes compare.
    """

    table: ClassTable
    groups: dict[str, SegmentationIoU] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    _frames: set[str] = field(default_factory=set)
    _consistent: bool = True

    def __post_init__(self) -> None:
        self._lookup = self.table.lookup()
        self._void = np.zeros(256, bool)
        self._void[: len(self.table.target)] = ~self.table.reachable()

    @property
    def frames(self) -> set[str]:
        """Ids of the counted frames."""
        return self._frames

    def update(self, frame: Frame, prediction: UInt8Array, classes: UInt8Array) -> None:
        """Count one frame.

        Args:
            frame: For its id and group.
            prediction: ``(H, W)`` uint8, in the network's classes.
            classes: ``(H, W)`` uint8, in the data set's classes, 255 void.
        """
        target = np.where(self._void[classes], np.uint8(VOID), classes)
        counted = target != VOID
        mapped = np.zeros_like(prediction)
        mapped[counted] = self._lookup[prediction[counted], target[counted]]
        group = self.groups.get(frame.group) or SegmentationIoU(len(self.table.target) + 1)
        self._consistent = False
        try:
            group.update(mapped, target, frame.id)
            self.groups[frame.group] = group
            self._frames.add(frame.id)
            self.skipped.pop(frame.id, None)
        except FrameError as error:
            self.skip(frame.id, str(error))
        self._consistent = True

    def skip(self, frame_id: str, reason: str) -> None:
        """Note why a frame could not be counted."""
        self.skipped[frame_id] = reason

    def merge(self, *others: SegmentationState) -> SegmentationState:
        """A new state over the frames of this one and of others.

        Raises:
            DataError: A frame is in two of them.
        """
        merged = SegmentationState(self.table)
        for state in (self, *others):
            for name, group in state.groups.items():
                merged.groups[name] = merged.groups[name].merge(group) if name in merged.groups else group.merge()
            merged.skipped.update(state.skipped)
            merged._frames |= state._frames
        return merged

    def check_complete(self, expected: Sequence[str]) -> None:
        """Refuse a state that lacks frames.

        Raises:
            DataError: Some frame is neither counted nor skipped.
        """
        check_frames(self._frames | set(self.skipped), expected)

    def card(self) -> dict[str, Any] | None:
        """The ``segmentation`` part of a card, JSON-ready; None when no frame was counted."""
        if not self._frames:
            return None
        names = self.table.target.names
        whole = next(iter(self.groups.values())).merge(*list(self.groups.values())[1:]).compute()
        return {
            **self._figures(whole),
            "iou": {name: _plain(value) for name, value in zip(names, whole.iou[: len(names)], strict=True)},
            "by_group": {name: self._figures(self.groups[name].compute()) for name in sorted(self.groups) if name},
            "coverage": self.table.coverage,
        }

    def _figures(self, result: SegmentationResult) -> dict[str, Any]:
        iou = result.iou[: len(self.table.target)]
        present = iou[~np.isnan(iou)]
        miou = float(present.mean()) if present.size else None
        return {"miou": miou, "accuracy": _plain(result.accuracy), "frames": result.frames}

    def save(self, out: Path) -> None:
        """Write the state into a folder of results, all groups at once.

        Raises:
            DataError: A file cannot be written; what was there before stays.
        """
        if not self._consistent:
            return
        names = sorted(self.groups)
        parts: dict[str, Callable[[Path], None]] = {
            f"iou{index}": self.groups[name].save for index, name in enumerate(names)
        }
        Checkpoint(out / FOLDER / STATE_FOLDER).write({"groups": names, "skipped": self.skipped}, parts)

    @classmethod
    def load(cls, out: Path, table: ClassTable) -> SegmentationState | None:
        """Read what `save` wrote; None where nothing was written.

        Raises:
            DataError: A file is missing or damaged.
        """
        found = Checkpoint(out / FOLDER / STATE_FOLDER).read()
        if found is None:
            return None
        meta, paths = found
        state = cls(table, skipped=dict(meta["skipped"]))
        for index, name in enumerate(meta["groups"]):
            state.groups[name] = SegmentationIoU.load(paths[f"iou{index}"])
            state._frames |= set(state.groups[name].frames)
        return state


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
