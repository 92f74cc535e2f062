"""Baselines of failure detection: true-class probability, and uncertainty that is regressed to quality."""

from anomseg.detectors.failure.quality_regression import QualityRegression
from anomseg.detectors.failure.tcp import TCP

__all__ = ["TCP", "QualityRegression"]
