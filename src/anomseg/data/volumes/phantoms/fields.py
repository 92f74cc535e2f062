"""Smooth random fields and distances on a voxel grid, from which phantoms are made."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


def coordinates(size: tuple[int, int, int], spacing: tuple[float, float, float]) -> list[Field]:
    """Millimetres from the middle along each axis, ``(D, 1, 1)``, ``(1, H, 1)`` and ``(1, 1, W)``."""
    axes = []
    for axis, (side, step) in enumerate(zip(size, spacing, strict=True)):
        values = (np.arange(side, dtype=np.float32) - (side - 1) / 2) * step
        axes.append(values.reshape([-1 if other == axis else 1 for other in range(3)]))
    return axes


def smooth_field(rng: np.random.Generator, size: tuple[int, int, int], cells: tuple[int, int, int]) -> Field:
    """A random field that varies over a number of cells along each axis.

    Args:
        rng: Where its values come from.
        size: ``(D, H, W)`` of the result.
        cells: Cells along each axis; more of them make it rougher.

    Returns:
        ``(D, H, W)`` float32, about zero, standard deviation about 0.6.
    """
    values = rng.standard_normal([count + 1 for count in cells]).astype(np.float32)
    weights = [_weights(side, count) for side, count in zip(size, cells, strict=True)]
    return np.einsum("abc,za,yb,xc->zyx", values, *weights, optimize=True).astype(np.float32)


def ellipsoid(axes: list[Field], centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Field:
    """Below 0 inside an ellipsoid, 0 on it, above outside; about millimetres near its surface."""
    parts = [((axis - middle) / radius) ** 2 for axis, middle, radius in zip(axes, centre, radii, strict=True)]
    return (np.sqrt(parts[0] + parts[1] + parts[2]) - 1) * np.float32(min(radii))


def _weights(side: int, cells: int) -> Field:
    """Shares ``(side, cells + 1)`` of the grid's values at each voxel, cosine between neighbours."""
    place = np.linspace(0, cells, side, dtype=np.float32) if side > 1 else np.array([cells / 2], np.float32)
    left = np.minimum(place.astype(int), cells - 1)
    share = (1 - np.cos(np.pi * (place - left))) / 2
    weights = np.zeros((side, cells + 1), np.float32)
    rows = np.arange(side)
    weights[rows, left] = 1 - share
    weights[rows, left + 1] += share
    return weights
