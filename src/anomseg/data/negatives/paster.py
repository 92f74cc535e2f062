"""`Paster`: draws negatives and puts them on images, the same for the same random generator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomseg.data.negatives.drawing import REDRAWS, Drawn, Urn
from anomseg.data.negatives.looks import changed, matched
from anomseg.data.negatives.negative import BoolArray, Box, Negative
from anomseg.data.negatives.paste import (
    blend,
    draw_share,
    feathered,
    patch_scale,
    pure_window,
    resized,
    resized_mask,
    scaled_box,
    scaled_size,
    scaled_window,
)
from anomseg.data.negatives.paste_config import PasteConfig
from anomseg.data.negatives.shapes import Outline
from anomseg.types import ANOMALY, INLIER, VOID, UInt8Array


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
        patches: What was put there, in order; empty where the image was left as it is.
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
        config: How; the default configuration when None.
        weights: How likely each negative is drawn, relative to the others; all alike when None.

    Attributes:
        urn: Draws the negatives; knows the unreadable ones.

    Raises:
        DataError: There are no negatives.
        ConfigError: The weights do not fit.
    """

    def __init__(
        self,
        negatives: Sequence[Negative],
        config: PasteConfig | None = None,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.config = config or PasteConfig()
        self.urn = Urn(negatives, weights)
        self._counts: Counter[str] = Counter()

    @property
    def counts(self) -> dict[str, int]:
        """What happened so far.

        ``pasted`` and ``pure`` count images, ``unreadable`` and ``too_small`` the draws that were repeated for it.
        """
        return {
            "pasted": self._counts["pasted"],
            "pure": self._counts["pure"],
            "unreadable": self.urn.misses,
            "too_small": self._counts["too_small"],
        }

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
            return self.pure_negative(image, rng)
        return _untouched(image)

    def paste_patches(self, image: UInt8Array, rng: np.random.Generator) -> Pasted:
        """Put one to ``count`` patches on an image, whatever the shares say; arguments as for `paste`."""
        pasted = _untouched(image)
        for _ in range(int(rng.integers(1, self.config.count + 1))):
            for _ in range(REDRAWS):
                found = self._patch(self.urn.draw(rng), _size(image), rng)
                if found is not None:
                    break
                self._counts["too_small"] += 1
            else:
                continue
            pixels, mask, patch = found
            pixels = self._looking(pixels, mask, patch.box, pasted.image, rng)
            alpha = feathered(mask, self._feather(rng))
            mixed, outlier = blend(pasted.image, pasted.outlier, pixels, alpha, patch.box[0], patch.box[1])
            pasted = Pasted(mixed, outlier, (*pasted.patches, patch))
        self._counts["pasted"] += bool(pasted.patches)
        return pasted

    def pure_negative(self, image: UInt8Array, rng: np.random.Generator) -> Pasted:
        """Replace an image by a negative, whatever the shares say; arguments as for `paste`.

        The negative is scaled to cover the image's size and a window is cut; all outside the region's box is ignored.
        """
        size = _size(image)
        for _ in range(REDRAWS):
            drawn = self.urn.draw(rng)
            rows, columns = _size(drawn.image)
            scale = max(size[0] / rows, size[1] / columns)
            if scale <= self.config.enlarge:
                break
            self._counts["too_small"] += 1
        else:
            return _untouched(image)
        scaled = (max(size[0], round(rows * scale)), max(size[1], round(columns * scale)))
        box = scaled_box(drawn.region.box, (rows, columns), scaled)
        top, left = pure_window(scaled, size, box, rng)
        shown = (max(box[0] - top, 0), max(box[1] - left, 0), min(box[2] - top, size[0]), min(box[3] - left, size[1]))
        outlier = np.full(size, VOID, np.uint8)
        outlier[shown[0] : shown[2], shown[1] : shown[3]] = ANOMALY
        self._counts["pure"] += 1
        patch = Patch(drawn.negative.id, drawn.region.category, shown, False)
        return Pasted(scaled_window(drawn.image, scaled, (top, left), size), outlier, (patch,), pure=True)

    def _patch(
        self, drawn: Drawn, size: tuple[int, int], rng: np.random.Generator
    ) -> tuple[UInt8Array, BoolArray, Patch] | None:
        """Pixels and mask of a patch at its size, and where it goes; None where the region is too small."""
        config, (top, left, bottom, right) = self.config, drawn.region.box
        share = draw_share(config.area, rng, config.area_law)
        masked = config.shape == "mask" or (config.shape == "mixed" and rng.random() < 0.5)
        region_size, covered = (bottom - top, right - left), 1.0
        own = drawn.region.mask[top:bottom, left:right] if masked and drawn.region.mask is not None else None
        outline = Outline.random(rng) if masked and own is None else None
        if own is not None:
            covered = float(own.mean())
        elif outline is not None:
            covered = outline.coverage
        scale = patch_scale(size, region_size, share, covered)
        if scale > config.enlarge:
            scale = config.enlarge
            if covered * region_size[0] * region_size[1] * scale**2 < config.area[0] * size[0] * size[1]:
                return None
        rows, columns = scaled_size(region_size, scale)
        if own is not None:
            mask = resized_mask(own, (rows, columns))
        else:
            mask = outline.raster(rows, columns) if outline is not None else np.ones((rows, columns), bool)
        if not mask.any():
            return None
        row, column = self._top(size[0], rows, rng), int(rng.integers(size[1] - columns + 1))
        patch = Patch(drawn.negative.id, drawn.region.category, (row, column, row + rows, column + columns), masked)
        return resized(drawn.image, (rows, columns), drawn.region.box), mask, patch

    def _top(self, height: int, rows: int, rng: np.random.Generator) -> int:
        """First row of a patch."""
        if self.config.standing and rng.random() < self.config.standing:
            return min(max(int(rng.uniform(0.5, 1.0) * height) - rows, 0), height - rows)
        return int(rng.integers(height - rows + 1))

    def _feather(self, rng: np.random.Generator) -> int:
        least = self.config.feather_least
        return self.config.feather if least is None else int(rng.integers(least, self.config.feather + 1))

    def _looking(
        self, pixels: UInt8Array, mask: BoolArray, box: Box, image: UInt8Array, rng: np.random.Generator
    ) -> UInt8Array:
        """A patch as it looks on the image that it goes to."""
        if self.config.jitter:
            pixels = changed(pixels, self.config.jitter, rng)
        if self.config.match and rng.random() < self.config.match:
            under = image[box[0] : box[2], box[1] : box[3]]
            pixels = matched(pixels, mask, under, float(rng.uniform(0.3, 1.0)))
        return pixels


def _size(image: UInt8Array) -> tuple[int, int]:
    return image.shape[0], image.shape[1]


def _untouched(image: UInt8Array) -> Pasted:
    return Pasted(image, np.full(image.shape[:2], INLIER, np.uint8))
