"""Rows of houses: fronts and side walls put into perspective, with roofs and chimneys."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomseg.data.generated.camera import Camera
from anomseg.data.generated.canvas import BUILDING, Canvas, Sprite
from anomseg.data.generated.facades import Style, draw_facade, draw_style
from anomseg.data.generated.mesh import Mesh, render


def wall_sprite(
    picture: Image.Image,
    start: tuple[float, float],
    end: tuple[float, float],
    height: float,
    camera: Camera,
    brightness: float,
) -> Sprite | None:
    """Put a flat picture on an upright wall.

    Args:
        picture: RGB or RGBA, its left edge at ``start``, its last row on the ground; alpha cuts holes.
        start: ``(x, z)`` of the wall's left end as the camera sees it.
        end: ``(x, z)`` of its right end.
        height: Height of the wall in metres.
        camera: The view.
        brightness: Factor on the colours.

    Returns:
        The sprite, or None where the wall is not in view.
    """
    (x0, z0), (x1, z1) = start, end
    length = float(np.hypot(x1 - x0, z1 - z0))
    dx, dz = (x1 - x0) / length, (z1 - z0) / length
    near = 0.8
    corner = [_at_depth(start, end, near) if z < near else (x, z) for x, z in (start, end)]
    edges = camera.project([[x, y, max(z, near)] for x, z in corner for y in (0.0, height)])
    left, right = max(int(np.floor(edges[:, 0].min())), 0), min(int(np.ceil(edges[:, 0].max())), camera.width)
    top, bottom = max(int(np.floor(edges[:, 1].min())), 0), min(int(np.ceil(edges[:, 1].max())), camera.height)
    if right <= left or bottom <= top:
        return None
    # Ray of a column: (X, Z) = t * (slope, 1); it meets the wall's line at t = constant / (slope * dz - dx).
    slope = (np.arange(left, right, dtype=np.float32) + 0.5 - camera.centre) / camera.focal
    constant = x0 * dz - z0 * dx
    denominator = slope * dz - dx
    depth = constant / np.where(np.abs(denominator) < 1e-6, 1e-6, denominator)
    along = (slope * depth - x0) * dx + (depth - z0) * dz
    rows = (np.arange(top, bottom, dtype=np.float32) + 0.5)[:, None]
    up = camera.elevation - (rows - camera.horizon) * depth[None] / camera.focal
    mask: NDArray[np.bool_] = np.asarray((along >= 0) & (along < length) & (depth > near) & (up >= 0) & (up < height))
    if not mask.any():
        return None
    # Shrink the picture to about the size it has on screen first, or fine bricks would flicker into noise.
    wide = int(np.clip((right - left) * 1.6, 8, picture.width))
    tall = int(np.clip((bottom - top) * 1.3, 8, picture.height))
    if wide < picture.width or tall < picture.height:
        picture = picture.resize((wide, tall), Image.Resampling.BOX)
    # The same mapping as ratios of linear functions of the pixel, which is what the warp takes.
    p, q = dz / camera.focal, (left - camera.centre) * dz / camera.focal - dx
    origin = x0 * dx + z0 * dz
    u = (
        constant * dx / camera.focal - origin * p,
        constant * ((left - camera.centre) * dx / camera.focal + dz) - origin * q,
    )
    sink = constant / camera.focal
    v = (
        p - camera.elevation * p / height,
        sink / height,
        q - (camera.elevation * q + (camera.horizon - top) * sink) / height,
    )
    across, down = wide / length / q, tall / q
    matrix = (u[0] * across, 0.0, u[1] * across, v[0] * down, v[1] * down, v[2] * down, p / q, 0.0)
    shape = (right - left, bottom - top)
    warped = picture.transform(shape, Image.Transform.PERSPECTIVE, matrix, Image.Resampling.BILINEAR)
    # The warp leaves half a cell at the picture's edge empty; the nearest cell fills it.
    blunt = picture.transform(shape, Image.Transform.PERSPECTIVE, matrix, Image.Resampling.NEAREST)
    colour = np.asarray(warped)
    empty = np.equal(colour.max(-1), 0)
    if empty.any():
        colour = np.where(empty[..., None], np.asarray(blunt), colour)
    if colour.shape[-1] == 4:
        mask = np.logical_and(mask, colour[..., 3] > 127)
    return Sprite(colour[..., :3] * np.float32(brightness), mask, left, top)


def _at_depth(start: tuple[float, float], end: tuple[float, float], depth: float) -> tuple[float, float]:
    share = (depth - start[1]) / (end[1] - start[1]) if end[1] != start[1] else 0.0
    return start[0] + share * (end[0] - start[0]), depth


class House:
    """One house of a row, ready to be painted.

    Args:
        x: Building line, x in metres at its near and far end.
        near: Distance of its near side wall.
        far: Distance of its far side wall.
        side: -1 on the left of the street, 1 on the right.
        rng: Source of its looks.
        hidden: Height up to which a nearer house hides the near side wall, metres.
    """

    def __init__(
        self,
        x: tuple[float, float],
        near: float,
        far: float,
        side: int,
        rng: np.random.Generator,
        hidden: float = 0.0,
    ) -> None:
        self.x = x
        self.near = near
        self.far = far
        self.side = side
        self.style: Style = draw_style(rng)
        self.rng = rng
        self.hidden = hidden
        self.roof = float(rng.uniform(1.2, 2.6)) if rng.random() < 0.7 else 0.0
        self.roof_colour = (
            tuple(np.array([92, 88, 90]) * rng.uniform(0.6, 1.0)) if rng.random() < 0.6 else (110, 78, 64)
        )

    def draw(self, canvas: Canvas) -> None:
        """Paint roof and chimney, side wall and front."""
        camera, light, style = canvas.camera, canvas.light, self.style
        depth = 7.0
        height = style.height
        self._draw_roof(canvas, height, depth)
        middle = (max(self.near, 3) + self.far) / 2
        cells = float(np.clip(camera.pixels_per_metre(max(self.near, 5.0)) * 0.55, 12, 56))
        if self.near > 1.5 and height > self.hidden:
            wall = draw_facade(style, depth, min(cells, 30), self.rng, plain=True)
            outer = self.x[0] + self.side * depth
            ends = (
                ((outer, self.near), (self.x[0], self.near))
                if self.side < 0
                else ((self.x[0], self.near), (outer, self.near))
            )
            shade = float(light.shade(np.array([0.0, 0.0, -1.0])))
            sprite = wall_sprite(wall, ends[0], ends[1], height, camera, shade)
            if sprite is not None:
                canvas.paste(sprite, BUILDING, self.near)
        front = draw_facade(style, self.far - self.near, cells, self.rng)
        line = ((self.x[0], self.near), (self.x[1], self.far))
        ends = line if self.side < 0 else (line[1], line[0])
        shade = float(light.shade(np.array([-self.side, 0.0, 0.0])))
        sprite = wall_sprite(front, ends[0], ends[1], height, camera, shade)
        if sprite is not None:
            canvas.paste(sprite, BUILDING, middle)

    def _draw_roof(self, canvas: Canvas, height: float, depth: float) -> None:
        mesh = Mesh()
        (xn, xf), ridge = self.x, self.roof
        near = max(self.near, 1.2)
        back = self.side * depth / 2
        if ridge:
            eave = -self.side * 0.25
            slope = [
                (xn + eave, height, near),
                (xn + back, height + ridge, near),
                (xf + back, height + ridge, self.far),
                (xf + eave, height, self.far),
            ]
            mesh.add(slope, self.roof_colour, two_sided=True)
            gable = [(xn, height, near), (xn + back, height + ridge, near), (xn + back * 2, height, near)]
            mesh.add(gable, self.style.wall, two_sided=True)
        if self.rng.random() < 0.7:
            z = self.far - 0.8
            x = xf + back * (1.0 if ridge else 0.6)
            top = height + ridge + self.rng.uniform(0.7, 1.4)
            brick = tuple(np.asarray(self.style.wall) * 0.75)
            mesh.box((x - 0.4, height, z - 0.35), (x + 0.4, top, z + 0.35), brick)
            for shift in (-0.2, 0.2):
                mesh.box((x + shift - 0.1, top, z - 0.1), (x + shift + 0.1, top + 0.4, z + 0.1), (140, 84, 60))
        if mesh.polygons:
            sprite = render(mesh, canvas.camera, canvas.light)
            if sprite is not None:
                grain = 1 + 0.08 * self.rng.standard_normal(sprite.mask.shape, np.float32)
                painted = Sprite(sprite.colour * grain[..., None], sprite.mask, sprite.left, sprite.top)
                canvas.paste(painted, BUILDING, (near + self.far) / 2)
