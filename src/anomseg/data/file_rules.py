"""Rules that say which files are meant, and what their names tell."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from anomseg.data.decoding import is_image_file
from anomseg.errors import DataError

IMAGE_NAME = r"(?P<key>[^/\\]+)\.[^./\\]+"


@dataclass(frozen=True)
class FileRule:
    """Which files are meant, and what is read from their names.

    Attributes:
        folders: Folders below the root, tried in order; ``{split}`` stands for the split's folder.
        pattern: A regular expression for the whole path below the folder (with ``/``). Its group ``key`` pairs files
            (or ``key1``, ``key2``, joined by ``_``); ``id`` names the frame where that differs from the key.
        shown: The same for people, in messages: ``images/*``.
        depth: How many folders deep to look.
        images_only: Whether files that are no images (by suffix, else by content) do not count.
    """

    folders: tuple[str, ...]
    pattern: str
    shown: str
    depth: int = 0
    images_only: bool = False

    @cached_property
    def regex(self) -> re.Pattern[str]:
        """The pattern, compiled."""
        return re.compile(self.pattern)

    def find(self, root: Path, split_folder: str) -> Found:
        """Look in the first folder that holds such files.

        Raises:
            DataError: A folder cannot be listed.
        """
        first: Found | None = None
        for name in self.folders:
            folder = root / name.format(split=split_folder)
            if not folder.is_dir():
                continue
            found = self._find_in(folder)
            if found.matches:
                return found
            first = first or found
        return first or Found(root / self.folders[0].format(split=split_folder))

    def _find_in(self, folder: Path) -> Found:
        matches, others = [], []
        for path in walk(folder, self.depth):
            match = self.regex.fullmatch(path.relative_to(folder).as_posix())
            if match and (not self.images_only or is_image_file(path)):
                groups = match.groupdict()
                key = groups.get("key") or "_".join(groups[name] for name in sorted(groups) if name.startswith("key"))
                matches.append(Match(key, groups.get("id") or key, path))
            else:
                others.append(path)
        return Found(folder, tuple(matches), tuple(others))


@dataclass(frozen=True)
class Match:
    """A file that fits a rule: the key that pairs it, the frame id it would give, its path."""

    key: str
    id: str
    path: Path


@dataclass(frozen=True)
class Found:
    """What a rule found in a folder: the files that fit, and those that do not."""

    folder: Path
    matches: tuple[Match, ...] = ()
    others: tuple[Path, ...] = ()


def walk(folder: Path, depth: int) -> Iterator[Path]:
    """All files of a folder down to ``depth`` folders below it, sorted; hidden ones and archive litter left out.

    Raises:
        DataError: A folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror or error}") from error
    for entry in listed:
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        if entry.is_dir():
            if depth > 0:
                yield from walk(Path(entry.path), depth - 1)
        else:
            yield Path(entry.path)
