"""How a data set lies on disk: rules for its images and labels, and how the two are paired."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from anomseg.data.decoding import decode_label
from anomseg.data.file_rules import IMAGE_NAME, FileRule, Found, Match
from anomseg.errors import DataError
from anomseg.types import UInt8Array

CLASSES = "classes"
"""Name of the map beside the label that holds a frame's classes."""


@dataclass(frozen=True)
class Record:
    """The files of one frame; ``maps`` are those beside its label, by name."""

    id: str
    image: Path
    label: Path | None = None
    overlay: Path | None = None
    maps: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """One way in which a data set lies on disk.

    Attributes:
        name: What to call it (``official``, ``repackaged``).
        images: Where images are.
        labels: Where labels are; None where there are none.
        overlays: Signed overlays that are added to the images, paired with labels by id.
        maps: ``(name, rule)`` of further maps that frames have beside their labels, paired with images by key.
        anchor: ``images``: every image is a frame, with or without label. ``labels``: every label is one, its image
            being found by key in a larger tree.
        splits: Names of the splits it can tell apart; empty for all of the data set's.
        select: Whether frames belong to a split by their names (`Split.keys`); else by folders, or all to one.
        subroots: Folders below the given root in which the layout may begin.
        ignored: Regular expression for file names that belong to the layout but are not read.
        optional_labels: Whether it fits without a single label.
        manifest: A JSON list of its images' names, beside or above the image folder, where it has one.
        decode: Reads a label file as ``(H, W)`` uint8, of the values that the table lists.
    """

    name: str
    images: FileRule
    labels: FileRule | None = None
    overlays: FileRule | None = None
    maps: tuple[tuple[str, FileRule], ...] = ()
    anchor: Literal["images", "labels"] = "images"
    splits: tuple[str, ...] = ()
    select: bool = False
    subroots: tuple[str, ...] = ("",)
    ignored: str = ""
    optional_labels: bool = False
    manifest: str = ""
    decode: Callable[[Path], UInt8Array] = decode_label

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
            maps = {name: _by("key", rule.find(root, split_folder).matches, name) for name, rule in self.maps}
            records = [
                Record(
                    m.id,
                    m.path,
                    _path(label_of.get(key)),
                    maps={n: of[key].path for n, of in maps.items() if key in of},
                )
                for key, m in image_of.items()
            ]
            lone = [match.path for key, match in label_of.items() if key not in image_of]
            used = set(image_of)
        lone += [match.path for key, match in overlay_of.items() if key not in used]
        # A tree that images are only looked up in holds much else, which is no concern of ours.
        seen = (labels, overlays) if self.anchor == "labels" else (images, labels)
        return Scan(tuple(records), tuple(lone), self._strangers(seen), images.folder, labels.folder, root)

    def _strangers(self, found: Sequence[Found]) -> tuple[Path, ...]:
        ignored = re.compile(self.ignored or r"(?!)")
        known = {match.path for part in found for match in part.matches}
        others = {path for part in found for path in part.others}
        return tuple(sorted(path for path in others - known if not ignored.fullmatch(path.name)))


@dataclass(frozen=True)
class Scan:
    """What a layout found: the frames, labels (or overlays) without an image, files that fit no rule, and where."""

    records: tuple[Record, ...] = ()
    lone: tuple[Path, ...] = ()
    strangers: tuple[Path, ...] = ()
    image_folder: Path = field(default_factory=Path)
    label_folder: Path = field(default_factory=Path)
    base: Path = field(default_factory=Path)

    @property
    def labelled(self) -> bool:
        """Whether any frame has a label."""
        return any(record.label for record in self.records)


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
        FileRule(("labels_masks",), r"(?P<key>[^/]+)\.(?i:png)", "labels_masks/*.png"),
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
