"""Faceted things: polygons in space, shaded, sorted by depth and painted into a sprite."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

from anomseg.data.generated.camera import Camera, FloatArray
from anomseg.data.generated.canvas import Sprite
from anomseg.data.generated.light import Light

Colour = Sequence[float]


@dataclass
class Mesh:
    """Polygons with colours, built in a thing's own axes (metres, y up, z away from a viewer behind it).

    Attributes:
        polygons: Corner arrays ``(k, 3)``.
        colours: One RGB each, 0..255, before light.
        gloss: Share of mirrored sky, 0..1.
        layers: Painted later where higher, among polygons that lie on each other.
        two_sided: Whether a polygon shows from behind as well.
    """

    polygons: list[FloatArray] = field(default_factory=list)
    colours: list[Colour] = field(default_factory=list)
    gloss: list[float] = field(default_factory=list)
    layers: list[float] = field(default_factory=list)
    two_sided: list[bool] = field(default_factory=list)

    def add(
        self, corners: ArrayLike, colour: Colour, gloss: float = 0.0, layer: float = 0.0, two_sided: bool = False
    ) -> None:
        """Add a polygon; seen from outside its corners run anticlockwise."""
        self.polygons.append(np.asarray(corners, np.float32))
        self.colours.append(colour)
        self.gloss.append(gloss)
        self.layers.append(layer)
        self.two_sided.append(two_sided)

    def box(self, low: Sequence[float], high: Sequence[float], colour: Colour, layer: float = 0.0) -> None:
        """Add an upright box between two opposite corners."""
        (x0, y0, z0), (x1, y1, z1) = low, high
        for corners in (
            [(x0, y0, z0), (x1, y0, z0), (x1, y1, z0), (x0, y1, z0)],
            [(x1, y0, z1), (x0, y0, z1), (x0, y1, z1), (x1, y1, z1)],
            [(x0, y0, z1), (x0, y0, z0), (x0, y1, z0), (x0, y1, z1)],
            [(x1, y0, z0), (x1, y0, z1), (x1, y1, z1), (x1, y1, z0)],
            [(x0, y1, z0), (x1, y1, z0), (x1, y1, z1), (x0, y1, z1)],
        ):
            self.add(corners, colour, layer=layer)

    def placed(self, x: float, z: float, yaw: float, scale: float = 1.0, y: float = 0.0) -> Mesh:
        """The mesh turned by ``yaw`` radians about its origin and stood on the street at ``(x, z)``."""
        cos, sin = np.float32(np.cos(yaw)), np.float32(np.sin(yaw))
        moved = []
        for corners in self.polygons:
            px, py, pz = corners[:, 0] * scale, corners[:, 1] * scale, corners[:, 2] * scale
            moved.append(np.stack([px * cos + pz * sin + x, py + y, pz * cos - px * sin + z], -1))
        return Mesh(moved, self.colours, self.gloss, self.layers, self.two_sided)


def normals_of(polygons: Iterable[FloatArray]) -> FloatArray:
    """Unit outward normals ``(n, 3)`` of polygons (Newell's sum, so any number of corners)."""
    sums = []
    for corners in polygons:
        following = np.roll(corners, -1, 0)
        sums.append(np.cross(corners - corners[0], following - corners[0]).sum(0))
    # Corners anticlockwise seen from outside in these left-handed axes (z away) give the inward vector.
    total = -np.asarray(sums, np.float32)
    return total / np.maximum(np.sqrt((total * total).sum(-1, keepdims=True)), 1e-9)


def render(mesh: Mesh, camera: Camera, light: Light) -> Sprite | None:
    """Paint a placed mesh.

    Args:
        mesh: In world coordinates.
        camera: The view.
        light: Daylight for the shading.

    Returns:
        The sprite, or None where nothing of it is in view.
    """
    normals = normals_of(mesh.polygons)
    brightness = light.shade(normals)
    centres = np.stack([corners.mean(0) for corners in mesh.polygons])
    eye = np.array([0, camera.elevation, 0], np.float32)
    facing = ((eye - centres) * normals).sum(-1)
    distance = np.sqrt(((centres - eye) ** 2).sum(-1)) - np.asarray(mesh.layers, np.float32)
    pixels = [camera.project(corners) for corners in mesh.polygons]
    shown = [
        k
        for k in np.argsort(-distance, kind="stable")
        if (facing[k] > 0 or mesh.two_sided[k]) and mesh.polygons[k][:, 2].min() > 0.6
    ]
    if not shown:
        return None
    corners = np.concatenate([pixels[k] for k in shown])
    low = np.maximum(np.floor(corners.min(0)) - 1, -2 * camera.width).astype(int)
    high = np.minimum(np.ceil(corners.max(0)) + 1, 3 * camera.width).astype(int)
    low = np.maximum(low, (-8, -8))
    high = np.minimum(high, (camera.width + 8, camera.height + 8))
    width, height = (int(value) for value in high - low)
    if width <= 0 or height <= 0:
        return None
    # Small things get finer cells, so that their edges are not frayed by whole-pixel corners.
    factor = 3 if max(width, height) < 160 else 2 if max(width, height) < 420 else 1
    image = Image.new("RGBA", (width * factor, height * factor))
    pen = ImageDraw.Draw(image)
    sky = np.asarray(light.sky, np.float32)
    for k in shown:
        lit = np.asarray(mesh.colours[k], np.float32) * (brightness[k] if facing[k] > 0 else brightness[k] * 0.6)
        share = mesh.gloss[k] * max(0.0, 0.25 + 0.75 * float(normals[k][1]))
        lit = lit * (1 - share) + sky * share
        red, green, blue = (int(value) for value in np.clip(lit, 0, 255))
        pen.polygon([(float(u), float(v)) for u, v in (pixels[k] - low) * factor], fill=(red, green, blue, 255))
    colour, mask = _reduce(np.asarray(image, np.float32), factor)
    return Sprite(colour, mask, int(low[0]), int(low[1]))


def _reduce(rgba: FloatArray, factor: int) -> tuple[FloatArray, np.ndarray]:
    if factor == 1:
        return rgba[..., :3], rgba[..., 3] > 127
    height, width = rgba.shape[0] // factor, rgba.shape[1] // factor
    # Uncovered cells are black with alpha 0, so the sum over the alpha is the mean of the covered ones.
    total = rgba.reshape(height, factor, width, factor, 4).sum((1, 3))
    share = total[..., 3:] / (255.0 * factor * factor)
    return total[..., :3] / np.maximum(share * factor * factor, 1e-6), share[..., 0] >= 0.5
