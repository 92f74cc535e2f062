"""How a data set lies on disk, told by rules: where images and labels are, and what pairs them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

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


@dataclass(frozen=True)
class Record:
    """The files of one frame."""

    id: str
    image: Path
    label: Path | None = None
    overlay: Path | None = None


@dataclass(frozen=True)
class Layout:
    """One way in which a data set lies on disk.

    Attributes:
        name: What to call it (``official``, ``repackaged``).
        images: Where images are.
        labels: Where labels are; None where there are none.
        overlays: Signed overlays that are added to the images, paired with labels by id.
        anchor: ``images``: every image is a frame, with or without label. ``labels``: every label is one, its image
            being found by key in a larger tree.
        splits: Names of the splits it can tell apart; empty for all of the data set's.
        select: Whether frames belong to a split by their names (`Split.keys`); else by folders, or all to one.
        subroots: Folders below the given root in which the layout may begin.
        ignored: Regular expression for file names that belong to the layout but are not read.
        optional_labels: Whether it fits without a single label.
        manifest: A JSON list of its images' names, beside or above the image folder, where it has one.
    """

    name: str
    images: FileRule
    labels: FileRule | None = None
    overlays: FileRule | None = None
    anchor: Literal["images", "labels"] = "images"
    splits: tuple[str, ...] = ()
    select: bool = False
    subroots: tuple[str, ...] = ("",)
    ignored: str = ""
    optional_labels: bool = False
    manifest: str = ""

    @property
    def shown(self) -> str:
        """What it looks for, in one phrase."""
        rules = [rule.shown for rule in (self.images, self.labels, self.overlays) if rule is not None]
        return f"{self.name}: {' with '.join(rules)}"

    def scan(self, root: Path, split_folder: str) -> Scan:
        """Find and pair the files below the first of the subroots that holds any.

        Raises:
            DataError: Two files claim one id, or a folder cannot be listed.
        """
        scan = Scan()
        for subroot in self.subroots:
            scan = self._scan(root / subroot, split_folder)
            if scan.records:
                break
        return scan

    def _scan(self, root: Path, split_folder: str) -> Scan:
        nothing = Found(root)
        images = self.images.find(root, split_folder)
        labels = self.labels.find(root, split_folder) if self.labels else nothing
        overlays = self.overlays.find(root, split_folder) if self.overlays else nothing
        overlay_of = _by("id", overlays.matches, "overlays")
        if self.anchor == "labels":
            image_of = _by("key", images.matches, "images")
            ids = _by("id", labels.matches, "labels")
            pairs = [(match, image_of.get(match.key)) for match in ids.values()]
            records = [Record(m.id, im.path, m.path, _path(overlay_of.get(m.id))) for m, im in pairs if im]
            lone = [match.path for match, image in pairs if image is None]
            used = {label.id for label in labels.matches}
        else:
            label_of = _by("key", labels.matches, "labels")
            image_of = _by("key", images.matches, "images")
            records = [Record(m.id, m.path, _path(label_of.get(key))) for key, m in image_of.items()]
            lone = [match.path for key, match in label_of.items() if key not in image_of]
            used = set(image_of)
        lone += [match.path for key, match in overlay_of.items() if key not in used]
        # A tree that images are only looked up in holds much else, which is no concern of ours.
        seen = (labels, overlays) if self.anchor == "labels" else (images, labels)
        return Scan(tuple(records), tuple(lone), self._strangers(seen), images.folder, labels.folder)

    def _strangers(self, found: Sequence[Found]) -> tuple[Path, ...]:
        ignored = re.compile(self.ignored or r"(?!)")
        known = {match.path for part in found for match in part.matches}
        others = {path for part in found for path in part.others}
        return tuple(sorted(path for path in others - known if not ignored.fullmatch(path.name)))


@dataclass(frozen=True)
class Scan:
    """What a layout found: the frames, labels (or overlays) without an image, and files that fit no rule."""

    records: tuple[Record, ...] = ()
    lone: tuple[Path, ...] = ()
    strangers: tuple[Path, ...] = ()
    image_folder: Path = field(default_factory=Path)
    label_folder: Path = field(default_factory=Path)

    @property
    def labelled(self) -> bool:
        """Whether any frame has a label."""
        return any(record.label for record in self.records)


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


def natural_key(text: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sorting key by which 2 comes before 10.

    Example:
        >>> sorted(["10", "2", "a10", "a9"], key=natural_key)
        ['2', '10', 'a9', 'a10']
    """
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    return tuple((0, int(part), "") if part[0].isdigit() else (1, 0, part) for part in parts), text


def repackaged(default_split: str) -> Layout:
    """The layout in which several anomaly sets are passed on: ``images/<i>.<any type>``, ``labels_masks/<i>.png``."""
    return Layout(
        "repackaged",
        FileRule(("images",), IMAGE_NAME, "images/*", images_only=True),
        FileRule(("labels_masks",), r"(?P<key>[^/]+)\.png", "labels_masks/*.png"),
        splits=(default_split,),
    )


def _by(name: str, matches: Sequence[Match], what: str) -> dict[str, Match]:
    table: dict[str, Match] = {}
    for match in matches:
        other = table.setdefault(getattr(match, name), match)
        if other is not match:
            raise DataError(f"two {what} stand for {getattr(match, name)!r}: {other.path} and {match.path}; remove one")
    return table


def _path(match: Match | None) -> Path | None:
    return match.path if match else None
