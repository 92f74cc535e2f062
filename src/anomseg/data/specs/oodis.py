"""OoDIS: instances of anomalous objects on Fishyscapes Lost & Found and SegmentMeIfYouCan (Nekrasov et al. 2024).

What is relied on, from the names in the benchmark's code and unverified on the data: instance maps are grey PNG of 8
or 16 bits, ``<frame>_gtCoarse_instanceIds.png`` for the frames of Fishyscapes and ``<frame>_instanceIds.png`` for those
of the two tracks. A value from 1000 on is an instance (its class times 1000 plus a number, as in Cityscapes), 255 is
void, all smaller ones are inliers. Ground truth is public for Fishyscapes' validation frames alone; the images come
from LostAndFound and from the tracks' own archives, under the same root.

Frames have the usual anomaly label; `anomseg.data.instance_map` gives the instances for `anomseg.metrics.InstanceAP`.
"""

from __future__ import annotations

from typing import Literal

from anomseg.data.archive import Archive
from anomseg.data.dataset import DatasetSpec, Split
from anomseg.data.file_rules import IMAGE_NAME, FileRule
from anomseg.data.instances import decode_instances
from anomseg.data.labels import BINARY_VOID
from anomseg.data.layout import Layout
from anomseg.data.specs.smiyc import ANOMALY_TRACK, OBSTACLE_TRACK
from anomseg.errors import unknown_name

PARTS = ("fishyscapes", "road_anomaly", "road_obstacle")

_FISHYSCAPES = Layout(
    "official",
    FileRule(
        ("leftImg8bit", "lost_and_found/leftImg8bit", "LostAndFound/leftImg8bit", "lostandfound/leftImg8bit"),
        r"(?:train|test)/[^/]+/(?P<key>[^/]+)_leftImg8bit\.[^./]+",
        "leftImg8bit/{train,test}/*/*_leftImg8bit.png",
        depth=2,
    ),
    FileRule(
        ("fs_lost_found_instance", "oodis/fishyscapes", "fishyscapes", ""),
        r"(?:[^/]+/)?(?P<key>[^/]+)_gtCoarse_instanceIds\.png",
        "fs_lost_found_instance/*_gtCoarse_instanceIds.png",
        depth=1,
    ),
    anchor="labels",
    ignored=r".*\.(?:txt|md|zip|json)",
    decode=decode_instances,
)


def _track(archive: str, folder: str) -> Layout:
    return Layout(
        "official",
        FileRule((f"{archive}/images", "images"), IMAGE_NAME, f"{archive}/images/*", images_only=True),
        FileRule(
            (f"oodis/{folder}", folder, "labels_instances"),
            r"(?P<key>[^/\\]+)_instanceIds\.png",
            f"oodis/{folder}/*_instanceIds.png",
        ),
        select=True,
        ignored=r".*\.(?:txt|md|json)",
        decode=decode_instances,
    )


def oodis(part: Literal["fishyscapes", "road_anomaly", "road_obstacle"] = "fishyscapes") -> DatasetSpec:
    """The declaration of OoDIS.

    Args:
        part: Which of its three sets of frames.

    Raises:
        ConfigError: There is no such part.
    """
    if part not in PARTS:
        raise unknown_name("part of oodis", part, PARTS)
    splits: tuple[Split, ...]
    if part == "fishyscapes":
        layout, splits, group = _FISHYSCAPES, (Split("validation", 100),), r"(.+)_[0-9]+_[0-9]+"
    else:
        track = ANOMALY_TRACK if part == "road_anomaly" else OBSTACLE_TRACK
        archive = "dataset_AnomalyTrack" if part == "road_anomaly" else "dataset_ObstacleTrack"
        layout, splits, group = _track(archive, part.replace("_", "")), track.splits, track.group
    return DatasetSpec(
        name="oodis",
        title=f"OoDIS, anomalous instances ({part})",
        splits=splits,
        default_split="validation",
        layouts=(layout,),
        table=BINARY_VOID,
        group=group,
        licence="terms of the authors and of the images' own sets",
        citation="Nekrasov et al.: OoDIS, anomaly instance segmentation benchmark, 2024",
        homepage="https://vision.rwth-aachen.de/oodis",
        notes="encoding of the instance maps unverified; the ground truth of the tracks' test frames is hidden",
        archives=(
            Archive(
                "https://omnomnom.vision.rwth-aachen.de/data/ugains/fs_lost_found_instance.zip",
                "fs_lost_found_instance",
            ),
        )
        if part == "fishyscapes"
        else (),
        by_hand=(
            "its images are those of other sets, which go to the same folder: see 'anomseg data download "
            + ("lost_and_found'" if part == "fishyscapes" else f"{part}_21'")
        ),
    )
