"""Networks of Hugging Face transformers: from a directory, a hub id, a configuration, or Python."""

from anomseg.segmenters.huggingface.families import FAMILIES, Family
from anomseg.segmenters.huggingface.loading import is_transformers_object, load_transformers
from anomseg.segmenters.huggingface.preprocessing import Preprocessing
from anomseg.segmenters.huggingface.segmenter import TransformersSegmenter

__all__ = [
    "FAMILIES",
    "Family",
    "Preprocessing",
    "TransformersSegmenter",
    "is_transformers_object",
    "load_transformers",
]
