"""From finished states to result cards: ``metrics.json``, ``per_image.csv`` and ``curve.npz``."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from anomseg._version import __version__
from anomseg.evaluation.bands import band_cards
from anomseg.evaluation.class_figures import NO_ANOMALY, class_parts
from anomseg.evaluation.clean_alarms import clean_alarms_part
from anomseg.evaluation.intervals import intervals_of_means
from anomseg.evaluation.margins import calibrated_part, margin_curves, margin_part
from anomseg.evaluation.paste_control import NO_CONTROL, NO_PASTED
from anomseg.evaluation.probabilities import probability_part
from anomseg.evaluation.states import DetectorState
from anomseg.evaluation.stored_threshold import stored_part
from anomseg.files import atomic_write, write_json, write_text
from anomseg.inference.provenance import plain
from anomseg.metrics import (
    ImageFigures,
    Intervals,
    PixelResult,
    bootstrap_intervals,
    paired_difference,
)

SCHEMA = 1
CARD_FILE, PER_IMAGE_FILE, CURVE_FILE = "metrics.json", "per_image.csv", "curve.npz"
_PIXEL = ("ap", "nap", "auroc", "fpr95", "best_f1", "best_f1_threshold")
_SHARED = (
    "benchmark",
    "split",
    "held_out",
    "protocol",
    "segmenter",
    "size",
    "segmentation",
    "shards",
    "seed",
    "identity",
    "warnings",
)
_COLUMNS = ("frame", "group", "inlier", "anomaly", "void", "ap", "auroc", "fpr95")


def anomaly_card(header: Mapping[str, Any], folder: str, state: DetectorState, seed: int) -> dict[str, Any]:
    """The card of one detector, JSON-ready: NaN and undefined figures are None.

    Args:
        header: What all cards of the run share: benchmark, protocol, segmenter, detector cards, identity.
        folder: The detector's folder.
        state: Its finished state.
        seed: Of the resampling.
    """
    result = state.result if state.evaluable else None
    figures = [row for row in state.per_image.figures() if row.ap is not None]
    detector = header["detectors"][folder]
    card = {
        **shared_part(header, "anomaly"),
        "folder": folder,
        "detector": detector,
        "frames": len(state.frames),
        "pixels": {name: getattr(result, name, 0) for name in ("inlier", "anomaly", "void")},
        "prevalence": result.prevalence if result else None,
        "pixel": _headline(header["protocol"], result, figures),
        "pixel_ci95": None,
        "pixel_ci95_reason": NO_ANOMALY,
        "fpr95_by_rule": result.fpr95_by_rule if result else None,
        "per_image_mean": vars(state.per_image.compute()),
        "component": _component(state),
        **clean_alarms_part(state.alarms, passed=state.component is not None),
        "stored_threshold": stored_part(state, detector.get("calibration")) if result else None,
        "mdm": margin_part(state) if detector.get("bounded") and result else None,
        "mdm_calibrated": calibrated_part(state, detector["calibration"]) if state.calibration and result else None,
        **probability_part(state, bounded=bool(detector.get("bounded"))),
        **class_parts(state, seed, (header.get("open_set_from") or {}).get(folder)),
        "bands": band_cards(state.bands, seed),
        "object_sizes": state.sizes.card(state.curve) if state.sizes is not None and result else None,
        **_paste_control(state, seed),
        "parameter_counts": (header.get("parameter_counts") or {}).get(folder),
        "skipped": listed(state.skipped, header["frame_order"]),
        "dropped_clean_frames": len(state.dropped),
        "seconds": rounded_seconds(state.seconds),
        "frames_per_second": frame_rate(len(state.frames), state.seconds.get("total", 0.0)),
    }
    if result and header["protocol"]["aggregation"] == "per_image":
        card |= _interval_part(intervals_of_means(figures, seed=seed))
        card["pooled"] = {name: getattr(result, name) for name in _PIXEL}
    elif result:
        card |= _interval_part(bootstrap_intervals(state.per_image, seed=seed))
    return plain(card)


def segmentation_card(header: Mapping[str, Any], skipped: Mapping[str, str]) -> dict[str, Any]:
    """The card of a network without detectors, where frames have classes and no anomalies."""
    frames = header["segmentation"]["frames"] if header["segmentation"] else 0
    return plain(
        {
            **shared_part(header, "segmentation"),
            "detector": None,
            "frames": frames,
            "skipped": listed(skipped, header["frame_order"]),
        }
    )


def compare_to_controls(
    states: Mapping[str, DetectorState], controls: Sequence[str], seed: int
) -> dict[str, dict[str, Any]]:
    """Paired differences of pooled AP between every detector and every control, over the frames of both.

    Args:
        states: States by folder.
        controls: Folders of the controls among them.
        seed: Of the resampling, shared by all pairs.

    Returns:
        For each detector: per control the AP difference (detector less control), its interval, and whether it is
        above 0; or the reason why there is none.
    """
    comparison: dict[str, dict[str, Any]] = {}
    for folder, state in states.items():
        comparison[folder] = {
            control: _difference(state, states[control], seed) for control in controls if control != folder
        }
    return comparison


def write_card(directory: Path, card: Mapping[str, Any], state: DetectorState | None, frames: Sequence[str]) -> None:
    """Write a detector's results: curve and per-image figures first, the card last.

    Args:
        directory: The detector's folder.
        card: From `anomaly_card` or `segmentation_card`.
        state: The detector's state; None for a card of the network alone.
        frames: Ids in the order of the run.

    Raises:
        DataError: A file cannot be written.
    """
    if state is not None:
        write_text(directory / PER_IMAGE_FILE, per_image_csv(state, frames))
        if state.evaluable:
            points = state.curve.points()
            curves = {name: getattr(points, name) for name in ("recall", "precision", "fpr", "threshold")}
            curves |= margin_curves(state, bounded=bool(card["detector"].get("bounded")))
            with atomic_write(directory / CURVE_FILE) as stream:
                np.savez(stream, **curves)
    write_json(directory / CARD_FILE, card)


def per_image_csv(state: DetectorState, frames: Sequence[str]) -> str:
    """Figures of each counted frame as CSV, in the order of the run; undefined ones are empty."""
    rows = {row.frame: row for row in state.per_image.figures()}
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for frame in frames:
        if frame in rows:
            values = [getattr(rows[frame], name) for name in _COLUMNS]
            writer.writerow(["" if value is None else value for value in values])
    return stream.getvalue()


def shared_part(header: Mapping[str, Any], task: str) -> dict[str, Any]:
    """What all cards of a run begin with."""
    return {"schema": SCHEMA, "library_version": __version__, "task": task, **{name: header[name] for name in _SHARED}}


def _headline(
    protocol: Mapping[str, Any], result: PixelResult | None, figures: Sequence[ImageFigures]
) -> dict[str, float | None]:
    """The ``pixel`` part: pooled, or means over images where the protocol says so (best F1 stays pooled)."""
    if result is None:
        return dict.fromkeys(_PIXEL)
    pixel: dict[str, float | None] = {name: getattr(result, name) for name in _PIXEL}
    if protocol["aggregation"] == "per_image":
        means = {name: _mean([getattr(row, name) for row in figures]) for name in ("ap", "auroc", "fpr95")}
        chance = _mean([row.anomaly / (row.anomaly + row.inlier) for row in figures])
        ap = means["ap"]
        pixel |= means
        pixel["nap"] = (ap - chance) / (1 - chance) if ap is not None and chance is not None else None
    return pixel


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _interval_part(intervals: Intervals) -> dict[str, Any]:
    if intervals.figures is None:
        return {"pixel_ci95": None, "pixel_ci95_reason": intervals.reason}
    figures = {name: list(interval) for name, interval in intervals.figures.items()}
    return {
        "pixel_ci95": {**figures, "samples": intervals.samples, "groups": intervals.groups},
        "pixel_ci95_reason": None,
    }


def _component(state: DetectorState) -> dict[str, Any] | None:
    return None if state.component is None else vars(state.component.compute())


def _paste_control(state: DetectorState, seed: int) -> dict[str, Any]:
    reason = NO_CONTROL if state.paste_control is None else None if state.evaluable else NO_ANOMALY
    figures = None
    if state.paste_control is not None and reason is None:
        figures = state.paste_control.card(state.curve, state.result.best_f1_threshold, seed)
        reason = None if figures else NO_PASTED
    return {"paste_control": figures, "paste_control_reason": reason}


def _difference(state: DetectorState, control: DetectorState, seed: int) -> dict[str, Any]:
    if state.frames != control.frames:
        both, either = len(state.frames & control.frames), len(state.frames | control.frames)
        return {"ap": None, "ci95": None, "above": None, "reason": f"they share {both} of {either} frames"}
    if not state.evaluable:
        return {"ap": None, "ci95": None, "above": None, "reason": NO_ANOMALY}
    paired = paired_difference(state.per_image, control.per_image, seed=seed)
    interval = paired.intervals.figures["ap"] if paired.intervals.figures else None
    return {
        "ap": paired.difference["ap"],
        "ci95": list(interval) if interval else None,
        "above": interval[0] > 0 if interval else None,
        "reason": paired.intervals.reason,
    }


def listed(skipped: Mapping[str, str], order: Sequence[str]) -> list[dict[str, str]]:
    """Frames that could not be counted and why, in the order of the run."""
    return [{"frame": frame, "reason": skipped[frame]} for frame in order if frame in skipped]


def rounded_seconds(seconds: Mapping[str, float]) -> dict[str, float]:
    """Wall seconds by kind of work."""
    return {kind: round(seconds.get(kind, 0.0), 4) for kind in ("forward", "score", "metrics", "total")}


def frame_rate(frames: int, seconds: float) -> float | None:
    """Frames a second; None where nothing was measured."""
    return round(frames / seconds, 4) if frames and seconds > 0 and math.isfinite(seconds) else None
