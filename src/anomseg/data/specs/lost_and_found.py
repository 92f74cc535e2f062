"""LostAndFound: small things on the road, from a toy car to a pallet, in stereo driving video (Pinggera et al. 2016).

Splits and labels are those of SegmentMeIfYouCan. In the label numbers 0 is void, 1 the free road, everything from 2
on an obstacle, also what the authors of the data call no hazard (a wheel cap, a thin board). Frames whose label shows
nothing at all are left out of ``trainValid`` and ``testValid`` by their place in the sorted list, which means
something in complete folders alone; ``testNoKnown`` also leaves out the scenes with children and bicycles.

The variant ``anomaly`` has the same frames but counts the whole image less the vehicle itself: what is neither free
road nor obstacle is an inlier too. Its region is a mask of the challenge's code, ``LAF_roi_2048.png`` (2048x1024, 0
where the vehicle is), which has to lie in the data set's folder. That label and mask are put together so is what we
rely on, unverified.
"""

from __future__ import annotations

from typing import Literal

from anomseg.data.archive import Archive
from anomseg.data.dataset import DatasetSpec, Split
from anomseg.data.file_rules import FileRule
from anomseg.data.labels import ValueTable
from anomseg.data.layout import Layout
from anomseg.errors import unknown_name
from anomseg.types import ANOMALY, INLIER, VOID

VARIANTS = ("obstacle", "anomaly")
ROI = "LAF_roi_2048.png"

_TRAIN, _TEST = 1036, 1203
# Frames without any labelled pixel, by their place among all of their part.
_EMPTY_TRAIN = (44, 67, 88, 109, 131, 614)
_EMPTY_TEST = (17, 37, 55, 72, 91, 110, 129, 153, 174, 197, 218, 353, 490, 618, 686, 792, 793)
# Children, then bicycles.
_KNOWN = (
    "15_Rechbergstr_Deckenpfronn",
    "01_Hanns_Klemm_Str_45_000006",
    "01_Hanns_Klemm_Str_45_000007",
    "10_Schlossberg_9_000004",
)
_BASE = "http://wwwlehre.dhbw-stuttgart.de/~sgehrig/lostAndFoundDataset"

SPLITS = (
    Split("train", _TRAIN),
    Split("trainValid", _TRAIN - len(_EMPTY_TRAIN), folder="train", without=_EMPTY_TRAIN, out_of=_TRAIN),
    Split("test", _TEST),
    Split("testValid", _TEST - len(_EMPTY_TEST), folder="test", without=_EMPTY_TEST, out_of=_TEST),
    Split(
        "testNoKnown",
        1043,
        keys=f"(?!{'|'.join(_KNOWN)}).*",
        folder="test",
        without=_EMPTY_TEST,
        out_of=_TEST,
    ),
)

LAYOUT = Layout(
    "official",
    FileRule(
        ("leftImg8bit/{split}",),
        r"[^/]+/(?P<key>[^/]+)_leftImg8bit\.[^./]+",
        "leftImg8bit/{split}/<scene>/*_leftImg8bit.png",
        depth=1,
        images_only=True,
    ),
    FileRule(
        ("gtCoarse/{split}",),
        r"[^/]+/(?P<key>[^/]+)_gtCoarse_labelIds\.png",
        "gtCoarse/{split}/<scene>/*_gtCoarse_labelIds.png",
        depth=1,
    ),
    select=True,
    subroots=("", "lost_and_found", "LostAndFound", "lostandfound", "dataset_LostAndFound"),
    ignored=r".*_gtCoarse_(?:color|instanceIds|labelTrainIds|polygons)\.(?:png|json)",
)


def lost_and_found(variant: Literal["obstacle", "anomaly"] = "obstacle") -> DatasetSpec:
    """The declaration of LostAndFound.

    Args:
        variant: ``obstacle``: only the free road and what lies on it count; ``anomaly``: the whole image less the
            vehicle does.

    Raises:
        ConfigError: There is no such variant.
    """
    if variant not in VARIANTS:
        raise unknown_name("variant of lost_and_found", variant, VARIANTS)
    whole = variant == "anomaly"
    elsewhere = INLIER if whole else VOID
    return DatasetSpec(
        name="lost_and_found",
        title="LostAndFound" + (", whole image less the vehicle" if whole else ""),
        splits=tuple(split for split in SPLITS if not (whole and split.without)),
        default_split="test" if whole else "testNoKnown",
        layouts=(LAYOUT,),
        table=ValueTable(
            f"LostAndFound ({variant})",
            ((0, elsewhere), (1, INLIER), *((value, ANOMALY) for value in range(2, 201))),
        ),
        roi=ROI if whole else "",
        # Scene and sequence: a street is driven several times with other things on it.
        group=r"(.+_[0-9]+)_[0-9]+",
        licence="LostAndFound terms, non-commercial use",
        citation="Pinggera et al.: Lost and Found - detecting small road hazards for self-driving vehicles, IROS 2016",
        homepage="http://www.6d-vision.com/lostandfounddataset",
        notes=(
            "labels by SegmentMeIfYouCan's rule, which counts what the data's authors call no hazard as obstacles; "
            "leaving frames out by their place asks for complete folders"
        ),
        archives=(
            Archive(f"{_BASE}/leftImg8bit.zip", "leftImg8bit", "08eaa79ce05126f6bd22a3ca563746d0"),
            Archive(f"{_BASE}/gtCoarse.zip", "gtCoarse"),
        ),
        by_hand=(
            f"put {ROI} of https://github.com/SegmentMeIfYouCan/road-anomaly-benchmark beside leftImg8bit/"
            if whole
            else ""
        ),
    )
