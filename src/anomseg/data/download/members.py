"""What lies in a zip or tar archive, as files alone, each checked before it is opened."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

_PACKED: tuple[tuple[bytes, type[gzip.GzipFile] | type[bz2.BZ2File] | type[lzma.LZMAFile]], ...] = (
    (b"\x1f\x8b", gzip.GzipFile),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\x00", lzma.LZMAFile),
)
_LONGEST = 255


class Refused(Exception):  # noqa: N818 - it never leaves this package
    """An archive is not unpacked, and why."""


@dataclass(frozen=True)
class Limits:
    """How much an archive may unpack to.

    Attributes:
        ratio: Bytes for each byte of the archive. Pictures hardly shrink when packed, label maps some ten times.
        least: Bytes that are always allowed.
        files: How many files.
    """

    ratio: int = 100
    least: int = 1 << 28
    files: int = 2_000_000

    def bytes_for(self, size: int) -> int:
        """How many bytes an archive of ``size`` may unpack to."""
        return max(self.least, self.ratio * size)


@dataclass(frozen=True)
class Member:
    """A file in an archive; it is opened before the next one is asked for."""

    name: str
    open: Callable[[], BinaryIO]


def inside(name: str) -> str:
    """The path of a member below the folder that it is unpacked to, with ``/``.

    Raises:
        Refused: It would lie outside, or cannot name a file.

    Example:
        >>> inside("images/./a.png")
        'images/a.png'
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in parts:
        raise Refused(f"{name!r} in it lies outside of the folder")
    if not parts or any(len(part.encode()) > _LONGEST for part in parts) or re.search(r"[\x00-\x1f]", name):
        raise Refused(f"{name[:80]!r} in it cannot name a file")
    return "/".join(parts)


@contextmanager
def open_members(path: Path, most: int) -> Iterator[Iterator[Member]]:
    """Open an archive and list its files; folders are passed over.

    Args:
        path: A zip, or a tar that may be packed by gzip, bzip2 or xz.
        most: How many bytes may come out of it, headers and padding of a tar among them.

    Raises:
        Refused: It is no such archive or a damaged one, or a member is no plain file.
    """
    with ExitStack() as stack:
        try:
            if zipfile.is_zipfile(path):
                yield _zip_members(stack.enter_context(zipfile.ZipFile(path)), most)
                return
            yield _tar_members(stack, path, most)
        except (zipfile.BadZipFile, tarfile.TarError, EOFError, lzma.LZMAError, gzip.BadGzipFile, zlib.error) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise Refused(f"it is a damaged archive or none ({reason})") from error


def _zip_members(archive: zipfile.ZipFile, most: int) -> Iterator[Member]:
    listed = archive.infolist()
    if sum(info.file_size for info in listed) > most:
        raise Refused("it unpacks to far more than an archive of its size may")
    for info in listed:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind == stat.S_IFLNK:
            raise Refused(f"{info.filename!r} in it is a link")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise Refused(f"{info.filename!r} in it is a device")
        if info.flag_bits & 1:
            raise Refused(f"{info.filename!r} in it is encrypted")
        if info.is_dir():
            inside(info.filename)
        else:
            yield Member(info.filename, lambda info=info: cast(BinaryIO, archive.open(info)))  # type: ignore[misc]


def _tar_members(stack: ExitStack, path: Path, most: int) -> Iterator[Member]:
    with path.open("rb") as stream:
        head = stream.read(6)
    reader = next((reader for magic, reader in _PACKED if head.startswith(magic)), None)
    raw = cast(IO[bytes], stack.enter_context(path.open("rb") if reader is None else reader(path)))
    # As a stream, so that every byte is counted, also those of headers, and nothing is read twice.
    archive = stack.enter_context(tarfile.TarFile.open(fileobj=cast(BinaryIO, _Counted(raw, most)), mode="r|"))
    for info in archive:
        if info.issym() or info.islnk():
            raise Refused(f"{info.name!r} in it is a link")
        if info.isdir():
            if info.name.strip("./"):
                inside(info.name)
        elif info.isreg():
            yield Member(info.name, lambda info=info: cast(BinaryIO, archive.extractfile(info)))  # type: ignore[misc]
        else:
            raise Refused(f"{info.name!r} in it is a device")


class _Counted:
    """A stream that ends in a refusal once too much was read of it."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream, self._left = stream, most

    def read(self, count: int = -1) -> bytes:
        data = self._stream.read(count)
        self._left -= len(data)
        if self._left < 0:
            raise Refused("it unpacks to far more than an archive of its size may")
        return data
