"""Random smooth outlines, for negatives that come without masks."""

from __future__ import annotations

import numpy as np

from anomseg.data.negatives.negative import BoolArray

_WAVES = 6


def smooth_blob(height: int, width: int, rng: np.random.Generator) -> BoolArray:
    """A random star-shaped region with a smooth outline that fills a box.

    The radius is 1 plus a random Fourier series over the angle, whose terms fall off with their frequency; the shape
    is then stretched to touch all four sides.

    Args:
        height: Of the box, at least 1.
        width: Of the box, at least 1.
        rng: Source of randomness.

    Returns:
        ``(height, width)`` bool, with at least one True pixel.
    """
    orders = np.arange(1, _WAVES + 1)
    strength = rng.normal(0, 0.25, _WAVES) / orders**0.7
    phase = rng.uniform(0, 2 * np.pi, _WAVES)

    def radius(angle: np.ndarray) -> np.ndarray:
        waves = strength[:, None] * np.cos(orders[:, None] * angle.ravel() + phase[:, None])
        return np.maximum(1 + waves.sum(axis=0), 0.3).reshape(angle.shape)

    around = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    x, y = radius(around) * np.cos(around), radius(around) * np.sin(around)
    columns = x.min() + (np.arange(width) + 0.5) / width * np.ptp(x)
    rows = y.min() + (np.arange(height) + 0.5) / height * np.ptp(y)
    u, v = np.meshgrid(columns, rows)
    mask = np.hypot(u, v) <= radius(np.arctan2(v, u))
    mask[height // 2, width // 2] |= not mask.any()
    return mask
