"""Maskomaly: zero-shot anomaly segmentation on the raw outputs of a mask transformer."""

from anomseg.detectors.maskomaly.detector import Maskomaly

__all__ = ["Maskomaly"]
