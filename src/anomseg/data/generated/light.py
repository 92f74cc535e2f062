"""Daylight: direction and strength of the sun, the sky's own light, and haze that grows with distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from anomseg.data.generated.camera import FloatArray


@dataclass(frozen=True)
class Light:
    """The light of one scene.

    Attributes:
        sun: Unit vector towards the sun (x, y, z).
        direct: Strength of the sun, 0 when overcast.
        ambient: Strength of the sky's light.
        haze: Colour that far things fade to, RGB in 0..255.
        haze_length: Metres after which a share of 63 % has faded.
        sky: Colour of the sky overhead, RGB in 0..255.
    """

    sun: tuple[float, float, float]
    direct: float
    ambient: float
    haze: tuple[float, float, float]
    haze_length: float
    sky: tuple[float, float, float]

    def shade(self, normals: ArrayLike) -> FloatArray:
        """Brightness ``(...)`` of matt surfaces with unit normals ``(..., 3)``; about 1 for a lit wall."""
        normal = np.asarray(normals, np.float32)
        sky = self.ambient * (0.66 + 0.34 * normal[..., 1])
        sun = normal[..., 0] * self.sun[0] + normal[..., 1] * self.sun[1] + normal[..., 2] * self.sun[2]
        return (sky + self.direct * np.maximum(sun, 0)).astype(np.float32)

    def fade(self, colours: ArrayLike, depth: ArrayLike) -> FloatArray:
        """Colours ``(..., 3)`` seen through ``depth`` metres of haze, broadcast against each other."""
        colour = np.asarray(colours, np.float32)
        kept = np.exp(-np.asarray(depth, np.float32) / self.haze_length)[..., None]
        return colour * kept + np.asarray(self.haze, np.float32) * (1 - kept)


def draw_light(rng: np.random.Generator) -> Light:
    """Draw the weather of a scene: sunny, bright overcast or dull, the sun on either side."""
    kind = rng.choice(3, p=[0.45, 0.4, 0.15])
    side = rng.choice([-1.0, 1.0])
    raw = np.array([side * rng.uniform(0.5, 1.0), rng.uniform(0.5, 0.9), rng.uniform(-0.7, 0.3)])
    sun = raw / np.sqrt((raw * raw).sum())
    direct = (rng.uniform(0.5, 0.75), rng.uniform(0.05, 0.2), 0.0)[kind]
    ambient = (rng.uniform(0.55, 0.65), rng.uniform(0.72, 0.85), rng.uniform(0.6, 0.7))[kind]
    white = rng.uniform(236, 250) if kind < 2 else rng.uniform(195, 222)
    blue = rng.uniform(8, 60) if kind == 0 else rng.uniform(0, 8)
    return Light(
        sun=(float(sun[0]), float(sun[1]), float(sun[2])),
        direct=float(direct),
        ambient=float(ambient),
        haze=(white - 40, white - 34, white - 26),
        haze_length=float(rng.uniform(190, 420)),
        sky=(white - blue, white - blue * 0.25, white + 4),
    )
