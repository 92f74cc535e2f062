"""The maximal detection margin of a finished state, raw and calibrated, and the F1 curves it is read from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomseg.evaluation.states import DetectorState
from anomseg.metrics import detection_margin, f1_curve, margin_thresholds

QUALITY, STEPS = 0.7, 1000


def raw_f1(state: DetectorState) -> NDArray[np.float64]:
    """``(STEPS,)`` F1 at the thresholds ``i / STEPS`` of a score that lies in [0, 1]."""
    return _f1_at(state, margin_thresholds(STEPS))


def calibrated_f1(state: DetectorState) -> NDArray[np.float64] | None:
    """``(STEPS,)`` F1 at the thresholds ``i / STEPS`` of the calibrated score; None without a calibration.

    The scale is increasing, so each of its thresholds is one of the raw score, and the counts of raw scores decide.
    """
    if state.calibration is None:
        return None
    return _f1_at(state, state.calibration.threshold(margin_thresholds(STEPS)))


def margin_part(state: DetectorState) -> dict[str, Any]:
    """The ``mdm`` of a card: value, quality, steps, and the ends of the interval (None where there is none)."""
    return _told(raw_f1(state))


def calibrated_part(state: DetectorState, calibration: dict[str, Any]) -> dict[str, Any] | None:
    """The ``mdm_calibrated`` of a card; None without a calibration.

    Args:
        state: A finished state.
        calibration: The ``calibration`` of the detector's card, for the provenance.

    Returns:
        As `margin_part`, with the raw scores and the false-alarm rates that the ends stand for, and the calibration.
    """
    f1, scale = calibrated_f1(state), state.calibration
    if f1 is None or scale is None:
        return None
    part = _told(f1)
    ends = part["interval"]
    return {
        **part,
        "interval_raw": [float(scale.threshold(end)) for end in ends] if ends else None,
        "interval_false_alarm_rate": [scale.false_alarm_rate(end) for end in ends] if ends else None,
        "calibration": {
            "name": calibration["kind"],
            "decades": scale.decades,
            **{key: calibration[key] for key in ("data", "frames", "pixels", "reach", "sha256", "table_sha256")},
        },
    }


def margin_curves(state: DetectorState, *, bounded: bool) -> dict[str, NDArray[np.float64]]:
    """What ``curve.npz`` keeps: ``margin_threshold``, and F1 there as ``margin_f1`` and ``margin_f1_calibrated``."""
    curves = {"margin_f1": raw_f1(state)} if bounded else {}
    calibrated = calibrated_f1(state)
    if calibrated is not None:
        curves["margin_f1_calibrated"] = calibrated
    return {"margin_threshold": np.arange(STEPS) / STEPS, **curves} if curves else {}


def _f1_at(state: DetectorState, thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    hits, alarms = state.curve.counts_at(thresholds)
    return f1_curve(hits, alarms, state.result.anomaly)


def _told(f1: NDArray[np.float64]) -> dict[str, Any]:
    margin = detection_margin(f1, QUALITY)
    return {
        "value": margin.value,
        "quality": margin.quality,
        "steps": margin.steps,
        "interval": list(margin.interval) if margin.interval else None,
    }
