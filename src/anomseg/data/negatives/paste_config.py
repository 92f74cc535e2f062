"""How negatives are put on images, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from anomseg.errors import ConfigError, unknown_name

Shape = Literal["rectangle", "mask", "mixed"]
_SHAPES: tuple[str, ...] = get_args(Shape)


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
        feather: Pixels over which the border of a patch fades.
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
