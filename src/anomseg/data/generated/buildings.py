"""Rows of houses: fronts and side walls put into perspective, with roofs and chimneys."""

from __future__ import annotations

import numpy as np
from PIL import Image

from anomseg.data.generated.camera import Camera, FloatArray
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
    # Ray of a column: (X, Z) = t * (a, 1); it meets the wall's line at t = n / (a * dz - dx), n constant.
    slope = (np.arange(left, right, dtype=np.float32) + 0.5 - camera.centre) / camera.focal
    constant = x0 * dz - z0 * dx
    denominator = slope * dz - dx
    depth = constant / np.where(np.abs(denominator) < 1e-6, 1e-6, denominator)
    along = (slope * depth - x0) * dx + (depth - z0) * dz
    rows = (np.arange(top, bottom, dtype=np.float32) + 0.5)[:, None]
    up = camera.elevation - (rows - camera.horizon) * depth[None] / camera.focal
    mask = (along >= 0) & (along < length) & (depth > near) & (up >= 0) & (up < height)
    if not mask.any():
        return None
    # Shrink the picture to about the size it has on screen first, or fine bricks would flicker into noise.
    wide = int(np.clip((right - left) * 1.6, 8, picture.width))
    tall = int(np.clip((bottom - top) * 1.3, 8, picture.height))
    if wide < picture.width or tall < picture.height:
        picture = picture.resize((wide, tall), Image.Resampling.BOX)
    texture = np.asarray(picture)
    u = along / length * texture.shape[1] - 0.5
    v = (1 - up / height) * texture.shape[0] - 0.5
    colour = _bilinear(texture, u, v)
    if colour.shape[-1] == 4:
        mask &= colour[..., 3] > 127
    return Sprite(colour[..., :3] * np.float32(brightness), mask, left, top)


def _at_depth(start: tuple[float, float], end: tuple[float, float], depth: float) -> tuple[float, float]:
    share = (depth - start[1]) / (end[1] - start[1]) if end[1] != start[1] else 0.0
    return start[0] + share * (end[0] - start[0]), depth


def _bilinear(texture: np.ndarray, u: FloatArray, v: FloatArray) -> FloatArray:
    """Colours at columns ``u (C,)`` and rows ``v (R, C)`` of a picture, edges repeated."""
    rows, columns, bands = texture.shape
    u = np.clip(u, 0, columns - 1.001)
    v = np.clip(v, 0, rows - 1.001)
    c, r = u.astype(np.int32), v.astype(np.int32)
    flat = texture.reshape(-1, bands).astype(np.float32)
    index = r * columns + c[None]
    share_u, share_v = (u - c)[None, :, None], (v - r)[..., None]
    step = 1 if columns > 1 else 0
    upper = flat[index] * (1 - share_u) + flat[index + step] * share_u
    below = index + columns
    lower = flat[below] * (1 - share_u) + flat[below + step] * share_u
    return upper * (1 - share_v) + lower * share_v


class House:
    """One house of a row, ready to be painted.

    Args:
        x: Building line, x in metres at its near and far end.
        near: Distance of its near side wall.
        far: Distance of its far side wall.
        side: -1 on the left of the street, 1 on the right.
        rng: Source of its looks.
    """

    def __init__(self, x: tuple[float, float], near: float, far: float, side: int, rng: np.random.Generator) -> None:
        self.x = x
        self.near = near
        self.far = far
        self.side = side
        self.style: Style = draw_style(rng)
        self.rng = rng
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
        if self.near > 1.5:
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
