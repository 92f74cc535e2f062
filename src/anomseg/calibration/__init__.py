"""Calibration: what raw scores mean in false alarms on in-distribution frames, on a scale that all detectors share."""

from anomseg.calibration.calibrator import calibrate_detector, calibration_of, notes_on, valid_pixels
from anomseg.calibration.statistics import ScoreStatistics
from anomseg.calibration.tail import LEVELS, TailScale, tail_scale

__all__ = [
    "LEVELS",
    "ScoreStatistics",
    "TailScale",
    "calibrate_detector",
    "calibration_of",
    "notes_on",
    "tail_scale",
    "valid_pixels",
]
