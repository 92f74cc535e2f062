"""Everything a run knows of one detector: additive metric states, skipped frames, seconds; saved as one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from anomseg.calibration import TailScale
from anomseg.errors import CompatibilityError, DataError
from anomseg.evaluation.bands import BandState
from anomseg.evaluation.checkpoint import Checkpoint
from anomseg.evaluation.class_state import ClassState
from anomseg.evaluation.clean_alarms import AlarmState
from anomseg.evaluation.frame_state import FrameState
from anomseg.evaluation.judging import Judgement
from anomseg.evaluation.object_sizes import ObjectSizes
from anomseg.evaluation.paste_control import PasteControl
from anomseg.evaluation.sources import Answer
from anomseg.metrics import ComponentScore, PerImage, PixelCurve, PixelResult, Storage, count_scores, stored_counts
from anomseg.types import Frame, UInt8Array

FOLDER = "state"
#: Bytes of inlier counts that all detectors of a run together hold in memory; beyond it they go to temporary files.
#: Those of misclassified inliers have half as much again.
MEMORY = 2 << 30
EARLIER = "these frames were counted by an earlier version; give --overwrite to count them anew"


@dataclass
class DetectorState:
    """The states of one detector over the frames counted so far.

    Attributes:
        curve: Pooled pixel curve.
        per_image: Figures and histograms of each frame.
        component: Component metrics, None before the second pass.
        calibration: The detector's calibration, so that shards can be merged without the detector; scores are
            counted raw.
        skipped: Why a frame could not be counted, by frame id.
        dropped: Frames that the protocol leaves out.
        seconds: Wall seconds by kind of work.
        classes: Figures with respect to the classes of its network; None where there is nothing to compare.
        no_classes: Why ``classes`` is None.
        paste_control: Pasted inliers beside untouched ones; None where the frames tell of none.
        bands: Figures near the borders of anomalous objects, where the run asks for them.
        sizes: Figures by the size of objects; None where an earlier version counted the frames, or scores are stored
            coarsely.
        alarms: False alarms on clean frames, from the second pass; None before it or without one.
        storage: How the protocol stores scores before pixel figures compare them; all others see them as they are.
    """

    curve: PixelCurve
    per_image: PerImage
    component: ComponentScore | None = None
    calibration: TailScale | None = None
    skipped: dict[str, str] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    seconds: dict[str, float] = field(default_factory=dict)
    classes: ClassState | None = None
    no_classes: str = EARLIER
    paste_control: PasteControl | None = None
    bands: list[BandState] = field(default_factory=list)
    sizes: ObjectSizes | None = None
    alarms: AlarmState | None = None
    storage: Storage = "float32"
    _consistent: bool = field(default=True, repr=False)
    _saved_in: Path | None = field(default=None, repr=False)
    _result: PixelResult | None = field(default=None, repr=False)
    _frames: set[str] = field(default_factory=set, repr=False)

    def __post_init__(self) -> None:
        self._frames = set(self.curve.frames)

    @property
    def frames(self) -> set[str]:
        """Ids of the counted frames."""
        return self._frames

    @property
    def wants_judgement(self) -> bool:
        """Whether it counts what the network's class map says of a frame."""
        return self.classes is not None

    @property
    def wants_control(self) -> bool:
        """Whether it counts pasted inliers."""
        return self.paste_control is not None

    @property
    def has_maps(self) -> bool:
        """Its figures are all of maps."""
        return True

    @property
    def lacks_second_pass(self) -> bool:
        """Whether component figures, where they are wanted, are still to be made."""
        return self.component is None

    @property
    def evaluable(self) -> bool:
        """Whether both anomalous and inlier pixels were counted, so that the figures exist."""
        rows = self.per_image.figures()
        return any(row.anomaly for row in rows) and any(row.inlier for row in rows)

    @property
    def result(self) -> PixelResult:
        """The pooled figures, computed once.

        Raises:
            DataError: The state is not `evaluable`.
        """
        if self._result is None:
            self._result = self.curve.compute()
        return self._result

    def count(
        self,
        frame: Frame,
        answer: Answer,
        label: UInt8Array,
        judgement: Judgement | None = None,
        own: Judgement | None = None,
        control: tuple[UInt8Array, UInt8Array] | None = None,
    ) -> None:
        """Count a detector's answer on one frame, see `update`.

        Raises:
            FrameError: The map cannot be used; the state is unchanged.
        """
        assert answer.score is not None  # noqa: S101 - a source that is asked for scores gives them or an error
        self.update(frame, answer.score, label, judgement, own, control)

    def update(
        self,
        frame: Frame,
        score: NDArray[np.float32],
        label: UInt8Array,
        judgement: Judgement | None = None,
        own: Judgement | None = None,
        control: tuple[UInt8Array, UInt8Array] | None = None,
    ) -> None:
        """Count one frame; an interruption in the middle leaves the state marked, so that it is not saved.

        Args:
            frame: For its id and group.
            score: ``(H, W)`` float32.
            label: ``(H, W)`` 0 inlier, 1 anomaly, 255 void.
            judgement: Of the network's class map; given where ``classes`` is.
            own: Of the detector's own class map, where it has one.
            control: The frame's map of pasted inliers and its class map, where it has them.

        Raises:
            FrameError: The map cannot be used; the state is unchanged.
        """
        counts = count_scores(score, label, frame.id)
        stored = counts if self.storage == "float32" else stored_counts(score, label, frame.id, self.storage)
        self._consistent = False
        self.component = self.alarms = self._result = self._saved_in = None
        self.curve.add(stored, frame.id)
        self.per_image.add(stored, frame.id, frame.group)
        if self.classes is not None and judgement is not None:
            self.classes.update(frame, score, label, counts, judgement, own)
        if self.paste_control is not None:
            self.paste_control.update(frame, score, label, counts, control)
        for band in self.bands:
            band.update(frame, score, label)
        if self.sizes is not None:
            self.sizes.update(score, label)
        self._frames.add(frame.id)
        self.skipped.pop(frame.id, None)
        self._consistent = True

    def skip(self, frame_id: str, reason: str) -> None:
        """Note why a frame could not be counted; a frame counted by an earlier attempt stays counted."""
        if frame_id not in self._frames:
            self.skipped[frame_id] = reason

    def drop(self, frame_id: str) -> None:
        """Note that the protocol leaves a frame out."""
        self.dropped.add(frame_id)
        self.skipped.pop(frame_id, None)

    def add_seconds(self, kind: str, seconds: float) -> None:
        """Add wall seconds of one kind of work."""
        self.seconds[kind] = self.seconds.get(kind, 0.0) + seconds

    def merge(self, *others: DetectorState) -> DetectorState:
        """A new state over the frames of this one and of others; component metrics are not carried over.

        Raises:
            DataError: A frame is in two of them.
            CompatibilityError: Their rules differ.
        """
        merged = DetectorState(
            self.curve.merge(*(other.curve for other in others)),
            self.per_image.merge(*(other.per_image for other in others)),
            calibration=self.calibration,
            storage=self.storage,
            no_classes=next((state.no_classes for state in (self, *others) if state.classes is None), ""),
        )
        classes = [state.classes for state in (self, *others) if state.classes is not None]
        if len(classes) == 1 + len(others):
            merged.classes = classes[0].merge(*classes[1:])
        controls = [state.paste_control for state in (self, *others) if state.paste_control is not None]
        if len(controls) == 1 + len(others):
            merged.paste_control = controls[0].merge(*controls[1:])
        if any([band.width for band in other.bands] != [band.width for band in self.bands] for other in others):
            raise CompatibilityError("shards with different bands do not merge; evaluate all of them with one --band")
        merged.bands = [band.merge(*(other.bands[row] for other in others)) for row, band in enumerate(self.bands)]
        sizes = [state.sizes for state in (self, *others) if state.sizes is not None]
        if len(sizes) == 1 + len(others):
            merged.sizes = sizes[0].merge(*sizes[1:])
        for state in (self, *others):
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
        parts: dict[str, Callable[[Path], None]] = {"pixel": self.curve.save, "per_image": self.per_image.save}
        if self.component is not None:
            parts["component"] = self.component.save
            parts |= self.alarms.parts() if self.alarms is not None else {}
        if self.calibration is not None:
            parts["calibration"] = self.calibration.save
        meta: dict[str, Any] = {"skipped": self.skipped, "dropped": sorted(self.dropped), "seconds": self.seconds}
        meta |= {"no_classes": self.no_classes, "classes": self.classes.meta() if self.classes is not None else None}
        of_classes = self.classes.parts() if self.classes is not None else {}
        of_classes |= self.paste_control.parts() if self.paste_control is not None else {}
        for band in self.bands:
            of_classes |= band.parts()
        if self.sizes is not None:
            of_classes["sizes"] = self.sizes.save
        meta["storage"] = self.storage
        meta["bands"] = [band.width for band in self.bands]
        # The tables are large; the second pass and new skips leave them as they are.
        unchanged = ("pixel", "per_image", "calibration", *of_classes) if self._saved_in == directory else ()
        Checkpoint(directory / FOLDER).write(meta, parts | of_classes, unchanged)
        self._saved_in = directory

    @classmethod
    def load(cls, directory: Path, memory: int = MEMORY) -> Self | None:
        """Read what `save` wrote; None where nothing was written.

        Args:
            directory: The detector's folder.
            memory: Bytes that inlier counts may take in memory.

        Raises:
            DataError: A file is missing or damaged.
        """
        found = Checkpoint(directory / FOLDER).read()
        if found is None:
            return None
        meta, paths = found
        try:
            return cls(
                PixelCurve.load(paths["pixel"], memory),
                PerImage.load(paths["per_image"]),
                ComponentScore.load(paths["component"]) if "component" in paths else None,
                TailScale.load(paths["calibration"]) if "calibration" in paths else None,
                dict(meta["skipped"]),
                set(meta["dropped"]),
                dict(meta["seconds"]),
                ClassState.load(meta["classes"], paths, memory // 4) if meta.get("classes") else None,
                str(meta.get("no_classes", EARLIER)),
                PasteControl.load(paths, memory // 4),
                [BandState.load(int(width), paths, memory // 4) for width in meta.get("bands", [])],
                ObjectSizes.load(paths["sizes"]) if "sizes" in paths else None,
                AlarmState.load(paths),
                meta.get("storage", "float32"),
                _saved_in=directory,
            )
        except KeyError as error:
            raise DataError(f"{directory / FOLDER} lacks {error}; give --overwrite to start anew") from error


def load_curve(directory: Path, memory: int = MEMORY) -> PixelCurve | None:
    """The pooled curve alone of what `DetectorState.save` wrote into a detector's folder; None where there is none.

    Args:
        directory: The detector's folder.
        memory: Bytes that inlier counts may take in memory.

    Raises:
        DataError: A file is missing or damaged.
        CompatibilityError: A later version wrote it.
    """
    found = Checkpoint(directory / FOLDER).read()
    return PixelCurve.load(found[1]["pixel"], memory) if found is not None and "pixel" in found[1] else None


def memory_each(detectors: int) -> int:
    """Bytes of inlier counts for each of several detectors, at most half a gigabyte."""
    return min(512 << 20, MEMORY // max(1, detectors))


def check_complete(states: Mapping[str, FrameState], expected: Sequence[str]) -> None:
    """Refuse states that lack frames.

    Raises:
        DataError: Some frame is neither counted nor skipped for a stated reason.
    """
    for state in states.values():
        check_frames(state.frames | state.dropped | set(state.skipped), expected)


def check_frames(found: Collection[str], expected: Sequence[str]) -> None:
    """Refuse merged shards that lack frames.

    Raises:
        DataError: Some are missing; the first are listed.
    """
    missing = [frame for frame in expected if frame not in found]
    if missing:
        listed = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        raise DataError(
            f"{len(missing)} of {len(expected)} frames are in no shard ({listed}); "
            "evaluate the missing shards and merge all"
        )
