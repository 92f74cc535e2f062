"""Class names of data sets, and what a class of one means in another.

Every class stands for one or several *concepts*. A class of the source may be any class of the target that shares
a concept with it: one target class is an exact match, several are a set-valued label (the loss is minus the log of
their summed probability), none is void.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from anomseg.errors import unknown_name
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
