"""Metric states and pure metric functions: exact, additive, in bounded memory."""

from anomseg.metrics.bootstrap import Intervals, PairedDifference, bootstrap_intervals, paired_difference
from anomseg.metrics.component import ComponentResult, ComponentScore, component_fractions
from anomseg.metrics.counts import ScoreCounts, count_scores
from anomseg.metrics.curve import AP_RULES, FPR_RULES, ApRule, FprRule
from anomseg.metrics.mdm import (
    DetectionMargin,
    detection_margin,
    f1_curve,
    margin_from_counts,
    margin_thresholds,
    maximal_detection_margin,
)
from anomseg.metrics.openset import OpenSetIoU, OpenSetResult
from anomseg.metrics.per_image import ImageFigures, PerImage, PerImageResult
from anomseg.metrics.pixel import CurvePoints, PixelCurve, PixelResult
from anomseg.metrics.segmentation import SegmentationIoU, SegmentationResult

__all__ = [
    "AP_RULES",
    "FPR_RULES",
    "ApRule",
    "ComponentResult",
    "ComponentScore",
    "CurvePoints",
    "DetectionMargin",
    "FprRule",
    "ImageFigures",
    "Intervals",
    "OpenSetIoU",
    "OpenSetResult",
    "PairedDifference",
    "PerImage",
    "PerImageResult",
    "PixelCurve",
    "PixelResult",
    "ScoreCounts",
    "SegmentationIoU",
    "SegmentationResult",
    "bootstrap_intervals",
    "component_fractions",
    "count_scores",
    "detection_margin",
    "f1_curve",
    "margin_from_counts",
    "margin_thresholds",
    "maximal_detection_margin",
    "paired_difference",
]
