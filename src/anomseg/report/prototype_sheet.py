"""The patches nearest to each prototype as one labelled picture, and as tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from anomseg.files import write_bytes, write_text
from anomseg.inference.legend import INK, PAPER, fit_text, font
from anomseg.report.prototype_patches import Patch, PrototypeView

THUMB, GAP, TEXT, NAMES = 96, 8, 12, 150
OTHER = (200, 30, 30)
MARK = (255, 255, 255)
PICTURE, PATCHES, TABLE = "prototypes.png", "patches.csv", "similarities.csv"


def write_prototypes(view: PrototypeView, out: str | Path, title: str) -> None:
    """Write the picture and both tables, each atomically.

    Args:
        view: What was found.
        out: Directory; made if missing.
        title: Above the picture.

    Raises:
        DataError: A file cannot be written.
    """
    folder = Path(out)
    write_bytes(folder / PICTURE, prototype_sheet(view, title))
    rows = [
        [name, rank, patch.frame, patch.x, patch.y, f"{patch.similarity:.6f}", patch.label or ""]
        for name, patches in zip(view.names, view.patches, strict=True)
        for rank, patch in enumerate(patches, 1)
    ]
    _write_csv(folder / PATCHES, [["prototype", "rank", "frame", "x", "y", "similarity", "class"], *rows])
    table = [
        [name, *(f"{value:.6f}" for value in row)] for name, row in zip(view.names, view.table.tolist(), strict=True)
    ]
    _write_csv(folder / TABLE, [["prototype", *view.names], *table])


def prototype_sheet(view: PrototypeView, title: str = "") -> bytes:
    """One row a prototype: its name and the class colour, then its patches, nearest first.

    Under each patch stand its similarity and the class that the frame's labels have there, in red where that is not
    the prototype's.

    Args:
        view: What was found.
        title: Above the rows.

    Returns:
        A PNG.
    """
    columns = max((len(patches) for patches in view.patches), default=0)
    row_height = THUMB + 2 * round(TEXT * 1.4) + GAP
    width = NAMES + max(columns, 4) * (THUMB + GAP) + GAP
    sheet = Image.new("RGB", (width, GAP + 24 + row_height * len(view.names) + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), fit_text(title, 16, width - 2 * GAP), fill=INK, font=font(16))
    for index, patches in enumerate(view.patches):
        top = GAP + 24 + GAP + index * row_height
        draw.rectangle((GAP, top, GAP + 14, top + 14), fill=tuple(view.colours[index]), outline=INK)
        draw.text((GAP + 20, top), fit_text(view.names[index], 14, NAMES - 28), fill=INK, font=font(14))
        for line, text in enumerate(_about(view, index)):
            draw.text((GAP, top + 24 + 16 * line), fit_text(text, TEXT, NAMES - GAP), fill=INK, font=font(TEXT))
        for column, patch in enumerate(patches):
            left = NAMES + column * (THUMB + GAP)
            sheet.paste(_thumb(patch), (left, top))
            colour = INK if patch.label in (None, view.classes[index]) else OTHER
            draw.text((left, top + THUMB + 2), f"{patch.similarity:.3f}", fill=INK, font=font(TEXT))
            label = fit_text(patch.label or "", TEXT, THUMB)
            draw.text((left, top + THUMB + 2 + round(TEXT * 1.3)), label, fill=colour, font=font(TEXT))
    stream = io.BytesIO()
    sheet.save(stream, format="PNG", compress_level=6)
    return stream.getvalue()


def _about(view: PrototypeView, index: int) -> list[str]:
    """What the left column says of a prototype below its name."""
    places, total = int(view.nearest[index]), max(int(view.nearest.sum()), 1)
    lines = [f"nearest of {100 * places / total:.2g} %"]
    if places:
        lines.append(f"there {float(view.total[index]) / places:.3f}")
    other = view.closest_other(index)
    return lines if other is None else [*lines, f"{other[0]} {other[1]:.2f}"]


def _thumb(patch: Patch) -> Image.Image:
    height, width = patch.picture.shape[:2]
    scale = THUMB / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    thumb = Image.fromarray(patch.picture).resize(size, Image.Resampling.BICUBIC)
    left, top, right, bottom = (scale * edge for edge in patch.cell)
    draw = ImageDraw.Draw(thumb)
    draw.rectangle((left - 2, top - 2, right + 1, bottom + 1), outline=INK)
    draw.rectangle((left - 1, top - 1, right, bottom), outline=MARK)
    return thumb


def _write_csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    write_text(path, stream.getvalue())


def summary_lines(view: PrototypeView) -> list[str]:
    """A line a prototype for the terminal: places it is nearest of, how near, and its closest other prototype."""
    total = max(int(view.nearest.sum()), 1)
    width = max(len(name) for name in (*view.names, "prototype"))
    lines = [f"{'prototype':{width}}  nearest of  similarity  closest other"]
    for index, name in enumerate(view.names):
        places = int(view.nearest[index])
        mean = f"{float(view.total[index]) / places:10.3f}" if places else " " * 9 + "-"
        other = view.closest_other(index)
        closest = f"{other[0]} {other[1]:.3f}" if other else "-"
        lines.append(f"{name:{width}}  {100 * places / total:8.2f} %  {mean}  {closest}")
    return lines
