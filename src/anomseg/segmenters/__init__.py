"""Networks behind one contract: an image goes in, a `SegmentationOutput` comes out."""

from anomseg.segmenters.base import SegmentationOutput, Segmenter, Size
from anomseg.segmenters.catalog import load_segmenter
from anomseg.segmenters.execution import AcceleratedSegmenter, run_as
from anomseg.segmenters.saved import is_segmenter_directory, load_saved_segmenter, save_segmenter
from anomseg.segmenters.scene import Scene, make_scene
from anomseg.segmenters.tiling import TiledSegmenter

__all__ = [
    "AcceleratedSegmenter",
    "Scene",
    "SegmentationOutput",
    "Segmenter",
    "Size",
    "TiledSegmenter",
    "is_segmenter_directory",
    "load_saved_segmenter",
    "load_segmenter",
    "make_scene",
    "run_as",
    "save_segmenter",
]
