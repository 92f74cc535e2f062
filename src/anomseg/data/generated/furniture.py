"""Street furniture: lamp posts, traffic lights, road signs, bollards and railings."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from anomseg.data.generated.buildings import wall_sprite
from anomseg.data.generated.canvas import FENCE, POLE, SIGN, Canvas, Sprite
from anomseg.data.generated.mesh import Colour, Mesh, render
from anomseg.data.generated.textures import patch


def _upright(canvas: Canvas, x: float, z: float, low: float, high: float, radius: float, colour: Colour) -> None:
    """A round post, lighter on its sunward side."""
    camera, light = canvas.camera, canvas.light
    top, foot = camera.project([[x, high, z], [x, low, z]])
    half = max(radius * camera.pixels_per_metre(z), 0.9)
    left, right = int(np.floor(foot[0] - half)), int(np.ceil(foot[0] + half))
    rows = slice(round(float(top[1])), max(round(float(foot[1])), round(float(top[1])) + 1))
    place = (np.arange(left, right, dtype=np.float32) + 0.5 - foot[0]) / half
    mask = np.abs(place) <= 1
    across = np.clip(place, -1, 1)
    normals = np.stack([across, np.zeros_like(across), -np.sqrt(1 - across * across)], -1)
    shade = light.shade(normals)[:, None] * np.asarray(colour, np.float32)
    height = max(rows.stop - rows.start, 1)
    strip = np.broadcast_to(shade[None], (height, *shade.shape))
    canvas.paste(Sprite(strip, np.broadcast_to(mask, (height, mask.size)), left, rows.start), POLE, z)


def _boxes(
    canvas: Canvas,
    boxes: list[tuple[tuple[float, float, float], tuple[float, float, float], Colour]],
    label: int,
    z: float,
) -> None:
    mesh = Mesh()
    for low, high, colour in boxes:
        mesh.box(low, high, colour)
    sprite = render(mesh, canvas.camera, canvas.light)
    if sprite is not None:
        canvas.paste(sprite, label, z)


def draw_lamp_post(canvas: Canvas, x: float, z: float, rng: np.random.Generator) -> None:
    """Paint a street lamp whose arm reaches over the road."""
    height, arm = rng.uniform(6.5, 9.0), rng.uniform(0.8, 1.8) * (-1 if x > 0 else 1)
    grey = (96, 100, 100) if rng.random() < 0.6 else (52, 62, 56)
    _upright(canvas, x, z, 0, 1.2, 0.1, grey)
    _upright(canvas, x, z, 1.2, height, 0.065, grey)
    x0, x1 = sorted((x, x + arm))
    lamp = x + arm
    arm_box = ((x0, height - 0.05, z - 0.04), (x1, height + 0.05, z + 0.04), grey)
    head = ((lamp - 0.32, height - 0.08, z - 0.12), (lamp + 0.32, height + 0.1, z + 0.12), (112, 114, 114))
    _boxes(canvas, [arm_box, head], POLE, z)


def draw_bollard(canvas: Canvas, x: float, z: float) -> None:
    """Paint a waist-high black bollard with a pale band."""
    _upright(canvas, x, z, 0, 1.0, 0.07, (36, 36, 38))
    _upright(canvas, x, z, 0.78, 0.88, 0.075, (200, 200, 196))


def draw_traffic_light(canvas: Canvas, x: float, z: float, rng: np.random.Generator) -> None:
    """Paint a traffic light on its post."""
    _upright(canvas, x, z, 0, 2.5, 0.055, (60, 62, 62))
    _boxes(canvas, [((x - 0.2, 2.1, z - 0.1), (x + 0.2, 3.2, z + 0.05), (24, 24, 25))], SIGN, z)
    on = int(rng.choice([0, 2], p=[0.5, 0.5]))
    for k, colour in enumerate(((250, 60, 40), (240, 170, 50), (70, 235, 150))):
        shown = colour if k == on else tuple(value * 0.18 for value in colour)
        _disc(canvas, x, 2.98 - 0.34 * k, z - 0.11, 0.11, shown, glow=k == on)


def _disc(canvas: Canvas, x: float, y: float, z: float, radius: float, colour: Colour, glow: bool = False) -> None:
    camera = canvas.camera
    u, v = (float(value) for value in camera.project([x, y, z]))
    r = max(radius * camera.pixels_per_metre(z), 1.0)
    left, top, size = int(u - r) - 1, int(v - r) - 1, int(2 * r) + 4
    grid = np.arange(size, dtype=np.float32) + 0.5
    distance = np.hypot(grid[None] + left - u, grid[:, None] + top - v) / r
    tint = np.asarray(colour, np.float32)
    shade = np.ones_like(distance) if glow else np.full_like(distance, canvas.light.ambient)
    canvas.paste(Sprite(tint * shade[..., None], distance <= 1, left, top), SIGN, z)


def draw_sign(canvas: Canvas, x: float, z: float, rng: np.random.Generator) -> None:
    """Paint a road sign on a post: a ring, a triangle, a blue disc or a plate with lines of text."""
    camera, light = canvas.camera, canvas.light
    height = float(rng.uniform(2.0, 2.6))
    kind = int(rng.integers(4))
    size = (0.34, 0.4, 0.34, 0.5)[kind]
    _upright(canvas, x, z, 0, height + size, 0.04, (100, 102, 102))
    cells = 64
    image = Image.new("RGBA", (cells, cells))
    pen = ImageDraw.Draw(image)
    if kind == 0:
        pen.ellipse([0, 0, 63, 63], fill=(190, 28, 30, 255))
        pen.ellipse([9, 9, 54, 54], fill=(232, 232, 228, 255))
        pen.rectangle([22, 20, 28, 44], fill=(24, 24, 26, 255))
        pen.rectangle([34, 20, 42, 44], fill=(24, 24, 26, 255))
    elif kind == 1:
        pen.polygon([(32, 2), (63, 60), (1, 60)], fill=(190, 28, 30, 255))
        pen.polygon([(32, 17), (51, 53), (13, 53)], fill=(234, 234, 230, 255))
        pen.rectangle([29, 27, 35, 48], fill=(24, 24, 26, 255))
    elif kind == 2:
        pen.ellipse([0, 0, 63, 63], fill=(28, 70, 150, 255))
        pen.polygon([(32, 12), (48, 34), (38, 34), (38, 52), (26, 52), (26, 34), (16, 34)], fill=(235, 235, 235, 255))
    else:
        board = ((28, 80, 56), (230, 230, 226), (30, 60, 130), (206, 160, 40))[int(rng.integers(4))]
        ink = (30, 30, 32) if sum(board) > 450 else (235, 235, 232)
        pen.rectangle([0, 6, 63, 58], fill=(*board, 255))
        for row in (16, 28, 40):
            pen.rectangle([7, row, int(rng.integers(30, 56)), row + 6], fill=(*ink, 255))
    pixels = max(int(2 * size * camera.pixels_per_metre(z)), 3)
    plate = np.asarray(image.resize((pixels, pixels), Image.Resampling.BOX), np.float32)
    u, v = (float(value) for value in camera.project([x, height, z]))
    shade = light.shade(np.array([0.0, 0.0, -1.0])) * 1.05
    sprite = Sprite(plate[..., :3] * shade, plate[..., 3] > 127, round(u - pixels / 2), round(v - pixels / 2))
    canvas.paste(sprite, SIGN, z - 0.05)


def draw_railing(
    canvas: Canvas, start: tuple[float, float], end: tuple[float, float], rng: np.random.Generator
) -> None:
    """Paint a fence along a line on the ground, both ends ``(x, z)``: iron bars, or a wall of boards or brick.

    Everything within its outline is labelled fence, the street seen between the bars included.
    """
    length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    near, far = (start, end) if start[1] < end[1] else (end, start)
    height, cells = float(rng.uniform(0.95, 1.3)), 44
    columns, rows = max(int(length * cells), 8), int(height * cells)
    image = Image.new("RGBA", (columns, rows), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    bars = rng.random() < 0.6
    if bars:
        iron = ((34, 36, 38, 255), (92, 96, 98, 255), (30, 44, 38, 255))[int(rng.integers(3))]
        for column in range(0, columns, 5):
            pen.rectangle([column, 2, column + 1, rows - 1], fill=iron)
        for column in range(0, columns, cells * 2):
            pen.rectangle([column, 0, column + 3, rows - 1], fill=iron)
        for row in (2, rows - 8):
            pen.rectangle([0, row, columns, row + 3], fill=iron)
    else:
        base = np.array([(122, 96, 76), (104, 88, 70), (142, 132, 116)][int(rng.integers(3))])
        noise = 1 + 0.12 * patch(rng, (rows, columns), 1.0, 2)
        wall = np.clip(base * noise[..., None], 0, 255).astype(np.uint8)
        wall[::5] = (wall[::5] * 0.8).astype(np.uint8)
        wall[:4] = np.clip(wall[:4] * 1.25, 0, 255)
        image = Image.fromarray(np.dstack([wall, np.full((rows, columns), 255, np.uint8)]))
    # Seen from the street the nearer end of a left-hand fence is on the left, of a right-hand one on the right.
    ends = (near, far) if near[0] < 0 else (far, near)
    shade = float(canvas.light.shade(np.array([-np.sign(near[0]), 0.0, 0.0])))
    outline = Image.new("RGBA", (8, 8), (0, 0, 0, 255))
    whole = wall_sprite(outline, *ends, height, canvas.camera, 1.0)
    sprite = wall_sprite(image, *ends, height, canvas.camera, shade)
    if whole is None or sprite is None:
        return
    depth = (near[1] + far[1]) / 2
    rows_, columns_ = canvas.clip(
        whole.left, whole.top, whole.left + whole.mask.shape[1], whole.top + whole.mask.shape[0]
    )
    canvas.classes[rows_, columns_][whole.mask] = FENCE
    canvas.objects[rows_, columns_][whole.mask] = 0
    canvas.paste(sprite, FENCE, depth)
