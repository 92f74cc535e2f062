"""The files of a submission to SegmentMeIfYouCan: where they lie and what each has to be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomseg.data.decoding import image_size
from anomseg.errors import DataError, FrameError
from anomseg.inference import read_map
from anomseg.inference.writers import SMIYC_DATASET
from anomseg.types import Frame

SUFFIX = ".hdf5"


@dataclass(frozen=True)
class Folder:
    """The maps of one method on one track.

    Attributes:
        path_of_all: The folder.
    """

    path_of_all: Path

    def path(self, frame_id: str) -> Path:
        """Where the map of a frame lies; names keep their dots (``snowstorm1_00_16_02.578``).

        Raises:
            DataError: The id cannot name a file here.
        """
        if Path(frame_id).name != frame_id:
            raise DataError(f"the frame id {frame_id!r} leads out of {self.path_of_all}; rename the image")
        return self.path_of_all / f"{frame_id}{SUFFIX}"

    def names(self) -> list[str]:
        """Ids of the frames whose maps are there."""
        return sorted(path.name.removesuffix(SUFFIX) for path in self.path_of_all.glob(f"*{SUFFIX}"))

    def clear(self) -> None:
        """Remove all maps; other files stay."""
        for path in self.path_of_all.glob(f"*{SUFFIX}"):
            path.unlink()


def read_submitted(path: Path) -> NDArray[np.float32]:
    """Read one map back as the challenge will.

    Returns:
        ``(H, W)`` float32.

    Raises:
        DataError: The file is missing, damaged, or not one dataset ``value`` of finite float16.
    """
    import h5py  # noqa: PLC0415 - only needed for this format

    if not path.is_file():
        raise DataError(f"{path} is missing, and a submission needs every frame; run the same command again")
    try:
        score = read_map(path)
        with h5py.File(path, "r") as file:
            dtype = file[SMIYC_DATASET].dtype
    except (FrameError, OSError) as error:
        raise DataError(f"{error}; delete {path.name} and run the same command again") from error
    if dtype != np.float16:
        raise DataError(f"{path} holds {dtype}, not float16; delete it and run the same command again")
    return score


def check_map(score: NDArray[np.float32], frame: Frame) -> None:
    """Refuse a map that has not its image's size; the challenge would resize it without a word.

    Raises:
        DataError: With both sizes.
    """
    expected = tuple(image_size(Path(frame.meta["path"])))
    if score.shape != expected:
        raise DataError(
            f"the map of {frame.id} is {score.shape[0]}x{score.shape[1]}, its image {expected[0]}x{expected[1]} "
            "(height x width); delete it and run the same command again"
        )
