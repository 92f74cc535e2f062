"""Float32 anomaly maps and labels cached beside a run, for the pass that needs each a second time."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import DataError
from anomseg.files import atomic_write
from anomseg.types import UInt8Array

FOLDER = "maps"
LABELS_FOLDER = "labels"


class MapCache:
    """The ``maps`` folder of one detector: one ``<frame id>.npy`` a frame, float32 at label size.

    Args:
        directory: The detector's folder in the results.

    Example:
        >>> import tempfile
        >>> cache = MapCache(tempfile.mkdtemp())
        >>> cache.write("street/1", np.ones((2, 3), np.float32))
        >>> cache.read("street/1").shape, "street/1" in cache, "street/2" in cache
        ((2, 3), True, False)
    """

    def __init__(self, directory: str | Path) -> None:
        self.folder = Path(directory) / FOLDER

    def path(self, frame_id: str) -> Path:
        """Where the map of a frame lies; slashes in an id make folders, as they do in datasets."""
        return _inside(self.folder, f"{frame_id}.npy")

    def __contains__(self, frame_id: object) -> bool:
        return isinstance(frame_id, str) and self.path(frame_id).is_file()

    def write(self, frame_id: str, score: NDArray[np.float32]) -> None:
        """Write one map ``(H, W)`` float32, atomically."""
        with atomic_write(self.path(frame_id)) as stream:
            np.save(stream, score, allow_pickle=False)

    def read(self, frame_id: str) -> NDArray[np.float32]:
        """Read one map ``(H, W)`` float32.

        Raises:
            DataError: It is missing or damaged.
        """
        path = self.path(frame_id)
        try:
            score = np.load(path, allow_pickle=False)
        except FileNotFoundError as error:
            raise DataError(f"{path} is missing; run evaluate again on this --out to write it") from error
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{path} is damaged ({error}); delete it and run evaluate again on this --out") from error
        if not isinstance(score, np.ndarray) or score.ndim != 2 or score.dtype != np.float32:
            raise DataError(f"{path} is not a float32 map; delete it and run evaluate again on this --out")
        return score

    def clear(self) -> None:
        """Remove all cached maps."""
        shutil.rmtree(self.folder, ignore_errors=True)


class LabelCache:
    """The ``labels`` folder of a run: one compressed ``<frame id>.npz`` a frame.

    With it the second pass and `merge` need no data set.

    Args:
        out: Folder of results.

    Example:
        >>> import tempfile
        >>> cache = LabelCache(tempfile.mkdtemp())
        >>> cache.write("a", np.array([[0, 1, 255]], np.uint8))
        >>> cache.read("a").tolist()
        [[0, 1, 255]]
    """

    def __init__(self, out: str | Path) -> None:
        self.folder = Path(out) / LABELS_FOLDER

    def path(self, frame_id: str) -> Path:
        """Where the label of a frame lies."""
        return _inside(self.folder, f"{frame_id}.npz")

    def __contains__(self, frame_id: object) -> bool:
        return isinstance(frame_id, str) and self.path(frame_id).is_file()

    def write(self, frame_id: str, label: UInt8Array) -> None:
        """Write one label ``(H, W)`` uint8, atomically."""
        with atomic_write(self.path(frame_id)) as stream:
            np.savez_compressed(stream, label=label)

    def read(self, frame_id: str) -> UInt8Array:
        """Read one label ``(H, W)`` uint8.

        Raises:
            DataError: It is missing or damaged.
        """
        path = self.path(frame_id)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return arrays["label"]
        except FileNotFoundError as error:
            raise DataError(f"{path} is missing; run evaluate again on this --out to write it") from error
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is damaged ({error}); delete it and run evaluate again on this --out") from error

    def clear(self) -> None:
        """Remove all cached labels."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"the frame id {name.rpartition('.')[0]!r} leads out of {folder}; rename the image")
    return path
