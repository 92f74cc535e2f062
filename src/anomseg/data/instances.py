"""Instance maps: numbers of up to 16 bits in the place of labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomseg.data.decoding import decode_numbers
from anomseg.errors import FrameError
from anomseg.types import ANOMALY, INLIER, VOID, Frame, UInt8Array

FIRST = 1000
"""The smallest stored value that is an instance."""
INSTANCES = "oodis"
"""Name of the data set whose frames have instances."""


def decode_instances(path: Path) -> UInt8Array:
    """The anomaly label that an instance map stands for: 1 on instances, 255 where 255 is stored, else 0.

    Raises:
        FrameError: It cannot be read.
    """
    numbers = decode_numbers(path)
    return np.select([numbers >= FIRST, numbers == VOID], [ANOMALY, VOID], INLIER).astype(np.uint8)


def instance_map(frame: Frame) -> NDArray[np.int32] | None:
    """The instances of a frame of OoDIS, decoded now.

    Returns:
        ``(H, W)`` int32: 0 where there is none, 1 and above the instances of this frame in ascending order of their
        stored numbers, -1 void; None for frames without ground truth.

    Raises:
        FrameError: The map cannot be read, or the frame is of another data set.
    """
    if frame.meta.get("dataset") != INSTANCES:
        raise FrameError(f"{frame.id} is no frame of {INSTANCES}, which alone has instances")
    if "label_path" not in frame.meta:
        return None
    numbers = decode_numbers(Path(frame.meta["label_path"]))
    ids = np.unique(numbers[numbers >= FIRST])
    instances = np.where(numbers >= FIRST, np.searchsorted(ids, numbers) + 1, 0).astype(np.int32)
    instances[numbers == VOID] = -1
    return instances
