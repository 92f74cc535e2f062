"""How negatives are put on images, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from anomseg.errors import ConfigError, unknown_name

Shape = Literal["rectangle", "mask", "mixed"]
Law = Literal["uniform", "log"]
_SHAPES: tuple[str, ...] = get_args(Shape)
_LAWS: tuple[str, ...] = get_args(Law)


@dataclass(frozen=True)
class PasteConfig:
    """How negatives are put on images.

    Attributes:
        share: Share of images that get pasted patches, 0..1.
        pure: Share of images that are replaced by a negative image as a whole; ``share + pure`` is at most 1.
        area: Least and largest share of the image that a patch covers, drawn in steps of a thousandth: the scale
            jitter.
        shape: ``rectangle`` (the region's box), ``mask`` (its mask; a random smooth outline where there is none), or
            ``mixed`` (either, as likely).
        area_law: How that share is drawn: ``uniform``, or ``log``, which favours no factor over its inverse.
        feather: Pixels over which the border of a patch fades.
        feather_least: Where given, each patch draws its own width from this to ``feather``, so that no width gives a
            patch away.
        standing: Share of the patches whose lower edge lies in the lower half of the image, as that of a thing on the
            ground does; the others lie anywhere.
        jitter: Strength of a change of a patch's own brightness, contrast and saturation (0.3: factors from 0.7 to
            1.3); three in ten are blurred or sharpened as well.
        match: Share of the patches whose colours are drawn towards those of what they cover.
        count: At most so many patches on an image; the number is drawn from 1 to this.
        enlarge: By how much a region is enlarged at most. One that then covers less than the least ``area`` is too
            small: it is counted and another one drawn.
    """

    share: float = 0.5
    pure: float = 0.0
    area: tuple[float, float] = (0.001, 0.1)
    shape: Shape = "rectangle"
    feather: int = 0
    count: int = 1
    enlarge: float = 4.0
    area_law: Law = "uniform"
    feather_least: int | None = None
    standing: float = 0.0
    jitter: float = 0.0
    match: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be carried out."""
        if not (self.share >= 0 and self.pure >= 0 and self.share + self.pure <= 1 + 1e-9):
            raise ConfigError(
                f"share {self.share} and pure {self.pure} are shares of all images: from 0, at most 1 together"
            )
        if len(self.area) != 2 or not 0 < self.area[0] <= self.area[1] <= 1:
            raise ConfigError(f"area {self.area} is no range of shares: give [least, largest] within 0 and 1, not 0")
        if self.shape not in _SHAPES:
            raise unknown_name("shape of patches", self.shape, _SHAPES)
        if self.feather < 0 or self.count < 1 or not self.enlarge > 0:
            raise ConfigError(
                f"feather {self.feather}, count {self.count} and enlarge {self.enlarge}: give feather >= 0, count >= 1 "
                "and enlarge above 0"
            )
        if self.area_law not in _LAWS:
            raise unknown_name("law of areas", self.area_law, _LAWS)
        if self.feather_least is not None and not 0 <= self.feather_least <= self.feather:
            raise ConfigError(f"feather_least {self.feather_least} must be from 0 to feather, {self.feather}")
        for name in ("standing", "jitter", "match"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} {getattr(self, name)} must be from 0 to 1")
