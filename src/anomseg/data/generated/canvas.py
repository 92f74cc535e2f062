"""The drawing surface: colour, class and odd-object maps painted together, so that labels fit to the pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomseg.data.generated.camera import Camera, FloatArray
from anomseg.data.generated.light import Light
from anomseg.data.generated.textures import smoothstep

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)
ODD = 255


@dataclass(frozen=True)
class Sprite:
    """A painted thing before it is put on the canvas.

    Attributes:
        colour: ``(h, w, 3)`` float32 in 0..255.
        mask: ``(h, w)`` bool, the pixels it covers.
        left: Canvas column of its first column; may be negative.
        top: Canvas row of its first row; may be negative.
    """

    colour: FloatArray
    mask: NDArray[np.bool_]
    left: int
    top: int


class Canvas:
    """Colour, class and object maps of one drawing.

    Args:
        camera: The view.
        light: Daylight, for haze and shadows.
    """

    def __init__(self, camera: Camera, light: Light) -> None:
        self.camera = camera
        self.light = light
        shape = (camera.height, camera.width)
        self.colour: FloatArray = np.zeros((*shape, 3), np.float32)
        self.classes: NDArray[np.uint8] = np.zeros(shape, np.uint8)
        self.objects: NDArray[np.uint8] = np.zeros(shape, np.uint8)

    def clip(self, left: float, top: float, right: float, bottom: float) -> tuple[slice, slice]:
        """Rows and columns of the canvas within a box (possibly empty)."""
        rows = slice(max(int(np.floor(top)), 0), min(int(np.ceil(bottom)), self.camera.height))
        columns = slice(max(int(np.floor(left)), 0), min(int(np.ceil(right)), self.camera.width))
        return rows, columns

    def paste(self, sprite: Sprite, label: int, depth: float, odd: int = 0) -> None:
        """Put a sprite over what is there, faded by ``depth`` metres of haze.

        Args:
            sprite: The painted thing.
            label: Its class, or `ODD`.
            depth: Its distance in metres.
            odd: Number of the odd object (from 1), 0 for everything else.
        """
        height, width = sprite.mask.shape
        rows, columns = self.clip(sprite.left, sprite.top, sprite.left + width, sprite.top + height)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return
        inner = (
            slice(rows.start - sprite.top, rows.stop - sprite.top),
            slice(columns.start - sprite.left, columns.stop - sprite.left),
        )
        mask = sprite.mask[inner]
        self.colour[rows, columns][mask] = self.light.fade(sprite.colour[inner][mask], depth)
        self.classes[rows, columns][mask] = label
        self.objects[rows, columns][mask] = odd

    def ground_shadow(self, x: float, z: float, half_width: float, half_length: float, height: float) -> None:
        """Darken the road under and beside a thing: contact shadow, and a cast one where the sun shines.

        Args:
            x: Middle of the thing, metres.
            z: Its distance, metres.
            half_width: Half its extent across the street.
            half_length: Half its extent along the street.
            height: Its height, for the length of the cast shadow.
        """
        self._soft_ellipse(x, z, half_width * 1.12, half_length * 1.12, 0.72, 0.55)
        if self.light.direct > 0.25:
            reach = min(height * 0.5, 1.6)
            sun = self.light.sun
            self._soft_ellipse(
                x - sun[0] / sun[1] * reach * 0.55,
                z - sun[2] / sun[1] * reach * 0.55,
                half_width + abs(sun[0] / sun[1]) * reach * 0.55,
                half_length + abs(sun[2] / sun[1]) * reach * 0.3,
                0.5,
                0.8,
            )

    def _soft_ellipse(self, x: float, z: float, a: float, b: float, strength: float, core: float) -> None:
        camera = self.camera
        near, far = max(z - b * 1.3, 1.5), z + b * 1.3
        if far <= near:
            return
        corners = camera.project(
            [[x - a * 1.3, 0, near], [x + a * 1.3, 0, near], [x - a * 1.3, 0, far], [x + a * 1.3, 0, far]]
        )
        rows, columns = self.clip(corners[:, 0].min(), corners[:, 1].min(), corners[:, 0].max(), corners[:, 1].max())
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return
        ground_x, ground_z = camera.ground(rows, columns)
        distance = np.sqrt(((ground_x - x) / a) ** 2 + ((ground_z - z) / b) ** 2)
        self.colour[rows, columns] *= (1 - strength * smoothstep(1.25, core, distance))[..., None]
