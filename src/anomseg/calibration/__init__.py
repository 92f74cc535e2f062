"""Calibration: what raw scores mean in false alarms on in-distribution frames, and thresholds that follow from it."""

from anomseg.calibration.calibrator import calibrate_detector, calibration_of, notes_on, valid_pixels
from anomseg.calibration.conformal import RiskControl, control_risk, units_needed
from anomseg.calibration.frame_scores import LOSSES, FrameScores, Loss
from anomseg.calibration.statistics import ScoreStatistics
from anomseg.calibration.tail import LEVELS, TailScale, tail_scale
from anomseg.calibration.thresholds import (
    ORACLE,
    RULES,
    Rule,
    StoredThreshold,
    ThresholdRule,
    quantile_threshold,
    stored_threshold,
)

__all__ = [
    "LEVELS",
    "LOSSES",
    "ORACLE",
    "RULES",
    "FrameScores",
    "Loss",
    "RiskControl",
    "Rule",
    "ScoreStatistics",
    "StoredThreshold",
    "TailScale",
    "ThresholdRule",
    "calibrate_detector",
    "calibration_of",
    "control_risk",
    "notes_on",
    "quantile_threshold",
    "stored_threshold",
    "tail_scale",
    "units_needed",
    "valid_pixels",
]
