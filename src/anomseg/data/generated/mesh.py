"""Faceted things: polygons in space, shaded, sorted by depth and painted into a sprite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
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
        counts = [len(corners) for corners in self.polygons]
        px, py, pz = np.concatenate(self.polygons).T * np.float32(scale)
        points = np.stack([px * cos + pz * sin + x, py + y, pz * cos - px * sin + z], -1).astype(np.float32)
        moved = np.split(points, np.cumsum(counts)[:-1])
        return Mesh(moved, self.colours, self.gloss, self.layers, self.two_sided)


def _measure(mesh: Mesh) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.intp]]:
    """All corners ``(N, 3)``, where each polygon's begin ``(n + 1,)``, unit outward normals and centres ``(n, 3)``."""
    counts = np.array([len(corners) for corners in mesh.polygons])
    starts = np.concatenate([[0], np.cumsum(counts)])
    points = np.concatenate(mesh.polygons)
    following = np.arange(1, len(points) + 1)
    following[starts[1:] - 1] = starts[:-1]
    # Newell's sum: any number of corners. These axes are left-handed (z away), hence the order of the factors.
    arms = points - np.repeat(points[starts[:-1]], counts, 0)
    total = np.add.reduceat(_cross(arms[following], arms), starts[:-1], 0)
    normals = total / np.maximum(np.sqrt((total * total).sum(-1, keepdims=True)), 1e-9)
    centres = np.add.reduceat(points, starts[:-1], 0) / counts[:, None]
    return points, normals, centres, starts


def _cross(a: FloatArray, b: FloatArray) -> FloatArray:
    ax, ay, az = a.T
    bx, by, bz = b.T
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], -1)


def render(mesh: Mesh, camera: Camera, light: Light) -> Sprite | None:
    """Paint a placed mesh.

    Args:
        mesh: In world coordinates.
        camera: The view.
        light: Daylight for the shading.

    Returns:
        The sprite, or None where nothing of it is in view.
    """
    points, normals, centres, starts = _measure(mesh)
    brightness = light.shade(normals)
    eye = np.array([0, camera.elevation, 0], np.float32)
    facing = ((eye - centres) * normals).sum(-1)
    distance = np.sqrt(((centres - eye) ** 2).sum(-1)) - np.asarray(mesh.layers, np.float32)
    projected = camera.project(points)
    nearest = np.minimum.reduceat(points[:, 2], starts[:-1])
    visible = ((facing > 0) | np.asarray(mesh.two_sided)) & (nearest > 0.6)
    shown = [int(k) for k in np.argsort(-distance, kind="stable") if visible[k]]
    if not shown:
        return None
    corners = projected[np.repeat(visible, np.diff(starts))]
    low = np.maximum(np.floor(corners.min(0)) - 1, -8).astype(int)
    high = np.minimum(np.ceil(corners.max(0)) + 1, (camera.width + 8, camera.height + 8)).astype(int)
    width, height = (int(value) for value in high - low)
    if width <= 0 or height <= 0:
        return None
    # Small things get finer cells, so that their edges are not frayed by whole-pixel corners.
    factor = 3 if max(width, height) < 160 else 2 if max(width, height) < 420 else 1
    image = Image.new("RGBA", (width * factor, height * factor))
    pen = ImageDraw.Draw(image)
    seen = np.where(facing > 0, brightness, brightness * 0.6)[:, None]
    share = (np.asarray(mesh.gloss, np.float32) * np.maximum(0, 0.25 + 0.75 * normals[:, 1]))[:, None]
    lit = np.asarray(mesh.colours, np.float32) * seen * (1 - share) + np.asarray(light.sky, np.float32) * share
    fills = np.clip(lit, 0, 255).astype(int).tolist()
    local = (projected - low) * factor
    for k in shown:
        pen.polygon(local[starts[k] : starts[k + 1]].ravel().tolist(), fill=(*fills[k], 255))
    # Reducing weighs colours by their alpha, so uncovered cells do not darken an edge.
    blocks = np.asarray(image.reduce(factor) if factor > 1 else image, np.float32)
    return Sprite(blocks[..., :3], blocks[..., 3] > 127, int(low[0]), int(low[1]))
