"""Pasting as pure functions: how large a patch becomes, how it is blended, what is labelled."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomseg.data.negatives.negative import BoolArray, Box
from anomseg.types import ANOMALY, INLIER, VOID, UInt8Array

FloatArray = NDArray[np.float32]
_EPSILON = 1e-9


def draw_share(area: tuple[float, float], rng: np.random.Generator, law: str = "uniform") -> float:
    """A share of the image area: one of ``low, low + 0.001, ..., high``, all equally likely.

    With (0.001, 0.1) these are the published shares, 1 to 100 thousandths. The law ``log`` draws its logarithm instead.
    """
    low, high = area
    if law == "log":
        return float(np.clip(np.exp(rng.uniform(np.log(low), np.log(high))), low, high))
    steps = round((high - low) * 1000)
    return float(min(high, low + rng.integers(0, steps + 1) / 1000)) if steps else float(rng.uniform(low, high))


def patch_scale(image_size: tuple[int, int], region_size: tuple[int, int], share: float, covered: float = 1.0) -> float:
    """By how much a region is enlarged: i = sqrt(a h w / (h_c w_c)), then clamped to the image's width, then height.

    Args:
        image_size: Height and width h, w of the image pasted on.
        region_size: Height and width h_c, w_c of the region's box.
        share: The share a of the image's area that the patch is to cover.
        covered: Which share of its box the region covers (less than 1 where it has a mask).

    Returns:
        The isotropic scale, above 0.

    Example:
        >>> patch_scale((500, 1000), (50, 100), 0.01), patch_scale((500, 1000), (10, 400), 0.1)
        (1.0, 2.5)
    """
    (height, width), (rows, columns) = image_size, region_size
    scale = math.sqrt(share * height * width / (covered * rows * columns))
    if scale * columns > width:
        scale = width / columns
    if scale * rows > height:
        scale = height / rows
    return scale


def scaled_size(region_size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Height and width of a region after scaling, truncated to whole pixels, at least one.

    Example:
        >>> scaled_size((50, 100), 10 ** 0.5), scaled_size((10, 400), 2.5)
        ((158, 316), (25, 1000))
    """
    rows, columns = (max(1, int(side * scale + _EPSILON)) for side in region_size)
    return rows, columns


def resized(image: UInt8Array, size: tuple[int, int], box: Box | None = None) -> UInt8Array:
    """An image, or a box of it, at another size (bicubic, antialiased)."""
    top, left, bottom, right = box or (0, 0, *image.shape[:2])
    part = Image.fromarray(np.ascontiguousarray(image[top:bottom, left:right]))
    return np.array(part.resize((size[1], size[0]), Image.Resampling.BICUBIC))


def resized_mask(mask: BoolArray, size: tuple[int, int]) -> BoolArray:
    """A mask at another size: True where at least half of what a pixel stands for is."""
    part = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(part.resize((size[1], size[0]), Image.Resampling.BILINEAR)) >= 128


def feathered(mask: BoolArray, feather: int) -> FloatArray:
    """Opacity of a patch whose border fades over ``feather`` pixels, inwards.

    A pixel at distance d from the outside (the border's own pixels have d = 1, and what lies beyond the patch is
    outside) gets min(1, (d - 1/2) / feather). Where a patch is thinner than that, the ramp is shortened until its
    innermost pixels count as covered.

    Args:
        mask: ``(h, w)`` bool.
        feather: Width of the ramp in pixels; 0 for a sharp border.

    Returns:
        ``(h, w)`` float32 in [0, 1], 0 outside the mask.

    Example:
        >>> feathered(np.ones((1, 5), bool), 0).tolist()
        [[1.0, 1.0, 1.0, 1.0, 1.0]]
        >>> feathered(np.ones((9, 9), bool), 2)[4].tolist()
        [0.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.25]
    """
    if feather <= 0 or not mask.any():
        return mask.astype(np.float32)
    from scipy.ndimage import distance_transform_edt  # noqa: PLC0415 - only where borders are feathered

    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    width = min(float(feather), float(depth.max()))
    return np.clip((depth - 0.5) / width, 0, 1).astype(np.float32) * mask


