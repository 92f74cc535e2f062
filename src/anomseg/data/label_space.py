"""The label spaces of the data sets, by name."""

from __future__ import annotations

from collections.abc import Sequence

from anomseg.data.label_mapping import LabelSpace
from anomseg.errors import ConfigError, unknown_name

CITYSCAPES = LabelSpace(
    "cityscapes",
    (
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ),
    (
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
        (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0),
        (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ),
)  # fmt: skip

CAMVID = LabelSpace(
    "camvid",
    (
        "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
    ),
    (
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
        (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ),
)  # fmt: skip

# IDD's first level. Animals are "living things" and trailers "vehicles" there, so the former are void elsewhere.
IDD_LITE = LabelSpace(
    "idd_lite",
    ("drivable", "non-drivable", "living things", "vehicles", "roadside objects", "far objects", "sky"),
    (
        (128, 64, 128), (244, 35, 232), (220, 20, 60), (0, 0, 142), (190, 153, 153), (107, 142, 35), (70, 130, 180),
    ),
    (
        ("non-drivable", ("sidewalk", "terrain")),
        ("living things", ()),
        ("vehicles", ("car", "truck", "bus", "train", "motorcycle", "bicycle")),
        ("roadside objects", ("pole", "traffic sign", "traffic light", "fence", "wall", "building", "sidewalk")),
        ("far objects", ("building", "vegetation")),
    ),
)  # fmt: skip

# "unlabeled" is sky mostly, and "other" is anything, so neither says what a pixel is in another space.
STREET_HAZARDS = LabelSpace(
    "street_hazards",
    (
        "unlabeled", "building", "fence", "other", "pedestrian", "pole", "road line", "road", "sidewalk", "vegetation",
        "car", "wall", "traffic sign",
    ),
    (
        (0, 0, 0), (70, 70, 70), (190, 153, 153), (250, 170, 160), (220, 20, 60), (153, 153, 153), (157, 234, 50),
        (128, 64, 128), (244, 35, 232), (107, 142, 35), (0, 0, 142), (102, 102, 156), (220, 220, 0),
    ),
    (("unlabeled", ()), ("other", ()), ("road line", ("road",))),
)  # fmt: skip

# The classes of Cityscapes without those that MUAD's test images alone show.
MUAD = LabelSpace(
    "muad",
    tuple(name for name in CITYSCAPES.names if name not in ("rider", "train", "motorcycle", "bicycle")),
    tuple(
        colour
        for name, colour in zip(CITYSCAPES.names, CITYSCAPES.palette, strict=True)
        if name not in ("rider", "train", "motorcycle", "bicycle")
    ),
)

CIFAR10 = LabelSpace(
    "cifar10",
    ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)

_SPACES = {space.name: space for space in (CITYSCAPES, CAMVID, IDD_LITE, STREET_HAZARDS, MUAD, CIFAR10)}


def label_space(name: str) -> LabelSpace:
    """Look a label space up by name.

    Raises:
        ConfigError: It is unknown; the nearest known one is suggested.
    """
    if name not in _SPACES:
        raise unknown_name("label space", name, _SPACES)
    return _SPACES[name]


def label_space_of(classes: Sequence[str], name: str = "network") -> LabelSpace:
    """The label space with these class names: a known one where the names agree, else a new one.

    Args:
        classes: Class names in the order of a network's logits.
        name: What to call a new space.

    Raises:
        ConfigError: A name occurs twice.
    """
    names = tuple(classes)
    if len(set(names)) != len(names):
        raise ConfigError(f"the class names of {name} are not unique: {', '.join(names)}")
    return next((space for space in _SPACES.values() if space.names == names), LabelSpace(name, names))
