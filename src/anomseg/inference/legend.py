"""Colour bar and class legend, drawn beside a picture with text sized to it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from anomseg.inference.colour import COLOUR_MAP, CONTOUR_COLOUR, Range, colour_table
from anomseg.types import UInt8Array

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
PAPER, INK = (255, 255, 255), (32, 32, 32)


@cache
def font(size: int) -> Font:
    """Pillow's own scalable font at a size in pixels; needs no file on the machine."""
    return ImageFont.load_default(size)


def text_size(picture: UInt8Array) -> int:
    """Pixels of text that reads well beside a picture, whether it is 360 or 1080 rows high."""
    return int(np.clip(round(picture.shape[0] / 28), 11, 48))


def tick_values(limits: Range, count: int = 6) -> list[float]:
    """Round numbers (steps of 1, 2 or 5 times a power of ten) within ``limits``, about ``count`` of them.

    Example:
        >>> tick_values((0.0, 1.0))
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
        >>> tick_values((-14.2, -3.1))
        [-14.0, -12.0, -10.0, -8.0, -6.0, -4.0]
    """
    power = math.floor(math.log10((limits[1] - limits[0]) / max(1, count - 1)))
    steps = [factor * 10.0**exponent for exponent in (power, power + 1) for factor in (1, 2, 5)]
    best = min(steps, key=lambda step: abs(len(_multiples(limits, step)) - count))
    return [float(f"{index * best:.12g}") for index in _multiples(limits, best)]


def _multiples(limits: Range, step: float) -> range:
    return range(math.ceil(limits[0] / step - 1e-9), math.floor(limits[1] / step + 1e-9) + 1)


def tick_labels(values: Sequence[float]) -> list[str]:
    """Ticks as short text of one common precision.

    Example:
        >>> tick_labels([0.0, 0.2, 0.4]), tick_labels([-14.0, -12.0]), tick_labels([20000.0, 40000.0])
        (['0.0', '0.2', '0.4'], ['-14', '-12'], ['2e+04', '4e+04'])
    """
    largest = max((abs(value) for value in values), default=0.0)
    step = min((abs(b - a) for a, b in itertools.pairwise(values)), default=largest or 1.0)
    if largest >= 1e4 or step < 1e-4:
        return [f"{value:.4g}" for value in values]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{value:.{decimals}f}" for value in values]


