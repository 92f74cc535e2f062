"""Finding a data set below a folder: which of its layouts lies there, and the files of one split."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from anomseg.data.dataset import DatasetSpec, Split
from anomseg.data.labels import ValueTable
from anomseg.data.layout import Layout, Record, Scan, natural_key
from anomseg.errors import DataError


@dataclass(frozen=True)
class Located:
    """A data set found on disk: which layout it has, and the files of one split."""

    spec: DatasetSpec
    root: Path
    layout: Layout
    split: Split
    scan: Scan
    records: tuple[Record, ...]

    def table(self, label_values: str | ValueTable | None = None) -> ValueTable:
        """The value table in force: the user's, else what the data set's own files say, else the declared one.

        Raises:
            ConfigError: The user's table cannot be read.
            DataError: The data set's own files cannot be read.
        """
        if label_values is None and self.spec.table_from is not None and self.scan.labelled:
            return self.spec.table_from(self.scan.image_folder)
        return self.spec.table_for(self.layout, label_values)

    @property
    def region(self) -> Path | None:
        """The mask of the region that counts; None where everything does.

        Raises:
            DataError: It belongs to the data set and is not there.
        """
        if not self.spec.roi:
            return None
        for folder in (self.scan.base, self.root):
            if (folder / self.spec.roi).is_file():
                return folder / self.spec.roi
        raise DataError(f"{self.root} lacks {self.spec.roi}, the region that counts; put it there")


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
        DataError: The folder is missing or empty, no layout fits, several versions lie there and none is named, or the
            split is unknown or not told apart there.
        ConfigError: The layout is unknown.
    """
    part = spec.split(split)
    folder = checked_root(spec, root)
    scans = [
        (lay, lay.scan(folder, part.folder or part.name)) for lay in ([spec.layout(layout)] if layout else spec.layouts)
    ]
    versions = _versions(spec, scans)
    if len(versions) > 1:
        raise DataError(
            f"{folder} holds {', '.join(versions)} of {spec.name}, whose figures differ; name one by --layout"
        )
    # Labels tell layouts apart; images alone will do where labels are not to be had, or not part of the layout.
    fits = next((pair for pair in scans if pair[1].labelled), None)
    fits = fits or next((pair for pair in scans if pair[1].records and _may_lack_labels(*pair, part)), None)
    if fits is None:
        raise DataError(_nothing_fits(spec, folder, part, scans))
    if spec.check is not None:
        spec.check(folder)
    found, scan = fits
    if found.splits and part.name not in found.splits:
        offered = ", ".join(found.splits)
        raise DataError(
            f"{folder} has the {found.name} layout of {spec.name}, which holds no split {part.name!r}, only: {offered}"
        )
    records = [r for r in _kept(spec, folder, part, scan) if not found.select or re.fullmatch(part.keys, r.id)]
    if not records:
        raise DataError(f"{folder} holds no frames of split {part.name!r} of {spec.name}; choose another --split")
    return Located(spec, folder, found, part, scan, tuple(sorted(records, key=lambda record: natural_key(record.id))))


def _kept(spec: DatasetSpec, folder: Path, part: Split, scan: Scan) -> list[Record]:
    """The frames of a folder less those left out by their place, without the labels that are dummies."""
    records = sorted(scan.records, key=lambda record: record.id)
    if part.without:
        if len(records) != part.out_of:
            raise DataError(
                f"split {part.name} of {spec.name} leaves out frames by their place among {part.out_of}, but {folder} "
                f"holds {len(records)} there; complete it, or choose another --split"
            )
        records = [record for place, record in enumerate(records) if place not in part.without]
    return [replace(record, label=None) for record in records] if part.dummy else records


def _versions(spec: DatasetSpec, scans: Sequence[tuple[Layout, Scan]]) -> list[str]:
    """Layouts found that are versions of the data set, each with an archive of its own."""
    named = {archive.layout for archive in spec.archives}
    return [layout.name for layout, scan in scans if scan.labelled and layout.name in named]


def _may_lack_labels(layout: Layout, scan: Scan, split: Split) -> bool:
    return split.hidden or layout.labels is None or (layout.optional_labels and not scan.lone)


def checked_root(spec: DatasetSpec, root: str | Path | None) -> Path:
    """The folder of a data set, if there is one with something in it.

    Raises:
        DataError: There is none, or it is empty.
    """
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
