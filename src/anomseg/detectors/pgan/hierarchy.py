"""A tree over the classes: which super-category each belongs to, and the prototypes of those."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.errors import ConfigError, unknown_name

AUTO, NONE = "auto", "none"

_CAMVID = {
    "flat": ("road", "pavement"),
    "construction": ("building", "fence"),
    "object": ("pole", "sign"),
    "nature": ("tree", "sky"),
    "human": ("pedestrian", "bicyclist"),
    "vehicle": ("car",),
}
_CITYSCAPES = {
    "flat": ("road", "sidewalk"),
    "construction": ("building", "wall", "fence"),
    "object": ("pole", "traffic light", "traffic sign"),
    "nature": ("vegetation", "terrain", "sky"),
    "human": ("person", "rider"),
    "vehicle": ("car", "truck", "bus", "train", "motorcycle", "bicycle"),
}
_STREET_HAZARDS = {
    "flat": ("road", "road line", "street lines", "sidewalk"),
    "construction": ("building", "fence", "wall", "other"),
    "object": ("pole", "traffic sign"),
    "nature": ("vegetation", "unlabeled", "unlabelled", "sky"),
    "human": ("pedestrian",),
    "vehicle": ("car",),
}
TREES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "camvid": _CAMVID,
    "cityscapes": _CITYSCAPES,
    "street_hazards": _STREET_HAZARDS,
}


@dataclass(frozen=True)
class Tree:
    """Classes and their parents.

    Attributes:
        parents: Names of the super-categories that have a class.
        of_class: For each class the index of its parent.
    """

    parents: tuple[str, ...]
    of_class: tuple[int, ...]

    def membership(self) -> Tensor:
        """``(K, P)`` bool: which parent a class has."""
        table = torch.zeros(len(self.of_class), len(self.parents), dtype=torch.bool)
        table[torch.arange(len(self.of_class)), torch.tensor(self.of_class)] = True
        return table

    def as_text(self, classes: Sequence[str]) -> str:
        """The tree as an option: ``flat=road+sidewalk,vehicle=car``."""
        children = {
            name: [one for one, own in zip(classes, self.of_class, strict=True) if own == index]
            for index, name in enumerate(self.parents)
        }
        return ",".join(f"{name}={'+'.join(own)}" for name, own in children.items())


def find_tree(text: str, classes: Sequence[str]) -> Tree | None:
    """The tree that an option asks for.

    Args:
        text: ``"none"``; ``"auto"``, the known tree that names most of the classes; the name of a known tree; or a tree
            of yours, ``flat=road+sidewalk,vehicle=car+truck``.
        classes: Class names of the network. One that the tree does not name becomes its own parent.

    Returns:
        The tree; None for ``"none"``.

    Raises:
        ConfigError: A tree that cannot be read, or one of yours with a class that the network does not know.

    Example:
        >>> find_tree("flat=road+sidewalk", ["road", "sidewalk", "car"])
        Tree(parents=('flat', 'car'), of_class=(0, 0, 1))
    """
    if text == NONE:
        return None
    if text == AUTO:
        named = {name: sum(one in _parent_of(tree) for one in classes) for name, tree in TREES.items()}
        return _tree(_parent_of(TREES[max(named, key=lambda name: named[name])]), classes)
    if "=" not in text:
        if text not in TREES:
            raise unknown_name("tree", text, [AUTO, NONE, *TREES])
        return _tree(_parent_of(TREES[text]), classes)
    return _tree(_parse(text, classes), classes)


def parent_prototypes(prototypes: Tensor, parents: Tensor, count: int) -> Tensor:
    """Renormalised mean of the children's prototypes.

    Args:
        prototypes: ``(K, M, D)``; those of classes without any must be left out by ``parents`` being negative.
        parents: ``(K,)`` int64, parent of each class; negative for none.
        count: Number of parents P.

    Returns:
        ``(P, 1, D)`` of unit length; zeros where the children cancel out or there are none.

    Example:
        >>> leaves = torch.eye(2)[:, None]
        >>> [round(value, 4) for value in parent_prototypes(leaves, torch.tensor([0, 0]), 1).flatten().tolist()]
        [0.7071, 0.7071]
    """
    used = parents >= 0
    sums = prototypes.new_zeros(count, prototypes.shape[-1])
    sums = sums.index_add(0, parents[used], prototypes[used].sum(1))
    return F.normalize(sums, dim=1)[:, None]


def _parent_of(tree: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {child: parent for parent, children in tree.items() for child in children}


def _tree(parent_of: Mapping[str, str], classes: Sequence[str]) -> Tree:
    own = [parent_of.get(name, name) for name in classes]
    parents = tuple(dict.fromkeys(own))
    return Tree(parents, tuple(parents.index(name) for name in own))


def _parse(text: str, classes: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        parent, equals, children = (part.strip() for part in item.partition("="))
        names = [name.strip() for name in children.split("+") if name.strip()]
        if not (equals and parent and names):
            raise ConfigError(f"tree: {item!r} is not parent=class+class; write such as flat=road+sidewalk,vehicle=car")
        for name in names:
            if name not in classes:
                raise unknown_name("class in tree", name, classes)
            if found.setdefault(name, parent) != parent:
                raise ConfigError(f"tree: {name} has two parents, {found[name]} and {parent}; give it one")
    return found
