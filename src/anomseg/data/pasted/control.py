"""The map that says which inlier pixels of a frame were pasted, for the paste control."""

from __future__ import annotations

from pathlib import Path

from anomseg.data.labels import ValueTable
from anomseg.data.loaders import MapLoader
from anomseg.types import Frame, UInt8Array

CONTROL = "control"
"""Name of the map and of its folder."""
UNTOUCHED, PASTED = 0, 1
CONTROL_TABLE = ValueTable("paste control", ((0, UNTOUCHED), (1, PASTED)))


def has_control(frame: Frame) -> bool:
    """Whether a frame says which of its inlier pixels were pasted, answered without decoding."""
    return "control_path" in frame.meta


def control_map(frame: Frame) -> UInt8Array | None:
    """Which inlier pixels of a frame were pasted, decoded now.

    Args:
        frame: Of a folder that `anomseg data paste` wrote, or any other.

    Returns:
        ``(H, W)`` uint8: 1 where an inlier was pasted, 0 elsewhere; None for a frame of another kind.

    Raises:
        FrameError: The map cannot be read, is of another size than the image, or holds other values.
    """
    if not has_control(frame):
        return None
    return MapLoader(Path(frame.meta["control_path"]), Path(frame.meta["path"]), CONTROL_TABLE)()
