"""From files to frames: decoding, label tables and spaces, data sets as declarations, verification."""

from anomseg.data.dataset import DatasetSpec, Split, frame_fingerprint
from anomseg.data.decoding import decode_image, decode_label, image_size
from anomseg.data.frames import load_frames
from anomseg.data.label_space import ClassMapping, LabelSpace, label_space, label_space_of
from anomseg.data.labels import ValueTable, parse_value_table
from anomseg.data.specs import DATASETS, dataset_spec
from anomseg.data.verify import VerifyReport, verify

__all__ = [
    "DATASETS",
    "ClassMapping",
    "DatasetSpec",
    "LabelSpace",
    "Split",
    "ValueTable",
    "VerifyReport",
    "dataset_spec",
    "decode_image",
    "decode_label",
    "frame_fingerprint",
    "image_size",
    "label_space",
    "label_space_of",
    "load_frames",
    "parse_value_table",
    "verify",
]
