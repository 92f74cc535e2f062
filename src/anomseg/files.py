"""Writing files so that a reader never meets half of one: a temporary file beside the target, then a rename."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from anomseg.errors import DataError


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """Open a binary stream whose content appears at ``path`` only when the block ends well.

    Args:
        path: The target; missing parent folders are made.

    Yields:
        A writable and seekable binary stream.

    Raises:
        DataError: The disk is full or the folder cannot be written; nothing is left behind and what was at
            ``path`` before stays.
    """
    target = Path(path)
    temporary: str | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:40]}.", suffix=".part")
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        os.replace(temporary, target)  # noqa: PTH105 - the atomic call, on a name from mkstemp
        temporary = None
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def cannot_write(target: str | Path, error: OSError) -> DataError:
    """The error for a target that could not be written: the system's reason, and what helps against it.

    Example:
        >>> print(cannot_write("out/a.png", OSError(28, "No space left on device")))
        cannot write out/a.png: No space left on device; free some space or choose another --out
    """
    mend = {
        errno.ENOSPC: "free some space or choose another --out",
        errno.EDQUOT: "free some space or choose another --out",
        errno.EEXIST: "a file lies where a folder is needed, choose another --out",
        errno.ENOTDIR: "a file lies where a folder is needed, choose another --out",
    }.get(error.errno or 0, "choose another --out that may be written")
    return DataError(f"cannot write {target}: {error.strerror or error}; {mend}")


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic_write(path) as stream:
        stream.write(data)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically, as UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; NaN and infinity are refused (write None instead)."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: It is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error


def sha256_of_file(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
