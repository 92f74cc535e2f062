"""Negatives made from random values: textures and smooth shapes, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomseg.data.negatives.negative import Negative, Region, mask_box
from anomseg.data.negatives.shapes import Outline
from anomseg.errors import ConfigError
from anomseg.types import UInt8Array

_TEXTURES = ("noise", "stripes", "checks", "spots", "waves")


@dataclass(frozen=True)
class SyntheticNegatives:
    """Two-coloured textures of random kind, scale and colours, each with one smooth shape to cut out.

    Args:
        count: How many.
        seed: Other values give other images.
        side: Height and width in pixels.
    """

    count: int = 1000
    seed: int = 0
    side: int = 192

    def find(self, root: Path | None, exclude: Sequence[str] | None = None) -> list[Negative]:  # noqa: ARG002 - no files
        """All of them; the number of each is its id, the kind of texture its category.

        Raises:
            ConfigError: No images, or such without pixels, are asked for, or the seed is below 0.
        """
        if self.count < 1 or self.side < 8:
            raise ConfigError(f"synthetic negatives need count >= 1 and side >= 8, got {self.count} and {self.side}")
        if self.seed < 0:
            raise ConfigError(f"the seed of synthetic negatives is a whole number from 0, got {self.seed}")
        negatives = []
        for index in range(self.count):
            make = partial(_generator, self.seed, index)
            # Drawn, not counted off: a part of the list, such as every tenth, is to hold all kinds.
            kind = _TEXTURES[int(make(2).integers(len(_TEXTURES)))]
            negatives.append(
                Negative(
                    f"synthetic_{index:06d}",
                    partial(_image, make, kind, self.side),
                    frozenset({kind}),
                    partial(_regions, make, kind, self.side),
                    "synthetic",
                )
            )
        return negatives


def texture(kind: str, side: int, rng: np.random.Generator) -> UInt8Array:
    """One texture image, ``(side, side, 3)`` uint8."""
    field = _field(kind, side, rng)
    first, second = rng.uniform(0, 255, (2, 3))
    grain = rng.normal(0, rng.uniform(0, 12), (side, side, 1))
    image = first + field[..., None] * (second - first) + grain
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def _generator(seed: int, index: int, part: int) -> np.random.Generator:
    return np.random.default_rng((seed, index, part))


def _image(make: Callable[[int], np.random.Generator], kind: str, side: int) -> UInt8Array:
    return texture(kind, side, make(0))


def _regions(make: Callable[[int], np.random.Generator], kind: str, side: int) -> list[Region]:
    mask = Outline.random(make(1)).raster(side, side)
    box = mask_box(mask)
    return [Region(kind, box, mask)] if box else []


def _field(kind: str, side: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Values in [0, 1], shape ``(side, side)``."""
    angle, period, phase = rng.uniform(0, np.pi), side * rng.uniform(0.04, 0.4), rng.uniform(0, 1, 2)
    rows, columns = np.mgrid[:side, :side]
    u = (np.cos(angle) * columns + np.sin(angle) * rows) / period + phase[0]
    v = (np.cos(angle) * rows - np.sin(angle) * columns) / period + phase[1]
    if kind == "stripes":
        return (np.sin(2 * np.pi * u) > rng.uniform(-0.6, 0.6)).astype(float)
    if kind == "checks":
        return (np.floor(u) + np.floor(v)) % 2
    if kind == "spots":
        return (np.hypot(u % 1 - 0.5, v % 1 - 0.5) < rng.uniform(0.2, 0.45)).astype(float)
    noise = _noise(side, rng)
    if kind == "waves":
        return 0.5 + 0.5 * np.sin(2 * np.pi * (u + rng.uniform(0.5, 3) * noise))
    return noise


def _noise(side: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Smooth noise in [0, 1]: grids of random values, each twice as fine and less strong, brought to one size."""
    total = np.zeros((side, side))
    roughness = rng.uniform(0.4, 0.9)
    cells, weight = 2, 1.0
    while cells < side:
        grid = rng.uniform(0, 1, (cells + 1, cells + 1))
        at = np.linspace(0, cells, side, endpoint=False)
        low, part = at.astype(int), at - at.astype(int)
        part = part * part * (3 - 2 * part)
        across = grid[:, low] * (1 - part) + grid[:, low + 1] * part
        total += weight * (across[low] * (1 - part)[:, None] + across[low + 1] * part[:, None])
        cells, weight = cells * 2, weight * roughness
    return (total - total.min()) / max(float(np.ptp(total)), 1e-9)
