"""Fishyscapes Lost & Found and Fishyscapes Static, the public validation sets.

Their archives hold labels (and overlays) only; the images come from LostAndFound and Cityscapes, whose trees are
looked for below the same root.
"""

from __future__ import annotations

from anomseg.data.archive import Archive
from anomseg.data.dataset import DatasetSpec, Split
from anomseg.data.file_rules import FileRule
from anomseg.data.labels import ValueTable
from anomseg.data.layout import Layout, repackaged

TABLE = ValueTable("Fishyscapes", ((0, 0), (1, 1), (255, 255)))

_LABEL_NAME = r"(?P<id>[0-9]+_(?P<key>[^/\\]+))_labels\.png"
# A frame is called after its scene, a sequence number and a frame number.
_SCENE = r"[0-9]+_(.+)_[0-9]+_[0-9]+"
_CITATION = "Blum et al.: The Fishyscapes benchmark, IJCV 2021"
_HOMEPAGE = "https://fishyscapes.com/"
_ARCHIVES = "http://robotics.ethz.ch/~asl-datasets/Fishyscapes"


def _images(folders: tuple[str, ...], splits: str) -> FileRule:
    pattern = rf"(?:{splits})/[^/]+/(?P<key>[^/\\]+)_leftImg8bit\.[^./]+"
    shown = f"leftImg8bit/{'{' + splits.replace('|', ',') + '}' if '|' in splits else splits}/*/*_leftImg8bit.png"
    return FileRule(folders, pattern, shown, depth=2)


LOST_AND_FOUND = DatasetSpec(
    name="fishyscapes_lost_and_found",
    title="Fishyscapes Lost & Found, validation",
    splits=(Split("validation", 100),),
    default_split="validation",
    layouts=(
        Layout(
            "official",
            _images(
                ("leftImg8bit", "lost_and_found/leftImg8bit", "LostAndFound/leftImg8bit", "lostandfound/leftImg8bit"),
                "train|test",
            ),
            FileRule(("fishyscapes_lostandfound", "labels", ""), _LABEL_NAME, "fishyscapes_lostandfound/*_labels.png"),
            anchor="labels",
            ignored=r".*\.(?:txt|md|zip|json)",
        ),
        repackaged("validation"),
    ),
    table=TABLE,
    group=_SCENE,
    licence="labels CC BY 4.0, images under the terms of LostAndFound",
    citation=_CITATION,
    homepage=_HOMEPAGE,
    notes="one frame (79) shows no anomaly",
    archives=(
        Archive(
            f"{_ARCHIVES}/fishyscapes_lostandfound.zip", "fishyscapes_lostandfound", "0d3bf7c0ec38bd50b84f3d8aaa4b2e26"
        ),
    ),
    by_hand="its images are LostAndFound's: 'anomseg data download lost_and_found' with the same --out",
)


def _static(version: str) -> Layout:
    folders = (f"fs_val_{version}",) if version != "flat" else ("",)
    where = f"{folders[0]}/" if folders[0] else ""
    return Layout(
        version,
        _images(("leftImg8bit", "cityscapes/leftImg8bit", "Cityscapes/leftImg8bit"), "val"),
        FileRule(folders, _LABEL_NAME, f"{where}*_labels.png"),
        FileRule(folders, r"(?P<id>[0-9]+_(?P<key>[^/\\]+))_rgb\.npz", f"{where}*_rgb.npz"),
        anchor="labels",
        ignored=r".*\.(?:txt|md|zip|json)",
    )


_STATIC_MD5 = {
    "v1": "79fb134419c83f2f20b575955efa9d20",
    "v2": "5088c63497927200d935c41d54b1cb23",
    "v3": "0dc11db9e57088c5bb18de4c55a53f3a",
}

STATIC = DatasetSpec(
    name="fishyscapes_static",
    title="Fishyscapes Static, validation",
    splits=(Split("validation", 30),),
    default_split="validation",
    layouts=(_static("v1"), _static("v2"), _static("v3"), _static("flat"), repackaged("validation")),
    table=TABLE,
    group=_SCENE,
    licence="labels and overlays CC BY 4.0, images under the terms of Cityscapes",
    citation=_CITATION,
    homepage=_HOMEPAGE,
    notes="v1 is not blended, v2 blends, v3 adds Cityscapes objects as negatives (frames without anomaly): name which",
    archives=tuple(
        Archive(f"{_ARCHIVES}/fs_val_{version}.zip", f"fs_val_{version}", md5, layout=version)
        for version, md5 in _STATIC_MD5.items()
    ),
    by_hand=(
        "its images are Cityscapes' validation part: register at https://www.cityscapes-dataset.com/, fetch "
        "leftImg8bit_trainvaltest.zip, and put leftImg8bit/ into the same folder"
    ),
)


def fishyscapes_lost_and_found() -> DatasetSpec:
    """The declaration of Fishyscapes Lost & Found."""
    return LOST_AND_FOUND


def fishyscapes_static() -> DatasetSpec:
    """The declaration of Fishyscapes Static; versions are told apart by their folders (layouts v1, v2, v3)."""
    return STATIC
