"""Trees and hedges: bare branches as in early spring, or crowns of leaves."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from anomseg.data.generated.camera import FloatArray
from anomseg.data.generated.canvas import TREE, Canvas, Sprite
from anomseg.data.generated.textures import patch, smoothstep


def draw_leafy_tree(canvas: Canvas, x: float, z: float, height: float, rng: np.random.Generator) -> None:
    """Paint a tree in leaf or an evergreen: clumps of leaves lit from the sun's side above a trunk."""
    scale = canvas.camera.pixels_per_metre(z)
    crown = height * 0.72
    radius = height * rng.uniform(0.26, 0.36)
    width, rows = int(radius * 2.3 * scale) + 2, int(height * scale) + 2
    step = max(1, int(np.ceil(max(width, rows) / 300)))
    width, rows, scale = width // step + 1, rows // step + 1, scale / step
    column = (np.arange(width, dtype=np.float32) + 0.5)[None] / scale - radius * 1.15
    up = height - (np.arange(rows, dtype=np.float32) + 0.5)[:, None] / scale
    field = np.full((rows, width), -1.0, np.float32)
    light = np.zeros((rows, width), np.float32)
    for _ in range(18):
        angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1))
        cx = radius * 0.62 * reach * np.cos(angle)
        cy = height - crown / 2 + crown * 0.33 * reach * np.sin(angle)
        r = radius * rng.uniform(0.24, 0.44)
        dx, dy = (column - cx) / r, (up - cy) / r
        lump = 1 - np.sqrt(dx * dx + dy * dy)
        sun = canvas.light.sun
        lit = 0.85 + canvas.light.direct * 0.5 * (dx * sun[0] + dy * sun[1]) + 0.22 * dy
        nearer = lump > field
        field = np.where(nearer, lump, field)
        light = np.where(nearer, lit, light)
    leaf = float(np.clip(0.10 * scale, 0.6, 3.0))
    noise = patch(rng, (rows, width), leaf, 2)
    mask = field + 0.2 * noise > 0.04
    tint = np.array([(70, 80, 50), (62, 74, 48), (88, 90, 60), (56, 64, 48)][int(rng.integers(4))], np.float32)
    shade = (
        np.clip(light + 0.3 * patch(rng, (rows, width), leaf / 2, 2) + 0.1 * noise, 0.16, 1.7)
        * canvas.light.ambient
        * 1.25
    )
    colour = tint * shade[..., None]
    half = max(0.04 * height, 0.8 / scale)
    trunk = (np.abs(column) < half * (1 + 0.3 * (up < 0.4))) & (up < height - crown * 0.6) & ~mask
    bark = 62 * (1 - 0.35 * np.sign(canvas.light.sun[0]) * -column / half) * canvas.light.ambient
    colour = np.where(trunk[..., None], (bark[..., None] * np.array([1.0, 0.94, 0.86], np.float32)), colour)
    _paste(canvas, colour.astype(np.float32), mask | trunk, (x, z), step)


_POOL = 10
_POOL_CELLS = 420


@lru_cache(maxsize=_POOL)
def _branches(index: int) -> Image.Image:
    """Ink of one of a few leafless trees, 420 cells high; drawing a thousand branches anew each time is slow."""
    rng = np.random.Generator(np.random.PCG64([20081015, index]))
    cells = _POOL_CELLS
    image = Image.new("L", (cells, cells))
    pen = ImageDraw.Draw(image)
    stack = [(cells / 2, float(cells), np.pi / 2 + rng.normal(0, 0.04), cells * 0.25, cells * 0.026, 0)]
    while stack:
        u, v, angle, length, thick, level = stack.pop()
        for _ in range(2):
            u2, v2 = u + np.cos(angle) * length / 2, v - np.sin(angle) * length / 2
            pen.line([u, v, u2, v2], fill=255 if thick > 0.9 else 170, width=max(round(2 * thick), 1))
            u, v, angle = u2, v2, angle + rng.normal(0, 0.12)
        if level >= 7 or length < 7:
            continue
        for turn in (-1, 1, 0) if level < 4 else (-1, 1):
            lean = angle + rng.uniform(0.3, 0.62) * turn + rng.normal(0, 0.12)
            towards = lean + (np.pi / 2 - lean) * 0.12
            stack.append((u, v, towards, length * rng.uniform(0.64, 0.84), thick * 0.6, level + 1))
    return image


