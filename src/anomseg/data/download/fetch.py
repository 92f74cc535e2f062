"""One archive from its address to a checked file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anomseg.data.archive import Archive
from anomseg.data.download.transfer import Progress, ResumingTransfer, silent
from anomseg.errors import ConfigError, DataError
from anomseg.files import cannot_write


def fetch(
    archive: Archive, folder: str | Path, *, on_progress: Progress = silent, attempts: int = 4, wait: float = 1.0
) -> Path:
    """Download an archive, or go on with it; one that is there already is only checked.

    Args:
        archive: Where it is and what its checksum should be.
        folder: Where to put it.
        on_progress: Called with mebibytes done, mebibytes in all, and its name.
        attempts: How many connections in a row may bring nothing.
        wait: Seconds before another attempt, more after each.

    Returns:
        The file.

    Raises:
        DataError: It cannot be had, has another checksum than it should, or cannot be written. What came of an
            interrupted download is kept; what has a wrong checksum is not.
        ConfigError: A library that this needs is not installed.
    """
    try:
        import pooch  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError("downloading needs pooch: pip install pooch") from error
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(place, error) from error
    transfer = ResumingTransfer(place / f"{archive.name}.part", bool(archive.md5), on_progress, attempts, wait)
    with _quiet(pooch.get_logger()):
        try:
            path = pooch.retrieve(
                archive.url,
                known_hash=f"md5:{archive.md5}" if archive.md5 else None,
                fname=archive.name,
                path=place,
                downloader=transfer,
            )
        except ValueError as error:
            transfer.forget()
            raise DataError(
                f"{archive.url} has another checksum than the published {archive.md5}: it was damaged on the way or "
                "changed at its source; run the command again, or fetch it by hand and compare"
            ) from error
        except OSError as error:
            raise cannot_write(place / archive.name, error) from error
    transfer.forget()
    return Path(path)


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Its own lines are for developers; ours say what happens."""
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
