"""`Paster`: draws negatives and puts them on images, the same for the same random generator."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from anomseg.data.negatives.negative import BoolArray, Box, Negative, Region
from anomseg.data.negatives.paste import (
    blend,
    draw_share,
    feathered,
    patch_scale,
    pure_window,
    resized,
    resized_mask,
    scaled_size,
)
from anomseg.data.negatives.shapes import smooth_blob
from anomseg.errors import ConfigError, DataError, FrameError
from anomseg.types import ANOMALY, INLIER, VOID, UInt8Array

Shape = Literal["rectangle", "mask", "mixed"]
_SHAPES: tuple[str, ...] = get_args(Shape)
_REDRAWS = 20


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
        if not (self.share >= 0 and self.pure >= 0 and self.share + self.pure <= 1):
            raise ConfigError(
                f"share {self.share} and pure {self.pure} are shares of all images: from 0, at most 1 together"
            )
        if len(self.area) != 2 or not 0 < self.area[0] <= self.area[1] <= 1:
            raise ConfigError(f"area {self.area} is no range of shares: give [least, largest] within 0 and 1, not 0")
        if self.shape not in _SHAPES:
            raise ConfigError(f"unknown shape {self.shape!r} of patches (known: {', '.join(_SHAPES)})")
        if self.feather < 0 or self.count < 1 or not self.enlarge > 0:
            raise ConfigError(
                f"feather {self.feather}, count {self.count} and enlarge {self.enlarge}: give feather >= 0, count >= 1 "
                "and enlarge above 0"
            )


@dataclass(frozen=True)
class Patch:
    """One thing that was put on an image.

    Attributes:
        negative: Id of the negative.
        category: What it shows; None where nothing tells.
        box: Where it lies on the image: top, left, bottom, right, in pixels.
        masked: Whether it has an outline other than its box.
    """

    negative: str
    category: str | None
    box: Box
    masked: bool


@dataclass(frozen=True)
class Pasted:
    """An image with what was put on it.

    Attributes:
        image: ``(H, W, 3)`` uint8, of the size of the image given.
        outlier: ``(H, W)`` uint8: 0 inlier, 1 outlier, 255 ignored (outside the box of a pure negative, and where a
            feathered border covers less than half).
        patches: What was put there, in order.
        pure: Whether the whole image was replaced by a negative.
    """

    image: UInt8Array
    outlier: UInt8Array
    patches: tuple[Patch, ...] = ()
    pure: bool = False


class Paster:
    """Puts negatives on images.

    What comes out depends on the image, the generator, the negatives and the configuration alone: not on what was
    pasted before, nor on how many workers share the work.

    Args:
        negatives: What to draw from.
        config: How.
        weights: How likely each negative is drawn, relative to the others; all alike when None.

    Attributes:
        counts: How often an unreadable (``unreadable``) or too small (``too_small``) one was drawn, and how many
            images got ``patches`` or became ``pure``.
        unreadable: Id and reason of each unreadable negative met so far.

    Raises:
        DataError: There are no negatives.
        ConfigError: The weights do not fit.
    """

    def __init__(
        self,
        negatives: Sequence[Negative],
        config: PasteConfig = PasteConfig(),  # noqa: B008 - frozen
        weights: Sequence[float] | None = None,
    ) -> None:
        if not negatives:
            raise DataError("there are no negatives to paste; name a source, or another regime")
        self.negatives = list(negatives)
        self.config = config
        self.weights = weights
        self.counts: Counter[str] = Counter()
        self.unreadable: dict[str, str] = {}
        self._broken: set[int] = set()
        self._bounds = _cumulative(len(self.negatives), weights)

    def paste(self, image: UInt8Array, rng: np.random.Generator) -> Pasted:
        """Put patches on an image, replace it by a negative, or leave it as it is, as the shares say.

        Args:
            image: ``(H, W, 3)`` uint8.
            rng: Source of all randomness.

        Raises:
            DataError: Not one of the negatives can be read.
        """
        draw = rng.random()
        if draw < self.config.share:
            return self.paste_patches(image, rng)
        if draw < self.config.share + self.config.pure:
            return self.pure_negative((image.shape[0], image.shape[1]), rng)
        return Pasted(image, np.full(image.shape[:2], INLIER, np.uint8))

    def paste_patches(self, image: UInt8Array, rng: np.random.Generator) -> Pasted:
        """Put one to ``count`` patches on an image, whatever the shares say; arguments as `paste`."""
        outlier = np.full(image.shape[:2], INLIER, np.uint8)
        patches: list[Patch] = []
        for _ in range(int(rng.integers(1, self.config.count + 1))):
            for _ in range(_REDRAWS):
                negative, source, region = self._draw(rng)
                found = self._patch(negative, source, region, (image.shape[0], image.shape[1]), rng)
                if found is not None:
                    break
                self.counts["too_small"] += 1
            else:
                continue
            pixels, mask, patch = found
            alpha = feathered(mask, self.config.feather)
            image, outlier = blend(image, outlier, pixels, alpha, patch.box[0], patch.box[1])
            patches.append(patch)
        self.counts["patches"] += bool(patches)
        return Pasted(image, outlier, tuple(patches))

    def pure_negative(self, size: tuple[int, int], rng: np.random.Generator) -> Pasted:
        """A negative image of a given size: scaled to cover it, a window cut, all outside the region's box ignored.

        Args:
            size: Height and width.
            rng: Source of all randomness.

        Raises:
            DataError: Not one of the negatives can be read.
        """
        for _ in range(_REDRAWS):
            negative, source, region = self._draw(rng)
            scale = max(size[0] / source.shape[0], size[1] / source.shape[1])
            if scale <= self.config.enlarge:
                break
            self.counts["too_small"] += 1
        rows, columns = (max(want, round(side * scale)) for want, side in zip(size, source.shape[:2], strict=True))
        box = _scaled_box(region.box, (rows / source.shape[0], columns / source.shape[1]))
        top, left = pure_window((rows, columns), size, box, rng)
        # Only what the window shows is enlarged: a thin negative as a whole might not fit into memory.
        image = _window(source, (rows, columns), (top, left), size)
        outlier = np.full(size, VOID, np.uint8)
        inside = (max(box[0] - top, 0), max(box[1] - left, 0), max(box[2] - top, 0), max(box[3] - left, 0))
        outlier[inside[0] : inside[2], inside[1] : inside[3]] = ANOMALY
        seen = (*inside[:2], min(inside[2], size[0]), min(inside[3], size[1]))
        self.counts["pure"] += 1
        return Pasted(image, outlier, (Patch(negative.id, region.category, seen, False),), pure=True)

    def _draw(self, rng: np.random.Generator) -> tuple[Negative, UInt8Array, Region]:
        """A readable negative, its pixels, and one of its regions.

        Draws are repeated while they hit unreadable ones, then the list is walked through from the last: neither
        depends on which are known to be unreadable already, so the outcome is the same in every worker.
        """
        index = 0
        for _ in range(_REDRAWS):
            index = int(np.searchsorted(self._bounds, rng.random(), side="right"))
            found = self._read(index)
            if found is not None:
                break
        else:
            following = ((index + step) % len(self.negatives) for step in range(1, len(self.negatives) + 1))
            found = next((read for read in map(self._read, following) if read is not None), None)
        if found is None:
            reason = next(iter(self.unreadable.values()), "")
            raise DataError(f"none of the {len(self.negatives)} negatives can be used; the first: {reason}")
        negative, image, regions = found
        return negative, image, regions[int(rng.integers(len(regions)))]

    def _read(self, index: int) -> tuple[Negative, UInt8Array, list[Region]] | None:
        negative = self.negatives[index]
        if index not in self._broken:
            try:
                image = negative.image()
                whole = Region(_only(negative.categories), (0, 0, image.shape[0], image.shape[1]))
                return negative, image, _checked(negative.id, negative.regions(), image) or [whole]
            except FrameError as error:
                self._broken.add(index)
                self.unreadable[negative.id] = str(error)
                if len(self._broken) == 1:
                    warnings.warn(f"{error}; it and any other unreadable negative is skipped and counted", stacklevel=4)
        self.counts["unreadable"] += 1
        return None

    def _patch(
        self, negative: Negative, source: UInt8Array, region: Region, size: tuple[int, int], rng: np.random.Generator
    ) -> tuple[UInt8Array, BoolArray, Patch] | None:
        """Pixels and mask of a patch at its size, and where it goes; None where the region is too small."""
        config, (top, left, bottom, right) = self.config, region.box
        masked = config.shape == "mask" or (config.shape == "mixed" and rng.random() < 0.5)
        share = draw_share(config.area, rng)
        outline = smooth_blob(bottom - top, right - left, rng) if masked and region.mask is None else None
        if masked and region.mask is not None:
            outline = region.mask[top:bottom, left:right]
        pixels = int(outline.sum()) if outline is not None else (bottom - top) * (right - left)
        scale = patch_scale(size, (bottom - top, right - left), share, pixels)
        if scale > config.enlarge:
            scale = config.enlarge
            if pixels * scale**2 < config.area[0] * size[0] * size[1]:
                return None
        rows, columns = scaled_size((bottom - top, right - left), scale)
        mask = resized_mask(outline, (rows, columns)) if outline is not None else np.ones((rows, columns), bool)
        if not mask.any():
            return None
        row, column = int(rng.integers(size[0] - rows + 1)), int(rng.integers(size[1] - columns + 1))
        patch = Patch(negative.id, region.category, (row, column, row + rows, column + columns), outline is not None)
        return resized(source, (rows, columns), region.box), mask, patch


def _cumulative(count: int, weights: Sequence[float] | None) -> np.ndarray:
    """Upper bounds of the negatives' shares of [0, 1); the last is left out, so that searching stays in range."""
    given = np.ones(count) if weights is None else np.asarray(weights, np.float64)
    if given.shape != (count,) or not np.isfinite(given).all() or (given < 0).any() or not given.sum() > 0:
        raise ConfigError(f"weights of negatives: give {count} numbers from 0, not all 0")
    return np.cumsum(given)[:-1] / given.sum()


