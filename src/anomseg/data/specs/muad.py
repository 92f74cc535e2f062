"""MUAD: simulated driving with several kinds of uncertainty; test images with objects of classes never trained on.

What is relied on, unverified on the data: the archives unpack to ``{train,val,test_id,test_ood}/leftImg8bit`` and
``leftLabel``, images and labels of a frame share their names but for these words at the end, and labels are
single-channel class numbers. Fifteen classes of Cityscapes are known; riders, trains, motorcycles, bicycles, animals
(19) and rubbish and food stands (20) are the anomalies; 21 and 255 are void.
"""

from __future__ import annotations

from anomseg.data.archive import Archive
from anomseg.data.dataset import DatasetSpec, Split
from anomseg.data.file_rules import FileRule
from anomseg.data.label_space import MUAD
from anomseg.data.labels import ValueTable
from anomseg.data.layout import Layout
from anomseg.types import VOID

# Stored numbers of the fifteen known classes, in their order, and of the unknown ones.
_KNOWN = (*range(12), 13, 14, 15)
_UNKNOWN = (12, 16, 17, 18, 19, 20)
ANOMALOUS = len(_KNOWN)

_ARCHIVES = "https://zenodo.org/records/10619959/files"


def _rule(kind: str, endings: str, images: bool) -> FileRule:
    return FileRule(
        (f"{{split}}/{kind}",),
        rf"(?:.*/)?(?P<key>[^/]+?)(?:_(?:{endings}))?\.[^./]+",
        f"{{split}}/{kind}/*",
        depth=3,
        images_only=images,
    )


SPEC = DatasetSpec(
    name="muad",
    title="MUAD, multiple uncertainties for autonomous driving",
    splits=(Split("train", 3420), Split("val", 492), Split("test_id", 551), Split("test_ood", 1668)),
    default_split="test_ood",
    layouts=(
        Layout(
            "official",
            _rule("leftImg8bit", "leftImg8bit|rgb", images=True),
            _rule("leftLabel", "leftLabel|label", images=True),
            subroots=("", "MUAD", "muad"),
            ignored=r".*\.(?:exr|json|txt|md)",
        ),
    ),
    table=ValueTable(
        "MUAD",
        (
            *((stored, index) for index, stored in enumerate(_KNOWN)),
            *((stored, ANOMALOUS) for stored in _UNKNOWN),
            (21, VOID),
            (VOID, VOID),
        ),
    ),
    kind="classes",
    label_space=MUAD,
    anomalies=(ANOMALOUS,),
    licence="non-commercial use, terms of the authors",
    citation="Franchi et al.: MUAD, multiple uncertainties for autonomous driving, BMVC 2022",
    homepage="https://muad-dataset.github.io/",
    notes="the test parts are not in the public archives of train and val; layout and names are unverified",
    archives=(
        Archive(f"{_ARCHIVES}/train.zip", "train", "cea6a672225b10dda1add8b2974a5982"),
        Archive(f"{_ARCHIVES}/val.zip", "val", "957af9c1c36f0a85c33279e06b6cf8d8"),
    ),
    by_hand=(
        "get the test parts from https://huggingface.co/datasets/ENSTA-U2IS/MUAD (terms have to be accepted) and put "
        "them beside train/ as test_id/ and test_ood/, each with leftImg8bit/ and leftLabel/"
    ),
)


def muad() -> DatasetSpec:
    """The declaration of MUAD."""
    return SPEC
