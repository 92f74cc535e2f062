"""Cityscapes: driving in fifty cities, nineteen classes, in-distribution for most anomaly benchmarks.

Of the label maps those with the official numbers (``labelIds``) are read and mapped here. Those with the numbers of
training (``labelTrainIds``) are no part of the archives: a script writes them, and projects write them differently, so
they are read only where there are no others. The test part ships label files that hold nothing but void; its frames
come without classes.
"""

from __future__ import annotations

from anomseg.data.dataset import DatasetSpec, Split
from anomseg.data.file_rules import FileRule
from anomseg.data.label_space import CITYSCAPES
from anomseg.data.labels import ValueTable, class_table
from anomseg.data.layout import Layout
from anomseg.types import VOID

# Numbers of the nineteen classes in the order of the classes; 255 is -1 (licence plate) in eight bits.
_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_VOID_IDS = (*range(7), 9, 10, 14, 15, 16, 18, 29, 30, VOID)

_SUBROOTS = ("", "cityscapes", "Cityscapes")
_IMAGES = FileRule(
    ("leftImg8bit/{split}",),
    r"[^/]+/(?P<key>[^/]+)_leftImg8bit\.[^./]+",
    "leftImg8bit/{split}/<city>/*_leftImg8bit.png",
    depth=1,
    images_only=True,
)


def label_ids_table(name: str) -> ValueTable:
    """What Cityscapes' label numbers mean: the nineteen classes, all others void."""
    classes = ((stored, index) for index, stored in enumerate(_IDS))
    return ValueTable(name, (*classes, *((stored, VOID) for stored in _VOID_IDS)))


def _layout(name: str, ending: str) -> Layout:
    return Layout(
        name,
        _IMAGES,
        FileRule(
            ("gtFine/{split}",),
            rf"[^/]+/(?P<key>[^/]+)_gtFine_{ending}\.png",
            f"gtFine/{{split}}/<city>/*_gtFine_{ending}.png",
            depth=1,
        ),
        subroots=_SUBROOTS,
        ignored=r".*_gtFine_(?:color|instanceIds|labelIds|labelTrainIds|instanceTrainIds|polygons)\.(?:png|json)",
    )


SPEC = DatasetSpec(
    name="cityscapes",
    title="Cityscapes, fine annotations",
    splits=(Split("train", 2975), Split("val", 500), Split("test", 1525, hidden=True, dummy=True)),
    default_split="val",
    layouts=(_layout("official", "labelIds"), _layout("train_ids", "labelTrainIds")),
    table=label_ids_table("Cityscapes labelIds"),
    tables=(("train_ids", class_table("Cityscapes labelTrainIds", len(CITYSCAPES))),),
    kind="classes",
    label_space=CITYSCAPES,
    # Frames are named after the city they were taken in.
    group=r"([^_]+)_.*",
    licence="Cityscapes terms, registration needed",
    citation="Cordts et al.: The Cityscapes dataset for semantic urban scene understanding, CVPR 2016",
    homepage="https://www.cityscapes-dataset.com/",
    notes="labelIds are mapped to the nineteen classes here; labelTrainIds are read only where there are no others",
    by_hand=(
        "register at https://www.cityscapes-dataset.com/, fetch leftImg8bit_trainvaltest.zip and "
        "gtFine_trainvaltest.zip, unpack both in one folder: leftImg8bit/ and gtFine/ lie in it side by side"
    ),
)


def cityscapes() -> DatasetSpec:
    """The declaration of Cityscapes."""
    return SPEC
