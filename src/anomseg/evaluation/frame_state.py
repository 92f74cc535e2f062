"""What the pass over the frames asks of a task: a state for each detector, and who judges class maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from anomseg.evaluation.sources import Answer
from anomseg.types import Frame, UInt8Array


class FrameState(Protocol):
    """What a run counts of one detector; which figures come of it is the task's own business."""

    skipped: dict[str, str]
    dropped: set[str]

    @property
    def frames(self) -> set[str]:
        """Ids of the counted frames."""

    @property
    def wants_judgement(self) -> bool:
        """Whether what a class map says of a frame is counted."""

    @property
    def wants_control(self) -> bool:
        """Whether pasted inliers are counted."""

    @property
    def has_maps(self) -> bool:
        """Whether there are maps that could be kept."""

    @property
    def lacks_second_pass(self) -> bool:
        """Whether a second pass over maps, where one is wanted, is still to be made."""

    def count(self, frame: Frame, answer: Answer, label: UInt8Array, judgement: Any, own: Any, control: Any) -> None:
        """Count an answer; raises `FrameError` and stays as it is where that cannot be done."""

    def skip(self, frame_id: str, reason: str) -> None:
        """Note why a frame could not be counted."""

    def drop(self, frame_id: str) -> None:
        """Note that the protocol leaves a frame out."""

    def add_seconds(self, kind: str, seconds: float) -> None:
        """Add wall seconds of one kind of work."""

    def save(self, directory: Path) -> None:
        """Write the state where it is consistent."""


class FrameJudge(Protocol):
    """Compares a class map with that of a frame, see `judging.Judge` and `failure.judging.FailureJudge`."""

    def judge(self, prediction: UInt8Array | None, classes: UInt8Array | None, label: UInt8Array) -> Any:
        """What the class map says of the frame."""
