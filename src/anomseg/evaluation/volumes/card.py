"""Result cards of failure detection in volumes: ``metrics.json``, ``cases.csv`` and the state ``quality.npz``."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anomseg._version import __version__
from anomseg.data.volumes import Case
from anomseg.errors import DataError
from anomseg.evaluation.volumes.state import VolumeState
from anomseg.files import write_json, write_text
from anomseg.inference.provenance import plain
from anomseg.metrics import ClassQuality, Intervals, failure_intervals, quality_difference, quality_intervals
from anomseg.metrics.class_quality import quality_figures

SCHEMA, TASK = 1, "failure"
CARD_FILE, CASES_FILE, STATE_FILE = "metrics.json", "cases.csv", "quality.npz"
_VOXELS = ("aupr_error", "aupr_success", "nap", "auroc", "fpr95", "fpr95_pooled", "prevalence")
_COMPARED = ("mae", "pearson", "spearman")


def finish_cards(
    out: Path,
    states: Mapping[str, VolumeState],
    headers: Mapping[str, Mapping[str, Any]],
    cases: Mapping[str, Case],
    known: Sequence[str] = (),
) -> dict[str, dict[str, Any]]:
    """Write the results of every detector.

    Args:
        out: Folder of results.
        states: Finished states by name.
        headers: What else each card says.
        cases: The cases by id.
        known: Names of detectors that were done before, to be compared with too.

    Returns:
        The cards by name.

    Raises:
        DataError: No case could be used.
    """
    for state in states.values():
        if not state.quality.frames:
            first = next(iter(state.skipped.values()), "there are none")
            raise DataError(f"none of {len(cases)} cases could be evaluated; the first because: {first}")
    for name, state in states.items():
        (out / name).mkdir(parents=True, exist_ok=True)
        state.quality.save(out / name / STATE_FILE)
        write_text(out / name / CASES_FILE, _csv(state, cases))
    qualities = {name: state.quality for name, state in states.items()}
    qualities |= {name: ClassQuality.load(out / name / STATE_FILE) for name in known}
    cards = {}
    for name, state in states.items():
        others = {other: quality for other, quality in qualities.items() if other != name}
        card = plain(_card(name, state, headers[name], cases, others))
        write_json(out / name / CARD_FILE, card)
        cards[name] = card
    return cards


def _card(
    name: str,
    state: VolumeState,
    header: Mapping[str, Any],
    cases: Mapping[str, Case],
    others: Mapping[str, ClassQuality],
) -> dict[str, Any]:
    seed = int(header["seed"])
    count = len(state.quality.frames)
    return {
        "schema": SCHEMA,
        "task": TASK,
        "kind": "volumes",
        "folder": name,
        "benchmark": header["benchmark"],
        "detector": header["detector"],
        "frames": count,
        "groups": len(set(state.quality.groups)),
        "undefined": state.undefined,
        "overlap": header["overlap"],
        "class_quality": _quality(state.quality, seed),
        "by_kind": _by_kind(state.quality, cases),
        "voxels": _voxels(state, seed),
        "comparison": {other: _difference(state.quality, quality, seed) for other, quality in others.items()},
        "skipped": [{"frame": one, "reason": reason} for one, reason in state.skipped.items()],
        "seconds": {"total": round(state.seconds, 3), "case": round(state.seconds / count, 4)},
        "seed": seed,
        "identity": header["identity"],
        "library_version": __version__,
    }


def _quality(quality: ClassQuality, seed: int) -> dict[str, Any]:
    result, intervals = quality.compute(), quality_intervals(quality, seed=seed)
    return {
        "measure": result.measure,
        **vars(result.mean),
        "classes_counted": result.counted,
        "classes": {target: dict(vars(figures)) for target, figures in result.classes.items()},
        "ci95": _intervals(intervals),
        "ci95_reason": intervals.reason,
    }


def _intervals(intervals: Intervals) -> dict[str, Any] | None:
    if intervals.figures is None:
        return None
    told = {name: list(interval) for name, interval in intervals.figures.items() if not name.startswith("image_")}
    return {**told, "samples": intervals.samples, "groups": intervals.groups}


def _by_kind(quality: ClassQuality, cases: Mapping[str, Case]) -> dict[str, Any]:
    """Figures of each kind of made failure; nothing where cases name none."""
    kinds = [cases[frame].meta.get("kind") for frame in quality.frames]
    predicted, true = quality.image_values()
    found = {}
    for kind in sorted({one for one in kinds if one}):
        rows = np.array([one == kind for one in kinds])
        found[str(kind)] = dict(vars(quality_figures(predicted[rows], true[rows], "are of this kind")))
    return found


def _voxels(state: VolumeState, seed: int) -> dict[str, Any] | None:
    if not state.voxels.evaluable:
        return None
    result, intervals = state.voxels.compute(), failure_intervals(state.voxels, seed=seed)
    return {**{name: getattr(result, name) for name in _VOXELS}, "ci95": _intervals(intervals)}


def _difference(first: ClassQuality, second: ClassQuality, seed: int) -> dict[str, Any]:
    """Figures less another detector's, with paired intervals; the reason where they judged other cases."""
    try:
        paired = quality_difference(first, second, seed=seed)
    except DataError as error:
        return {"reason": str(error)}
    limits = paired.intervals.figures or {}
    return {
        name: {"difference": paired.difference.get(name), "ci95": list(limits[name]) if name in limits else None}
        for name in _COMPARED
    }


def _csv(state: VolumeState, cases: Mapping[str, Case]) -> str:
    """Foretold and true Dice of each case and target, with what is known of its failure; undefined ones are empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("case", "group", "target", "predicted_dice", "true_dice", "kind", "severity"))
    content = state.quality.content()[1]
    predicted, true = np.asarray(content["predicted"]), np.asarray(content["true"])
    for row, frame in enumerate(state.quality.frames):
        case = cases[frame]
        for column, target in enumerate(state.quality.names):
            values = (predicted[row, column], true[row, column])
            told = ["" if np.isnan(value) else repr(round(float(value), 6)) for value in values]
            severity = case.meta.get("severity")
            more = (case.meta.get("kind", ""), "" if severity is None else round(float(severity), 4))
            writer.writerow((frame, case.cluster, target, *told, *more))
    return stream.getvalue()
