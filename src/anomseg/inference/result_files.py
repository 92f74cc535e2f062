"""The files of one image's result: written under one name, the sidecar last, those of an earlier run removed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from anomseg.errors import CompatibilityError, DataError
from anomseg.files import cannot_write, write_json

#: Ends of the files that we write beside a detector's own pictures, of all tasks.
SUFFIXES = (
    ".npy", ".hdf5", ".coco.json",
    "_overlay.png", "_mask.png", "_segmentation.png", "_open_set.png", "_open_set_labels.png",
    "_error.npy", "_error.hdf5", "_error.png", "_error_overlay.png", "_error_mask.png",
)  # fmt: skip
_PICTURE = re.compile(r"_[a-z0-9_]{1,40}\.png")

Writers = Mapping[str, Callable[[Path], None]]
"""For each end of a file name the function that writes the file to a path."""


def picture_suffix(name: str) -> str:
    """The end of the file of a detector's picture; no file of ours has it otherwise.

    Raises:
        CompatibilityError: The name is none for a file, or taken.
    """
    suffix = f"_{name}.png"
    if not _PICTURE.fullmatch(suffix) or suffix in SUFFIXES:
        raise CompatibilityError(f"a detector's picture cannot be called {name!r}; use other letters of a-z, 0-9 and _")
    return suffix


def write_files(
    folder: Path, name: str, writers: Writers, sidecar: Callable[[list[str]], dict[str, Any]]
) -> list[Path]:
    """Write the files of one image.

    Files of an earlier, different run that would contradict them are removed; those that no sidecar of ours lists are
    let be.

    Args:
        folder: Made if missing.
        name: What their names begin with.
        writers: What is written, in this order.
        sidecar: Given the names of the files, the content of ``<name>.json``; it is written last.

    Returns:
        The files, sidecar last.

    Raises:
        DataError: A file cannot be written, or ``<name>.json`` is somebody else's; then nothing was touched.
    """
    # A sidecar stands for a finished set of files, so it goes before they change and comes back last.
    path = folder / f"{name}.json"
    earlier = _listed_files(path)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    written: list[Path] = []
    for suffix, write in writers.items():
        written.append(folder / f"{name}{suffix}")
        write(written[-1])
    for file in earlier:
        end = file[len(name) :]
        ours = file.startswith(name) and (end in SUFFIXES or _PICTURE.fullmatch(end))
        if ours and folder / file not in written:
            (folder / file).unlink(missing_ok=True)
    write_json(path, sidecar([file.name for file in written]))
    return [*written, path]


def _listed_files(sidecar: Path) -> set[str]:
    """Names of the files that an earlier sidecar of ours lists; none where there is no sidecar or it is damaged.

    Raises:
        DataError: The file is sound but no sidecar of ours, such as an annotation beside its image.
    """
    try:
        written = json.loads(sidecar.read_text("utf-8"))
    except (OSError, ValueError):
        return set()
    if not isinstance(written, dict) or not {"fingerprint", "overlay_range", "files"} <= written.keys():
        raise DataError(f"{sidecar} is no result of anomseg and is not replaced; choose another --out")
    return {str(name) for name in written["files"]}