def draw_bare_tree(canvas: Canvas, x: float, z: float, height: float, rng: np.random.Generator) -> None:
    """Paint a leafless tree; its label covers the twigs with the little sky between them."""
    camera = canvas.camera
    scale = camera.pixels_per_metre(z)
    size = max(int(height * scale), 6), max(int(height * 1.03 * scale), 6)
    picture = _branches(int(rng.integers(_POOL)))
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    foot = camera.project([x, 0.0, z])
    left, top = round(float(foot[0]) - size[0] / 2), round(float(foot[1]) - size[1])
    rows, columns = canvas.clip(left, top, left + size[0], top + size[1])
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    # Only the part in view is enlarged.
    ratio = _POOL_CELLS / size[0], _POOL_CELLS / size[1]
    shown = (columns.start - left, rows.start - top, columns.stop - left, rows.stop - top)
    box = (shown[0] * ratio[0], shown[1] * ratio[1], shown[2] * ratio[0], shown[3] * ratio[1])
    wanted = (columns.stop - columns.start, rows.stop - rows.start)
    ink = np.asarray(picture.resize(wanted, Image.Resampling.BILINEAR, box=box), np.float32) / 255
    twigs = gaussian_filter(ink, float(np.clip(0.1 * scale, 1.0, 5.0)), truncate=2.5)
    tone = np.array([92, 86, 80], np.float32) * canvas.light.ambient * (1 + 0.1 * patch(rng, ink.shape, 1.0))[..., None]
    share = np.clip(ink * 0.9 + twigs * 0.45, 0, 1)[..., None]
    canvas.colour[rows, columns] += share * (canvas.light.fade(tone, z) - canvas.colour[rows, columns])
    label = (twigs > 0.16) | (ink > 0.9)
    canvas.classes[rows, columns][label] = TREE
    canvas.objects[rows, columns][label] = 0


def draw_hedge(
    canvas: Canvas, line: tuple[float, float], z: tuple[float, float], height: float, rng: np.random.Generator
) -> None:
    """Paint a hedge along the street between two distances, ``line`` being its x at each."""
    for place in np.arange(z[1], z[0], -0.8):
        share = (place - z[0]) / (z[1] - z[0])
        here = line[0] + share * (line[1] - line[0])
        _bush(canvas, here, float(place), height * rng.uniform(0.9, 1.1), rng)


def _bush(canvas: Canvas, x: float, z: float, height: float, rng: np.random.Generator) -> None:
    scale = canvas.camera.pixels_per_metre(z)
    half = 0.8
    width, rows = int(2 * half * scale) + 2, int(height * 1.1 * scale) + 2
    step = max(1, int(np.ceil(max(width, rows) / 260)))
    width, rows, scale = width // step + 1, rows // step + 1, scale / step
    column = (np.arange(width, dtype=np.float32) + 0.5)[None] / scale - half
    up = height * 1.1 - (np.arange(rows, dtype=np.float32) + 0.5)[:, None] / scale
    leaf = float(np.clip(0.06 * scale, 0.6, 2.5))
    noise = patch(rng, (rows, width), leaf, 2)
    edge = np.minimum(half - np.abs(column), height - up + 0.0) / 0.12
    mask = edge + 0.5 * noise > 0.4
    shade = canvas.light.ambient * (0.55 + 0.55 * smoothstep(0.2, 1.0, up / height) + 0.24 * noise)
    colour = np.array([60, 72, 42], np.float32) * np.clip(shade, 0.12, 1.6)[..., None]
    _paste(canvas, colour.astype(np.float32), mask, (x, z), step)


def _paste(canvas: Canvas, colour: FloatArray, mask: NDArray[np.bool_], place: tuple[float, float], step: int) -> None:
    """Stand a picture whose foot is in the middle of its last row on the street at ``place`` (x, z)."""
    if step > 1:
        colour, mask = colour.repeat(step, 0).repeat(step, 1), mask.repeat(step, 0).repeat(step, 1)
    foot = canvas.camera.project([place[0], 0.0, place[1]])
    left, top = round(float(foot[0]) - mask.shape[1] / 2), round(float(foot[1]) - mask.shape[0])
    canvas.paste(Sprite(colour, mask, left, top), TREE, place[1])
