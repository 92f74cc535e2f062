"""What a frame calls when its pixels are wanted: small frozen objects that decode, check and translate.

They are plain data, so frames travel to worker processes.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomseg.data.decoding import decode_image, decode_label, image_size
from anomseg.data.labels import ValueTable
from anomseg.errors import FrameError
from anomseg.types import ANOMALY, INLIER, VOID, UInt8Array


@dataclass(frozen=True)
class ImageLoader:
    """Decodes an image file to uint8 RGB ``(H, W, 3)``."""

    path: Path

    def __call__(self) -> UInt8Array:
        """Decode now; raises `FrameError` where that cannot be done."""
        return decode_image(self.path)


@dataclass(frozen=True)
class OverlayLoader:
    """Decodes an image and adds a signed overlay, the array ``rgb`` of an npz file, clipped to 0..255."""

    path: Path
    overlay: Path | None

    def __call__(self) -> UInt8Array:
        """Compose now.

        Raises:
            FrameError: Image or overlay are missing or unreadable, or their sizes differ.
        """
        if self.overlay is None:
            raise FrameError(f"the overlay (*_rgb.npz) that belongs to {self.path} is missing")
        image = decode_image(self.path)
        overlay = read_overlay(self.overlay, image.size)
        if overlay.shape != image.shape:
            raise FrameError(f"overlay {self.overlay} has shape {overlay.shape}, the image {self.path} {image.shape}")
        # Both are widened first: overlays are differences, and eight bits would wrap around.
        return np.clip(image.astype(np.int32) + overlay.astype(np.int32), 0, 255).astype(np.uint8)


def read_overlay(path: Path, count: int) -> np.ndarray:
    """Read the array ``rgb`` of an npz file without unpickling anything.

    Args:
        path: The file.
        count: How many values it should hold; far larger ones are refused before they are unpacked.

    Raises:
        FrameError: It is unreadable, too large, or holds no array of numbers of that name.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("rgb.npy").file_size > 8 * count + 65536:
                raise FrameError(f"overlay {path} unpacks to more than the image it belongs to")
        with np.load(path, allow_pickle=False) as arrays:
            overlay = arrays["rgb"]
    except KeyError as error:
        raise FrameError(f"overlay {path} holds no array 'rgb'") from error
    except FrameError:
        raise
    except Exception as error:  # zip and npy readers raise many kinds on damaged files
        raise FrameError(f"overlay {path} is damaged: {' '.join(str(error).split())}") from error
    if overlay.dtype.kind not in "iuf" or (overlay.dtype.kind == "f" and not np.isfinite(overlay).all()):
        raise FrameError(f"overlay {path} holds {overlay.dtype} values, not finite numbers")
    return overlay


@dataclass(frozen=True)
class MapLoader:
    """Decodes a label file, checks its size against the image's and its values against a table.

    Attributes:
        path: The label file.
        image: The image file, for its size.
        table: What the stored values mean.
        void: Meanings that are turned into 255 afterwards.
        decode: Reads the file as ``(H, W)`` uint8.
    """

    path: Path
    image: Path
    table: ValueTable
    void: tuple[int, ...] = ()
    decode: Callable[[Path], UInt8Array] = decode_label

    def __call__(self) -> UInt8Array:
        """Decode now.

        Raises:
            FrameError: The label is unreadable, of another size than the image, or holds values outside the table.
        """
        stored = self.decode(self.path)
        size = image_size(self.image)
        if stored.shape != size:
            raise FrameError(
                f"label {self.path} is {stored.shape[1]}x{stored.shape[0]} but the image {self.image} is "
                f"{size[1]}x{size[0]} (width x height); one of them belongs to another frame or was resized"
            )
        values = self.table.apply(stored, str(self.path))
        if self.void:
            values[np.isin(values, self.void)] = VOID
        return values


@dataclass(frozen=True)
class HeldOutLoader:
    """The anomaly label that arises when some classes count as anomalies: they 1, other classes 0, void 255."""

    classes: MapLoader
    anomalous: tuple[int, ...]

    def __call__(self) -> UInt8Array:
        """Decode now; raises `FrameError` as the class map does."""
        values = self.classes()
        label = np.full(values.shape, INLIER, np.uint8)
        label[np.isin(values, self.anomalous)] = ANOMALY
        label[values == VOID] = VOID
        return label


@dataclass(frozen=True)
class RegionLoader:
    """An anomaly label of which only a region counts: where the region's mask is 0, the label is void."""

    label: Callable[[], UInt8Array]
    mask: Path

    def __call__(self) -> UInt8Array:
        """Decode now.

        Raises:
            FrameError: Label or mask are unreadable, or of different size.
        """
        values, mask = self.label(), decode_label(self.mask)
        if values.shape != mask.shape:
            raise FrameError(f"the region {self.mask} has shape {mask.shape}, the label {values.shape}")
        return np.where(mask > 0, values, VOID).astype(np.uint8)
