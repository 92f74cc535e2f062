"""How a patch looks before it is pasted: its own light and focus, and colours nearer to those of its surroundings."""

from __future__ import annotations

import numpy as np
from PIL import Image

from anomseg.data.distortion import jittered, refocused
from anomseg.data.negatives.negative import BoolArray
from anomseg.types import UInt8Array

REFOCUSED = 0.3
"""Share of the changed patches that are blurred or sharpened too."""
_NARROWEST, _WIDEST = 0.6, 1.6
"""Bounds of the factor by which a patch's contrast may change."""


def changed(patch: UInt8Array, strength: float, rng: np.random.Generator) -> UInt8Array:
    """A patch in another light, and at times out of focus.

    Args:
        patch: ``(h, w, 3)`` uint8.
        strength: See `PasteConfig.jitter`.
        rng: Source of all randomness.
    """
    pixels: UInt8Array = np.asarray(jittered(Image.fromarray(patch), strength, rng))
    return refocused(pixels, rng) if rng.random() < REFOCUSED else pixels


def matched(patch: UInt8Array, mask: BoolArray, under: UInt8Array, amount: float) -> UInt8Array:
    """A patch whose colours are drawn towards those of what it covers.

    Mean and deviation of each channel go ``amount`` of the way to those under the patch, the deviation by no more
    than a factor of 0.6 to 1.6, so that a patch on a plain road keeps its texture.

    Args:
        patch: ``(h, w, 3)`` uint8.
        mask: ``(h, w)`` bool, where it is seen; at least one pixel.
        under: ``(h, w, 3)`` uint8, what it covers.
        amount: From 0, which changes nothing, to 1.

    Example:
        >>> patch, under = np.full((4, 4, 3), 200, np.uint8), np.full((4, 4, 3), 100, np.uint8)
        >>> int(matched(patch, np.ones((4, 4), bool), under, 0.5).max())
        150
    """
    seen = patch[mask].astype(np.float32)
    mean, spread = seen.mean(0), seen.std(0) + 1
    wanted = under.reshape(-1, 3).astype(np.float32)
    factor = np.clip((wanted.std(0) + 1) / spread, _NARROWEST, _WIDEST)
    target = (patch - mean) * factor + wanted.mean(0)
    return np.clip(np.round(patch + amount * (target - patch)), 0, 255).astype(np.uint8)
