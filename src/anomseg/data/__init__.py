"""From files to frames: decoding, label tables and spaces, data sets as declarations, verification."""

from anomseg.data.dataset import DatasetSpec, Split
from anomseg.data.decoding import decode_image, decode_label, image_size
from anomseg.data.fingerprint import frame_fingerprint
from anomseg.data.frames import HeldOutImages, load_frames
from anomseg.data.instances import instance_map
from anomseg.data.label_mapping import ClassMapping, LabelSpace
from anomseg.data.label_space import label_space, label_space_of
from anomseg.data.labels import ValueTable, parse_value_table
from anomseg.data.specs import DATASETS, dataset_spec
from anomseg.data.verify import verify
from anomseg.data.verify_report import VerifyReport

__all__ = [
    "DATASETS",
    "ClassMapping",
    "DatasetSpec",
    "HeldOutImages",
    "LabelSpace",
    "Split",
    "ValueTable",
    "VerifyReport",
    "dataset_spec",
    "decode_image",
    "decode_label",
    "frame_fingerprint",
    "image_size",
    "instance_map",
    "label_space",
    "label_space_of",
    "load_frames",
    "parse_value_table",
    "verify",
]
