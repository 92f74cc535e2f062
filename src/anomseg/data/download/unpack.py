"""Unpacking archives of others: nothing leaves the target, nothing links, nothing explodes, all of it or nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from anomseg.data.download.members import Limits, Member, Refused, inside, open_members
from anomseg.errors import DataError
from anomseg.files import cannot_write

__all__ = ["Limits", "unpack"]

_CHUNK = 1 << 20


@dataclass
class _Budget:
    left: int

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise Refused("it unpacks to far more than an archive of its size may")


def unpack(archive: str | Path, target: str | Path, limits: Limits = Limits()) -> int:  # noqa: B008 - frozen
    """Unpack a zip or tar archive as a new folder.

    The content is written beside the target under another name and takes its place in one step, so the target is
    either whole or not there. Where the archive begins with a folder of the target's name, that is the content.

    Args:
        archive: The file; what it is shows in its first bytes, not in its name.
        target: The folder to make; it must be new or empty.
        limits: How much it may unpack to.

    Returns:
        How many files were unpacked.

    Raises:
        DataError: It is no archive or a damaged one, holds paths that leave the target, links, devices, encrypted
            files or one name twice, unpacks to too much, or cannot be written. Nothing of it is left then.
    """
    source, place = Path(archive), Path(target)
    if not source.is_file():
        raise DataError(f"{source} does not exist; download it first")
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise DataError(f"{place} is there already; remove it to unpack {source.name} anew")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".unpack-", dir=place.parent))
    except OSError as error:
        raise cannot_write(place, error) from error
    try:
        count = _unpack_into(source, scratch, limits)
        os.replace(_content(scratch, place.name), place)  # noqa: PTH105 - over an empty folder, too
        place.chmod(0o755)
        return count
    except Refused as error:
        raise DataError(f"{source} is not unpacked: {error}; remove it to fetch it anew") from error
    except OSError as error:
        raise cannot_write(place, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _unpack_into(source: Path, scratch: Path, limits: Limits) -> int:
    budget = _Budget(limits.bytes_for(source.stat().st_size))
    written: set[str] = set()
    with open_members(source, budget.left) as members:
        for member in members:
            name = inside(member.name)
            if name in written:
                raise Refused(f"it holds {name!r} twice")
            if len(written) >= limits.files:
                raise Refused(f"it holds more than {limits.files} files")
            written.add(name)
            path = scratch / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with _opened(member, name) as stream:
                    _copy(stream, path, budget, name)
            except (FileExistsError, NotADirectoryError) as error:
                raise Refused(f"it holds {name!r} where a file and a folder would be one") from error
    if not written:
        raise Refused("it holds no file")
    return len(written)


def _copy(stream: BinaryIO, path: Path, budget: _Budget, name: str) -> None:
    with path.open("xb") as out:
        while chunk := _read(stream, name):
            budget.spend(len(chunk))
            out.write(chunk)


def _opened(member: Member, name: str) -> BinaryIO:
    try:
        return member.open()
    except Exception as error:  # unknown compression, a broken header
        raise _damaged(name, error) from error


def _read(stream: BinaryIO, name: str) -> bytes:
    """The next bytes; faults of the archive are told from those of the disk."""
    try:
        return stream.read(_CHUNK)
    except Refused:
        raise
    except Exception as error:  # readers of archives raise many kinds on damaged files
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> Refused:
    return Refused(f"{name!r} in it is damaged ({' '.join(str(error).split()) or type(error).__name__})")


def _content(scratch: Path, name: str) -> Path:
    """What belongs in the target: a folder of its name that the archive begins with, else everything."""
    folder = scratch
    while True:
        folders = [entry for entry in folder.iterdir() if entry.is_dir() and entry.name != "__MACOSX"]
        if len(folders) != 1:
            return scratch
        loose = [entry for entry in folder.iterdir() if entry.is_file()]
        if folders[0].name == name:
            # Terms and notes that lie beside it come along.
            for entry in loose:
                if not (folders[0] / entry.name).exists():
                    entry.replace(folders[0] / entry.name)
            return folders[0]
        if loose:
            return scratch
        folder = folders[0]
