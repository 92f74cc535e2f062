"""From images to predictions: anomaly maps, pictures and files, one image or a folder of them."""

from anomseg.inference.assessing import Assessed, assess_images
from anomseg.inference.assessment import FailureAssessment
from anomseg.inference.coco import component_annotations, decode_rle, encode_rle, join_coco, write_coco
from anomseg.inference.colour import colour_classes, colourise, draw_outline, heat_overlay, score_range
from anomseg.inference.costs import CostRow, measure_costs
from anomseg.inference.directory import PredictSummary, Progress, predict_to_directory
from anomseg.inference.failure_predictor import FailurePredictor
from anomseg.inference.inputs import ImageFile, expand_inputs
from anomseg.inference.legend import add_colour_bar, add_legend
from anomseg.inference.loading import Prefetch
from anomseg.inference.open_set import ANOMALY_NAME, anomaly_colour, open_set_map
from anomseg.inference.outputs import FORMATS, Outputs
from anomseg.inference.predict import predict
from anomseg.inference.prediction import Prediction
from anomseg.inference.predictor import Predictor
from anomseg.inference.quality_table import QualityRow, quality_text, read_quality, write_quality
from anomseg.inference.readers import read_map
from anomseg.inference.roi import Roi, load_roi
from anomseg.inference.thresholds import threshold_at_false_alarms, threshold_of
from anomseg.inference.video import Smoothing, VideoSummary, predict_video
from anomseg.inference.video_reading import VideoFrame, VideoReader, is_video
from anomseg.inference.video_table import FrameRow, read_frame_table
from anomseg.inference.video_writing import VideoWriter
from anomseg.inference.writers import write_hdf5, write_mask, write_npy, write_picture, write_segmentation

__all__ = [
    "ANOMALY_NAME",
    "FORMATS",
    "Assessed",
    "CostRow",
    "FailureAssessment",
    "FailurePredictor",
    "FrameRow",
    "ImageFile",
    "Outputs",
    "PredictSummary",
    "Prediction",
    "Predictor",
    "Prefetch",
    "Progress",
    "QualityRow",
    "Roi",
    "Smoothing",
    "VideoFrame",
    "VideoReader",
    "VideoSummary",
    "VideoWriter",
    "add_colour_bar",
    "add_legend",
    "anomaly_colour",
    "assess_images",
    "colour_classes",
    "colourise",
    "component_annotations",
    "decode_rle",
    "draw_outline",
    "encode_rle",
    "expand_inputs",
    "heat_overlay",
    "is_video",
    "join_coco",
    "load_roi",
    "measure_costs",
    "open_set_map",
    "predict",
    "predict_to_directory",
    "predict_video",
    "quality_text",
    "read_frame_table",
    "read_map",
    "read_quality",
    "score_range",
    "threshold_at_false_alarms",
    "threshold_of",
    "write_coco",
    "write_hdf5",
    "write_mask",
    "write_npy",
    "write_picture",
    "write_quality",
    "write_segmentation",
]
