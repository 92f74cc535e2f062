"""The plan of a street: where the kerbs, pavements and building lines run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anomseg.data.generated.camera import Camera, FloatArray


@dataclass(frozen=True)
class Street:
    """A street with a mild bend, driven on the left; the camera stands at x = 0.

    Attributes:
        left_kerb: x of the left kerb in metres (negative).
        right_kerb: x of the right kerb.
        left_pavement: Width of the left pavement in metres.
        right_pavement: Width of the right pavement.
        bend: Shift to the right per squared metre of distance.
        centre_line: x of the line between the directions.
        marking: ``"dashes"``, ``"zigzag"`` or ``"hatched"``.
        yellow_lines: Whether double yellow lines run along the kerbs.
    """

    left_kerb: float
    right_kerb: float
    left_pavement: float
    right_pavement: float
    bend: float
    centre_line: float
    marking: str
    yellow_lines: bool

    def shift(self, z: float | FloatArray) -> float | FloatArray:
        """How far right the street has bent at distance ``z``."""
        return self.bend * np.minimum(z, 90.0) ** 2

    @property
    def left_walls(self) -> float:
        """X of the left building line."""
        return self.left_kerb - self.left_pavement

    @property
    def right_walls(self) -> float:
        """X of the right building line."""
        return self.right_kerb + self.right_pavement


def draw_camera(rng: np.random.Generator, height: int, width: int) -> Camera:
    """Draw where the camera looks: a little turned, a little tilted, at a car's height."""
    return Camera(
        width=width,
        height=height,
        focal=height * float(rng.uniform(1.2, 1.4)),
        centre=width / 2 + height * float(rng.normal(0, 0.1)),
        horizon=height * float(np.clip(rng.normal(0.5, 0.025), 0.44, 0.56)),
        elevation=float(rng.uniform(1.3, 1.6)),
    )


def draw_street(rng: np.random.Generator) -> Street:
    """Draw the widths, bend and markings of a street."""
    centre = float(rng.uniform(1.5, 2.3))
    return Street(
        left_kerb=-float(rng.uniform(1.7, 4.4)),
        right_kerb=centre + float(rng.uniform(3.2, 5.6)),
        left_pavement=float(rng.uniform(1.6, 3.6)),
        right_pavement=float(rng.uniform(1.8, 4.5)),
        bend=float(rng.normal(0, 0.0006)),
        centre_line=centre,
        marking=("dashes", "zigzag", "hatched")[int(rng.choice(3, p=[0.7, 0.15, 0.15]))],
        yellow_lines=bool(rng.random() < 0.4),
    )
