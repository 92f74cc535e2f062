"""How a folder of pasted frames is made: what is pasted, how large, where, and how its border is treated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from anomseg.errors import ConfigError, unknown_name
from anomseg.registry import convert_options

Blending = Literal["hard", "smooth", "matched"]
BLENDINGS: tuple[str, ...] = get_args(Blending)
Shape = Literal["mask", "rectangle"]
SHAPES: tuple[str, ...] = get_args(Shape)
InlierPlace = Literal["own", "uniform"]

ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe")
"""The animals of COCO, those of Pascal VOC among them."""
_WD_ANIMALS = ("bird", "cat", "cow", "dog", "horse", "sheep")


@dataclass(frozen=True)
class PasteOptions:
    """What is pasted on each frame, and how.

    Attributes:
        objects: Anomalous objects a frame.
        inliers: Things of the frames' own classes a frame, cut out of other frames: the paste control.
        categories: What objects may show, by the words of their source; anything when empty.
        without: What they may not show.
        classes: Classes of the inlier pastes.
        size: ``share``: objects are brought to a share of the frame; ``native``: they keep their pixels.
        area: Least and greatest share of the frame that a thing covers; drawn between them, evenly in its logarithm,
            where sizes are shares, else things outside are not taken.
        enlarge: Objects are enlarged at most so many times, since blur would give them away.
        min_pixels: Objects of fewer pixels in their own image are not taken.
        whole: Objects that touch the border of their image, and so may be cut off, are not taken.
        shape: ``mask`` or ``rectangle``, the box around it.
        blending: How pixels are put in place. ``hard``: as they are. ``smooth``: those within one pixel of the border
            are then averaged with their neighbours. ``matched``: before that the colours of objects are moved halfway
            to the frame's; inlier pastes are in its light already. None of them is the feathering of training.
        inlier_place: ``own``: where the thing was in its own frame, so that nothing but the pasting is odd;
            ``uniform``: anywhere, as objects are.
        apart: An inlier paste comes from a frame of the same sequence at least so many frames away, in the order of the
            data set; of another sequence where there is none.
        seed: Of every random choice.
    """

    objects: int = 1
    inliers: int = 1
    categories: tuple[str, ...] = ANIMALS
    without: tuple[str, ...] = ()
    classes: tuple[str, ...] = ("car", "pedestrian")
    size: Literal["share", "native"] = "share"
    area: tuple[float, float] = (0.005, 0.1)
    enlarge: float = 1.5
    min_pixels: int = 1000
    whole: bool = True
    shape: Shape = "mask"
    blending: Blending = "matched"
    inlier_place: InlierPlace = "own"
    apart: int = 30
    seed: int = 0

    @property
    def inlier_blending(self) -> Blending:
        """How inlier pastes are put in place."""
        return "smooth" if self.blending == "matched" else self.blending

    def __post_init__(self) -> None:
        if min(self.objects, self.inliers) < 0 or not 1 <= self.objects + self.inliers <= 100:
            raise ConfigError("1 to 100 things can be pasted on a frame; change --count or --inliers")
        low, high = self.area
        if not (0 < low <= high <= 1):
            raise ConfigError(f"area is a least and a greatest share of the frame, above 0 to 1, got {self.area}")
        if not (math.isfinite(self.enlarge) and self.enlarge > 0) or min(self.min_pixels, self.apart, self.seed) < 0:
            raise ConfigError("enlarge is a factor above 0; min_pixels, apart and seed are whole numbers from 0")


RECIPES: dict[str, PasteOptions] = {
    "sized": PasteOptions(),
    # One Pascal VOC animal at its own size on more than 0.7 % of the frame, uniformly placed (Bevandić et al. 2019).
    "wd_pascal": PasteOptions(
        inliers=0, categories=_WD_ANIMALS, size="native", area=(0.007, 1.0), min_pixels=0, whole=False, blending="hard"
    ),
    "control": PasteOptions(objects=0),
}
"""Settings by name: ``sized`` objects with inlier pastes, the recipe of WD-Pascal, inlier pastes alone."""


def paste_options(recipe: str = "sized", **changes: Any) -> PasteOptions:
    """The options of a recipe with some of them changed; None changes nothing.

    Raises:
        ConfigError: An unknown recipe, or a value that cannot be used.

    Example:
        >>> paste_options("wd_pascal", seed=3).area
        (0.007, 1.0)
    """
    if recipe not in RECIPES:
        raise unknown_name("recipe of pasting", recipe, RECIPES)
    given = {name: value for name, value in changes.items() if value is not None}
    return replace(RECIPES[recipe], **_typed(given))


def read_options(tree: Mapping[str, Any]) -> PasteOptions:
    """Options as a manifest holds them.

    Raises:
        ConfigError: A field is missing or unknown, or its value cannot be used.
    """
    names = {one.name for one in fields(PasteOptions)}
    if set(tree) != names:
        raise ConfigError(f"options {', '.join(sorted(set(tree) ^ names))} are unknown or missing")
    return PasteOptions(**_typed(tree))


def _typed(given: Mapping[str, Any]) -> dict[str, Any]:
    return convert_options(PasteOptions, given, "paste")
