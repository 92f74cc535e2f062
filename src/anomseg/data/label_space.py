"""Class names of data sets, and what a class of one means in another.

Every class stands for one or several *concepts*. A class of the source may be any class of the target that shares
a concept with it: one target class is an exact match, several are a set-valued label (the loss is minus the log of
their summed probability), none is void.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from anomseg.errors import ConfigError, unknown_name
from anomseg.types import VOID, UInt8Array

Colour = tuple[int, int, int]

# Words that name one and the same concept; the first of each row is the concept.
_SYNONYMS = (
    ("road", "drivable", "drivable area", "street"),
    ("sidewalk", "pavement", "footpath"),
    ("building", "buildings", "house"),
    ("traffic light", "light", "trafficlight"),
    ("traffic sign", "sign", "sign symbol", "trafficsign"),
    ("vegetation", "tree", "trees"),
    ("person", "pedestrian", "human"),
    ("pole", "column pole", "column_pole"),
    ("car", "automobile"),
    ("motorcycle", "motorbike"),
    ("bicycle", "bike"),
    ("train", "tram"),
)
_CONCEPT_OF = {word: row[0] for row in _SYNONYMS for word in row}
# Classes that stand for several concepts wherever they appear.
_COMPOUND = {"bicyclist": ("rider", "bicycle")}


def concepts_of(name: str) -> tuple[str, ...]:
    """The concepts that a class name stands for.

    Example:
        >>> concepts_of("Pavement"), concepts_of("bicyclist")
        (('sidewalk',), ('rider', 'bicycle'))
    """
    word = " ".join(name.lower().replace("_", " ").split())
    return _COMPOUND.get(word) or (_CONCEPT_OF.get(word, word),)


@dataclass(frozen=True)
class LabelSpace:
    """The classes of a data set or of a network.

    Attributes:
        name: What it is called.
        names: Class names in the order of their numbers.
        palette: One RGB triple (0..255) a class; may be empty.
        coarse: ``(class, concepts)`` for classes coarser than their name; no concepts means void elsewhere.
    """

    name: str
    names: tuple[str, ...]
    palette: tuple[Colour, ...] = ()
    coarse: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def concepts(self, index: int) -> tuple[str, ...]:
        """The concepts that class ``index`` stands for."""
        name = self.names[index]
        return dict(self.coarse).get(name, concepts_of(name))

    def index(self, name: str) -> int:
        """The number of a class, by its name or a synonym of it.

        Raises:
            ConfigError: There is no such class; the nearest name is suggested.
        """
        if name in self.names:
            return self.names.index(name)
        wanted = concepts_of(name)
        for position, own in enumerate(self.names):
            if concepts_of(own) == wanted:
                return position
        raise unknown_name(f"class of {self.name}", name, self.names)

    def to(self, target: LabelSpace) -> ClassMapping:
        """What each class of this space means in ``target``."""
        if target.names == self.names:
            return ClassMapping(self, target, tuple((index,) for index in range(len(self))))
        sets = []
        for index in range(len(self)):
            own = set(self.concepts(index))
            sets.append(tuple(other for other in range(len(target)) if own & set(target.concepts(other))))
        return ClassMapping(self, target, tuple(sets))


@dataclass(frozen=True)
class ClassMapping:
    """What the classes of one space mean in another.

    Attributes:
        source: The space of the labels.
        target: The space of the network.
        sets: For every source class the target classes that it may be; empty is void.
    """

    source: LabelSpace
    target: LabelSpace
    sets: tuple[tuple[int, ...], ...]

    def single(self) -> UInt8Array:
        """``(256,)`` uint8 lookup with the exact matches only; classes that may be several, and void, give 255."""
        table = np.full(256, VOID, np.uint8)
        for index, allowed in enumerate(self.sets):
            if len(allowed) == 1:
                table[index] = allowed[0]
        return table

    @cached_property
    def is_single(self) -> bool:
        """Whether no class stands for several."""
        return all(len(allowed) <= 1 for allowed in self.sets)

    @property
    def coverage(self) -> str:
        """One line that says what is mapped onto what, what is left void, and which targets nothing maps to."""
        names = self.target.names
        pairs = list(zip(self.source.names, self.sets, strict=True))
        mapped = [f"{own} -> {' or '.join(names[i] for i in allowed)}" for own, allowed in pairs if allowed]
        void = [own for own, allowed in pairs if not allowed]
        reached = {index for allowed in self.sets for index in allowed}
        missing = [name for index, name in enumerate(names) if index not in reached]
        parts = [f"{self.source.name} to {self.target.name}: {len(mapped)} of {len(pairs)} classes map"]
        parts += [", ".join(mapped)] if mapped else []
        parts += [f"void: {', '.join(void)}"] if void else []
        parts += [f"nothing maps to: {', '.join(missing)}"] if missing else []
        return "; ".join(parts)


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

_SPACES = {space.name: space for space in (CITYSCAPES, CAMVID, IDD_LITE)}


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
