"""Data sets of whole images that are sorted into classes: every pixel of a frame is of its image's class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from anomseg.data.decoding import decode_image, image_size
from anomseg.errors import FrameError
from anomseg.types import ANOMALY, INLIER, VOID, Frame, UInt8Array


@dataclass(frozen=True)
class StoredImage:
    """An image in a file of its own."""

    path: Path

    def __call__(self) -> UInt8Array:
        """Decode now; raises `FrameError` where that cannot be done."""
        return decode_image(self.path)

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)``, from the header."""
        return image_size(self.path)

    @property
    def meta(self) -> dict[str, Any]:
        """What a frame says of its file."""
        return {"path": str(self.path)}


@dataclass(frozen=True)
class PackedImage:
    """An image in a file of records: some bytes ahead, then red, green and blue planes of its pixels.

    Attributes:
        path: The file.
        row: Which record.
        ahead: Bytes of a record before its pixels.
        size: ``(height, width)``.
    """

    path: Path
    row: int
    ahead: int
    size: tuple[int, int]

    def __call__(self) -> UInt8Array:
        """Read it now, ``(H, W, 3)`` uint8.

        Raises:
            FrameError: The file cannot be read, or is cut short.
        """
        count = 3 * self.size[0] * self.size[1]
        try:
            with self.path.open("rb") as stream:
                stream.seek(self.row * (self.ahead + count) + self.ahead)
                raw = stream.read(count)
        except OSError as error:
            raise FrameError(f"{self.path} cannot be read: {error.strerror or error}") from error
        if len(raw) < count:
            raise FrameError(f"{self.path} is cut short: it holds no image {self.row}; unpack it anew")
        planes = np.frombuffer(raw, np.uint8).reshape(3, *self.size)
        return np.ascontiguousarray(planes.transpose(1, 2, 0))

    @property
    def meta(self) -> dict[str, Any]:
        """Where it lies. There is no ``path``, since the file is not that of one image."""
        return {"archive": str(self.path), "row": self.row}


@dataclass(frozen=True)
class Classified:
    """One image and its class, by the numbers of the data set's label space."""

    id: str
    image: StoredImage | PackedImage
    index: int


@dataclass(frozen=True)
class Collection:
    """The images of one split.

    Attributes:
        layout: How they lie on disk.
        images: The images, sorted by id.
        expected: How many there are when it is complete.
    """

    layout: str
    images: tuple[Classified, ...]
    expected: int | None = None


Collect = Callable[[Path, str, str | None], Collection]
"""Finds the images below a folder: ``(root, split, layout or None) -> Collection``."""


@dataclass(frozen=True)
class ConstantMap:
    """A map that has one value at every pixel of an image."""

    image: StoredImage | PackedImage
    value: int

    def __call__(self) -> UInt8Array:
        """``(H, W)`` uint8; raises `FrameError` where the image cannot be read."""
        return np.full(self.image.size, self.value, np.uint8)


def classified_frames(
    dataset: str,
    split: str,
    collection: Collection,
    anomalous: Sequence[int] = (),
    held_out_images: Literal["keep", "drop", "void"] = "keep",
) -> list[Frame]:
    """Frames whose class maps are constant; with ``anomalous`` classes also such anomaly labels.

    Args:
        dataset: Name of the data set.
        split: Name of the split.
        collection: Its images.
        anomalous: Numbers of the classes that count as anomalies.
        held_out_images: What becomes of images of those: ``keep``, ``drop``, or ``void`` in the class map.
    """
    frames = []
    for one in collection.images:
        odd = one.index in anomalous
        if odd and held_out_images == "drop":
            continue
        classes = ConstantMap(one.image, VOID if odd and held_out_images == "void" else one.index)
        label = ConstantMap(one.image, ANOMALY if odd else INLIER) if anomalous else None
        meta = {**one.image.meta, "dataset": dataset, "split": split, "layout": collection.layout}
        frames.append(Frame(one.id, one.image, classes, label, "", meta))
    return frames
