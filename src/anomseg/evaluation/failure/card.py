"""From finished states to the result cards of failure detection: ``metrics.json``, ``per_image.csv``, ``curve.npz``."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anomseg.errors import DataError
from anomseg.evaluation.cards import (
    CARD_FILE,
    CURVE_FILE,
    PER_IMAGE_FILE,
    frame_rate,
    listed,
    rounded_seconds,
    shared_part,
)
from anomseg.evaluation.failure.state import FailureState
from anomseg.files import atomic_write, write_json, write_text
from anomseg.inference.provenance import plain
from anomseg.metrics import (
    ClassQuality,
    Intervals,
    QualityFigures,
    failure_difference,
    failure_intervals,
    quality_intervals,
)

TASK = "failure"
NO_MAP = "the detector judges classes, not pixels"
NO_QUALITY = "the detector judges pixels, not classes"
_FIGURES = ("aupr_error", "aupr_success", "nap", "auroc", "fpr95", "fpr95_pooled", "fpr95_frames")
_COLUMNS = (
    "frame", "group", "right", "wrong", "void", "error_rate", "ap", "auroc", "fpr95", "predicted_quality",
    "true_quality",
)  # fmt: skip


def finish_failures(
    out: Path, header: Mapping[str, Any], states: Mapping[str, FailureState], order: Sequence[str]
) -> list[dict[str, Any]]:
    """Write the results of every detector.

    Args:
        out: Folder of results.
        header: What all cards of the run share.
        states: Finished states by folder.
        order: Ids of the frames in the order of the run.

    Returns:
        The cards, in the order of the detectors.

    Raises:
        DataError: No frame could be evaluated, or a file cannot be written.
    """
    if not any(state.rows for state in states.values()):
        skipped = next(iter(states.values())).skipped
        reason = next((skipped[frame] for frame in order if frame in skipped), "nothing was read")
        raise DataError(f"none of {len(order)} frames could be evaluated; the first because: {reason}")
    seed = int(header["seed"])
    controls = [folder for folder, card in header["detectors"].items() if card.get("control")]
    cards = []
    for folder, state in states.items():
        comparison = {control: _difference(state, states[control], seed) for control in controls if control != folder}
        card = {**failure_card(header, folder, state, seed), "comparison": comparison}
        write_text(out / folder / PER_IMAGE_FILE, per_image_csv(state, order))
        if state.pixels.evaluable:
            points = state.pixels.pixels.points()
            with atomic_write(out / folder / CURVE_FILE) as stream:
                np.savez(
                    stream, **{name: getattr(points, name) for name in ("recall", "precision", "fpr", "threshold")}
                )
        write_json(out / folder / CARD_FILE, card)
        cards.append(card)
    return cards


def failure_card(header: Mapping[str, Any], folder: str, state: FailureState, seed: int) -> dict[str, Any]:
    """The card of one detector, JSON-ready: undefined figures are None, with the reason beside them.

    Args:
        header: What all cards of the run share: benchmark, protocol, segmenter, detector cards, identity.
        folder: The detector's folder.
        state: Its finished state.
        seed: Of the resampling.
    """
    pixels = {kind: sum(getattr(row, kind) for row in state.rows.values()) for kind in ("right", "wrong", "void")}
    valid = pixels["right"] + pixels["wrong"]
    return plain(
        {
            **shared_part(header, TASK),
            "folder": folder,
            "detector": header["detectors"][folder],
            "frames": len(state.rows),
            "pixels": pixels,
            "prevalence": pixels["wrong"] / valid if valid else None,
            **_pixel_parts(state, seed),
            **_quality_parts(state, seed, (header.get("unscored_classes") or {}).get(folder, [])),
            "parameter_counts": (header.get("parameter_counts") or {}).get(folder),
            "skipped": listed(state.skipped, header["frame_order"]),
            "seconds": rounded_seconds(state.seconds),
            "frames_per_second": frame_rate(len(state.rows), state.seconds.get("total", 0.0)),
        }
    )


def _pixel_parts(state: FailureState, seed: int) -> dict[str, Any]:
    if not state.pixels.evaluable:
        kind = "wrong" if state.pixels.pixels.inlier else "right"
        reason = f"no pixel of any frame is {kind}" if state.pixels.frames else NO_MAP
        parts = dict.fromkeys((TASK, f"{TASK}_ci95", "per_image_mean"))
        return {**parts, f"{TASK}_reason": reason, f"{TASK}_ci95_reason": reason}
    result = state.pixels.compute()
    intervals = failure_intervals(state.pixels, seed=seed)
    return {
        TASK: {name: getattr(result, name) for name in _FIGURES},
        f"{TASK}_reason": None,
        f"{TASK}_ci95": _interval_part(intervals),
        f"{TASK}_ci95_reason": intervals.reason,
        "per_image_mean": vars(state.pixels.images.compute()),
    }


def _quality_parts(state: FailureState, seed: int, unscored: Sequence[str]) -> dict[str, Any]:
    if state.quality is None:
        return {"class_quality": None, "class_quality_reason": NO_QUALITY}
    return {"class_quality": _quality(state.quality, seed, unscored), "class_quality_reason": None}


def _quality(quality: ClassQuality, seed: int, unscored: Sequence[str]) -> dict[str, Any]:
    result = quality.compute()
    intervals = quality_intervals(quality, seed=seed)
    return {
        "measure": result.measure,
        **_told(result.mean),
        "classes_counted": result.counted,
        "image": _told(result.image),
        "classes": {name: _told(figures) for name, figures in result.classes.items()},
        "unscored": list(unscored),
        "ci95": _interval_part(intervals),
        "ci95_reason": intervals.reason,
    }


def _told(figures: QualityFigures) -> dict[str, Any]:
    return dict(vars(figures))


def _interval_part(intervals: Intervals) -> dict[str, Any] | None:
    if intervals.figures is None:
        return None
    figures = {name: list(interval) for name, interval in intervals.figures.items()}
    return {**figures, "samples": intervals.samples, "groups": intervals.groups}


def _difference(state: FailureState, control: FailureState, seed: int) -> dict[str, Any]:
    """Pooled AUPR-Error less that of a control on the same segmentation."""
    nothing = {"ap": None, "ci95": None, "above": None}
    if not state.pixels.evaluable or not control.pixels.evaluable:
        return {**nothing, "reason": NO_MAP if not state.pixels.frames else "no pixel is wrong, or none is right"}
    if state.rows != control.rows:
        return {**nothing, "reason": "they judge other frames, or the segmentation of another network"}
    paired = failure_difference(state.pixels, control.pixels, seed=seed)
    interval = paired.intervals.figures["aupr_error"] if paired.intervals.figures else None
    return {
        "ap": paired.difference["aupr_error"],
        "ci95": list(interval) if interval else None,
        "above": interval[0] > 0 if interval else None,
        "reason": paired.intervals.reason,
    }


def per_image_csv(state: FailureState, order: Sequence[str]) -> str:
    """Figures of each counted frame as CSV, in the order of the run; undefined ones are empty.

    ``true_quality`` is the mean true overlap over the classes that the frame shows, ``predicted_quality`` the mean of
    what the detector expects of them.
    """
    figures = {row.frame: row for row in state.pixels.images.figures()}
    predicted: dict[str, float] = {}
    if state.quality is not None:
        predicted = dict(zip(state.quality.frames, state.quality.image_values()[0].tolist(), strict=True))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for frame in state.ordered(order):
        row, found, guess = state.rows[frame], figures.get(frame), predicted.get(frame, np.nan)
        valid = row.right + row.wrong
        values = [
            *(frame, row.group, row.right, row.wrong, row.void),
            row.wrong / valid if valid else None,
            *(getattr(found, name, None) for name in ("ap", "auroc", "fpr95")),
            None if np.isnan(guess) else guess,
            row.overlap,
        ]
        writer.writerow(["" if value is None else value for value in values])
    return stream.getvalue()
