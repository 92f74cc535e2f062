"""What cameras, lenses and files do to the pixels of an image, drawn at random: colour, sharpness, compression, grain.

A network that is taught with such changes does not take another camera for something unknown.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from anomseg.types import UInt8Array

QUALITY = (30, 95)
"""Least and largest JPEG quality that is drawn."""
BLUR = (0.3, 1.5)
"""Least and largest standard deviation of a blur, in pixels."""
GRAIN = (1.0, 10.0)
"""Least and largest standard deviation of noise, in grey levels."""


def jittered(picture: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast and saturation, each times a factor from ``1 - strength`` to ``1 + strength``."""
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = enhance(picture).enhance(float(rng.uniform(1 - strength, 1 + strength)))
    return picture


def gamma_corrected(pixels: UInt8Array, strength: float, rng: np.random.Generator) -> UInt8Array:
    """Values to a power from ``1 / (1 + strength)`` to ``1 + strength``, even in its logarithm."""
    bound = np.log(1 + strength)
    exponent = float(np.exp(rng.uniform(-bound, bound)))
    table = np.round(255.0 * (np.arange(256) / 255.0) ** exponent).astype(np.uint8)
    return table[pixels]


def balanced(pixels: UInt8Array, strength: float, rng: np.random.Generator) -> UInt8Array:
    """Each channel times a factor of its own, from ``exp(-strength)`` to ``exp(strength)``: another white balance."""
    factors = np.exp(rng.uniform(-strength, strength, 3)).astype(np.float32)
    return _rounded(pixels * factors)


def refocused(pixels: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Blurred (a Gaussian) or sharpened (an unsharp mask), either as likely."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if rng.random() < 0.5:
        return np.asarray(picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(*BLUR)))))
    return np.asarray(picture.filter(ImageFilter.UnsharpMask(2, int(rng.uniform(30, 150)), 2)))


def recompressed(pixels: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Written as JPEG of a random quality and read again."""
    file = io.BytesIO()
    quality = int(rng.integers(QUALITY[0], QUALITY[1] + 1))
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def grained(pixels: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """With Gaussian noise of a random strength."""
    return _rounded(pixels + rng.normal(0, rng.uniform(*GRAIN), pixels.shape))


def _rounded(values: NDArray[np.floating]) -> UInt8Array:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
