"""Data sets as declarations, and the one function that turns a folder into frames."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from anomseg.data.label_space import LabelSpace
from anomseg.data.labels import ValueTable, parse_value_table
from anomseg.data.layout import Layout, Record, Scan, natural_key
from anomseg.data.loaders import HeldOutLoader, ImageLoader, MapLoader, OverlayLoader
from anomseg.errors import ConfigError, DataError, unknown_name
from anomseg.files import sha256_of_file
from anomseg.types import Frame, UInt8Array

HeldOutImages = Literal["keep", "drop", "void"]


@dataclass(frozen=True)
class Split:
    """A part of a data set.

    Attributes:
        name: What users call it.
        expected: How many frames it has when complete; None where that is not known.
        hidden: Its ground truth is not published: frames come without label.
        keys: Regular expression for the names of its frames, in layouts that mix splits in one folder.
        folder: Its folder's name, in layouts with one a split; the split's own name when empty.
    """

    name: str
    expected: int | None = None
    hidden: bool = False
    keys: str = ".*"
    folder: str = ""


@dataclass(frozen=True)
class DatasetSpec:
    """Everything there is to know about a data set before its files are seen.

    Attributes:
        name: Registry name.
        title: Full name.
        splits: Its parts.
        default_split: The part that is read when none is named.
        layouts: Ways in which it lies on disk, tried in order.
        table: What stored values mean; a layout's own table, by layout name in ``tables``, goes before it.
        kind: ``anomaly`` where labels say what is anomalous, ``classes`` where they hold class numbers.
        label_space: The classes, of a set of kind ``classes``.
        tables: ``(layout, table)`` where a layout stores other values.
        group: Regular expression whose first group, matched on a frame's id, is its scene or sequence.
        licence: Terms, in words.
        citation: The paper.
        homepage: Where to get it.
        notes: Traps worth printing.
    """

    name: str
    title: str
    splits: tuple[Split, ...]
    default_split: str
    layouts: tuple[Layout, ...]
    table: ValueTable
    kind: Literal["anomaly", "classes"] = "anomaly"
    label_space: LabelSpace | None = None
    tables: tuple[tuple[str, ValueTable], ...] = ()
    group: str = ""
    licence: str = ""
    citation: str = ""
    homepage: str = ""
    notes: str = ""

    def split(self, name: str | None) -> Split:
        """The split of that name, or the default one.

        Raises:
            DataError: There is none of that name; those there are are listed.
        """
        wanted = name or self.default_split
        for split in self.splits:
            if split.name == wanted:
                return split
        known = ", ".join(split.name for split in self.splits)
        raise DataError(f"{self.name} has no split {wanted!r}; its splits are: {known}")

    def layout(self, name: str) -> Layout:
        """The layout of that name.

        Raises:
            ConfigError: There is none of that name.
        """
        for layout in self.layouts:
            if layout.name == name:
                return layout
        raise unknown_name(f"layout of {self.name}", name, [layout.name for layout in self.layouts])

    def table_for(self, layout: Layout, label_values: str | ValueTable | None = None) -> ValueTable:
        """The value table in force: the user's, else the layout's, else the data set's.

        Raises:
            ConfigError: The user's table cannot be read, or the labels are class numbers.
        """
        if label_values is None:
            return dict(self.tables).get(layout.name, self.table)
        if self.kind == "classes":
            raise ConfigError(f"label values do not apply to {self.name}: its labels hold class numbers")
        return parse_value_table(label_values) if isinstance(label_values, str) else label_values

    def group_of(self, frame_id: str) -> str:
        """Scene or sequence of a frame, by its id; empty where the name does not tell."""
        match = re.fullmatch(self.group, frame_id) if self.group else None
        return match.group(1) if match else ""


@dataclass(frozen=True)
class Located:
    """A data set found on disk: which layout it has, and the files of one split."""

    spec: DatasetSpec
    root: Path
    layout: Layout
    split: Split
    scan: Scan
    records: tuple[Record, ...]


def locate(spec: DatasetSpec, root: str | Path | None, split: str | None = None, layout: str | None = None) -> Located:
    """Find a data set below ``root``.

    Args:
        spec: Which one.
        root: The folder that holds it.
        split: Which part; the default one when None.
        layout: How it lies there; found out when None.

    Returns:
        Its files, sorted by id (2 before 10).

    Raises:
        DataError: The folder is missing or empty, no layout fits, or the split is unknown or not told apart there.
        ConfigError: The layout is unknown.
    """
    part = spec.split(split)
    folder = _checked_root(spec, root)
    scans = [
        (lay, lay.scan(folder, part.folder or part.name)) for lay in ([spec.layout(layout)] if layout else spec.layouts)
    ]
    # Labels tell layouts apart; images alone will do where labels are not to be had, or not part of the layout.
    fits = next((pair for pair in scans if pair[1].labelled), None)
    fits = fits or next((pair for pair in scans if pair[1].records and _may_lack_labels(*pair, part)), None)
    if fits is None:
        raise DataError(_nothing_fits(spec, folder, part, scans))
    found, scan = fits
    if found.splits and part.name not in found.splits:
        offered = ", ".join(found.splits)
        raise DataError(
            f"{folder} has the {found.name} layout of {spec.name}, which holds no split {part.name!r}, only: {offered}"
        )
    records = [r for r in scan.records if not found.select or re.fullmatch(part.keys, r.id)]
    if not records:
        raise DataError(f"{folder} holds no frames of split {part.name!r} of {spec.name}; choose another --split")
    return Located(spec, folder, found, part, scan, tuple(sorted(records, key=lambda record: natural_key(record.id))))


def _may_lack_labels(layout: Layout, scan: Scan, split: Split) -> bool:
    return split.hidden or layout.labels is None or (layout.optional_labels and not scan.lone)


def _checked_root(spec: DatasetSpec, root: str | Path | None) -> Path:
    if root is None:
        where = f" (get it from {spec.homepage})" if spec.homepage else ""
        raise DataError(f"{spec.name} needs the folder it lies in: give --root DIR{where}")
    folder = Path(root).expanduser()
    if not folder.is_dir():
        fault = "is a file, not a folder" if folder.exists() else "does not exist"
        raise DataError(f"{folder} {fault}; give the folder that holds {spec.name}")
    if next(folder.iterdir(), None) is None:
        raise DataError(f"{folder} is empty; give the folder that holds {spec.name}")
    return folder


def _nothing_fits(spec: DatasetSpec, root: Path, split: Split, scans: Sequence[tuple[Layout, Scan]]) -> str:
    looked = "; ".join(lay.shown.replace("{split}", split.folder or split.name) for lay, _ in scans)
    images = next((len(scan.records) for _, scan in scans if scan.records), 0)
    labels = next((len(scan.lone) for _, scan in scans if scan.lone), 0)
    if images:
        return f"{root} holds {images} images of {spec.name} but no labels that pair with them; looked for {looked}"
    if labels:
        return f"{root} holds {labels} labels of {spec.name} but not the images they belong to; looked for {looked}"
    return f"{root} holds no {spec.name} (split {split.name}); looked for {looked}"


def load_spec(
    spec: DatasetSpec,
    root: str | Path | None = None,
    split: str | None = None,
    layout: str | None = None,
    *,
    held_out: Sequence[str] = (),
    held_out_images: HeldOutImages = "keep",
    label_values: str | ValueTable | None = None,
    limit: int | None = None,
) -> list[Frame]:
    """The frames of a data set that is given by its declaration; see `load_frames` for the arguments."""
    if limit is not None and limit < 1:
        raise ConfigError(f"a limit of {limit} frames leaves nothing; give 1 or more")
    located = locate(spec, root, split, layout)
    table = spec.table_for(located.layout, label_values)
    anomalous = _held_out_indices(spec, held_out)
    if held_out_images not in ("keep", "drop", "void"):
        raise unknown_name("value of held_out_images", held_out_images, ("keep", "drop", "void"))
    make = _FrameMaker(spec, located, table, anomalous, held_out_images)
    frames: list[Frame] = []
    for record in located.records:
        frame = make(record)
        if held_out_images == "drop" and anomalous and _shows(frame.label):
            continue
        frames.append(frame)
        if limit is not None and len(frames) >= limit:
            break
    if not frames:
        raise DataError(f"every frame of {spec.name} shows {', '.join(held_out)}; nothing is left after dropping them")
    return frames


@dataclass(frozen=True)
class _FrameMaker:
    spec: DatasetSpec
    located: Located
    table: ValueTable
    anomalous: tuple[int, ...]
    held_out_images: HeldOutImages

    def __call__(self, record: Record) -> Frame:
        layout = self.located.layout
        image = OverlayLoader(record.image, record.overlay) if layout.overlays else ImageLoader(record.image)
        maps = MapLoader(record.label, record.image, self.table) if record.label else None
        classes: Callable[[], UInt8Array] | None = maps if self.spec.kind == "classes" else None
        label: Callable[[], UInt8Array] | None = maps if self.spec.kind == "anomaly" else None
        if maps and self.anomalous:
            label = HeldOutLoader(maps, self.anomalous)
            if self.held_out_images == "void":
                classes = replace(maps, void=self.anomalous)
        meta: dict[str, Any] = {
            "path": str(record.image),
            "dataset": self.spec.name,
            "split": self.located.split.name,
            "layout": layout.name,
        }
        if record.label:
            meta["label_path"] = str(record.label)
        if record.overlay:
            meta["overlay_path"] = str(record.overlay)
        return Frame(record.id, image, classes, label, self.spec.group_of(record.id), meta)


def _held_out_indices(spec: DatasetSpec, names: Sequence[str]) -> tuple[int, ...]:
    if not names:
        return ()
    if spec.label_space is None:
        raise ConfigError(f"held-out classes need a data set with class labels; {spec.name} has anomaly labels")
    if isinstance(names, str):
        names = [name.strip() for name in names.split(",")]
    return tuple(spec.label_space.index(name) for name in names)


def _shows(label: UInt8Array | None) -> bool:
    return label is not None and bool(np.any(label == 1))


def frame_fingerprint(frame: Frame) -> str:
    """Identity of a frame's image, by which overlaps between data sets are found.

    Args:
        frame: Any frame.

    Returns:
        The first 16 hexadecimal digits of the SHA-256 of the image file's bytes (and of the overlay's, where one
        is added), or of shape and pixels where there is no file.
    """
    files = [Path(frame.meta[key]) for key in ("path", "overlay_path") if frame.meta.get(key)]
    if files and all(path.is_file() for path in files):
        digests = [sha256_of_file(path) for path in files]
        return (digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest())[:16]
    pixels = np.ascontiguousarray(frame.image())
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:16]
