"""A frame while things are pasted on it: image, labels, classes, and which inliers were pasted. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from anomseg.data.negatives.negative import BoolArray, Region
from anomseg.data.negatives.paste import resized, resized_mask
from anomseg.data.pasted.control import PASTED, UNTOUCHED
from anomseg.data.pasted.options import Blending, Shape
from anomseg.types import ANOMALY, INLIER, VOID, Frame, UInt8Array


@dataclass(frozen=True)
class Canvas:
    """A frame's pixels and maps, all ``(H, W)`` and uint8.

    Attributes:
        image: ``(H, W, 3)``.
        label: 0 inlier, 1 anomaly, 255 void.
        classes: The frame's classes, 255 void; None for frames without.
        control: 1 where an inlier was pasted, 0 elsewhere.
    """

    image: UInt8Array
    label: UInt8Array
    classes: UInt8Array | None
    control: UInt8Array

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.label.shape[0], self.label.shape[1]


@dataclass(frozen=True)
class Cutout:
    """A thing at the size at which it is pasted: ``pixels (h, w, 3)`` uint8 and the ``mask (h, w)`` that counts."""

    pixels: UInt8Array
    mask: BoolArray


def blank(frame: Frame) -> Canvas:
    """A frame as it is: what has no class is void, what is anomalous already stays so.

    Raises:
        FrameError: An image or map cannot be read.
    """
    image, classes = frame.image(), frame.classes
    label = frame.label.copy() if frame.has_label and frame.label is not None else np.zeros(image.shape[:2], np.uint8)
    if classes is not None:
        label[(classes == VOID) & (label == INLIER)] = VOID
    return Canvas(image, label, classes, np.full(label.shape, UNTOUCHED, np.uint8))


def cut_out(image: UInt8Array, region: Region, size: tuple[int, int], shape: Shape) -> Cutout:
    """Cut a region out of its image and bring it to a size.

    Args:
        image: ``(H, W, 3)`` uint8.
        region: Its box lies within the image.
        size: Height and width to bring it to; its own size leaves the pixels as they are.
        shape: ``mask``, or ``rectangle`` for all of the box.
    """
    top, left, bottom, right = region.box
    same = size == (bottom - top, right - left)
    pixels = image[top:bottom, left:right] if same else resized(image, size, region.box)
    if shape == "rectangle" or region.mask is None:
        return Cutout(pixels, np.ones(size, bool))
    mask = region.mask[top:bottom, left:right]
    return Cutout(pixels, mask if same else resized_mask(mask, size))


def lay(canvas: Canvas, cutout: Cutout, place: tuple[int, int], blending: Blending, category: int | None) -> Canvas:
    """Paste a cutout.

    Args:
        canvas: What to paste on; it is left as it is.
        cutout: What to paste.
        place: Row and column of its first pixel; it lies inside the frame.
        blending: How the border is treated, see `PasteOptions`.
        category: Class of an inlier; None for an anomalous object.
    """
    top, left = place
    height, width = cutout.mask.shape
    window = (slice(top, top + height), slice(left, left + width))
    covered = np.zeros(canvas.size, bool)
    covered[window] = cutout.mask
    image = canvas.image.copy()
    pixels = cutout.pixels if blending != "matched" else _matched(cutout, canvas.image)
    image[window][cutout.mask] = pixels[cutout.mask]
    if blending != "hard":
        image = _smoothed(image, covered)
    label, control = canvas.label.copy(), canvas.control.copy()
    label[covered] = ANOMALY if category is None else INLIER
    control[covered] = UNTOUCHED if category is None else PASTED
    classes = canvas.classes
    if classes is not None:
        classes = classes.copy()
        classes[covered] = VOID if category is None else category
    return replace(canvas, image=image, label=label, classes=classes, control=control)


def covers(cutout: Cutout, place: tuple[int, int], taken: BoolArray) -> bool:
    """Whether a cutout at a place would cover, or touch, a pixel that is taken."""
    top, left = place
    height, width = cutout.mask.shape
    return bool((taken[top : top + height, left : left + width] & cutout.mask).any())


def grown(mask: BoolArray) -> BoolArray:
    """A mask and the pixels next to it (8-neighbourhood)."""
    padded = np.pad(mask, 1)
    rows = padded[:-2] | padded[1:-1] | padded[2:]
    return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]


def _smoothed(image: UInt8Array, covered: BoolArray) -> UInt8Array:
    """Pixels on both sides of a mask's border become the mean of their 3x3 neighbourhood, in whole numbers."""
    border = grown(covered) & grown(~covered)
    padded = np.pad(image.astype(np.uint16), ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    mean = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4) // 9
    out = image.copy()
    out[border] = mean[border].astype(np.uint8)
    return out


def _matched(cutout: Cutout, image: UInt8Array) -> UInt8Array:
    """The cutout with mean and spread of its colours halfway to those of the image."""
    own, other = cutout.pixels[cutout.mask].astype(np.float64), image.reshape(-1, 3).astype(np.float64)
    mean, spread = own.mean(axis=0), own.std(axis=0)
    factor = (spread + other.std(axis=0)) / np.maximum(2 * spread, 1.0)
    matched = (cutout.pixels - mean) * factor.clip(0.5, 2.0) + (mean + other.mean(axis=0)) / 2
    return np.clip(np.round(matched), 0, 255).astype(np.uint8)
