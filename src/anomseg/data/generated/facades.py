"""House fronts drawn flat in metres: walls of brick or plaster with sash windows, doors and shop fronts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from anomseg.data.generated.camera import FloatArray
from anomseg.data.generated.textures import noise_tile, patch

Colour = tuple[int, int, int]

_BRICK = ((150, 128, 100), (128, 92, 74), (142, 118, 92), (112, 84, 70), (165, 146, 116), (122, 112, 100))
_PLASTER = ((206, 202, 192), (190, 180, 158), (214, 210, 204), (170, 164, 152), (200, 186, 150), (150, 150, 150))
_FASCIA = ((30, 70, 50), (120, 28, 30), (28, 40, 90), (40, 40, 42), (190, 170, 60), (225, 225, 220), (60, 30, 60))


@dataclass(frozen=True)
class Style:
    """Looks of one house.

    Attributes:
        wall: Wall colour.
        brick: Brick courses, else plaster.
        storeys: Number of storeys.
        ground: Height of the ground floor in metres.
        upper: Height of each storey above.
        shop: A shop front on the ground floor.
        pitch: Distance between windows in metres.
        window: Width and height of a window.
        frame: Colour of the window frames.
        trim: Colour of sills and lintels.
    """

    wall: Colour
    brick: bool
    storeys: int
    ground: float
    upper: float
    shop: bool
    pitch: float
    window: tuple[float, float]
    frame: Colour
    trim: Colour

    @property
    def height(self) -> float:
        """Height of the eaves in metres."""
        return self.ground + self.upper * (self.storeys - 1) + 0.35


def draw_style(rng: np.random.Generator) -> Style:
    """Draw the looks of a house."""
    brick = bool(rng.random() < 0.6)
    palette = _BRICK if brick else _PLASTER
    wall = np.asarray(palette[int(rng.integers(len(palette)))]) * rng.normal(0.95, 0.06)
    frame = (228, 228, 224) if rng.random() < 0.75 else (60, 58, 56)
    window_width = float(rng.uniform(0.9, 1.4))
    return Style(
        wall=_colour(wall),
        brick=brick,
        storeys=int(rng.choice([2, 3, 4], p=[0.35, 0.5, 0.15])),
        ground=float(rng.uniform(3.0, 3.7)),
        upper=float(rng.uniform(2.7, 3.2)),
        shop=bool(rng.random() < 0.45),
        pitch=window_width + float(rng.uniform(0.8, 1.9)),
        window=(window_width, float(rng.uniform(1.4, 1.9))),
        frame=frame,
        trim=_colour(np.asarray((205, 200, 188)) if rng.random() < 0.6 else wall * 0.7),
    )


def draw_facade(style: Style, width: float, cells: float, rng: np.random.Generator, plain: bool = False) -> Image.Image:
    """Draw a front as a picture of ``width`` metres at ``cells`` pixels a metre, its last row at the pavement.

    Args:
        style: Looks of the house.
        width: Metres along the street.
        cells: Pixels per metre.
        rng: Source of all choices.
        plain: A side wall: no shop, no door, few windows.

    Returns:
        The picture, RGB, unlit.
    """
    columns, rows = max(int(width * cells), 4), max(int(style.height * cells), 4)
    image = Image.fromarray(_wall(style, columns, rows, cells, rng))
    pen = _Pen(ImageDraw.Draw(image), cells, rows)
    count = max(int((width - 0.4) / style.pitch), 1)
    margin = (width - count * style.pitch) / 2
    for storey in range(style.storeys):
        sill = 0.95 if storey == 0 else style.ground + style.upper * (storey - 1) + 0.75
        if storey == 0 and style.shop and not plain:
            _shop_front(pen, style, width, rng)
            continue
        door = int(rng.integers(count)) if storey == 0 and not plain else -1
        for k in range(count):
            middle = margin + (k + 0.5) * style.pitch
            if k == door:
                _door(pen, middle, rng)
            elif not plain or rng.random() < 0.3:
                _window(pen, style, middle, sill, rng)
    if not plain:
        pen.box(0, style.height - 0.28, width, style.height - 0.1, style.trim)
        pen.box(0, style.height - 0.1, width, style.height, _scaled(style.wall, 0.4))
        for x in ([0.12] if rng.random() < 0.6 else []) + ([width - 0.15] if rng.random() < 0.3 else []):
            pen.box(x, 0.1, x + 0.1, style.height, (52, 50, 50))
    return image


def _wall(style: Style, columns: int, rows: int, cells: float, rng: np.random.Generator) -> np.ndarray:
    shade: FloatArray = 1 + 0.06 * patch(rng, (rows, columns), 4.0, 3)
    shade = shade + (0.09 if style.brick else 0.035) * patch(rng, (rows, columns), 0.5, 1)
    if style.brick and cells >= 20:
        # Courses of bricks, coarser than real ones so that they survive the projection.
        course = (np.arange(rows)[:, None] / cells) // 0.1
        along = (np.arange(columns)[None] / cells / 0.3 + course * 0.5) // 1
        tile = noise_tile(0.0)
        shade = shade + 0.10 * tile[(course.astype(int) * 7) & 511, (along.astype(int) * 3) & 511]
        shade = np.where((np.arange(rows)[:, None] / cells) % 0.1 < 0.022, shade + 0.1, shade)
    # Dirt gathers near the ground and under the eaves.
    height = (rows - np.arange(rows, dtype=np.float32))[:, None] / cells
    shade = shade * (1 - 0.22 * np.exp(-height / 0.7)) * (1 - 0.15 * np.exp(-(style.height - height) / 0.8))
    return np.clip(shade[..., None] * np.asarray(style.wall, np.float32), 0, 255).astype(np.uint8)


class _Pen:
    """Draws boxes given in metres from the lower left corner."""

    def __init__(self, draw: ImageDraw.ImageDraw, cells: float, rows: int) -> None:
        self.draw = draw
        self.cells = cells
        self.rows = rows

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        left, right = round(x0 * self.cells), round(x1 * self.cells) - 1
        top, bottom = self.rows - round(y1 * self.cells), self.rows - round(y0 * self.cells) - 1
        if right >= left and bottom >= top:
            self.draw.rectangle([left, top, right, bottom], fill=colour)


def _glass(pen: _Pen, x0: float, y0: float, x1: float, y1: float, rng: np.random.Generator, mirror: float) -> None:
    """A dark pane that mirrors sky in its upper part, sometimes with a curtain or something lit behind it."""
    base = rng.uniform(22, 60)
    steps = 4
    for k in range(steps):
        low, high = y0 + (y1 - y0) * k / steps, y0 + (y1 - y0) * (k + 1) / steps
        value = base + mirror * (k / steps) ** 2 * rng.uniform(0.5, 1.0)
        pen.box(x0, low, x1, high, _colour(np.array([value, value * 1.03, value * 1.08])))
    if rng.random() < 0.3:
        value = rng.uniform(110, 190)
        part = (x1 - x0) * rng.uniform(0.15, 0.3)
        curtain = _colour(np.array([value, value * 0.97, value * 0.9]))
        pen.box(x0, y0, x0 + part, y1, curtain)
        pen.box(x1 - part, y0, x1, y1, curtain)


def _window(pen: _Pen, style: Style, middle: float, sill: float, rng: np.random.Generator) -> None:
    width, height = style.window
    x0, x1, y1 = middle - width / 2, middle + width / 2, sill + height
    pen.box(x0 - 0.08, y1, x1 + 0.08, y1 + 0.2, style.trim)
    pen.box(x0 - 0.1, sill - 0.12, x1 + 0.1, sill, style.trim)
    pen.box(x0 - 0.1, sill - 0.2, x1 + 0.1, sill - 0.12, _scaled(style.wall, 0.6))
    pen.box(x0, sill, x1, y1, style.frame)
    _glass(pen, x0 + 0.08, sill + 0.08, x1 - 0.08, y1 - 0.06, rng, 90)
    pen.box(x0, y1 - 0.14, x1, y1 - 0.04, _scaled(style.frame, 0.45))
    pen.box(x0, (sill + y1) / 2 - 0.03, x1, (sill + y1) / 2 + 0.03, style.frame)
    if width > 1.0:
        pen.box(middle - 0.025, sill, middle + 0.025, y1, style.frame)


def _door(pen: _Pen, middle: float, rng: np.random.Generator) -> None:
    colour = _scaled(_FASCIA[int(rng.integers(len(_FASCIA)))], 0.8)
    pen.box(middle - 0.62, 0, middle + 0.62, 2.75, (214, 210, 200))
    pen.box(middle - 0.48, 0.12, middle + 0.48, 2.1, colour)
    pen.box(middle - 0.34, 1.15, middle + 0.34, 1.9, _scaled(colour, 0.7))
    _glass(pen, middle - 0.48, 2.18, middle + 0.48, 2.6, rng, 60)


def _shop_front(pen: _Pen, style: Style, width: float, rng: np.random.Generator) -> None:
    fascia = _FASCIA[int(rng.integers(len(_FASCIA)))]
    surround = _scaled(fascia, 0.75) if rng.random() < 0.6 else (205, 203, 198)
    top = style.ground - 0.75
    pen.box(0.15, 0, width - 0.15, top, surround)
    pen.box(0.1, top, width - 0.1, style.ground - 0.1, fascia)
    pen.box(0.1, style.ground - 0.1, width - 0.1, style.ground, (70, 68, 66))
    ink = (235, 232, 225) if sum(fascia) < 330 else (40, 40, 45)
    x = width * rng.uniform(0.1, 0.35)
    while x < width * 0.8:
        letter = rng.uniform(0.1, 0.24)
        if rng.random() < 0.85:
            pen.box(x, top + 0.18, x + letter * 0.7, top + rng.uniform(0.36, 0.48), ink)
            pen.box(x + 0.05, top + 0.24, x + letter * 0.45, top + 0.32, fascia)
        x += letter
    panes = max(int(width / rng.uniform(1.4, 2.4)), 2)
    door = int(rng.integers(panes))
    for k in range(panes):
        x0, x1 = 0.3 + (width - 0.6) * k / panes + 0.06, 0.3 + (width - 0.6) * (k + 1) / panes - 0.06
        low = 0.08 if k == door else 0.55
        _glass(pen, x0, low, x1, top - 0.12, rng, 45)
        for _ in range(int(rng.integers(0, 5))):
            # Goods and posters behind the pane.
            gx, gy = rng.uniform(x0, x1 - 0.2), rng.uniform(low, low + 1.0)
            size = rng.uniform(0.12, 0.4)
            goods = _colour(rng.uniform(60, 210, 3))
            pen.box(gx, gy, min(gx + size, x1), min(gy + size * 1.3, top - 0.15), goods)
        if k == door:
            pen.box(x0, low, x0 + 0.07, top - 0.12, surround)
            pen.box(x0, 2.05, x1, 2.15, surround)
    pen.box(0.1, top - 0.12, width - 0.1, top, _scaled(fascia, 0.45))


def _colour(values: FloatArray) -> Colour:
    red, green, blue = (int(value) for value in np.clip(values, 0, 255))
    return red, green, blue


def _scaled(colour: Colour, factor: float) -> Colour:
    return _colour(np.asarray(colour, np.float32) * np.float32(factor))
