"""Writers of single results; each file appears whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomseg.errors import FrameError
from anomseg.files import write_bytes
from anomseg.inference.colour import BoolArray, FloatArray
from anomseg.types import UInt8Array

MapDtype = Literal["float16", "float32"]
SMIYC_DATASET = "value"
SMIYC_GZIP_LEVEL = 9


def as_dtype(anomaly_map: FloatArray, dtype: MapDtype, name: str = "map") -> NDArray[np.floating]:
    """Scores in the type they are stored in.

    Raises:
        FrameError: float16 cannot hold them; clipping them would change the ranking of pixels unseen.

    Example:
        >>> as_dtype(np.float32([[70000.0]]), "float16", "street")
        Traceback (most recent call last):
        anomseg.errors.FrameError: street: scores reach 70000, beyond float16 (65504); write float32 npy instead
    """
    if dtype == "float16" and anomaly_map.size:
        largest = float(np.abs(anomaly_map).max())
        if largest > float(np.finfo(np.float16).max):
            raise FrameError(f"{name}: scores reach {largest:g}, beyond float16 (65504); write float32 npy instead")
    return anomaly_map.astype(dtype)


def write_npy(path: str | Path, anomaly_map: FloatArray, dtype: MapDtype = "float32") -> None:
    """Write a raw map ``(H, W)`` as ``.npy``.

    Raises:
        FrameError: float16 cannot hold the scores.
        DataError: The file cannot be written.
    """
    stream = io.BytesIO()
    np.save(stream, as_dtype(anomaly_map, dtype, Path(path).stem), allow_pickle=False)
    write_bytes(path, stream.getvalue())


def write_hdf5(path: str | Path, anomaly_map: FloatArray) -> None:
    """Write a raw map ``(H, W)`` in the exchange format of SegmentMeIfYouCan.

    That is a file ``{frame id}.hdf5`` with one dataset ``value``: float16, gzip level 9.

    Raises:
        FrameError: float16 cannot hold the scores.
        DataError: The file cannot be written.
    """
    import h5py  # noqa: PLC0415 - only needed for this format

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_dataset(
            SMIYC_DATASET,
            data=as_dtype(anomaly_map, "float16", Path(path).stem),
            compression="gzip",
            compression_opts=SMIYC_GZIP_LEVEL,
        )
    write_bytes(path, stream.getvalue())


def write_picture(path: str | Path, picture: UInt8Array) -> None:
    """Write an RGB picture ``(H, W, 3)`` uint8 as PNG."""
    _write_png(path, Image.fromarray(picture))


def write_mask(path: str | Path, mask: BoolArray) -> None:
    """Write a mask ``(H, W)`` as 8-bit grey PNG: 255 where True, 0 elsewhere."""
    _write_png(path, Image.fromarray(mask.astype(np.uint8) * np.uint8(255)))


def write_segmentation(path: str | Path, classes: UInt8Array, palette: Sequence[Sequence[int]]) -> None:
    """Write class indices ``(H, W)`` uint8 as a palette PNG: pixel values are indices, viewers show the colours."""
    image = Image.fromarray(classes)
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(palette)] = np.asarray(palette, dtype=np.uint8).reshape(-1, 3)[:256]
    image.putpalette(table.tobytes())
    _write_png(path, image)


def _write_png(path: str | Path, image: Image.Image) -> None:
    stream = io.BytesIO()
    image.save(stream, format="PNG", compress_level=4)
    write_bytes(path, stream.getvalue())
