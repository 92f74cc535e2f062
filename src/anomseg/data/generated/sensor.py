"""What the camera makes of the scene: lens blur, bloom, exposure, colour cast, vignette and sensor noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom

from anomseg.data.generated.camera import FloatArray


def expose(colour: FloatArray, size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turn a drawing into a photograph.

    Args:
        colour: ``(h, w, 3)`` float32 in 0..255.
        size: ``(height, width)`` of the photograph.
        rng: Source of exposure, cast and noise.

    Returns:
        ``(height, width, 3)`` uint8.
    """
    gamma, gain = float(rng.uniform(1.0, 1.3)), float(rng.uniform(1.0, 1.15))
    warmth, tint = rng.normal(-0.012, 0.018), rng.normal(0, 0.006)
    cast = np.array([1 + warmth, 1 + tint, 1 - warmth], np.float32)
    blur, noise = float(rng.uniform(0.25, 0.5)), float(rng.uniform(1.5, 3.5))
    fall = float(rng.uniform(0.05, 0.16))
    height, width = size
    picture = _resize(np.clip(colour, 0, 255), size)
    picture = gaussian_filter(picture, (blur, blur, 0), truncate=3.0)
    picture += 0.10 * _glow(picture)
    levels = np.clip(picture * (gain / 255), 0, 1) ** gamma
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    across = np.linspace(-1, 1, width, dtype=np.float32)[None]
    levels *= (1 - fall * (down * down + across * across) / 2)[..., None] * cast
    grain = rng.standard_normal((height, width, 1), np.float32) + 0.6 * rng.standard_normal(
        (height, width, 3), np.float32
    )
    # Noise is strongest in the mid-tones: blown highlights hide it, blacks are clipped.
    result = 255 * levels + noise * grain * (0.35 + np.sqrt(levels) * (1 - levels) * 1.6)
    return np.clip(result + 0.5, 0, 255).astype(np.uint8)


def _resize(colour: FloatArray, size: tuple[int, int]) -> FloatArray:
    bands = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(colour[..., band])).resize(
                (size[1], size[0]), Image.Resampling.BOX if colour.shape[0] >= size[0] else Image.Resampling.BILINEAR
            )
        )
        for band in range(3)
    ]
    return np.stack(bands, -1)


def _glow(picture: FloatArray) -> FloatArray:
    """Light that the lens scatters from the brightest parts."""
    bright = np.maximum(picture[::4, ::4].mean(-1) - 190, 0)
    soft = gaussian_filter(bright, 4.0, truncate=2.5)
    factors = (picture.shape[0] / soft.shape[0], picture.shape[1] / soft.shape[1])
    return zoom(soft, factors, order=1)[: picture.shape[0], : picture.shape[1], None]


def resize_labels(labels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Nearest-neighbour resizing of a label map to ``(height, width)``."""
    return np.asarray(Image.fromarray(labels).resize((size[1], size[0]), Image.Resampling.NEAREST)).copy()