def add_colour_bar(
    picture: UInt8Array,
    limits: Range,
    label: str = "",
    *,
    name: str = COLOUR_MAP,
    mark: float | None = None,
    mark_colour: tuple[int, int, int] = CONTOUR_COLOUR,
) -> UInt8Array:
    """Put a colour bar with ticks and a label to the right of a picture.

    Args:
        picture: ``(H, W, 3)`` uint8; its own pixels are not touched.
        limits: Scores at both ends of the bar.
        label: What the colours mean, written along the bar.
        name: Colour table.
        mark: A score to mark on the bar, such as the threshold.
        mark_colour: RGB of the mark, that of the outline which the threshold draws.

    Returns:
        ``(H', W', 3)`` uint8, wider by the bar; at least 120 rows high so that the text fits.
    """
    size = text_size(picture)
    canvas_height = max(picture.shape[0], 120)
    ticks = tick_values(limits, count=int(np.clip(canvas_height // (3 * size), 3, 7)))
    labels = tick_labels(ticks)
    gap, bar_width = max(4, size // 2), max(10, round(size * 1.1))
    # Never narrower than an ordinary label, so that pictures of one size line up below each other.
    label_width = max(math.ceil(font(size).getlength(text)) for text in (*labels, "-0.00"))
    label_column = round(size * 1.5) if label else 0
    width = gap + bar_width + gap + label_width + label_column + gap
    margin = size
    length = canvas_height - 2 * margin
    panel = Image.new("RGB", (width, canvas_height), PAPER)
    draw = ImageDraw.Draw(panel)
    rows = np.round(np.linspace(255, 0, length)).astype(np.uint8)
    bar = np.repeat(colour_table(name)[rows][:, None], bar_width, axis=1)
    panel.paste(Image.fromarray(bar), (gap, margin))
    draw.rectangle((gap - 1, margin - 1, gap + bar_width, margin + length), outline=INK)

    def row_of(value: float) -> int:
        share = (value - limits[0]) / (limits[1] - limits[0])
        return margin + round((length - 1) * (1 - share))

    for value, text in zip(ticks, labels, strict=True):
        row = row_of(value)
        draw.line((gap + bar_width, row, gap + bar_width + gap // 2, row), fill=INK, width=max(1, size // 14))
        draw.text((gap + bar_width + gap, row), text, fill=INK, font=font(size), anchor="lm")
    if mark is not None and limits[0] <= mark <= limits[1]:
        row, half = row_of(mark), max(1, size // 8)
        draw.rectangle((gap - 1, row - half - 1, gap + bar_width, row + half + 1), fill=INK)
        draw.rectangle((gap, row - half, gap + bar_width - 1, row + half), fill=mark_colour)
    if label:
        written = _text_along(fit_text(label, size, length), size)
        column = width - gap // 2 - written.width
        panel.paste(written, (column, margin + (length - written.height) // 2))
    return beside(picture, np.asarray(panel))


def add_legend(
    picture: UInt8Array, classes: Sequence[str], palette: Sequence[Sequence[int]], present: Sequence[int] | None = None
) -> UInt8Array:
    """Put a list of classes and their colours to the right of a picture.

    Args:
        picture: ``(H, W, 3)`` uint8.
        classes: Names.
        palette: One RGB triple a class.
        present: Indices to list; all when not given.

    Returns:
        ``(H', W', 3)`` uint8, wider by the legend and as high as the longer of both.
    """
    listed = [index for index in (range(len(classes)) if present is None else present) if index < len(classes)]
    size = text_size(picture)
    if listed:
        size = max(9, min(size, picture.shape[0] // (len(listed) + 1) * 2 // 3))
    line, gap = round(size * 1.5), max(4, size // 2)
    names = [fit_text(classes[index], size, 14 * size) for index in listed]
    width = 3 * gap + size + max((math.ceil(font(size).getlength(name)) for name in names), default=0)
    panel = Image.new("RGB", (width, max(picture.shape[0], line * len(listed) + 2 * gap)), PAPER)
    draw = ImageDraw.Draw(panel)
    for row, (index, name) in enumerate(zip(listed, names, strict=True)):
        top = gap + row * line
        colour = tuple(int(channel) for channel in palette[index])
        draw.rectangle((gap, top, gap + size, top + size), fill=colour, outline=INK)
        draw.text((2 * gap + size, top + size // 2), name, fill=INK, font=font(size), anchor="lm")
    return beside(picture, np.asarray(panel))


def beside(*pictures: UInt8Array, gap: int = 0, paper: tuple[int, int, int] = PAPER) -> UInt8Array:
    """Pictures from left to right on paper, aligned at the top."""
    height = max(picture.shape[0] for picture in pictures)
    width = sum(picture.shape[1] for picture in pictures) + gap * (len(pictures) - 1)
    canvas = np.full((height, width, 3), paper, dtype=np.uint8)
    left = 0
    for picture in pictures:
        canvas[: picture.shape[0], left : left + picture.shape[1]] = picture
        left += picture.shape[1] + gap
    return canvas


def fit_text(text: str, size: int, width: int) -> str:
    """The text on one line, its middle left out where it would be wider than ``width`` pixels."""
    text = "".join(character if character.isprintable() else "?" for character in text)
    if font(size).getlength(text) <= width:
        return text
    for keep in range(len(text) - 1, 1, -1):
        shorter = text[: (keep + 1) // 2] + "..." + text[len(text) - keep // 2 :]
        if font(size).getlength(shorter) <= width:
            return shorter
    return ""


def _text_along(text: str, size: int) -> Image.Image:
    strip = Image.new("RGB", (max(1, math.ceil(font(size).getlength(text))), round(size * 1.35)), PAPER)
    ImageDraw.Draw(strip).text((0, strip.height // 2), text, fill=INK, font=font(size), anchor="lm")
    return strip.rotate(90, expand=True)
