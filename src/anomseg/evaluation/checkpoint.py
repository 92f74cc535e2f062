"""Several files that change together: a reader sees all of the old ones or all of the new ones, never a mix."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from anomseg.errors import DataError
from anomseg.files import read_json, write_json

INDEX = "state.json"


class Checkpoint:
    """A folder with one index file and numbered parts.

    New parts are written beside the old ones under a new number, then the index is replaced in one step, then old
    parts are removed. A process killed at any moment leaves an index whose parts are all there.

    Args:
        folder: The folder; made when first written.

    Example:
        >>> import tempfile
        >>> checkpoint = Checkpoint(Path(tempfile.mkdtemp()))
        >>> checkpoint.read() is None
        True
        >>> checkpoint.write({"frames": 2}, {"part": lambda path: path.write_bytes(b"data") and None})
        >>> meta, parts = checkpoint.read()
        >>> meta, parts["part"].read_bytes()
        ({'frames': 2}, b'data')
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(
        self, meta: Mapping[str, Any], parts: Mapping[str, Callable[[Path], None]], unchanged: Collection[str] = ()
    ) -> None:
        """Write a new version.

        Args:
            meta: JSON-ready header.
            parts: For each part the function that writes it to a path.
            unchanged: Parts that are the same as in the version before, whose files are kept where there are any.

        Raises:
            DataError: A file cannot be written; the old version stays.
        """
        number = 1 + max((self._number(path) for path in self.folder.glob("*-*.npz")), default=0)
        files = {name: f"{name}-{number}.npz" for name in parts}
        before = self.read() if unchanged else None
        for name, save in parts.items():
            if before is not None and name in unchanged and name in before[1]:
                files[name] = before[1][name].name
            else:
                save(self.folder / files[name])
        write_json(self.folder / INDEX, {"schema": 1, "parts": files, "meta": dict(meta)})
        for path in self.folder.glob("*-*.npz"):
            if path.name not in files.values():
                path.unlink(missing_ok=True)

    def read(self) -> tuple[dict[str, Any], dict[str, Path]] | None:
        """The header and the paths of the parts; None where nothing was written yet.

        Raises:
            DataError: The index is damaged or a part is missing.
        """
        if not (self.folder / INDEX).is_file():
            return None
        index = read_json(self.folder / INDEX)
        try:
            paths = {str(name): self.folder / Path(file).name for name, file in index["parts"].items()}
            meta = dict(index["meta"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DataError(f"{self.folder / INDEX} is damaged; give --overwrite to start anew") from error
        for path in paths.values():
            if not path.is_file():
                raise DataError(f"{path} is missing; give --overwrite to start anew")
        return meta, paths

    @staticmethod
    def _number(path: Path) -> int:
        text = path.stem.rpartition("-")[2]
        return int(text) if text.isdecimal() else 0
