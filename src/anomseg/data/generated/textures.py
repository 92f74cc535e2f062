"""Periodic noise, the raw material of asphalt, plaster, leaves, clouds and cloth."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter

from anomseg.data.generated.camera import FloatArray

TILE = 512
_TILE_SEED = 20081015


@lru_cache(maxsize=16)
def noise_tile(sigma: float, octaves: int = 1) -> FloatArray:
    """A periodic ``(512, 512)`` map of mean 0 and standard deviation 1, the same on every call.

    Args:
        sigma: Size of the finest grain in cells; 0 is white noise.
        octaves: Further layers, each twice as coarse and 1.6 times as strong.

    Returns:
        The map, read-only.
    """
    rng = np.random.Generator(np.random.PCG64([_TILE_SEED, round(sigma * 64), octaves]))
    total = np.zeros((TILE, TILE), np.float32)
    for octave in range(octaves):
        layer = rng.standard_normal((TILE, TILE)).astype(np.float32)
        grain = sigma * 2.0**octave
        if grain > 0:
            layer = gaussian_filter(layer, grain, mode="wrap", truncate=3.0)
        total += layer / layer.std() * 1.6**octave
    total = (total - total.mean()) / total.std()
    total.flags.writeable = False
    return total


def sample(tile: FloatArray, x: ArrayLike, y: ArrayLike) -> FloatArray:
    """Nearest values of a periodic tile at cells ``x`` (columns) and ``y`` (rows), broadcast together."""
    column = np.asarray(np.floor(x), np.int32) & (TILE - 1)
    row = np.asarray(np.floor(y), np.int32) & (TILE - 1)
    return tile.ravel()[row * TILE + column]


def patch(rng: np.random.Generator, shape: tuple[int, int], sigma: float, octaves: int = 1) -> FloatArray:
    """A block ``shape`` of noise cut from the tile at a random place (it repeats beyond 512 cells)."""
    top, left = (int(value) for value in rng.integers(0, TILE, 2))
    rows = (np.arange(shape[0]) + top) & (TILE - 1)
    columns = (np.arange(shape[1]) + left) & (TILE - 1)
    return noise_tile(sigma, octaves)[rows[:, None], columns[None]]


def smoothstep(low: float, high: float, value: FloatArray) -> FloatArray:
    """A soft step from 0 at ``low`` to 1 at ``high`` (or falling, where ``high < low``).

    Example:
        >>> smoothstep(0.0, 1.0, np.array([-1.0, 0.5, 2.0])).tolist()
        [0.0, 0.5, 1.0]
    """
    share = np.clip((value - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)
