"""SynthCP: render what a segmentation says, then compare with the image (Xia et al., ECCV 2020)."""

from anomseg.detectors.synthcp.comparator import Comparator, judge
from anomseg.detectors.synthcp.comparator_saved import (
    comparator_meta,
    is_comparator_directory,
    load_comparator,
    rebuild_comparator,
    save_comparator,
)
from anomseg.detectors.synthcp.detector import SynthCP
from anomseg.detectors.synthcp.direct import DirectPrediction
from anomseg.detectors.synthcp.generator import (
    SPADEGenerator,
    generator_meta,
    is_generator_directory,
    load_generator,
    one_hot_layout,
    rebuild_generator,
    save_generator,
)

__all__ = [
    "Comparator",
    "DirectPrediction",
    "SPADEGenerator",
    "SynthCP",
    "comparator_meta",
    "generator_meta",
    "is_comparator_directory",
    "is_generator_directory",
    "judge",
    "load_comparator",
    "load_generator",
    "one_hot_layout",
    "rebuild_comparator",
    "rebuild_generator",
    "save_comparator",
    "save_generator",
]
