"""ISSU: street scenes of India with unknown objects, single images and clips, in good and in poor light (2025).

What is relied on, from the benchmark's code and unverified on the data: its scripts write ``dataset_ISSUTrack`` with
``images/<part>_<folder>_<name>.png`` and ``labels_masks/`` under the same names, the parts being ``static`` and
``temporal``; labels hold Cityscapes' nineteen training numbers, 254 for the anomaly and 255 for void. Folders in poor
light are named ``rain``, ``fog`` and ``lowlight`` among the single images and listed by number among the clips.
"""

from __future__ import annotations

from typing import Literal

from anomseg.data.dataset import DatasetSpec, Split
from anomseg.data.file_rules import IMAGE_NAME, FileRule
from anomseg.data.label_space import CITYSCAPES
from anomseg.data.labels import ValueTable
from anomseg.data.layout import Layout
from anomseg.errors import unknown_name
from anomseg.types import ANOMALY, INLIER, VOID

TRACKS = ("anomaly", "obstacle")
ANOMALOUS = len(CITYSCAPES)

_STORED = 254
_DIM_IMAGES = "rain|fog|lowlight"
_DIM_CLIPS = "|".join(
    str(number)
    for number in (5, 15, 17, 20, 25, 31, 32, 33, 38, 39, 40, 41, 42, 45, 52, 54, 72, 80, 83, 85, 88, 91, 93, 94, 96)
)

SPLITS = (
    Split("all", 2118),
    Split("static", 980, keys="static_.*"),
    Split("static_normal", 848, keys=f"static_(?!(?:{_DIM_IMAGES})_).*"),
    Split("static_low_light", 132, keys=f"static_(?:{_DIM_IMAGES})_.*"),
    Split("temporal", 1138, keys="temporal_.*"),
    Split("temporal_normal", 868, keys=f"temporal_(?!(?:{_DIM_CLIPS})_).*"),
    Split("temporal_low_light", 270, keys=f"temporal_(?:{_DIM_CLIPS})_.*"),
)

LAYOUT = Layout(
    "official",
    FileRule(("images",), IMAGE_NAME, "images/*.png", images_only=True),
    FileRule(("labels_masks",), r"(?P<key>[^/\\]+)\.png", "labels_masks/*.png"),
    select=True,
    subroots=("", "dataset_ISSUTrack"),
)


def issu(track: Literal["anomaly", "obstacle"] = "anomaly") -> DatasetSpec:
    """The declaration of ISSU.

    Args:
        track: ``anomaly``: all of the image counts; ``obstacle``: only the road and what is unknown does.

    Raises:
        ConfigError: There is no such track.
    """
    if track not in TRACKS:
        raise unknown_name("track of issu", track, TRACKS)
    count = len(CITYSCAPES)
    classes = ValueTable("ISSU", (*((value, value) for value in range(count)), (_STORED, ANOMALOUS), (VOID, VOID)))
    road = ValueTable(
        "ISSU (obstacle)",
        ((0, INLIER), *((value, VOID) for value in range(1, count)), (_STORED, ANOMALY), (VOID, VOID)),
    )
    whole = track == "anomaly"
    return DatasetSpec(
        name="issu",
        title=f"ISSU, {track} track",
        splits=SPLITS,
        default_split="all",
        layouts=(LAYOUT,),
        table=classes if whole else road,
        kind="classes" if whole else "anomaly",
        label_space=CITYSCAPES if whole else None,
        anomalies=(ANOMALOUS,) if whole else (),
        # A clip, or a folder of single images.
        group=r"((?:static|temporal)_[^_]+)_.*",
        licence="IDD terms, registration needed; labels by the authors",
        citation="A dataset for semantic segmentation in the presence of unknowns, CVPR 2025",
        homepage="https://github.com/vojirt/benchmark_issu",
        notes="layout and numbers are those of the benchmark's code, unverified on the data",
        by_hand=(
            "fetch IDD's images and the ISSU labels as https://github.com/vojirt/benchmark_issu says (benchmark/"
            "datasets/scripts/DOWNLOAD.md), run its scripts, and give the folder dataset_ISSUTrack that they write"
        ),
    )
