"""Fishyscapes Lost & Found and Fishyscapes Static, the public validation sets.

Their archives hold labels (and overlays) only; the images come from LostAndFound and Cityscapes, whose trees are
looked for below the same root.
"""

from __future__ import annotations

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
)


def fishyscapes_lost_and_found() -> DatasetSpec:
    """The declaration of Fishyscapes Lost & Found."""
    return LOST_AND_FOUND


def fishyscapes_static() -> DatasetSpec:
    """The declaration of Fishyscapes Static; versions are told apart by their folders (layouts v1, v2, v3)."""
    return STATIC
