"""Region of interest: where in the image scores count."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anomseg.data.decoding import decode_image, decode_label
from anomseg.errors import DataError, FrameError
from anomseg.files import sha256_of_file
from anomseg.inference.colour import BoolArray, FloatArray
from anomseg.segmenters.base import Size


@dataclass(frozen=True, eq=False)
class Roi:
    """A mask that applies to all images of a run.

    Attributes:
        mask: ``(h, w)`` bool, True inside.
        identity: Path and hash, for provenance.
    """

    mask: BoolArray
    identity: dict[str, Any]

    def at(self, size: Size) -> BoolArray:
        """The mask at an image's own size ``(H, W)``, by nearest neighbour.

        Raises:
            FrameError: Nothing of the region is left at this size.
        """
        if self.mask.shape == tuple(size):
            return self.mask
        resized = Image.fromarray(self.mask.astype(np.uint8)).resize((size[1], size[0]), Image.Resampling.NEAREST)
        inside = np.asarray(resized).astype(bool)
        if not inside.any():
            raise FrameError(f"no pixel of the region of interest is left at {size[1]}x{size[0]}; use a larger region")
        return inside


def load_roi(roi: str | Path | np.ndarray | None) -> Roi | None:
    """Read a region of interest.

    Args:
        roi: An image file or an array ``(h, w)``; non-zero is inside (of a colour image, any non-zero channel).

    Raises:
        DataError: It cannot be read, or nothing is inside.
    """
    if roi is None:
        return None
    if isinstance(roi, np.ndarray):
        if roi.ndim != 2:
            raise DataError(f"the region of interest has shape {roi.shape}; give a mask (height, width)")
        mask = roi != 0
        packed = np.packbits(mask).tobytes()
        identity = {"path": None, "sha256": hashlib.sha256(f"{mask.shape}".encode() + packed).hexdigest()}
    else:
        try:
            mask = decode_label(roi) != 0
        except FrameError:
            try:
                mask = decode_image(roi).any(axis=2)
            except FrameError as error:
                raise DataError(f"region of interest: {error}") from error
        identity = {"path": str(roi), "sha256": sha256_of_file(roi)}
    if not mask.any():
        raise DataError("the region of interest is empty; non-zero pixels are inside")
    return Roi(mask, identity)


def confine(anomaly_map: FloatArray, inside: BoolArray) -> FloatArray:
    """The map with the lowest score of the region everywhere outside it, so that every reader can use it.

    Example:
        >>> confine(np.float32([[1, 9], [3, 4]]), np.array([[1, 0], [1, 1]], bool)).tolist()
        [[1.0, 1.0], [3.0, 4.0]]
    """
    return np.where(inside, anomaly_map, anomaly_map[inside].min()).astype(np.float32)
