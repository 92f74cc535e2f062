"""Vistas-NP: Mapillary Vistas without persons; every image that shows a person or a rider is tested on.

Persons and riders are the anomalies. Two trees are read: that of Vistas itself, release 1.2
(``{training,validation}/images``, ``{training,validation}/v1.2/labels`` or ``labels``), and the one that the authors'
script makes by copying files (``vistas-np/{training,validation,test}/{images,labels}``). In both, which split an image
is of is read from its label. Labels are single-channel numbers, the places of classes in
the list ``labels`` of ``config.json``, which is read and never guessed; the classes are grouped into Cityscapes'
nineteen as the authors' code does, all others are void. Layouts and grouping are those of that code and unverified
on the data; how many frames each split has is not published.
"""

from __future__ import annotations

from pathlib import Path

from anomseg.data.dataset import DatasetSpec, Split
from anomseg.data.file_rules import FileRule
from anomseg.data.label_space import CITYSCAPES
from anomseg.data.labels import ValueTable
from anomseg.data.layout import Layout
from anomseg.errors import DataError
from anomseg.files import read_json
from anomseg.types import VOID

_CONFIGS = ("config_v1.2.json", "config.json")

# Names of Vistas by the Cityscapes class that they count as.
_GROUPS = {
    "road": (
        "construction--flat--bike-lane construction--flat--crosswalk-plain construction--flat--parking "
        "construction--flat--rail-track construction--flat--road construction--flat--service-lane "
        "marking--crosswalk-zebra marking--general"
    ),
    "sidewalk": (
        "construction--barrier--curb construction--flat--curb-cut construction--flat--pedestrian-area "
        "construction--flat--sidewalk"
    ),
    "building": "construction--structure--bridge construction--structure--building construction--structure--tunnel",
    "wall": "construction--barrier--wall",
    "fence": "construction--barrier--fence construction--barrier--guard-rail",
    "pole": "object--support--pole object--support--utility-pole",
    "traffic light": "object--traffic-light",
    "traffic sign": "object--support--traffic-sign-frame object--traffic-sign--front",
    "vegetation": "nature--vegetation",
    "terrain": "nature--sand nature--snow nature--terrain",
    "sky": "nature--sky",
    "person": "human--person",
    "rider": "human--rider--bicyclist human--rider--motorcyclist human--rider--other-rider",
    "car": "object--vehicle--car",
    "truck": "object--vehicle--truck",
    "bus": "object--vehicle--bus",
    "train": "object--vehicle--on-rails",
    "motorcycle": "object--vehicle--motorcycle",
    "bicycle": "object--vehicle--bicycle",
}
_CLASS_OF = {name: CITYSCAPES.names.index(group) for group, names in _GROUPS.items() for name in names.split()}


def config_table(folder: Path) -> ValueTable:
    """Read what the label numbers mean.

    Args:
        folder: That holds the parts of Vistas and its configuration.

    Raises:
        DataError: There is none, it names no classes, or is that of another release.
    """
    path = next((folder / name for name in _CONFIGS if (folder / name).is_file()), None)
    if path is None:
        raise DataError(f"{folder} has no {' or '.join(_CONFIGS)}, which names the label numbers; put it there")
    tree = read_json(path)
    listed = tree.get("labels") if isinstance(tree, dict) else None
    entries = listed if isinstance(listed, list) else []
    names = [entry.get("name") if isinstance(entry, dict) else None for entry in entries]
    missing = sorted(set(_CLASS_OF) - {str(name) for name in names})
    if missing:
        raise DataError(f"{path} does not name {missing[0]!r} among its labels; take that of Vistas release 1.2")
    pairs = tuple((index, _CLASS_OF.get(str(name), VOID)) for index, name in enumerate(names[:VOID]))
    return ValueTable("Vistas-NP", (*pairs, (VOID, VOID)), f"{path.name} does not list them")


LAYOUT = Layout(
    "official",
    # Images of Vistas' testing part have no labels and belong to no split, but are no strangers.
    FileRule(
        ("",),
        r"(?P<key1>training|validation|test|testing)/images/(?P<key2>[^/]+)\.[^./]+",
        "{training,validation,test}/images/*.jpg",
        depth=2,
        images_only=True,
    ),
    FileRule(
        ("",),
        r"(?P<key1>training|validation|test)/(?:v1\.2/)?labels/(?P<key2>[^/]+)\.png",
        "{training,validation,test}/v1.2/labels/*.png",
        depth=3,
    ),
    select=True,
    subroots=("", "vistas-np", "vistas_np", "mapillary-vistas", "mapillary_vistas", "mapillary", "vistas", "Vistas"),
    # A tree of Vistas holds instances, panoptic maps and polygons beside what is read.
    ignored=r".*\.(?:png|jpg|json|pdf|txt|md)|LICENSE|README",
)

SPEC = DatasetSpec(
    name="vistas_np",
    title="Vistas-NP, Mapillary Vistas without persons",
    splits=(
        Split("train", keys="training_.*", shows=False),
        Split("val", keys="validation_.*", shows=False),
        Split("test", keys="(?:training|validation|test)_.*", shows=True),
    ),
    default_split="test",
    layouts=(LAYOUT,),
    table=ValueTable("Vistas-NP", ()),
    table_from=config_table,
    kind="classes",
    label_space=CITYSCAPES,
    held_out=("person", "rider"),
    licence="terms of Mapillary Vistas, registration needed",
    citation="Grcić, Bevandić, Šegvić: Dense open-set recognition with synthetic outliers generated by Real NVP, "
    "VISAPP 2021",
    homepage="https://github.com/matejgrcic/Vistas-NP",
    notes="which split a frame is of is read from its label, which takes minutes on all of Vistas",
    by_hand=(
        "register at https://www.mapillary.com/dataset/vistas, fetch release 1.2, and unpack it in one folder: "
        "training/, validation/ and config.json (or config_v1.2.json) lie in it; nothing has to be copied or sorted"
    ),
)


def vistas_np() -> DatasetSpec:
    """The declaration of Vistas-NP."""
    return SPEC