def _only(categories: frozenset[str]) -> str | None:
    """What stands for an image's categories: its name rather than its synset; None where several are left."""
    names = sorted(categories, key=lambda name: (name[:1] == "n" and name[1:].isdigit(), name))
    synsets = [name for name in names if name[:1] == "n" and name[1:].isdigit()]
    return names[0] if len(names) - len(synsets) == 1 or len(names) == 1 else None


def _checked(name: str, regions: list[Region], image: UInt8Array) -> list[Region]:
    """The regions that have pixels.

    Raises:
        FrameError: A mask is not of the image's size, or a box leads out of the image.
    """
    height, width = image.shape[:2]
    for region in regions:
        top, left, bottom, right = region.box
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise FrameError(f"negative {name}: the box {region.box} does not lie in its image of {width}x{height}")
        if region.mask is not None and region.mask.shape != (height, width):
            raise FrameError(f"negative {name}: mask {region.mask.shape} and image {(height, width)} differ in size")
    return [region for region in regions if region.mask is None or region.mask.any()]


def _scaled_box(box: Box, scale: tuple[float, float]) -> Box:
    top, left, bottom, right = box
    return round(top * scale[0]), round(left * scale[1]), round(bottom * scale[0]), round(right * scale[1])


def _window(source: UInt8Array, scaled: tuple[int, int], at: tuple[int, int], size: tuple[int, int]) -> UInt8Array:
    """The window ``at`` of ``size`` of an image brought to the size ``scaled``."""
    from PIL import Image  # noqa: PLC0415

    down, right = source.shape[0] / scaled[0], source.shape[1] / scaled[1]
    box = (
        at[1] * right,
        at[0] * down,
        min((at[1] + size[1]) * right, source.shape[1]),
        min((at[0] + size[0]) * down, source.shape[0]),
    )
    return np.array(Image.fromarray(source).resize((size[1], size[0]), Image.Resampling.BICUBIC, box=box))
