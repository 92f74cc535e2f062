"""Rounded things: tapered capsules merged by depth, shaded by their true normals and given a skin of noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anomseg.data.generated.camera import Camera, FloatArray
from anomseg.data.generated.canvas import Sprite
from anomseg.data.generated.light import Light
from anomseg.data.generated.mesh import Colour
from anomseg.data.generated.textures import patch

Point = Sequence[float]


@dataclass(frozen=True)
class Capsule:
    """A tapered capsule in a thing's own axes (metres, y up from the ground).

    Attributes:
        start: One end of the axis.
        end: The other end; the same point makes a ball.
        start_radius: Radius at the start.
        end_radius: Radius at the end.
        colour: RGB 0..255 before light.
        spots: Second colour in large patches, or None.
    """

    start: Point
    end: Point
    start_radius: float
    end_radius: float
    colour: Colour
    spots: Colour | None = None


@dataclass(frozen=True)
class Skin:
    """Surface of a rounded thing.

    Attributes:
        grain: Strength of the fine texture, as a share of the brightness.
        bumps: Strength of the relief that bends the normals.
        size: Grain size in metres.
        shine: Strength of the highlight.
    """

    grain: float = 0.08
    bumps: float = 0.08
    size: float = 0.02
    shine: float = 0.0


def render_solids(
    capsules: Sequence[Capsule],
    position: tuple[float, float],
    yaw: float,
    camera: Camera,
    light: Light,
    rng: np.random.Generator,
    skin: Skin | None = None,
) -> Sprite:
    """Paint merged capsules that stand on the street.

    The thing is seen in parallel projection at its own distance, turned by ``yaw`` and tilted by the angle under
    which the camera looks down on it.

    Args:
        capsules: The parts.
        position: ``(x, z)`` of their origin on the street, metres.
        yaw: Radians about the vertical; at 0 the thing's x axis runs across the view.
        camera: The view.
        light: Daylight for the shading.
        rng: Where in the noise the skin is cut from.
        skin: The surface; the default is cloth-like.

    Returns:
        The sprite.
    """
    skin = skin or Skin()
    x, z = position
    scale = camera.pixels_per_metre(z)
    tilt = float(np.arctan2(camera.elevation * 0.7, z))
    turn = _rotation(yaw, tilt)
    starts = np.asarray([part.start for part in capsules], np.float32) @ turn.T
    ends = np.asarray([part.end for part in capsules], np.float32) @ turn.T
    radius = np.asarray([(part.start_radius, part.end_radius) for part in capsules], np.float32)
    reach = radius.max(1)[:, None]
    low = np.minimum(starts, ends)[:, :2].min(0) - reach.max()
    high = np.maximum(starts, ends)[:, :2].max(0) + reach.max()
    anchor = camera.project([x, 0.0, z])
    left, top = int(np.floor(anchor[0] + low[0] * scale)), int(np.floor(anchor[1] - high[1] * scale))
    width = int(np.ceil((high[0] - low[0]) * scale)) + 2
    height = int(np.ceil((high[1] - low[1]) * scale)) + 2
    px = ((np.arange(width, dtype=np.float32) + left + 0.5) - anchor[0]) / scale
    py = (anchor[1] - (np.arange(height, dtype=np.float32) + top + 0.5)) / scale
    depth = np.full((height, width), np.inf, np.float32)
    normal = np.zeros((height, width, 3), np.float32)
    owner = np.zeros((height, width), np.int32)
    for k in range(len(capsules)):
        _merge(k, starts[k], ends[k], radius[k], px, py, depth, normal, owner)
    mask = np.isfinite(depth)
    mask &= _above_ground(py, np.where(mask, depth, 0), tilt)
    colour = _paint(capsules, owner, normal, light, rng, skin, scale)
    return Sprite(colour, mask, left, top)


def _rotation(yaw: float, tilt: float) -> FloatArray:
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(tilt), np.sin(tilt)], [0, -np.sin(tilt), np.cos(tilt)]])
    return (about_x @ about_y).astype(np.float32)


def _above_ground(py: FloatArray, depth: FloatArray, tilt: float) -> np.ndarray:
    return py[:, None] * np.cos(tilt) - depth * np.sin(tilt) > -0.01


def _merge(
    k: int,
    start: FloatArray,
    end: FloatArray,
    radius: FloatArray,
    px: FloatArray,
    py: FloatArray,
    depth: FloatArray,
    normal: FloatArray,
    owner: np.ndarray,
) -> None:
    """Write one capsule into the depth, normal and owner maps where it is nearest."""
    if start[2] > end[2]:
        start, end, radius = end, start, radius[::-1]
    reach = radius.max()
    columns = slice(*np.searchsorted(px, [min(start[0], end[0]) - reach, max(start[0], end[0]) + reach]))
    rows = slice(*np.searchsorted(-py, [-max(start[1], end[1]) - reach, -min(start[1], end[1]) + reach]))
    x, y = px[None, columns], py[rows, None]
    if x.size == 0 or y.size == 0:
        return
    axis = end[:2] - start[:2]
    length = max(float((axis * axis).sum()), 1e-9)
    share = np.clip(((x - start[0]) * axis[0] + (y - start[1]) * axis[1]) / length, 0, 1)
    dx, dy = x - start[0] - share * axis[0], y - start[1] - share * axis[1]
    size = radius[0] + share * (radius[1] - radius[0])
    under = size * size - dx * dx - dy * dy
    forward = np.sqrt(np.maximum(under, 0))
    here = start[2] + share * (end[2] - start[2]) - forward
    nearer = (under > 0) & (here < depth[rows, columns])
    depth[rows, columns][nearer] = here[nearer]
    owner[rows, columns][nearer] = k
    inverse = 1 / size[nearer] if size.shape == nearer.shape else np.broadcast_to(1 / size, nearer.shape)[nearer]
    normal[rows, columns][nearer] = np.stack([dx[nearer], dy[nearer], -forward[nearer]], -1) * inverse[:, None]


def _paint(
    capsules: Sequence[Capsule],
    owner: np.ndarray,
    normal: FloatArray,
    light: Light,
    rng: np.random.Generator,
    skin: Skin,
    scale: float,
) -> FloatArray:
    shape = (owner.shape[0], owner.shape[1])
    cells = max(skin.size * scale, 0.0)
    sigma = float(np.clip(2.0 ** np.round(np.log2(max(cells, 0.5))), 0.5, 16))
    relief = [patch(rng, shape, sigma, 2) for _ in range(2)]
    bent = normal.copy()
    bent[..., 0] += skin.bumps * relief[0]
    bent[..., 1] += skin.bumps * relief[1]
    bent /= np.maximum(np.sqrt((bent * bent).sum(-1, keepdims=True)), 1e-6)
    # View axes are the street's but for the small tilt, so these normals meet the sun as they are.
    brightness = light.shade(bent)
    table = np.asarray([part.colour for part in capsules], np.float32)
    colour = table[owner]
    if any(part.spots is not None for part in capsules):
        second = np.asarray([part.spots if part.spots is not None else part.colour for part in capsules], np.float32)
        big = float(np.clip(2.0 ** np.round(np.log2(max(0.16 * scale, 1.0))), 1, 32))
        colour = np.where((patch(rng, shape, big, 1) > 0.2)[..., None], second[owner], colour)
    grain = 1 + skin.grain * patch(rng, shape, max(sigma / 2, 0.5), 2)
    lit = colour * (brightness * np.clip(grain, 0.3, 2))[..., None]
    if skin.shine:
        half = np.array([light.sun[0], light.sun[1], light.sun[2] - 1.0], np.float32)
        half /= np.sqrt((half * half).sum())
        spark = np.maximum((bent * half).sum(-1), 0) ** 24
        lit = lit + (255 * skin.shine * (0.3 + light.direct) * spark)[..., None]
    return np.clip(lit, 0, 255).astype(np.float32)
