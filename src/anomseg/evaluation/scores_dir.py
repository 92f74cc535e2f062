"""Anybody's anomaly maps, read from a folder in place of a network and detectors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from anomseg.errors import DataError, FrameError
from anomseg.files import sha256_of_file
from anomseg.inference import read_map
from anomseg.segmenters.base import Size

SUFFIXES = (".npy", ".hdf5", ".h5", ".tif", ".tiff", ".png")
#: Width over height may differ by this share: maps at a fraction of the size are rounded to whole pixels.
ASPECT_TOLERANCE = 0.02
RESIZE_RULE = "maps of another size than the label are resized to it, bilinearly"


class ScoresDirectory:
    """A folder of maps named after the frames of a benchmark.

    ``<frame id>.<suffix>`` is looked for in the folder itself, then below it, so that an export in the layout of
    SegmentMeIfYouCan (``anomaly_p/<method>/<dataset>/<frame id>.hdf5``) is found from any of its levels, as long
    as it holds one method. A trailing ``_anomaly``, as Fishyscapes submissions carry it, is allowed. Of several
    types of one map the most exact is taken.

    Args:
        directory: The folder.
        name: What the results are called; the folder's own name when not given.

    Raises:
        DataError: The folder is missing or holds no maps, or two maps of one frame.
    """

    def __init__(self, directory: str | Path, name: str | None = None) -> None:
        self.directory = Path(directory)
        self.name = name or self.directory.resolve().name
        if not self.directory.is_dir():
            raise DataError(f"no folder of score maps at {self.directory}; check --scores")
        self._files: dict[str, list[Path]] = {}
        for path in sorted(self.directory.rglob("*")):
            if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith("."):
                self._files.setdefault(path.name[: -len(path.suffix)], []).append(path)
        if not self._files:
            raise DataError(f"{self.directory} holds no score maps ({', '.join(SUFFIXES)}); check --scores")

    def find(self, frame_id: str) -> Path | None:
        """The map of a frame, or None.

        Raises:
            DataError: There are several, so it is not clear which is meant.
        """
        name = frame_id.rpartition("/")[2]
        found = [*self._files.get(name, ()), *self._files.get(f"{name}_anomaly", ())]
        for folder in (self.directory / frame_id).parent, self.directory:
            found = [path for path in found if path.parent == folder] or found
        if len({path.parent for path in found}) > 1:
            raise DataError(
                f"{self.directory} holds several maps of {frame_id} ({found[0]}, {found[1]}); "
                "give --scores the folder of one method and data set"
            )
        return min(found, key=lambda path: SUFFIXES.index(path.suffix.lower()), default=None)

    def read(self, frame_id: str, size: Size) -> NDArray[np.float32]:
        """The map of a frame at label size.

        Args:
            frame_id: The frame.
            size: ``(H, W)`` of its label; maps of another size but the same shape are resized bilinearly.

        Returns:
            ``(H, W)`` float32.

        Raises:
            FrameError: The map is missing, unreadable or of another shape.
        """
        path = self.find(frame_id)
        if path is None:
            raise FrameError(f"{frame_id}: no map in {self.directory}; expected {frame_id}.npy or another known type")
        score = read_map(path)
        return resize_map(score, size, f"{frame_id}: the map {path.name}")

    def card(self, frame_ids: Iterable[str]) -> dict[str, object]:
        """What the result card says instead of a detector's own card: the name, and a hash of the maps' bytes."""
        digest, count = hashlib.sha256(), 0
        for frame_id in sorted(frame_ids):
            path = self.find(frame_id)
            if path is not None:
                count += 1
                digest.update(f"{frame_id}={sha256_of_file(path)}\n".encode())
        return {
            "name": self.name,
            "source": "scores",
            "maps": count,
            "sha256": digest.hexdigest(),
            "resize": RESIZE_RULE,
        }


def resize_map(score: NDArray[np.floating], size: Size, what: str) -> NDArray[np.float32]:
    """Bring a map ``(h, w)`` to ``size`` ``(H, W)``, bilinearly without aligned corners.

    Raises:
        FrameError: The two differ in shape, not just in scale, so the map is not of this frame.
    """
    height, width = score.shape
    if (height, width) == size:
        return np.ascontiguousarray(score, dtype=np.float32)
    if abs((width / height) / (size[1] / size[0]) - 1) > ASPECT_TOLERANCE:
        raise FrameError(
            f"{what} is {height}x{width} and the label {size[0]}x{size[1]} (height x width); "
            "write maps at the label's size or a uniform scale of it"
        )
    tensor = torch.from_numpy(np.array(score, dtype=np.float32))[None, None]
    return F.interpolate(tensor, size=size, mode="bilinear", align_corners=False)[0, 0].numpy()
