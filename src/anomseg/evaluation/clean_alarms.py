"""False-alarm components on clean frames at a fixed object recall: the second pass over cached maps, and the card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from anomseg.metrics import CleanAlarms, ObjectRecall
from anomseg.metrics.false_alarms import RECALL
from anomseg.types import ANOMALY, UInt8Array

NO_CLEAN = "no frame without an anomaly counts"
NO_OBJECT = "no anomalous object is large enough"
NO_PASS = "the protocol has no component sizes, so no pass over components was made"  # noqa: S105 - a sentence
EARLIER = "components were counted by an earlier version; give --overwrite to count them anew"


@dataclass
class AlarmState:
    """Objects of all frames, and what is reported on the clean ones.

    Attributes:
        objects: Where each object is found.
        alarms: Components on clean frames; None where there is no object or no clean frame.
        reason: Why it is None.
    """

    objects: ObjectRecall
    alarms: CleanAlarms | None = None
    reason: str = ""

    def see(self, score: NDArray[np.float32], label: UInt8Array, frame: str) -> None:
        """First round: note where the objects of a frame are found."""
        if np.any(label == ANOMALY):
            self.objects.update(score, label, frame)

    def settle(self, clean: int, min_prediction: int) -> None:
        """Between the rounds: fix the threshold, where there is anything to count.

        Args:
            clean: Clean frames of the run.
            min_prediction: Least size of a reported component in pixels.
        """
        self.reason = NO_CLEAN if not clean else NO_OBJECT if not self.objects.objects else ""
        if not self.reason:
            self.alarms = CleanAlarms(self.objects.threshold(RECALL), min_prediction)

    def parts(self) -> dict[str, Callable[[Path], None]]:
        """For each part the function that writes it to a path."""
        found: dict[str, Callable[[Path], None]] = {"objects": self.objects.save}
        return found if self.alarms is None else {**found, "clean_alarms": self.alarms.save}

    @classmethod
    def load(cls, paths: Mapping[str, Path]) -> Self | None:
        """Read what was written; None where nothing was.

        Raises:
            DataError: A file is missing or damaged.
        """
        if "objects" not in paths:
            return None
        objects = ObjectRecall.load(paths["objects"])
        alarms = CleanAlarms.load(paths["clean_alarms"]) if "clean_alarms" in paths else None
        return cls(objects, alarms, "" if alarms else NO_CLEAN if objects.objects else NO_OBJECT)


def clean_alarms_part(state: AlarmState | None, *, passed: bool) -> dict[str, Any]:
    """The ``false_alarms`` of a card: figures, or None and the reason.

    Args:
        state: After the pass; None without one.
        passed: Whether component figures were made.
    """
    if state is None or state.alarms is None:
        reason = (EARLIER if passed else NO_PASS) if state is None else state.reason
        return {"false_alarms": None, "false_alarms_reason": reason}
    found = state.alarms.compute()
    return {
        "false_alarms": {
            "per_100_clean_frames": found.per_hundred,
            "clean_frames_alarmed": found.alarmed,
            "components": found.components,
            "clean_frames": found.frames,
            "object_recall": RECALL,
            "object_recall_reached": state.objects.recall_at(found.threshold),
            "objects": state.objects.objects,
            "coverage": state.objects.coverage,
            "min_prediction": state.alarms.min_prediction,
            "min_anomaly": state.objects.min_anomaly,
            "threshold": found.threshold,
        },
        "false_alarms_reason": None,
    }
