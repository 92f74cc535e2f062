"""Synthetic outliers: a Real NVP that learns the data and, jointly with a classifier, its border."""

from anomseg.detectors.synthetic_outliers.detector import SyntheticOutliers
from anomseg.detectors.synthetic_outliers.flow_likelihood import FlowLikelihood

__all__ = ["FlowLikelihood", "SyntheticOutliers"]
