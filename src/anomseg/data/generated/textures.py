"""Periodic noise, the raw material of asphalt, plaster, leaves, clouds and cloth."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from anomseg.data.generated.camera import FloatArray

TILE = 512
_TILE_SEED = 20081015


@lru_cache(maxsize=64)
def noise_tile(sigma: float, octaves: int = 1) -> FloatArray:
    """A periodic ``(512, 512)`` map of mean 0 and standard deviation 1, the same on every call.

    Args:
        sigma: Size of the finest grain in cells; 0 is white noise.
        octaves: Layers, each twice as coarse and 1.6 times as strong as the one before.

    Returns:
        The map, read-only.
    """
    rng = np.random.Generator(np.random.PCG64([_TILE_SEED, round(sigma * 64), octaves]))
    white = rng.standard_normal((TILE, TILE))
    if sigma > 0:
        # Gaussian smoothing of every layer at once, as factors on the spectrum; periodic by construction.
        down, across = np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None]
        squared = down * down + across * across
        grains = [sigma * 2.0**octave for octave in range(octaves)]
        # A layer's own spread falls as 1 / grain, so the grain restores equal strength before the gain.
        factors = sum(grain * 1.6**k * np.exp(-2 * (np.pi * grain) ** 2 * squared) for k, grain in enumerate(grains))
        white = np.fft.irfft2(np.fft.rfft2(white) * factors, s=(TILE, TILE))
    total = ((white - white.mean()) / white.std()).astype(np.float32)
    total.flags.writeable = False
    return total


def sample(tile: FloatArray, x: ArrayLike, y: ArrayLike) -> FloatArray:
    """Nearest values of a periodic tile at cells ``x`` (columns) and ``y`` (rows), broadcast together."""
    column = np.asarray(np.floor(x), np.int32) & (TILE - 1)
    row = np.asarray(np.floor(y), np.int32) & (TILE - 1)
    return tile.ravel()[row * TILE + column]


def patch(rng: np.random.Generator, shape: tuple[int, int], sigma: float, octaves: int = 1) -> FloatArray:
    """A block ``shape`` of noise cut from a tile at a random place (it repeats beyond 512 cells).

    The grain is rounded to a power of two, so that a dozen tiles serve all scales.
    """
    sigma = float(2.0 ** np.clip(np.round(np.log2(max(sigma, 0.5))), -1, 5))
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
