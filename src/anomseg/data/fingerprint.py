"""Identity of images, by which overlaps between data sets are found."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from anomseg.files import sha256_of_file
from anomseg.types import Frame


def frame_fingerprint(frame: Frame) -> str:
    """Identity of a frame's image, by which overlaps between data sets are found.

    Args:
        frame: Any frame.

    Returns:
        The first 16 hexadecimal digits of the SHA-256 of the image file's bytes (and of the overlay's, where one
        is added), or of shape and pixels where there is no file.
    """
    files = [Path(frame.meta[key]) for key in ("path", "overlay_path") if frame.meta.get(key)]
    if files and all(path.is_file() for path in files):
        digests = [sha256_of_file(path) for path in files]
        return (digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest())[:16]
    pixels = np.ascontiguousarray(frame.image())
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:16]
