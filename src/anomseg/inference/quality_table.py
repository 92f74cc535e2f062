"""Foretold quality of the classes of many images, as a table: from sidecars to CSV and to text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anomseg.errors import DataError
from anomseg.files import read_json, write_text

TABLE_FILE = "class_quality.csv"


@dataclass(frozen=True)
class QualityRow:
    """What is expected of one class in one image.

    Attributes:
        image: Name of the image.
        label: The class.
        share: Share of the image that the segmentation gives to it.
        quality: Expected overlap; None where nothing is said of it.
        measure: ``iou`` or ``dice``.
    """

    image: str
    label: str
    share: float
    quality: float | None
    measure: str


def read_quality(folder: str | Path, names: Iterable[str]) -> list[QualityRow]:
    """The expected quality of classes, from the sidecars of some images.

    Args:
        folder: Folder of results.
        names: Of the images; those without a sidecar, or without quality of classes, give no rows.

    Raises:
        DataError: A sidecar cannot be read.
    """
    rows = []
    for name in names:
        path = Path(folder) / f"{name}.json"
        part = read_json(path).get("class_quality") if path.is_file() else None
        if part is None:
            continue
        try:
            rows += [
                QualityRow(name, str(label), float(part["shares"][label]), quality, str(part["measure"]))
                for label, quality in part["classes"].items()
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} is damaged; give --overwrite to write it anew") from error
    return rows


def write_quality(folder: str | Path, rows: Sequence[QualityRow]) -> Path:
    """Write ``class_quality.csv``: image, class, its share of the segmentation, its expected overlap.

    Raises:
        DataError: The file cannot be written.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["image", "class", "share", rows[0].measure if rows else "iou"])
    for row in rows:
        writer.writerow([row.image, row.label, row.share, "" if row.quality is None else row.quality])
    path = Path(folder) / TABLE_FILE
    write_text(path, stream.getvalue())
    return path


def quality_text(rows: Sequence[QualityRow]) -> str:
    """A small table over the images whose segmentation shows each class: how many, mean, lowest and where.

    Args:
        rows: From `read_quality`.

    Returns:
        Plain text; empty where no class is shown and judged.

    Example:
        >>> print(quality_text([QualityRow("a", "road", 0.6, 0.91, "iou"), QualityRow("b", "road", 0.5, 0.8, "iou")]))
        class  images  predicted IoU  lowest  in
        road   2       0.855          0.800   b
    """
    shown = [row for row in rows if row.share > 0 and row.quality is not None]
    if not shown:
        return ""
    measure = {"iou": "IoU", "dice": "Dice"}.get(shown[0].measure, shown[0].measure)
    table = [("class", "images", f"predicted {measure}", "lowest", "in")]
    for label in dict.fromkeys(row.label for row in shown):
        values = [(row.quality, row.image) for row in shown if row.label == label and row.quality is not None]
        low, where = min(values)
        mean = sum(value for value, _ in values) / len(values)
        table.append((label, str(len(values)), f"{mean:.3f}", f"{low:.3f}", where))
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in table
    )
