"""Metric states on disk: an npz archive of plain arrays and one JSON header; nothing is ever unpickled.

Long arrays are written and read in pieces, so that saving a large table needs no second copy of it.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from anomseg.errors import CompatibilityError, DataError
from anomseg.files import atomic_write

VERSION = 1
_HEADER = "header"


@dataclass(frozen=True)
class Pieces:
    """A one-dimensional array given piece by piece.

    Attributes:
        dtype: Of every piece.
        length: Of all pieces together.
        parts: The pieces, read once.
    """

    dtype: Any
    length: int
    parts: Iterable[NDArray[Any]]


Content = tuple[dict[str, Any], dict[str, NDArray[Any] | Pieces]]
"""What a state writes: its JSON-ready header, and its arrays by name."""


def in_part(name: str, content: Content) -> Content:
    """The content of a state as one part of another's; `StateReader.part` reads it back."""
    meta, arrays = content
    return {name: meta}, {f"{name}/{key}": array for key, array in arrays.items()}


def write_state(
    path: str | Path, kind: str, meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any] | Pieces]
) -> None:
    """Write a state atomically.

    Args:
        path: Target file.
        kind: Name of the state's class, checked when read.
        meta: JSON-ready header.
        arrays: Arrays by name.

    Raises:
        DataError: The file cannot be written.
    """
    header = json.dumps({"kind": kind, "version": VERSION, **meta}).encode()
    with atomic_write(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        _write_member(archive, _HEADER, np.frombuffer(header, np.uint8))
        for name, array in arrays.items():
            _write_member(archive, name, array)


def _write_member(archive: zipfile.ZipFile, name: str, array: NDArray[Any] | Pieces) -> None:
    # A fixed date keeps equal states equal byte for byte.
    member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
    with archive.open(member, "w", force_zip64=True) as stream:
        if isinstance(array, Pieces):
            described = {
                "descr": npy.dtype_to_descr(np.dtype(array.dtype)),
                "fortran_order": False,
                "shape": (array.length,),
            }
            npy.write_array_header_1_0(stream, described)
            for part in array.parts:
                stream.write(np.ascontiguousarray(part, array.dtype).tobytes())
        else:
            npy.write_array(stream, np.asarray(array), allow_pickle=False)


class StateReader:
    """An open state file: its header and its arrays, whole or in pieces."""

    def __init__(self, archive: zipfile.ZipFile, meta: dict[str, Any], folder: str = "") -> None:
        self._archive = archive
        self._folder = folder
        self.meta = meta

    def part(self, name: str) -> StateReader:
        """A state inside the state, as `in_part` put it there."""
        return StateReader(self._archive, dict(self.meta[name]), f"{self._folder}{name}/")

    def array(self, name: str) -> NDArray[Any]:
        """One array, whole."""
        with self._archive.open(f"{self._folder}{name}.npy") as stream:
            return npy.read_array(stream, allow_pickle=False)

    def pieces(self, name: str, length: int = 1 << 20) -> Iterator[NDArray[Any]]:
        """One one-dimensional array in pieces of at most ``length``."""
        with self._archive.open(f"{self._folder}{name}.npy") as stream:
            left, dtype = _array_header(stream)
            while left:
                take = min(left, length)
                data = stream.read(take * dtype.itemsize)
                if len(data) != take * dtype.itemsize:
                    raise ValueError(f"{name} ends early")
                yield np.frombuffer(data, dtype)
                left -= take


def _array_header(stream: IO[bytes]) -> tuple[int, np.dtype[Any]]:
    version = npy.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"unexpected array format {version}")
    shape, _, dtype = npy.read_array_header_1_0(stream)
    if len(shape) != 1 or dtype.hasobject:
        raise ValueError("not a plain one-dimensional array")
    return int(shape[0]), dtype


@contextmanager
def open_state(path: str | Path, kind: str) -> Iterator[StateReader]:
    """Open a state for reading.

    Args:
        path: A file of `write_state`.
        kind: The kind it has to be of.

    Yields:
        The reader.

    Raises:
        DataError: The file is missing, cut short or not a state.
        CompatibilityError: It is a state of another kind or of a later version.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            meta = json.loads(StateReader(archive, {}).array(_HEADER).tobytes())
            if meta["kind"] != kind or meta["version"] != VERSION:
                raise CompatibilityError(
                    f"{path} holds a state {meta['kind']} of version {meta['version']}, "
                    f"not {kind} of version {VERSION}; evaluate again with this version"
                )
            yield StateReader(archive, meta)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, EOFError, TypeError, RuntimeError) as error:
        raise DataError(f"{path} cannot be read as a {kind} state ({error}); delete it and evaluate again") from error
