"""Random smooth outlines, for negatives that come without masks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anomseg.data.negatives.negative import BoolArray

_WAVES = 6


@dataclass(frozen=True)
class Outline:
    """A star-shaped outline: the radius is 1 plus a Fourier series over the angle, stretched to fill a box.

    Attributes:
        strength: Amplitude of the waves 1, 2, ... around the centre.
        phase: Their phases in radians.
    """

    strength: tuple[float, ...]
    phase: tuple[float, ...]

    @classmethod
    def random(cls, rng: np.random.Generator) -> Outline:
        """An outline whose waves are weaker the finer they are."""
        strength = rng.normal(0, 0.25, _WAVES) / np.arange(1, _WAVES + 1) ** 0.7
        return cls(tuple(strength.tolist()), tuple(rng.uniform(0, 2 * np.pi, _WAVES).tolist()))

    def raster(self, height: int, width: int) -> BoolArray:
        """The shape in a box of pixels, whose four sides it touches.

        Returns:
            ``(height, width)`` bool, at least one pixel True.
        """
        left, right, top, bottom = self._extent
        columns = left + (np.arange(width) + 0.5) / width * (right - left)
        rows = top + (np.arange(height) + 0.5) / height * (bottom - top)
        u, v = np.meshgrid(columns, rows)
        mask = np.hypot(u, v) <= self._radius(np.arctan2(v, u))
        mask[height // 2, width // 2] |= not mask.any()
        return mask

    @cached_property
    def coverage(self) -> float:
        """Which share of its box the shape covers, 0..1."""
        return float(self.raster(48, 48).mean())

    @cached_property
    def _extent(self) -> tuple[float, float, float, float]:
        angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
        x, y = self._radius(angle) * np.cos(angle), self._radius(angle) * np.sin(angle)
        return float(x.min()), float(x.max()), float(y.min()), float(y.max())

    def _radius(self, angle: NDArray[np.float64]) -> NDArray[np.float64]:
        radius = np.ones_like(angle)
        for order, (strength, phase) in enumerate(zip(self.strength, self.phase, strict=True), start=1):
            radius += strength * np.cos(order * angle + phase)
        return np.maximum(radius, 0.3)
