"""Detectors: a scene goes in, an anomaly map comes out; higher means more anomalous, everywhere."""

from anomseg.detectors.base import (
    AnomalyFitted,
    Detector,
    FailureDetector,
    Progress,
    Upsample,
    anomaly_maps,
    network_of,
)
from anomseg.detectors.calibrated import SavedCalibration
from anomseg.detectors.catalog import (
    DEFAULT_DETECTOR,
    create_detector,
    default_detector,
    detector_names,
    is_fitted_on_frames,
    resolve_detector,
)
from anomseg.detectors.fitting import overlapping_frames, seen_frames
from anomseg.detectors.matching import segmenter_matches
from anomseg.detectors.saved import check_writable, is_detector_directory, load_detector, save_detector

__all__ = [
    "DEFAULT_DETECTOR",
    "AnomalyFitted",
    "Detector",
    "FailureDetector",
    "Progress",
    "SavedCalibration",
    "Upsample",
    "anomaly_maps",
    "check_writable",
    "create_detector",
    "default_detector",
    "detector_names",
    "is_detector_directory",
    "is_fitted_on_frames",
    "load_detector",
    "network_of",
    "overlapping_frames",
    "resolve_detector",
    "save_detector",
    "seen_frames",
    "segmenter_matches",
]