def blend(
    image: UInt8Array, outlier: UInt8Array, patch: UInt8Array, alpha: FloatArray, top: int, left: int
) -> tuple[UInt8Array, UInt8Array]:
    """Lay a patch over an image.

    A pixel is labelled outlier where the patch covers at least half of it. Where it covers less but not nothing the
    label is 255, ignored: such a pixel shows a trace of the seam, which would teach a network to look for seams
    whether it were called inlier or outlier. Pixels that were outliers before stay so.

    Args:
        image: ``(H, W, 3)`` uint8.
        outlier: ``(H, W)`` uint8, its labels: 0 inlier, 1 outlier, 255 ignored.
        patch: ``(h, w, 3)`` uint8.
        alpha: ``(h, w)`` in [0, 1], opacity of the patch.
        top: Row of the patch's first one.
        left: Column of the patch's first one; the patch lies inside the image.

    Returns:
        Image and labels with the patch; the arrays given are left as they are.
    """
    image, outlier = image.copy(), outlier.copy()
    rows, columns = slice(top, top + patch.shape[0]), slice(left, left + patch.shape[1])
    under = image[rows, columns].astype(np.float32)
    mixed = under + alpha[..., None] * (patch - under)
    image[rows, columns] = np.clip(np.round(mixed), 0, 255).astype(np.uint8)
    label = outlier[rows, columns]
    label[(alpha > 0) & (alpha < 0.5) & (label == INLIER)] = VOID
    label[alpha >= 0.5] = ANOMALY
    return image, outlier


def pure_window(
    size: tuple[int, int], window: tuple[int, int], box: Box, rng: np.random.Generator, tries: int = 20
) -> tuple[int, int]:
    """Where a window is cut from a pure negative: the first of some random places with under a fifth ignored.

    Args:
        size: Height and width of the negative, at least the window's.
        window: Height and width of what is cut.
        box: The part of the negative that counts as outlier; the rest is ignored.
        rng: Source of randomness.
        tries: How many places are drawn. Where none has little enough ignored, the best of them and of the window
            around the middle of the box is taken, so that the box is never missed.

    Returns:
        Row and column of the window's first pixel.

    Example:
        >>> pure_window((10, 40), (10, 10), (0, 30, 10, 40), np.random.default_rng(0), tries=1)
        (0, 30)
    """
    free = (size[0] - window[0], size[1] - window[1])
    middle = [(box[axis] + box[axis + 2] - window[axis]) // 2 for axis in (0, 1)]
    places = [
        np.append(rng.integers(0, free[axis] + 1, tries), min(max(middle[axis], 0), free[axis])) for axis in (0, 1)
    ]
    covered = [
        np.minimum(places[axis] + window[axis], box[axis + 2]) - np.maximum(places[axis], box[axis]) for axis in (0, 1)
    ]
    ignored = 1 - np.maximum(covered[0], 0) * np.maximum(covered[1], 0) / (window[0] * window[1])
    enough = np.flatnonzero(ignored < 0.2)
    best = int(enough[0]) if len(enough) else int(ignored.argmin())
    return int(places[0][best]), int(places[1][best])


def scaled_box(box: Box, size: tuple[int, int], scaled: tuple[int, int]) -> Box:
    """A box of an image after the image was resized, at least a pixel high and wide.

    Example:
        >>> scaled_box((0, 10, 5, 20), (10, 20), (100, 100))
        (0, 50, 50, 100)
    """
    down, right = scaled[0] / size[0], scaled[1] / size[1]
    first = (min(int(box[0] * down), scaled[0] - 1), min(int(box[1] * right), scaled[1] - 1))
    last = (max(first[0] + 1, round(box[2] * down)), max(first[1] + 1, round(box[3] * right)))
    return (*first, *last)


def scaled_window(
    image: UInt8Array, scaled: tuple[int, int], at: tuple[int, int], window: tuple[int, int]
) -> UInt8Array:
    """A window of an image as if it had been resized first (bicubic), without resizing the rest of it.

    Args:
        image: ``(H, W, 3)`` uint8.
        scaled: The size it is thought to have.
        at: Row and column of the window in that size.
        window: Height and width of the window.

    Returns:
        The window, uint8.
    """
    down, right = image.shape[0] / scaled[0], image.shape[1] / scaled[1]
    bottom, end = min((at[0] + window[0]) * down, image.shape[0]), min((at[1] + window[1]) * right, image.shape[1])
    part = (at[1] * right, at[0] * down, end, bottom)
    return np.array(Image.fromarray(image).resize((window[1], window[0]), Image.Resampling.BICUBIC, box=part))
