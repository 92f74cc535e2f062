"""`evaluate`: detectors on a benchmark, from frames to result cards."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from anomseg.benchmarks import Benchmark, Protocol
from anomseg.calibration import calibration_of
from anomseg.data import ValueTable
from anomseg.data.pasted import has_control
from anomseg.errors import DataError
from anomseg.evaluation.bands import BandState
from anomseg.evaluation.class_state import ClassState
from anomseg.evaluation.failure.judging import Unknown
from anomseg.evaluation.failure.state import FailureState
from anomseg.evaluation.finish import Outcome
from anomseg.evaluation.halves import second_half
from anomseg.evaluation.maps import LabelCache, MapCache
from anomseg.evaluation.object_sizes import ObjectSizes
from anomseg.evaluation.paste_control import PasteControl
from anomseg.evaluation.plan import Detectors, Plan, make_plan
from anomseg.evaluation.progress import Progress, silent
from anomseg.evaluation.run_folder import Shard, claim, release
from anomseg.evaluation.runner import CHECKPOINT_SECONDS, Runner
from anomseg.evaluation.scores_dir import ScoresDirectory
from anomseg.evaluation.segmentation import SegmentationState
from anomseg.evaluation.sources import FolderSource, MapSource, NetworkSource
from anomseg.evaluation.states import DetectorState, memory_each
from anomseg.inference.predictor import find_device
from anomseg.metrics import FailureDetection, JudgedImages, PerImage, PixelCurve
from anomseg.segmenters import load_segmenter
from anomseg.segmenters.base import Size


def evaluate(
    benchmark: str | Benchmark,
    root: str | Path | None = None,
    segmenter: Any = None,
    detectors: Detectors = (),
    out: str | Path | None = None,
    *,
    split: str | None = None,
    layout: str | None = None,
    held_out: Sequence[str] = (),
    label_values: str | ValueTable | None = None,
    protocol: str | Protocol = "default",
    size: Size | None = None,
    shard: Shard | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
    keep_maps: bool = False,
    allow_overlap: bool = False,
    overwrite: bool = False,
    limit: int | None = None,
    scores: str | Path | ScoresDirectory | None = None,
    bands: Sequence[int] = (),
    open_set_from: str | Path | None = None,
    on_progress: Progress = silent,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    task: Literal["anomaly", "failure"] = "anomaly",
    unknown: Unknown = "void",
) -> list[dict[str, Any]]:
    """Evaluate detectors, which share each forward pass, or a folder of anybody's maps.

    One frame at a time, so that shards and interrupted runs give the same figures to the last bit. A frame that
    cannot be used is skipped, named and counted in the cards; the same call on the same ``out`` continues an
    interrupted run.

    Args:
        benchmark: A registered name, with options where it takes any, or a benchmark.
        root: The folder that holds its data.
        segmenter: A network, or whatever `load_segmenter` takes; None where no detector needs one.
        detectors: Detectors, names or saved directories; a mapping gives the folders of results itself.
        out: Folder of results, ``out/<detector>/`` each; None keeps nothing but the cards returned.
        split: Part of the data; the benchmark's default when None.
        layout: How the data lie on disk; found out when None.
        held_out: Classes that count as anomalies, for data sets with class labels.
        label_values: What stored label values mean, instead of the benchmark's table.
        protocol: Name of a preset, or a protocol.
        size: Working size ``(height, width)`` before that of protocol and network.
        shard: ``(index, count)``: evaluate every count-th frame from index on; states and maps are written for
            `merge`, no figures.
        seed: Of intervals and of detectors that sample.
        device: Where networks run; bit-equality holds within one kind of device.
        keep_maps: Keep the float32 maps under ``out/<detector>/maps``.
        allow_overlap: Go on when a detector was fitted on some of the frames; the cards list them.
        overwrite: Replace another run's results in ``out``.
        limit: The first frames only.
        scores: A folder of maps named after the frames, instead of network and detectors.
        bands: Also figures on the pixels within so many pixels of the border of an anomalous object.
        open_set_from: A finished run of the same detectors on other frames, whose thresholds of 95 % recall the
            open-set figures also use.
        on_progress: Called after each frame.
        checkpoint_seconds: How often states are written.
        task: ``anomaly``: does the score find what no class explains; ``failure``: does what `Detector.assess` says
            find where the network's segmentation is wrong.
        unknown: What pixels count as in the task ``failure`` that the network has no class for: ``void``, or ``wrong``
            whatever is predicted there.

    Returns:
        One card a detector, as written to ``metrics.json``; none for a shard.

    Raises:
        ConfigError: A name or option is unknown, options do not go together, or ``out`` holds another run.
        DataError: There is nothing to evaluate, or a file cannot be written.
        CompatibilityError: A detector does not fit the network, or was fitted on frames of this run.
    """
    plan = make_plan(
        benchmark,
        root,
        load_segmenter(segmenter) if segmenter is not None else None,
        detectors,
        split=split,
        layout=layout,
        held_out=held_out,
        label_values=label_values,
        protocol=protocol,
        size=size,
        shard=shard,
        seed=seed,
        allow_overlap=allow_overlap,
        limit=limit,
        scores=scores,
        bands=bands,
        open_set_from=open_set_from,
        task=task,
        unknown=unknown,
    )
    target = find_device(device, plan.segmenter)
    if out is None:
        with tempfile.TemporaryDirectory(prefix="anomseg-") as folder:
            return run_plan(plan, Path(folder), target, keep_maps=False, overwrite=False, on_progress=on_progress)
    return run_plan(
        plan,
        Path(out),
        target,
        keep_maps=keep_maps,
        overwrite=overwrite,
        on_progress=on_progress,
        checkpoint_seconds=checkpoint_seconds,
    )


def run_plan(
    plan: Plan,
    out: Path,
    device: torch.device,
    *,
    keep_maps: bool = False,
    overwrite: bool = False,
    on_progress: Progress = silent,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    source: MapSource | None = None,
) -> list[dict[str, Any]]:
    """Carry out a run that `make_plan` settled; see `evaluate` for the arguments, the result and the errors.

    Args:
        plan: The run.
        out: Folder of results.
        device: Where networks run.
        keep_maps: Keep the float32 maps.
        overwrite: Replace another run's results.
        on_progress: Called after each frame.
        checkpoint_seconds: How often states are written.
        source: Where maps come from, in place of the plan's own network or folder.
    """
    resumed = claim(out, plan.record, overwrite=overwrite)
    states, failures = load_states(plan, out), load_failures(plan, out)
    segmentation = None
    if plan.table is not None:
        segmentation = SegmentationState.load(out, plan.table) or SegmentationState(plan.table)
    Runner(
        out,
        plan.own_frames,
        source or open_source(plan, device),
        {**states, **failures},
        segmentation,
        {**plan.judges, **plan.failure_judges},
        clean_frames=plan.protocol.clean_images,
        void_counts=plan.task == "anomaly" and plan.protocol.void_counts,
        components=plan.task == "anomaly" and plan.protocol.components,
        keep_maps=keep_maps,
        on_progress=on_progress,
        checkpoint_seconds=checkpoint_seconds,
    ).run()
    if plan.shard is not None:
        return []
    outcome = Outcome(out, plan.content, states, segmentation, failures)
    try:
        cards = outcome.finish(
            lambda folder, frame: MapCache(out / folder).read(frame), LabelCache(out).read, on_progress
        )
    except DataError:
        if not resumed and not failures and not any(state.evaluable for state in states.values()):
            release(out, plan.record)
        raise
    if not keep_maps:
        for folder in plan.folders:
            MapCache(out / folder).clear()
    LabelCache(out).clear()
    return cards


def load_states(plan: Plan, out: Path) -> dict[str, DetectorState]:
    """The states of all detectors of a run: those on disk, else empty ones."""
    memory = memory_each(len(plan.folders))
    states = {}
    for folder in plan.folders if plan.task == "anomaly" else ():
        state = DetectorState.load(out / folder, memory) or _empty_state(plan, folder, memory)
        state.no_classes = plan.why_no_classes(folder) or state.no_classes
        states[folder] = state
    return states


def load_failures(plan: Plan, out: Path) -> dict[str, FailureState]:
    """The states of all detectors of a failure run: those on disk, else empty ones."""
    memory = memory_each(len(plan.folders))
    rules = (plan.protocol.fpr_rule, plan.protocol.ap_rule)
    return {
        folder: FailureState.load(out / folder, memory)
        or FailureState(judge.table.network.names, FailureDetection(*rules, memory))
        for folder, judge in plan.failure_judges.items()
    }


def _empty_state(plan: Plan, folder: str, memory: int) -> DetectorState:
    rules = (plan.protocol.fpr_rule, plan.protocol.ap_rule)
    classes = None
    if folder in plan.judges:
        classes = ClassState.empty(
            plan.judges[folder].table.target.names,
            plan.known_classes(folder),
            JudgedImages(PerImage(*rules), PerImage(*rules)),
            memory // 4,
            segments=plan.detectors[folder].segments,
            second=second_half(plan.frames),
        )
    return DetectorState(
        PixelCurve(*rules, memory),
        PerImage(*rules),
        calibration=calibration_of(plan.detectors[folder]) if folder in plan.detectors else None,
        classes=classes,
        no_classes=plan.why_no_classes(folder),
        paste_control=_paste_control(plan, memory),
        bands=[BandState.empty(width, *rules, memory // 4) for width in plan.bands],
        # They compare exact scores with the inliers of the curve, which such a protocol has lowered.
        sizes=ObjectSizes() if plan.protocol.score_storage == "float32" else None,
        storage=plan.protocol.score_storage,
    )


def _paste_control(plan: Plan, memory: int) -> PasteControl | None:
    """An empty state of the paste control; None where no frame tells which of its inliers were pasted."""
    if not any(has_control(frame) for frame in plan.frames):
        return None
    rules = (plan.protocol.fpr_rule, plan.protocol.ap_rule)
    return PasteControl.empty(JudgedImages(PerImage(*rules), PerImage(*rules)), memory // 4)


def open_source(plan: Plan, device: torch.device | str, *, segment: bool = False) -> MapSource:
    """Where the maps of a run come from: its detectors on its network, or its folder of maps.

    Args:
        plan: The run.
        device: Where networks run.
        segment: The network's own class map is wanted too; it is also where the run compares classes.
    """
    if plan.scores is not None:
        return FolderSource(plan.scores, plan.folders[0])
    segment = plan.segmenter is not None and (segment or plan.table is not None)
    return NetworkSource(
        plan.detectors,
        plan.segmenter,
        plan.size,
        torch.device(device),
        seed=plan.seed,
        segment=segment,
        judged=frozenset((*plan.judges, *plan.failure_judges)),
        assess=plan.task == "failure",
    )
