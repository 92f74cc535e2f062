"""SegmentMeIfYouCan: the anomaly track (RoadAnomaly21) and the obstacle track (RoadObstacle21)."""

from __future__ import annotations

from anomseg.data.archive import Archive
from anomseg.data.dataset import DatasetSpec, Split
from anomseg.data.file_rules import IMAGE_NAME, FileRule
from anomseg.data.labels import ValueTable
from anomseg.data.layout import Layout, repackaged

TABLE = ValueTable("SegmentMeIfYouCan", ((0, 0), (1, 1), (255, 255)))


def _official(archive: str) -> Layout:
    # Names hold dots (snowstorm1_00_16_02.578), so only the last suffix goes; each label has a coloured twin.
    return Layout(
        "official",
        FileRule(("images",), IMAGE_NAME, "images/*", images_only=True),
        FileRule(("labels_masks",), r"(?P<key>[^/\\]+)_labels_semantic\.png", "labels_masks/*_labels_semantic.png"),
        select=True,
        subroots=("", archive),
        ignored=r".*_labels_semantic_color\.png|.*\.txt",
    )


ANOMALY_TRACK = DatasetSpec(
    name="road_anomaly_21",
    title="SegmentMeIfYouCan anomaly track (RoadAnomaly21)",
    splits=(Split("validation", 10, keys="validation.*"), Split("test", 100, hidden=True, keys="(?!validation).*")),
    default_split="validation",
    layouts=(_official("dataset_AnomalyTrack"), repackaged("validation")),
    table=TABLE,
    licence="research use, terms of each image's source",
    citation="Chan et al.: SegmentMeIfYouCan, a benchmark for anomaly segmentation, NeurIPS 2021 datasets",
    homepage="https://segmentmeifyoucan.com/",
    notes="ten validation frames: too few to rank methods on; the ground truth of the test split is hidden",
    archives=(
        Archive(
            "https://zenodo.org/records/5270237/files/dataset_AnomalyTrack.zip",
            "dataset_AnomalyTrack",
            "231bf79ed58924bcd33d9cbe22e61076",
        ),
    ),
)

OBSTACLE_TRACK = DatasetSpec(
    name="road_obstacle_21",
    title="SegmentMeIfYouCan obstacle track (RoadObstacle21)",
    splits=(
        Split("validation", 30, keys="validation.*"),
        Split("test", 327, hidden=True, keys="(?!validation|snowstorm|driveway).*"),
        Split("night", 30, hidden=True, keys="driveway.*"),
        Split("snowstorm", 55, hidden=True, keys="snowstorm.*"),
    ),
    default_split="validation",
    layouts=(_official("dataset_ObstacleTrack"), repackaged("validation")),
    table=TABLE,
    # The text before the first underscore is the scene; validation frames come from many.
    group=r"(?!validation)([^_]+)_.*",
    licence="research use, terms of each image's source",
    citation=ANOMALY_TRACK.citation,
    homepage=ANOMALY_TRACK.homepage,
    notes="all that is not drivable road is void; the ground truth of all splits but validation is hidden",
    archives=(
        Archive(
            "https://zenodo.org/records/5281633/files/dataset_ObstacleTrack.zip",
            "dataset_ObstacleTrack",
            "895fb36d18765482cc291f69e63d6da6",
        ),
    ),
)


def road_anomaly_21() -> DatasetSpec:
    """The declaration of the anomaly track."""
    return ANOMALY_TRACK


def road_obstacle_21() -> DatasetSpec:
    """The declaration of the obstacle track."""
    return OBSTACLE_TRACK
