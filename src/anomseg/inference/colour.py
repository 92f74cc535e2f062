"""Pure drawing at image size: anomaly maps and class maps to colours, contours, blends. No text here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from anomseg.types import UInt8Array

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Range = tuple[float, float]

COLOUR_MAP = "inferno"
LOW_PERCENTILE, HIGH_PERCENTILE = 1.0, 99.5
CONTOUR_COLOUR = (0, 229, 255)


@cache
def colour_table(name: str = COLOUR_MAP) -> UInt8Array:
    """A perceptually uniform colour table, ``(256, 3)`` uint8, dark to bright."""
    import matplotlib  # noqa: PLC0415 - slow to import and only needed for pictures

    return np.asarray(matplotlib.colormaps[name](np.arange(256), bytes=True)[:, :3], dtype=np.uint8)


def score_range(anomaly_map: FloatArray, *, bounded: bool = False, inside: BoolArray | None = None) -> Range:
    """The range of scores that the colours span.

    A score that is bounded by construction spans [0, 1], so pictures compare with one another. Any other
    spans its own percentiles 1 to 99.5, whatever its sign, so that neither a few extreme pixels nor negative
    scores blacken the picture.

    Args:
        anomaly_map: ``(H, W)`` finite scores.
        bounded: The score lies in [0, 1] by construction.
        inside: ``(H, W)`` region that counts; everywhere when not given.

    Returns:
        ``(low, high)`` with ``low < high``, also for a constant map.

    Example:
        >>> score_range(np.full((4, 4), -7.0, np.float32))
        (-7.5, -6.5)
    """
    if bounded:
        return 0.0, 1.0
    scores = anomaly_map if inside is None else anomaly_map[inside]
    if scores.size == 0:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(scores, (LOW_PERCENTILE, HIGH_PERCENTILE)))
    # A few odd pixels on a constant ground: percentiles meet, the full range does not.
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        low, high = float(scores.min()), float(scores.max())
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        middle = (low + high) / 2
        half = 0.5 * max(1.0, 1e-3 * abs(middle))
        low, high = middle - half, middle + half
    return low, high


def normalise(anomaly_map: FloatArray, limits: Range) -> FloatArray:
    """Scores to [0, 1] over ``limits``, clipped; float32 of the same shape."""
    low, high = limits
    scaled = (anomaly_map.astype(np.float64) - low) / (high - low)
    return np.clip(scaled, 0.0, 1.0).astype(np.float32)


def colourise(anomaly_map: FloatArray, limits: Range, name: str = COLOUR_MAP) -> UInt8Array:
    """Scores ``(H, W)`` to colours ``(H, W, 3)`` uint8, over ``limits``."""
    return colour_table(name)[np.round(normalise(anomaly_map, limits) * 255).astype(np.uint8)]


def blend(image: UInt8Array, colours: UInt8Array, opacity: float | FloatArray) -> UInt8Array:
    """Lay colours over an image.

    Args:
        image: ``(H, W, 3)`` uint8.
        colours: ``(H, W, 3)`` uint8.
        opacity: One number, or ``(H, W)`` in [0, 1].

    Returns:
        ``(H, W, 3)`` uint8.
    """
    weight = np.asarray(opacity, dtype=np.float32)
    weight = weight[..., None] if weight.ndim == 2 else weight
    mixed = image.astype(np.float32) * (1 - weight) + colours.astype(np.float32) * weight
    return np.round(mixed).astype(np.uint8)


def grey(image: UInt8Array) -> UInt8Array:
    """The image without hue, ``(H, W, 3)`` uint8, so that colour means score alone (Rec. 601 luma)."""
    luma = image.astype(np.float32) @ np.asarray((0.299, 0.587, 0.114), dtype=np.float32)
    return np.repeat(np.round(luma).astype(np.uint8)[..., None], 3, axis=2)


def heat_overlay(
    image: UInt8Array,
    anomaly_map: FloatArray,
    limits: Range,
    *,
    inside: BoolArray | None = None,
    name: str = COLOUR_MAP,
) -> UInt8Array:
    """The heat map over the image's own brightness; outside the region the plain image.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        anomaly_map: ``(H, W)`` finite scores.
        limits: Scores at both ends of the colours.
        inside: ``(H, W)`` region that was scored; everywhere when not given.
        name: Colour table.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    heat = normalise(anomaly_map, limits)
    # The scene stays readable where nothing is odd and the colour stays true where something is.
    mixed = blend(grey(image), colourise(anomaly_map, limits, name), 0.45 + 0.35 * heat)
    return mixed if inside is None else np.where(inside[..., None], mixed, image)


def colour_classes(classes: UInt8Array, palette: Sequence[Sequence[int]]) -> UInt8Array:
    """Class indices ``(H, W)`` to colours ``(H, W, 3)`` uint8; indices beyond the palette (void) are black."""
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(palette)] = np.asarray(palette, dtype=np.uint8).reshape(-1, 3)[:256]
    return table[classes]


def outline(mask: BoolArray, width: int = 1) -> BoolArray:
    """The rim of a mask: its pixels within ``width`` of a pixel outside it (8-neighbourhood).

    The border of the picture does not count as outside.

    Example:
        >>> outline(np.ones((3, 3), bool)).any()
        np.False_
    """
    core = mask
    for _ in range(width):
        padded = np.pad(core, 1, constant_values=True)
        rows = padded[:-2] & padded[1:-1] & padded[2:]
        core = rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
    return mask & ~core


def draw_outline(
    picture: UInt8Array, mask: BoolArray, colour: Sequence[int] = CONTOUR_COLOUR, width: int | None = None
) -> UInt8Array:
    """A copy of the picture with the rim of the mask drawn in, dark-edged so that it shows on any ground.

    Args:
        picture: ``(H, W, 3)`` uint8.
        mask: ``(H, W)`` bool.
        colour: RGB, 0..255.
        width: Pixels; by the picture's size when not given.
    """
    width = width or max(1, round(min(mask.shape) / 300))
    edged = picture.copy()
    edged[outline(~mask, max(1, width // 2))] = 0
    edged[outline(mask, width)] = np.asarray(colour, dtype=np.uint8)
    return edged
