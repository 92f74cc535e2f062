"""Metric states and pure metric functions: exact, additive, in bounded memory."""

from anomseg.metrics.bootstrap import (
    Intervals,
    PairedDifference,
    Resamples,
    bootstrap_intervals,
    mean_paired_difference,
    paired_difference,
    resampled,
)
from anomseg.metrics.border_band import band_label, border_band
from anomseg.metrics.class_quality import ClassQuality, ClassQualityResult, QualityFigures
from anomseg.metrics.component import ComponentResult, ComponentScore, component_fractions, label_components
from anomseg.metrics.counts import ScoreCounts, count_scores
from anomseg.metrics.curve import AP_RULES, FPR_RULES, ApRule, FprRule
from anomseg.metrics.equal_pixels import EqualPixelsResult, equal_pixel_ap
from anomseg.metrics.failure import FailureDetection, FailureResult
from anomseg.metrics.failure_intervals import FAILURE_FIGURES, failure_difference, failure_intervals
from anomseg.metrics.false_alarms import CleanAlarms, CleanAlarmsResult, ObjectRecall
from anomseg.metrics.instances import InstanceAP, InstanceResult, predicted_instances
from anomseg.metrics.judged_images import (
    JUDGED_FIGURES,
    JudgedImages,
    JudgedMeans,
    judged_difference,
    judged_intervals,
)
from anomseg.metrics.mdm import (
    DetectionMargin,
    detection_margin,
    f1_curve,
    margin_from_counts,
    margin_thresholds,
    maximal_detection_margin,
)
from anomseg.metrics.misclassified import (
    EQUAL_FPR,
    FalsePositives,
    JudgedCounts,
    Misclassified,
    MisclassifiedResult,
    conditional_fpr,
    count_judged,
)
from anomseg.metrics.negative_images import NegativeImagesIoU, NegativeImagesResult
from anomseg.metrics.openset import OpenSetIoU, OpenSetResult
from anomseg.metrics.openset_curve import OpenSetCurve, OpenSetPoint, PixelKinds, pixel_kinds
from anomseg.metrics.openset_halves import CrossedHalf, OpenSetHalves
from anomseg.metrics.paste_control import paste_shares, pasted_or_untouched
from anomseg.metrics.per_image import ImageFigures, PerImage, PerImageResult
from anomseg.metrics.pixel import PixelCurve
from anomseg.metrics.pixel_result import CurvePoints, PixelResult
from anomseg.metrics.probability import ProbabilityBin, ProbabilityResult, probability_figures
from anomseg.metrics.quality_intervals import QUALITY_INTERVALS, quality_difference, quality_intervals
from anomseg.metrics.score_storage import STORAGES, Storage, percentile_bins, stored_counts
from anomseg.metrics.segmentation import SegmentationIoU, SegmentationResult

__all__ = [
    "AP_RULES",
    "EQUAL_FPR",
    "FAILURE_FIGURES",
    "FPR_RULES",
    "JUDGED_FIGURES",
    "QUALITY_INTERVALS",
    "STORAGES",
    "ApRule",
    "ClassQuality",
    "ClassQualityResult",
    "CleanAlarms",
    "CleanAlarmsResult",
    "ComponentResult",
    "ComponentScore",
    "CrossedHalf",
    "CurvePoints",
    "DetectionMargin",
    "EqualPixelsResult",
    "FailureDetection",
    "FailureResult",
    "FalsePositives",
    "FprRule",
    "ImageFigures",
    "InstanceAP",
    "InstanceResult",
    "Intervals",
    "JudgedCounts",
    "JudgedImages",
    "JudgedMeans",
    "Misclassified",
    "MisclassifiedResult",
    "NegativeImagesIoU",
    "NegativeImagesResult",
    "ObjectRecall",
    "OpenSetCurve",
    "OpenSetHalves",
    "OpenSetIoU",
    "OpenSetPoint",
    "OpenSetResult",
    "PairedDifference",
    "PerImage",
    "PerImageResult",
    "PixelCurve",
    "PixelKinds",
    "PixelResult",
    "ProbabilityBin",
    "ProbabilityResult",
    "QualityFigures",
    "Resamples",
    "ScoreCounts",
    "SegmentationIoU",
    "SegmentationResult",
    "Storage",
    "band_label",
    "bootstrap_intervals",
    "border_band",
    "component_fractions",
    "conditional_fpr",
    "count_judged",
    "count_scores",
    "detection_margin",
    "equal_pixel_ap",
    "f1_curve",
    "failure_difference",
    "failure_intervals",
    "judged_difference",
    "judged_intervals",
    "label_components",
    "margin_from_counts",
    "margin_thresholds",
    "maximal_detection_margin",
    "mean_paired_difference",
    "paired_difference",
    "paste_shares",
    "pasted_or_untouched",
    "percentile_bins",
    "pixel_kinds",
    "predicted_instances",
    "probability_figures",
    "quality_difference",
    "quality_intervals",
    "resampled",
    "stored_counts",
]
