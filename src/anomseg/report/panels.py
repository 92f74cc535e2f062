"""Frame panels and contact sheets: photographs with what is true and what was found, side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from anomseg.inference.colour import (
    BoolArray,
    FloatArray,
    Range,
    blend,
    colour_classes,
    draw_outline,
    grey,
    heat_overlay,
    outline,
    score_range,
)
from anomseg.inference.legend import INK, PAPER, add_colour_bar, add_legend, beside, fit_text, font
from anomseg.types import ANOMALY, VOID, UInt8Array

CELL_WIDTH = 400
MIN_CELL = 150
GAP = 8
TRUTH_COLOUR, FOUND_COLOUR = (0, 229, 255), (255, 255, 255)


def frame_panel(
    image: UInt8Array,
    anomaly_map: FloatArray,
    label: UInt8Array | None = None,
    segmentation: UInt8Array | None = None,
    palette: Sequence[Sequence[int]] | None = None,
    *,
    classes: Sequence[str] | None = None,
    title: str = "",
    score_name: str = "anomaly score",
    limits: Range | None = None,
    bounded: bool = False,
    threshold: float | None = None,
    cell_width: int = CELL_WIDTH,
) -> UInt8Array:
    """One frame in a row: image, ground truth, heat map with colour bar, segmentation.

    Cells for which there is nothing are left out.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        anomaly_map: ``(H, W)`` finite scores, higher = more anomalous.
        label: ``(H, W)`` uint8: 0 inlier, 1 anomaly (outlined), 255 void (dimmed).
        segmentation: ``(H, W)`` class indices.
        palette: One RGB triple a class.
        classes: Class names, for a legend of those that occur.
        title: Above the row; cut in the middle where it is too long.
        score_name: Written along the colour bar.
        limits: Scores at both ends of the colours; by `score_range` when not given.
        bounded: The score lies in [0, 1] by construction.
        threshold: Outline what is at least this odd.
        cell_width: Pixels a picture, along its longer side.

    Returns:
        ``(h, w, 3)`` uint8.
    """
    height, width = image.shape[:2]
    scale = min(cell_width / width, cell_width / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    limits = limits or score_range(anomaly_map, bounded=bounded, inside=None if label is None else label != VOID)
    photo = resized(image, size, Image.Resampling.LANCZOS)
    scores = resized(
        anomaly_map.astype(np.float32), size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    )
    truth = None if label is None else resized(label, size, Image.Resampling.NEAREST)
    cells = [captioned(photo, "image")]
    if truth is not None:
        cells.append(captioned(_draw_truth(photo, truth), _truth_caption(label)))
    heat = heat_overlay(photo, scores, limits)
    if truth is not None:
        heat[outline(truth == ANOMALY)] = TRUTH_COLOUR
    if threshold is not None:
        heat = draw_outline(heat, scores >= threshold, FOUND_COLOUR)
    caption = "anomaly score" if threshold is None else f"anomaly score, white: at least {threshold:.4g}"
    cells.append(captioned(add_colour_bar(heat, limits, score_name, mark=threshold, mark_colour=FOUND_COLOUR), caption))
    if segmentation is not None and palette:
        small = resized(segmentation, size, Image.Resampling.NEAREST)
        picture = blend(grey(photo), colour_classes(small, palette), 0.7)
        if classes:
            picture = add_legend(picture, classes, palette, most_frequent(small, len(classes), size[1]))
        cells.append(captioned(picture, "segmentation"))
    row = beside(*cells, gap=GAP)
    return titled(row, title) if title else row


def contact_sheet(panels: Mapping[str, Sequence[UInt8Array]], title: str = "", note: str = "") -> bytes:
    """Panels one below the other under headings, such as the best and the worst frames.

    Args:
        panels: Headings and their panels.
        title: Above all.
        note: The protocol line, below the title.

    Returns:
        A PNG.
    """
    rows: list[UInt8Array] = []
    width = max((panel.shape[1] for group in panels.values() for panel in group), default=800)
    if title:
        rows.append(_text_row(title, width, 26))
    rows += [_text_row(line, width, 14) for line in _lines(note, width, 14)]
    for heading, group in panels.items():
        rows.append(_text_row(heading, width, 20))
        rows += list(group) or [_text_row("none", width, 14)]
    sheet = np.full((sum(row.shape[0] for row in rows) + GAP * (len(rows) + 1), width + 2 * GAP, 3), PAPER, np.uint8)
    top = GAP
    for row in rows:
        sheet[top : top + row.shape[0], GAP : GAP + row.shape[1]] = row
        top += row.shape[0] + GAP
    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, format="PNG", compress_level=6)
    return stream.getvalue()


def resized(array: np.ndarray, size: tuple[int, int], method: Image.Resampling) -> np.ndarray:
    """A picture or map at another ``(width, height)``."""
    if (array.shape[1], array.shape[0]) == size:
        return np.ascontiguousarray(array)
    return np.asarray(Image.fromarray(np.ascontiguousarray(array)).resize(size, method))


def _draw_truth(photo: UInt8Array, truth: UInt8Array) -> UInt8Array:
    void: BoolArray = truth == VOID
    dimmed = np.where(void[..., None], blend(grey(photo), np.full_like(photo, 255), 0.6), photo)
    return draw_outline(dimmed, truth == ANOMALY, TRUTH_COLOUR, width=2)


def _truth_caption(label: UInt8Array | None) -> str:
    if label is None:
        return ""
    share = float((label == ANOMALY).sum()) / max(1, int((label != VOID).sum()))
    return f"ground truth: {100 * share:.2g} % anomaly" + (", void pale" if (label == VOID).any() else "")


def most_frequent(classes: UInt8Array, count: int, height: int) -> list[int]:
    """The classes with most pixels, as many as a legend of some height has room for, in order."""
    pixels = np.bincount(classes.ravel(), minlength=count)[:count]
    room = max(3, height // 18)
    listed = [int(index) for index in np.argsort(-pixels, kind="stable")[:room] if pixels[index] > 0]
    return sorted(listed)


def captioned(picture: UInt8Array, caption: str) -> UInt8Array:
    """A picture with a line of text above it."""
    # A narrow picture keeps room for its caption.
    width = max(picture.shape[1], MIN_CELL)
    padded = np.full((picture.shape[0], width, 3), PAPER, dtype=np.uint8)
    padded[:, : picture.shape[1]] = picture
    return np.concatenate([_text_row(caption, width, 13), padded])


def titled(row: UInt8Array, title: str) -> UInt8Array:
    """A row of pictures with a heading."""
    return np.concatenate([_text_row(title, row.shape[1], 17), row])


def _text_row(text: str, width: int, size: int) -> UInt8Array:
    strip = Image.new("RGB", (width, round(size * 1.5)), PAPER)
    ImageDraw.Draw(strip).text(
        (1, strip.height // 2), fit_text(text, size, width - 2), fill=INK, font=font(size), anchor="lm"
    )
    return np.asarray(strip)


def _lines(text: str, width: int, size: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font(size).getlength(longer) <= width - 2:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
