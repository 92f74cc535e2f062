"""Detectors: a scene goes in, an anomaly map comes out; higher means more anomalous, everywhere."""

from anomseg.detectors.base import Detector, Upsample, anomaly_maps
from anomseg.detectors.catalog import DEFAULT_DETECTOR, create_detector, detector_names

__all__ = ["DEFAULT_DETECTOR", "Detector", "Upsample", "anomaly_maps", "create_detector", "detector_names"]
