"""The sky and what closes the street far away: clouds, a skyline of roofs and trees in the haze."""

from __future__ import annotations

import numpy as np

from anomseg.data.generated.canvas import BUILDING, SKY, TREE, Canvas
from anomseg.data.generated.textures import noise_tile, patch, sample


def draw_sky(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint the canvas down to the horizon with sky: bright and pale low, bluer high up, with clouds."""
    camera, light = canvas.camera, canvas.light
    rows = min(int(np.ceil(camera.horizon)) + 2, camera.height)
    row = np.arange(rows, dtype=np.float32)[:, None] + 0.5
    column = np.arange(camera.width, dtype=np.float32)[None]
    up = np.clip(1 - row / camera.horizon, 0, 1)
    pale = np.asarray(light.haze, np.float32) + 34
    colour = pale + (np.asarray(light.sky, np.float32) - pale) * (up**0.7)[..., None]
    # Clouds lie on a ceiling, so they flatten towards the horizon.
    flat = 90 / (0.12 + up)
    clouds = sample(noise_tile(8.0, 4), column * flat / 420 + rng.uniform(0, 512), flat * 1.4 + rng.uniform(0, 512))
    strength = rng.uniform(2, 9) if light.ambient > 0.66 or light.direct else rng.uniform(10, 22)
    grey = (clouds * np.minimum(1, up * 3 + 0.2))[..., None] * np.float32(strength)
    canvas.colour[:rows] = colour + grey * np.array([1.0, 0.85, 0.75], np.float32)
    canvas.classes[:rows] = SKY


def draw_skyline(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint the far end of the street: hazy house fronts with trees before them."""
    camera = canvas.camera
    columns = np.arange(camera.width)
    for depth, label in ((150.0, BUILDING), (110.0, TREE)):
        scale = camera.pixels_per_metre(depth)
        metres = columns / scale + rng.uniform(0, 500)
        if label == BUILDING:
            block = np.floor(metres / 11)
            height = 8.5 + 2.2 * sample(noise_tile(0.0), block * 3, np.zeros_like(block))
            base = 95 + 18 * sample(noise_tile(0.0), block * 3, np.ones_like(block))
        else:
            height = 5.5 + 3.2 * sample(noise_tile(8.0, 4), metres * 3, np.zeros_like(metres)) + rng.uniform(-3, 2)
            base = np.full(columns.shape, 70.0)
        top = camera.horizon + (camera.elevation - height) * scale
        bottom = int(np.ceil(camera.horizon + camera.elevation * scale))
        rows = np.arange(max(int(top.min()), 0), min(bottom, camera.height))
        mask = rows[:, None] >= top[None]
        shade = (base[None] * (1 + (0.07 if label == BUILDING else 0.16) * patch(rng, mask.shape, 1.0, 2)))[..., None]
        tint = np.array([1.0, 0.98, 0.95] if label == BUILDING else [0.95, 1.0, 0.85], np.float32)
        block_colour = canvas.light.fade(shade * tint * canvas.light.ambient * 1.1, depth)
        canvas.colour[rows[0] : rows[-1] + 1][mask] = block_colour[mask]
        canvas.classes[rows[0] : rows[-1] + 1][mask] = label
