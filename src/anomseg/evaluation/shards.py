"""`merge`: shards of one run become the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from anomseg.benchmarks import get_benchmark
from anomseg.errors import ConfigError, DataError
from anomseg.evaluation.class_table import class_table
from anomseg.evaluation.failure.state import FailureState
from anomseg.evaluation.finish import Outcome
from anomseg.evaluation.frame_state import FrameState
from anomseg.evaluation.maps import LabelCache, MapCache
from anomseg.evaluation.progress import Progress, silent
from anomseg.evaluation.run_folder import RunRecord, claim, differences, read_record
from anomseg.evaluation.segmentation import SegmentationState
from anomseg.evaluation.states import DetectorState, check_complete, memory_each

State = TypeVar("State", DetectorState, FailureState)


def merge(
    directories: Sequence[str | Path],
    out: str | Path,
    *,
    keep_maps: bool = False,
    overwrite: bool = False,
    on_progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Merge the shards of a run and write the figures of the whole, bit-equal to one run.

    The shards stay as they are; neither the data set nor the network is needed.

    Args:
        directories: What `evaluate` wrote for each shard.
        out: Folder of the merged results.
        keep_maps: Copy the shards' maps.
        overwrite: Replace another run's results in ``out``.
        on_progress: Called after each frame of the component pass.

    Returns:
        One card a detector, as `evaluate` returns for the whole run.

    Raises:
        ConfigError: The folders are of different runs, or ``out`` holds another run.
        DataError: A folder holds no run, a frame is in two shards or in none, or there is nothing to evaluate.
    """
    folders, target = [Path(directory) for directory in directories], Path(out)
    records = _records(folders)
    content = records[0].content
    memory = memory_each(len(content["detectors"]) * (len(folders) + 1))
    load, load_failure = partial(DetectorState.load, memory=memory), partial(FailureState.load, memory=memory)
    states = {name: _merged(name, folders, load) for name in _detectors(content, "anomaly")}
    failures = {name: _merged(name, folders, load_failure) for name in _detectors(content, "failure")}
    segmentation = _merged_segmentation(folders, content)
    expected = list(content["frames"])
    every: dict[str, FrameState] = {**states, **failures}
    check_complete(every, expected)
    if not states and not failures and segmentation is not None:
        segmentation.check_complete(expected)
    claim(target, RunRecord(content, records[0].folders, merged_from=len(folders)), overwrite=overwrite)
    for name, state in every.items():
        state.save(target / name)
    if segmentation is not None:
        segmentation.save(target)
    caches = {name: [MapCache(folder / name) for folder in folders] for name in every}
    labels = [LabelCache(folder) for folder in folders]
    outcome = Outcome(target, content, states, segmentation, failures, shards=len(folders))
    cards = outcome.finish(
        lambda name, frame: _holder(caches[name], frame).read(frame),
        lambda frame: _holder(labels, frame).read(frame),
        on_progress,
    )
    if keep_maps:
        for name, state in every.items():
            for frame in sorted(state.frames) if state.has_maps else ():
                MapCache(target / name).write(frame, _holder(caches[name], frame).read(frame))
    return cards


def _records(folders: Sequence[Path]) -> list[RunRecord]:
    if not folders:
        raise ConfigError("no folders to merge; give those that evaluate --shard wrote")
    records: list[RunRecord] = []
    for folder in folders:
        record = read_record(folder)
        if record is None:
            raise DataError(f"{folder} holds no run; give folders that evaluate --shard wrote")
        if record.shard is None:
            raise ConfigError(f"{folder} is a whole run, no shard: its figures stand there, with nothing to merge")
        if records and record.identity != records[0].identity:
            apart = ", ".join(differences(records[0].content, record.content))
            raise ConfigError(f"{folder} is of another run than {folders[0]} ({apart} differ); merge shards of one run")
        records.append(record)
    return records


def _detectors(content: Any, task: str) -> list[str]:
    return list(content["detectors"]) if content["task"] == task else []


def _merged(name: str, folders: Sequence[Path], load: Callable[[Path], State | None]) -> State:
    parts = []
    for folder in folders:
        state = load(folder / name)
        if state is None:
            raise DataError(f"{folder} has no state of {name}; finish that shard first")
        parts.append(state)
    return parts[0].merge(*parts[1:])


def _merged_segmentation(folders: Sequence[Path], content: Any) -> SegmentationState | None:
    target = get_benchmark(content["benchmark"]).spec.label_space
    network = content["segmenter"]
    table = class_table(network["classes"], network["name"], target) if network and target else None
    if table is None:
        return None
    parts = [state for folder in folders if (state := SegmentationState.load(folder, table)) is not None]
    return parts[0].merge(*parts[1:]) if parts else None


def _holder(caches: Sequence[Any], frame: str) -> Any:
    return next((cache for cache in caches if frame in cache), caches[0])
