"""Everything a failure run knows of one detector: additive states of pixels and classes, saved as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from anomseg.errors import CompatibilityError, DataError
from anomseg.evaluation.checkpoint import Checkpoint
from anomseg.evaluation.failure.judging import RIGHT, WRONG, FailureJudgement
from anomseg.evaluation.sources import Answer
from anomseg.evaluation.states import FOLDER
from anomseg.metrics import ClassQuality, FailureDetection, count_scores
from anomseg.types import VOID, Frame, Measure, UInt8Array

_PIXELS, _QUALITY = "failure", "quality"


@dataclass(frozen=True)
class FrameRow:
    """What is true of one frame, whatever the detector says.

    Attributes:
        group: Its sequence or scene.
        right: Right pixels.
        wrong: Wrong pixels.
        void: The others.
        overlap: Mean true overlap over the classes that it shows; None where none can be told.
    """

    group: str
    right: int
    wrong: int
    void: int
    overlap: float | None


@dataclass
class FailureState:
    """The states of one detector over the frames counted so far.

    Attributes:
        names: Classes of the network whose segmentation is judged.
        pixels: Error map against wrong pixels; without frames where the detector gives no map.
        quality: Predicted against true overlap of classes; None where the detector gives none.
        rows: What is true of each counted frame.
        skipped: Why a frame could not be counted, by frame id.
        dropped: Empty; this task leaves no frame out.
        seconds: Wall seconds by kind of work.
    """

    names: tuple[str, ...]
    pixels: FailureDetection
    quality: ClassQuality | None = None
    rows: dict[str, FrameRow] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    seconds: dict[str, float] = field(default_factory=dict)
    _consistent: bool = field(default=True, repr=False)

    @property
    def frames(self) -> set[str]:
        """Ids of the counted frames."""
        return set(self.rows)

    @property
    def measure(self) -> Measure:
        """The overlap that is meant: the detector's, else intersection over union."""
        return self.quality.measure if self.quality is not None else "iou"

    @property
    def wants_judgement(self) -> bool:
        """It lives of it."""
        return True

    @property
    def wants_control(self) -> bool:
        """Pasted objects are another task's."""
        return False

    @property
    def has_maps(self) -> bool:
        """Whether there are maps to keep, as far as is known."""
        return not self.rows or bool(self.pixels.frames)

    @property
    def lacks_second_pass(self) -> bool:
        """There is none."""
        return False

    def count(
        self,
        frame: Frame,
        answer: Answer,
        label: UInt8Array,
        judgement: FailureJudgement,
        own: object = None,
        control: object = None,
    ) -> None:
        """Count one frame; an interruption in the middle leaves the state marked, so that it is not saved.

        Args:
            frame: For its id and group.
            answer: What the detector says.
            label: Not read: what counts is in the judgement.
            judgement: What is right and wrong.
            own: Not read: the network's segmentation is judged.
            control: Not read.

        Raises:
            FrameError: The answer cannot be used; the state is unchanged.
            CompatibilityError: The detector gives a map, quality or measure on some frames and not on others.
        """
        del label, own, control
        self._check_like_before(answer)
        true = judgement.overlap[answer.measure]
        first = ClassQuality(self.names, answer.measure)
        if answer.quality is not None:
            first.update(answer.quality, true, frame.id, frame.group)
        counts = None if answer.score is None else count_scores(answer.score, judgement.judged, frame.id)
        self._consistent = False
        if counts is not None:
            self.pixels.add(counts, frame.id, frame.group)
        if answer.quality is not None and self.quality is not None:
            self.quality.update(answer.quality, true, frame.id, frame.group)
        elif answer.quality is not None:
            self.quality = first
        shown = true[~np.isnan(true)]
        right, wrong, void = (int(np.count_nonzero(judgement.judged == value)) for value in (RIGHT, WRONG, VOID))
        overlap = float(shown.mean()) if shown.size else None
        self.rows[frame.id] = FrameRow(frame.group or frame.id, right, wrong, void, overlap)
        self.skipped.pop(frame.id, None)
        self._consistent = True

    def _check_like_before(self, answer: Answer) -> None:
        if not self.rows:
            return
        before = (bool(self.pixels.frames), self.quality.measure if self.quality is not None else None)
        if before != (answer.score is not None, answer.measure if answer.quality is not None else None):
            raise CompatibilityError(
                f"{answer.folder} judges pixels or classes on some frames and not on others; a detector must do either "
                "on all"
            )

    def skip(self, frame_id: str, reason: str) -> None:
        """Note why a frame could not be counted; a frame counted by an earlier attempt stays counted."""
        if frame_id not in self.rows:
            self.skipped[frame_id] = reason

    def drop(self, frame_id: str) -> None:
        """Note that a frame is left out."""
        self.dropped.add(frame_id)

    def add_seconds(self, kind: str, seconds: float) -> None:
        """Add wall seconds of one kind of work."""
        self.seconds[kind] = self.seconds.get(kind, 0.0) + seconds

    def merge(self, *others: FailureState) -> FailureState:
        """A new state over the frames of this one and of others.

        Raises:
            DataError: A frame is in two of them.
            CompatibilityError: Their rules or classes differ, or what the detector gives.
        """
        states = (self, *others)
        if any(state.names != self.names for state in others):
            raise CompatibilityError("states of other classes do not merge; evaluate the shards of one run")
        merged = FailureState(self.names, self.pixels.merge(*(other.pixels for other in others)))
        parts = [state.quality for state in states if state.quality is not None]
        if len(parts) not in (0, sum(bool(state.rows) for state in states)):
            raise CompatibilityError("the detector judges classes in some shards only; evaluate all of them anew")
        merged.quality = parts[0].merge(*parts[1:]) if parts else None
        for state in states:
            twice = sorted(merged.rows.keys() & state.rows.keys())
            if twice:
                raise DataError(f"frame {twice[0]!r} is counted twice; each frame may be in one shard only")
            merged.rows.update(state.rows)
            merged.skipped.update(state.skipped)
            merged.dropped |= state.dropped
            for kind, seconds in state.seconds.items():
                merged.add_seconds(kind, seconds)
        return merged

    def save(self, directory: Path) -> None:
        """Write the state into a detector's folder, all parts at once; an interrupted one is not written.

        Raises:
            DataError: A file cannot be written; what was there before stays.
        """
        if not self._consistent:
            return
        parts: dict[str, Callable[[Path], None]] = {_PIXELS: self.pixels.save}
        if self.quality is not None:
            parts[_QUALITY] = self.quality.save
        meta: dict[str, Any] = {
            "names": list(self.names),
            "rows": {frame: vars(row) for frame, row in sorted(self.rows.items())},
            "skipped": self.skipped,
            "dropped": sorted(self.dropped),
            "seconds": self.seconds,
        }
        Checkpoint(directory / FOLDER).write(meta, parts)

    @classmethod
    def load(cls, directory: Path, memory: int) -> Self | None:
        """Read what `save` wrote; None where nothing was written.

        Args:
            directory: The detector's folder.
            memory: Bytes that counts may take in memory.

        Raises:
            DataError: A file is missing or damaged.
        """
        found = Checkpoint(directory / FOLDER).read()
        if found is None:
            return None
        meta, paths = found
        try:
            return cls(
                tuple(str(name) for name in meta["names"]),
                FailureDetection.load(paths[_PIXELS], memory),
                ClassQuality.load(paths[_QUALITY]) if _QUALITY in paths else None,
                {str(frame): FrameRow(**row) for frame, row in meta["rows"].items()},
                dict(meta["skipped"]),
                set(meta["dropped"]),
                dict(meta["seconds"]),
            )
        except (KeyError, TypeError) as error:
            raise DataError(f"{directory / FOLDER} lacks {error}; give --overwrite to start anew") from error

    def ordered(self, frames: Sequence[str]) -> list[str]:
        """The counted frames, in the order of the run."""
        return [frame for frame in frames if frame in self.rows]
