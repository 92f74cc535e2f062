"""What is found in each frame of a video, as a table that grows with it."""

from __future__ import annotations

import csv
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import IO

import numpy as np

from anomseg.errors import DataError
from anomseg.files import cannot_write
from anomseg.inference.colour import BoolArray, FloatArray


@dataclass(frozen=True)
class FrameRow:
    """One frame.

    Attributes:
        frame: Its number, from 0.
        time: Its seconds from the first frame on.
        max_score: Highest score.
        mean_score: Mean score.
        share: Share of the pixels at or above the threshold; None without one.
        components: 8-connected components of those pixels; None without a threshold.
    """

    frame: int
    time: float
    max_score: float
    mean_score: float
    share: float | None
    components: int | None


def frame_row(
    index: int, seconds: float, scores: FloatArray, threshold: float | None, inside: BoolArray | None = None
) -> FrameRow:
    """Figures of one map.

    Args:
        index: Number of the frame.
        seconds: Its time.
        scores: ``(H, W)`` finite scores.
        threshold: Scores at or above it count.
        inside: ``(H, W)`` region that counts; everywhere when not given.

    Example:
        >>> frame_row(0, 0.0, np.array([[0, 1, 0, 1]], np.float32), 1.0)
        FrameRow(frame=0, time=0.0, max_score=1.0, mean_score=0.5, share=0.5, components=2)
    """
    from scipy import ndimage  # noqa: PLC0415 - slow to import, and only needed here

    counted = scores if inside is None else scores[inside]
    share = components = None
    if threshold is not None:
        mask = scores >= threshold if inside is None else (scores >= threshold) & inside
        share = float(mask.sum() / max(1, counted.size))
        components = int(ndimage.label(mask, structure=np.ones((3, 3), np.int8))[1])
    return FrameRow(index, seconds, float(counted.max()), float(counted.mean(dtype=np.float64)), share, components)


class FrameTable:
    """A CSV file with one row a frame; each row is on the disk before the next frame is looked at.

    It is written beside its place and moved there when closed; without any row nothing is left.

    Args:
        path: The file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._part = self.path.with_name(f".{self.path.stem}.part{self.path.suffix}")
        self._stream: IO[str] | None = None

    def add(self, row: FrameRow) -> None:
        """Append a row.

        Raises:
            DataError: The file cannot be written.
        """
        try:
            if self._stream is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._stream = self._part.open("w", newline="", encoding="utf-8")
                csv.writer(self._stream, lineterminator="\n").writerow([one.name for one in fields(FrameRow)])
            values = ["" if value is None else _text(value) for value in astuple(row)]
            csv.writer(self._stream, lineterminator="\n").writerow(values)
            self._stream.flush()
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def close(self) -> None:
        """Move the file to its place.

        Raises:
            DataError: It cannot be written.
        """
        if self._stream is None:
            return
        stream, self._stream = self._stream, None
        try:
            stream.close()
            self._part.replace(self.path)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        finally:
            self._part.unlink(missing_ok=True)

    def __enter__(self) -> FrameTable:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_frame_table(path: str | Path) -> list[FrameRow]:
    """The rows of a table.

    Raises:
        DataError: It is missing or damaged.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as stream:
            return [_read_row(row) for row in csv.DictReader(stream)]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a table of frames: {error}") from error


def _read_row(row: dict[str, str]) -> FrameRow:
    return FrameRow(
        int(row["frame"]),
        float(row["time"]),
        float(row["max_score"]),
        float(row["mean_score"]),
        float(row["share"]) if row["share"] else None,
        int(row["components"]) if row["components"] else None,
    )


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.7g}"
