"""RoadAnomaly: sixty road scenes with unusual objects (Lis et al. 2019)."""

from __future__ import annotations

from anomseg.data.archive import Archive
from anomseg.data.dataset import DatasetSpec, Split
from anomseg.data.file_rules import IMAGE_NAME, FileRule
from anomseg.data.labels import ValueTable
from anomseg.data.layout import Layout, repackaged

# The authors count every value from 2 as anomaly. What 1 means they do not say, and repackagings disagree.
TABLE = ValueTable(
    "RoadAnomaly",
    ((0, 0), *((value, 1) for value in range(2, 256))),
    mend="if these labels were rewritten so that 1 is the anomaly, give --label-values 0:0,1:1",
)

SPEC = DatasetSpec(
    name="road_anomaly",
    title="RoadAnomaly",
    splits=(Split("test", 60),),
    default_split="test",
    layouts=(
        Layout(
            "official",
            FileRule(("frames",), IMAGE_NAME, "frames/*.jpg", images_only=True),
            FileRule(
                ("frames",),
                r"(?P<key>[^/\\]+)\.labels/labels_semantic\.png",
                "frames/*.labels/labels_semantic.png",
                depth=1,
            ),
            subroots=("", "RoadAnomaly_jpg"),
            ignored=r"labels_semantic_color\.png|labels_instance\.png|index\.json|.*\.(?:txt|md)",
            manifest="frame_list.json",
        ),
        repackaged("test"),
    ),
    table=TABLE,
    licence="research use, terms of the authors",
    citation="Lis, Nakka, Fua, Salzmann: Detecting the unexpected via image resynthesis, ICCV 2019",
    homepage="https://www.epfl.ch/labs/cvlab/data/road-anomaly/",
    notes="anomaly is defined against Cityscapes' 19 classes; no void pixels",
    archives=(
        Archive(
            "https://datasets-cvlab.epfl.ch/2019-road-anomaly/RoadAnomaly_jpg.zip",
            "RoadAnomaly_jpg",
            "87a0908e5c72827824693913cf2e4fb0",
        ),
    ),
)


def road_anomaly() -> DatasetSpec:
    """The declaration of RoadAnomaly."""
    return SPEC
