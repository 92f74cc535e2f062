"""Trees and hedges: bare branches as in early spring, or crowns of leaves."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from anomseg.data.generated.canvas import TREE, Canvas, Sprite
from anomseg.data.generated.textures import patch, smoothstep


def draw_leafy_tree(canvas: Canvas, x: float, z: float, height: float, rng: np.random.Generator) -> None:
    """Paint a tree in leaf or an evergreen: clumps of leaves lit from the sun's side above a trunk."""
    scale = canvas.camera.pixels_per_metre(z)
    crown = height * 0.72
    radius = height * rng.uniform(0.26, 0.36)
    width, rows = int(radius * 2.3 * scale) + 2, int(height * scale) + 2
    step = max(1, int(np.ceil(max(width, rows) / 420)))
    width, rows, scale = width // step + 1, rows // step + 1, scale / step
    column = (np.arange(width, dtype=np.float32) + 0.5)[None] / scale - radius * 1.15
    up = height - (np.arange(rows, dtype=np.float32) + 0.5)[:, None] / scale
    field = np.full((rows, width), -1.0, np.float32)
    light = np.zeros((rows, width), np.float32)
    for _ in range(14):
        angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1))
        cx = radius * 0.62 * reach * np.cos(angle)
        cy = height - crown / 2 + crown * 0.33 * reach * np.sin(angle)
        r = radius * rng.uniform(0.32, 0.5)
        dx, dy = (column - cx) / r, (up - cy) / r
        lump = 1 - np.sqrt(dx * dx + dy * dy)
        sun = canvas.light.sun
        lit = 0.72 + canvas.light.direct * 0.5 * (dx * sun[0] + dy * sun[1]) + 0.22 * dy
        nearer = lump > field
        field = np.where(nearer, lump, field)
        light = np.where(nearer, lit, light)
    leaf = float(np.clip(0.10 * scale, 0.6, 3.0))
    noise = patch(rng, (rows, width), leaf, 2)
    mask = field + 0.16 * noise > 0.02
    tint = np.array([(74, 88, 44), (58, 74, 40), (92, 96, 52), (50, 60, 42)][int(rng.integers(4))], np.float32)
    shade = np.clip(light + 0.22 * patch(rng, (rows, width), leaf, 2), 0.16, 1.7) * canvas.light.ambient * 1.25
    colour = tint * shade[..., None]
    half = max(0.04 * height, 0.8 / scale)
    trunk = (np.abs(column) < half * (1 + 0.3 * (up < 0.4))) & (up < height - crown * 0.6) & ~mask
    bark = 62 * (1 - 0.35 * np.sign(canvas.light.sun[0]) * -column / half) * canvas.light.ambient
    colour = np.where(trunk[..., None], (bark[..., None] * np.array([1.0, 0.94, 0.86], np.float32)), colour)
    _paste(canvas, colour.astype(np.float32), mask | trunk, x, z, step)


def draw_bare_tree(canvas: Canvas, x: float, z: float, height: float, rng: np.random.Generator) -> None:
    """Paint a leafless tree; its label covers the twigs with the little sky between them."""
    scale = canvas.camera.pixels_per_metre(z)
    width, rows = int(height * 0.95 * scale) + 4, int(height * 1.05 * scale) + 4
    step = max(1, int(np.ceil(max(width, rows) / 900)))
    width, rows, scale = width // step + 1, rows // step + 1, scale / step
    image = Image.new("L", (width, rows))
    pen = ImageDraw.Draw(image)
    stack = [(width / 2, float(rows), np.pi / 2 + rng.normal(0, 0.04), height * 0.26, height * 0.028, 0)]
    while stack:
        u, v, angle, length, thick, level = stack.pop()
        for _ in range(2):
            u2, v2 = u + np.cos(angle) * length * scale / 2, v - np.sin(angle) * length * scale / 2
            pen.line(
                [u, v, u2, v2], fill=255 if thick * scale > 0.9 else 150, width=max(round(2 * thick * scale), 1)
            )
            u, v, angle = u2, v2, angle + rng.normal(0, 0.12)
        if level >= 6 or length * scale < 2.5:
            continue
        for turn in (-1, 1, 0) if level < 4 else (-1, 1):
            spread = rng.uniform(0.3, 0.62) * turn + rng.normal(0, 0.12)
            lean = angle + spread
            stack.append(
                (u, v, lean + (np.pi / 2 - lean) * 0.12, length * rng.uniform(0.66, 0.84), thick * 0.62, level + 1)
            )
    ink = np.asarray(image, np.float32) / 255
    reach = max(0.10 * scale, 1.0)
    haze_of_twigs = gaussian_filter(ink, reach, truncate=2.5)
    label = (haze_of_twigs > 0.16) | (ink > 0.9)
    tone = (
        np.array([66, 60, 54], np.float32) * canvas.light.ambient * (1 + 0.1 * patch(rng, ink.shape, 1.0, 1))[..., None]
    )
    cover = np.clip(ink * 0.85 + haze_of_twigs * 0.5, 0, 1)
    _paste(canvas, tone, label, x, z, step, cover)


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
    _paste(canvas, colour.astype(np.float32), mask, x, z, step)


def _paste(
    canvas: Canvas,
    colour: np.ndarray,
    mask: np.ndarray,
    x: float,
    z: float,
    step: int,
    cover: np.ndarray | None = None,
) -> None:
    """Stand a picture whose foot is in the middle of its last row on the street; ``cover`` lets the ground shine through."""
    if step > 1:
        colour, mask = colour.repeat(step, 0).repeat(step, 1), mask.repeat(step, 0).repeat(step, 1)
        cover = cover.repeat(step, 0).repeat(step, 1) if cover is not None else None
    foot = canvas.camera.project([x, 0.0, z])
    left, top = round(float(foot[0]) - mask.shape[1] / 2), round(float(foot[1]) - mask.shape[0])
    if cover is not None:
        rows, columns = canvas.clip(left, top, left + mask.shape[1], top + mask.shape[0])
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return
        inner = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
        # Twigs over what is behind them; the haze that paste adds is put on the twigs alone.
        twigs = canvas.light.fade(colour[inner], z)
        share = cover[inner][..., None]
        mixed = canvas.colour[rows, columns] * (1 - share) + twigs * share
        canvas.colour[rows, columns] = mixed
        canvas.classes[rows, columns][mask[inner]] = TREE
        canvas.objects[rows, columns][mask[inner]] = 0
        return
    canvas.paste(Sprite(colour, mask, left, top), TREE, z)
