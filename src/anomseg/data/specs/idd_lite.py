"""India Driving Dataset Lite in the seven classes of IDD's first level, in-distribution."""

from __future__ import annotations

from anomseg.data.dataset import DatasetSpec, Split
from anomseg.data.file_rules import IMAGE_NAME, FileRule
from anomseg.data.label_space import IDD_LITE
from anomseg.data.labels import class_table
from anomseg.data.layout import Layout

SPEC = DatasetSpec(
    name="idd_lite",
    title="India Driving Dataset Lite, seven classes",
    splits=(Split("train", 1403), Split("val", 204), Split("test", hidden=True)),
    default_split="val",
    layouts=(
        Layout(
            "repackaged",
            FileRule(("images/{split}",), IMAGE_NAME, "images/{split}/*", images_only=True),
            FileRule(("labels/{split}",), r"(?P<key>[^/]+)\.png", "labels/{split}/*.png"),
            subroots=("", "idd_lite"),
        ),
        Layout(
            "official",
            FileRule(
                ("leftImg8bit/{split}",),
                r"(?P<key1>[^/]+)/(?P<key2>[^/]+)_image\.[^./]+",
                "leftImg8bit/{split}/*/*_image.jpg",
                depth=1,
                images_only=True,
            ),
            FileRule(
                ("gtFine/{split}",),
                r"(?P<key1>[^/]+)/(?P<key2>[^/]+)(?<!_inst)_label\.png",
                "gtFine/{split}/*/*_label.png",
                depth=1,
            ),
            subroots=("", "idd20k_lite"),
            ignored=r".*_inst_label\.png",
        ),
    ),
    table=class_table("idd_lite", len(IDD_LITE)),
    kind="classes",
    label_space=IDD_LITE,
    # The part before the underscore is the drive that a frame was cut from.
    group=r"([^_]+)_.*",
    licence="IDD terms, research use",
    citation="Varma et al.: IDD, a dataset for exploring problems of autonomous navigation, WACV 2019; IDD-Lite 2019",
    homepage="https://idd.insaan.iiit.ac.in/",
    by_hand=(
        "register at https://idd.insaan.iiit.ac.in/, fetch IDD-Lite, and unpack it: idd20k_lite/ holds leftImg8bit/ "
        "and gtFine/"
    ),
    notes="living things hold persons, riders and animals together, so they are void in other label spaces",
)


def idd_lite() -> DatasetSpec:
    """The declaration of IDD-Lite."""
    return SPEC
