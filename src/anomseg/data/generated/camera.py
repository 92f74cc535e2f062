"""The pinhole camera behind the windscreen: metres on the street to pixels of the drawing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Camera:
    """A level pinhole camera. World axes in metres: x to the right, y up from the road, z along the street.

    Attributes:
        width: Pixels across the drawing.
        height: Pixels down the drawing.
        focal: Focal length in pixels.
        centre: Column of the vanishing point of the street; off the middle where the camera is turned.
        horizon: Row of the horizon; off the middle where the camera is tilted.
        elevation: Height of the lens above the road in metres.
    """

    width: int
    height: int
    focal: float
    centre: float
    horizon: float
    elevation: float

    def project(self, points: ArrayLike) -> FloatArray:
        """Pixels ``(..., 2)`` (column, row) of world points ``(..., 3)`` in front of the camera.

        Example:
            >>> Camera(480, 360, 480.0, 240.0, 180.0, 1.5).project([[0.0, 0.0, 10.0]]).tolist()
            [[240.0, 252.0]]
        """
        world = np.asarray(points, np.float32)
        scale = self.focal / np.maximum(world[..., 2], 0.2)
        column = self.centre + world[..., 0] * scale
        row = self.horizon + (self.elevation - world[..., 1]) * scale
        return np.stack([column, row], -1)

    def pixels_per_metre(self, depth: float) -> float:
        """Pixels that one metre across the view takes at ``depth`` metres."""
        return self.focal / depth

    def ground(self, rows: slice, columns: slice) -> tuple[FloatArray, FloatArray]:
        """World x ``(R, C)`` and z ``(R, 1)`` of the road plane under each pixel of a block below the horizon."""
        row = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + 0.5
        column = np.arange(columns.start, columns.stop, dtype=np.float32)[None] + 0.5
        z = self.focal * self.elevation / np.maximum(row - self.horizon, 0.25)
        return (column - self.centre) * (z / self.focal), z
