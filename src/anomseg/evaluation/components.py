"""The second pass: component metrics over cached maps, at a threshold that only the pooled curve knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from anomseg.evaluation.clean_alarms import AlarmState
from anomseg.evaluation.progress import Progress, silent
from anomseg.evaluation.states import DetectorState
from anomseg.metrics import ComponentScore, ObjectRecall
from anomseg.types import UInt8Array

#: Reads the float32 map of a detector (by folder) and a frame (by id).
MapReader = Callable[[str, str], NDArray[np.float32]]
#: Reads the label of a frame (by id).
LabelReader = Callable[[str], UInt8Array]


def threshold_below(threshold: float) -> float:
    """The largest float32 below a score, so that ``score > result`` selects what ``score >= threshold`` does.

    Example:
        >>> score = np.float32([0.1, 0.25, 0.5])
        >>> bool(((score > threshold_below(0.25)) == (score >= 0.25)).all())
        True
    """
    return float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))


def score_components(
    states: Mapping[str, DetectorState],
    order: Sequence[str],
    *,
    smallest: tuple[int, int],
    read_map: MapReader,
    read_label: LabelReader,
    on_progress: Progress = silent,
) -> list[str]:
    """Bring the component metrics of all detectors up to date; states that have them already are left alone.

    False alarms on clean frames come with them: their threshold is known once all objects have been seen.

    Args:
        states: States by folder; their ``component`` is set.
        order: Ids of the frames of the run.
        smallest: Least sizes of a predicted and of an anomaly component in pixels.
        read_map: Where the maps of the first pass are.
        read_label: Where its labels are.
        on_progress: Called after each frame.

    Returns:
        Folders whose component metrics were computed now.

    Raises:
        DataError: A cached map or label is missing or damaged.
    """
    fresh: dict[str, ComponentScore] = {}
    alarms: dict[str, AlarmState] = {}
    for folder, state in states.items():
        if state.evaluable and not _is_current(state):
            fresh[folder] = ComponentScore(*smallest, threshold_below(state.result.best_f1_threshold))
            alarms[folder] = AlarmState(ObjectRecall(smallest[1]))
    todo = [frame for frame in order if any(frame in states[folder].frames for folder in fresh)]
    for done, frame in enumerate(todo, 1):
        label = read_label(frame)
        for folder, component in fresh.items():
            if frame in states[folder].frames:
                score = read_map(folder, frame)
                component.update(score, label, frame)
                alarms[folder].see(score, label, frame)
        on_progress(done, len(todo), f"components {frame}")
    for folder, component in fresh.items():
        clean = [row.frame for row in states[folder].per_image.figures() if row.inlier and not row.anomaly]
        alarms[folder].settle(len(clean), smallest[0])
        counter = alarms[folder].alarms
        if counter is not None:
            for frame in clean:
                counter.update(read_map(folder, frame), read_label(frame), frame)
        states[folder].component, states[folder].alarms = component, alarms[folder]
    return list(fresh)


def _is_current(state: DetectorState) -> bool:
    return state.component is not None and set(state.component.frames) == state.frames
