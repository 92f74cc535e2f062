"""A data set from its addresses to a folder that can be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from anomseg.data.dataset import DatasetSpec
from anomseg.data.download.fetch import fetch
from anomseg.data.download.transfer import Progress, silent
from anomseg.data.download.unpack import unpack
from anomseg.data.locate import locate
from anomseg.data.specs import dataset_spec
from anomseg.errors import DataError
from anomseg.files import sha256_of_file

ARCHIVES = ".archives"
"""Folder, below the data set's own, of archives and of what is still missing of them."""


@dataclass(frozen=True)
class Downloaded:
    """What was fetched of a data set.

    Attributes:
        folder: Where it lies.
        fetched: Folders that were downloaded and unpacked now.
        present: Folders that were there already.
        unchecked: SHA-256 of the archives for which no checksum is published, by name.
        by_hand: What has to be fetched by oneself, and where to put it; empty where the data set is whole.
    """

    folder: Path
    fetched: tuple[str, ...]
    present: tuple[str, ...]
    unchecked: tuple[tuple[str, str], ...] = ()
    by_hand: str = ""


def download(
    name: str | DatasetSpec,
    out: str | Path,
    layout: str | None = None,
    *,
    keep: bool = False,
    on_progress: Progress = silent,
    attempts: int = 4,
    wait: float = 1.0,
) -> Downloaded:
    """Fetch what of a data set is at public addresses, check it and unpack it.

    Each archive becomes a folder in one step; a folder that is there is not fetched again, so the same call goes on
    with what was interrupted.

    Args:
        name: A registered name or a declaration.
        out: The folder that will be its root.
        layout: Only what belongs to this layout, of a set that comes in several versions.
        keep: Keep archives once they are unpacked.
        on_progress: Called with mebibytes done, mebibytes in all, and what is fetched.
        attempts: How many connections in a row may bring nothing.
        wait: Seconds before another attempt, more after each.

    Raises:
        DataError: Nothing of it is at a public address (the message says where to get it), an archive cannot be had
            or unpacked.
        ConfigError: An unknown data set or layout.
    """
    spec = dataset_spec(name) if isinstance(name, str) else name
    wanted = spec.layout(layout).name if layout else None
    archives = [one for one in spec.archives if not one.layout or wanted in (None, one.layout)]
    if not archives:
        raise DataError(told_by_hand(spec))
    folder = Path(out).expanduser()
    fetched, present, unchecked = [], [], []
    for archive in archives:
        target = folder / archive.into
        if target.is_dir() and any(target.iterdir()):
            present.append(archive.into)
            continue
        path = fetch(archive, folder / ARCHIVES, on_progress=on_progress, attempts=attempts, wait=wait)
        if not archive.md5:
            unchecked.append((archive.name, sha256_of_file(path)))
        unpack(path, target)
        fetched.append(archive.into)
        if not keep:
            path.unlink(missing_ok=True)
    _remove_if_empty(folder / ARCHIVES)
    missing = _still_by_hand(spec, folder, wanted or archives[0].layout)
    return Downloaded(folder, tuple(fetched), tuple(present), tuple(unchecked), missing)


def told_by_hand(spec: DatasetSpec) -> str:
    """Where to get a data set that has no public address, and where to put it."""
    if spec.by_hand:
        return f"{spec.name} is not at a public address: {spec.by_hand}"
    where = f"; see {spec.homepage}" if spec.homepage else ""
    return f"{spec.name} is nothing to download{where}"


def _still_by_hand(spec: DatasetSpec, folder: Path, layout: str) -> str:
    """What has to be fetched by oneself, unless every split can be read already."""
    try:
        for split in spec.splits if spec.by_hand else ():
            locate(spec, folder, split.name, layout or None).region  # noqa: B018 - whether it is there
    except DataError:
        return spec.by_hand
    return ""


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
