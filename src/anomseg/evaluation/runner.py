"""The pass over the frames: decode ahead, one forward, every detector's map into its state, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from anomseg.data.pasted import control_map
from anomseg.errors import AnomsegError, FrameError
from anomseg.evaluation.frame_state import FrameJudge, FrameState
from anomseg.evaluation.maps import LabelCache, MapCache
from anomseg.evaluation.progress import Progress, silent
from anomseg.evaluation.segmentation import SegmentationState
from anomseg.evaluation.sources import Answer, MapSource, Sample
from anomseg.inference import Prefetch
from anomseg.types import ANOMALY, INLIER, VOID, Frame, UInt8Array

CHECKPOINT_SECONDS = 20.0
NO_GROUND_TRUTH = "no ground truth"
#: Large states are written less often: a checkpoint may take one part in so many of the time.
_PATIENCE = 10


@dataclass(frozen=True)
class Loaded:
    """A decoded frame: its image where one is read, its label, class map and paste control where they are wanted."""

    sample: Sample
    label: UInt8Array | None
    classes: UInt8Array | None
    control: UInt8Array | None = None

    @property
    def pasted(self) -> tuple[UInt8Array, UInt8Array] | None:
        """The map of pasted inliers with the class map that tells what they are."""
        return None if self.control is None or self.classes is None else (self.control, self.classes)


@dataclass
class Runner:
    """Brings the states of a run up to date with its frames.

    Args:
        out: Folder of results; each detector's states lie in its own folder there.
        frames: The frames of this run or shard, in order.
        source: Where maps come from.
        states: States by folder, perhaps with frames counted by an earlier attempt; updated in place.
        segmentation: Closed-set state of the network, updated in place; None where it is not wanted.
        judges: For each detector whose network's classes compare with the frames', by folder, who compares them.
        clean_frames: ``drop`` leaves frames without anomaly out of the figures, ``keep`` counts them.
        void_counts: Void pixels of labels count as inliers.
        components: A second pass over the maps follows, so they are written until its figures exist.
        keep_maps: Maps are wanted in any case.
        on_progress: Called after each frame.
        checkpoint_seconds: How often states are written.
    """

    out: Path
    frames: Sequence[Frame]
    source: MapSource
    states: Mapping[str, FrameState]
    segmentation: SegmentationState | None = None
    judges: Mapping[str, FrameJudge] = field(default_factory=dict)
    clean_frames: str = "keep"
    void_counts: bool = False
    components: bool = False
    keep_maps: bool = False
    on_progress: Progress = silent
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    _written: float = field(default=0.0, init=False)
    _cost: float = field(default=0.0, init=False)

    def run(self) -> None:
        """Process every frame that some state still lacks, then write the states.

        An interruption leaves the last consistent states on disk, from which the next attempt goes on.

        Raises:
            AnomsegError: Something that concerns more than one frame.
        """
        todo = self._todo()
        self._pass(todo)
        # A frame that failed before and counts now outdates the second pass, which then needs all maps anew.
        tried = {frame.id for frame in todo}
        outdated = [frame for frame in self._todo() if frame.id not in tried]
        if outdated:
            self._pass(outdated)

    def _todo(self) -> list[Frame]:
        return [frame for frame in self.frames if self._lacking(frame.id) or self._segments(frame)]

    def _pass(self, todo: Sequence[Frame]) -> None:
        done = len(self.frames) - len(todo)
        self._written = clock = time.monotonic()
        try:
            with Prefetch(todo, self._load) as stream:
                for frame, loaded in stream:
                    self._process(frame, loaded)
                    now = time.monotonic()
                    for state in self.states.values():
                        state.add_seconds("total", now - clock)
                    clock, done = now, done + 1
                    if now - self._written > max(self.checkpoint_seconds, _PATIENCE * self._cost):
                        self.save()
                    self.on_progress(done, len(self.frames), f"score {frame.id}")
        except BaseException:
            # What failed is the error worth telling; the checkpoint before stays where this one cannot be written.
            with suppress(AnomsegError):
                self.save()
            raise
        self.save()

    def save(self) -> None:
        """Write all states that are consistent, each atomically."""
        start = time.monotonic()
        for folder, state in self.states.items():
            state.save(self.out / folder)
        if self.segmentation is not None:
            self.segmentation.save(self.out)
        self._written = time.monotonic()
        self._cost = self._written - start

    def _lacking(self, frame_id: str) -> list[str]:
        return [folder for folder, state in self.states.items() if not self._complete(folder, state, frame_id)]

    def _complete(self, folder: str, state: FrameState, frame_id: str) -> bool:
        if frame_id in state.dropped:
            return not self._keeps_map(state) or frame_id in MapCache(self.out / folder)
        if frame_id not in state.frames:
            return False
        mapped = not self._needs_map(state) or frame_id in MapCache(self.out / folder)
        return mapped and (not self._needs_label(state) or frame_id in LabelCache(self.out))

    def _needs_map(self, state: FrameState) -> bool:
        return self._keeps_map(state) or self._needs_label(state)

    def _keeps_map(self, state: FrameState) -> bool:
        return self.keep_maps and state.has_maps

    def _needs_label(self, state: FrameState) -> bool:
        return self.components and state.lacks_second_pass

    def _segments(self, frame: Frame) -> bool:
        return self.segmentation is not None and frame.has_classes and frame.id not in self.segmentation.frames

    def _judges(self, folder: str) -> bool:
        return folder in self.judges and self.states[folder].wants_judgement

    def _controls(self, frame_id: str) -> bool:
        return any(self.states[folder].wants_control for folder in self._lacking(frame_id))

    def _load(self, frame: Frame) -> Loaded:
        if not frame.has_label and not self._segments(frame):
            raise FrameError(NO_GROUND_TRUTH)
        label = frame.label if frame.has_label and self.states else None
        if label is not None and self.void_counts:
            label = np.where(label == VOID, INLIER, label).astype(np.uint8)
        judged = any(self._judges(folder) for folder in self._lacking(frame.id))
        control = control_map(frame) if frame.has_classes and self._controls(frame.id) else None
        classes = frame.classes if self._segments(frame) or judged or control is not None else None
        image = frame.image() if self.source.reads_images else None
        maps = [array for array in (label, classes, control, image) if array is not None]
        sizes = {(array.shape[0], array.shape[1]) for array in maps}
        if len(sizes) != 1:
            shapes = " and ".join(f"{height}x{width}" for height, width in sorted(sizes))
            raise FrameError(f"{frame.id}: image and label differ in size ({shapes}); one is of another frame")
        if label is not None and not np.any(label != VOID):
            raise FrameError(f"{frame.id}: every pixel of the label is void, so there is nothing to evaluate")
        return Loaded(Sample(frame.id, sizes.pop(), image), label, classes, control)

    def _process(self, frame: Frame, loaded: Loaded | FrameError) -> None:
        folders = self._lacking(frame.id)
        if isinstance(loaded, FrameError):
            for folder in folders:
                self.states[folder].skip(frame.id, str(loaded))
            if self._segments(frame) and self.segmentation is not None:
                self.segmentation.skip(frame.id, str(loaded))
            return
        if loaded.label is None:
            for folder in folders:
                self.states[folder].skip(frame.id, NO_GROUND_TRUTH)
            folders = []
        elif self.clean_frames == "drop" and not np.any(loaded.label == ANOMALY):
            for folder in folders:
                self.states[folder].drop(frame.id)
            # Other protocols may count what this one leaves out, from the maps that are kept.
            folders = [folder for folder in folders if self._keeps_map(self.states[folder])]
        if folders and self.components and loaded.label is not None and frame.id not in LabelCache(self.out):
            LabelCache(self.out).write(frame.id, loaded.label)
        judgements: dict[tuple[int, int], Any] = {}
        for answer in self.source.answers(loaded.sample, folders):
            self._count(frame, answer, loaded, judgements)
        if self.segmentation is not None and loaded.classes is not None and self._segments(frame):
            prediction = self.source.prediction()
            if prediction is not None:
                self.segmentation.update(frame, prediction, loaded.classes)

    def _count(self, frame: Frame, answer: Answer, loaded: Loaded, judgements: dict[tuple[int, int], Any]) -> None:
        state, label = self.states[answer.folder], loaded.label
        assert label is not None  # noqa: S101 - no folder is asked for without a label
        state.add_seconds("forward", answer.forward)
        if answer.error is not None:
            state.skip(frame.id, str(answer.error))
            return
        state.add_seconds("score", answer.seconds)
        start = time.perf_counter()
        # The map first: a frame that the state counts must have its map for the second pass.
        wanted = self._needs_map(state) or (self.components and frame.id not in state.frames)
        if wanted and answer.score is not None:
            MapCache(self.out / answer.folder).write(frame.id, answer.score)
        if frame.id not in state.frames and frame.id not in state.dropped:
            judged = self._judged(answer.folder, loaded, judgements)
            state.count(frame, answer, label, *judged, loaded.pasted)
        state.add_seconds("metrics", time.perf_counter() - start)

    def _judged(self, folder: str, loaded: Loaded, judgements: dict[tuple[int, int], Any]) -> tuple[Any, Any]:
        """What the class maps of a detector's network and of its own say; the former once for each network."""
        if not self._judges(folder) or loaded.label is None:
            return None, None
        judge, prediction = self.judges[folder], self.source.prediction(folder)
        key = (id(prediction), id(judge))
        if key not in judgements:
            judgements[key] = judge.judge(prediction, loaded.classes, loaded.label)
        classes = self.source.own_segmentation(folder)
        return judgements[key], None if classes is None else judge.judge(classes, loaded.classes, loaded.label)
