"""Checking a data set on disk: what is missing, extra, unreadable, of a wrong size or of a wrong value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from anomseg.data.dataset import DatasetSpec
from anomseg.data.decoding import decode_label
from anomseg.data.frames import shows
from anomseg.data.labels import ValueTable
from anomseg.data.layout import Record, Scan
from anomseg.data.loaders import ImageLoader, OverlayLoader
from anomseg.data.locate import Located, checked_root, locate
from anomseg.data.specs import dataset_spec
from anomseg.data.verify_collection import verify_collection
from anomseg.data.verify_report import Problem, SplitCount, VerifyReport
from anomseg.errors import DataError, FrameError
from anomseg.files import read_json
from anomseg.types import UInt8Array


def verify(
    name: str | DatasetSpec,
    root: str | Path | None,
    split: str | None = None,
    layout: str | None = None,
    *,
    label_values: str | ValueTable | None = None,
) -> VerifyReport:
    """Read every file of a data set and say what is wrong with it.

    Args:
        name: A registered name or a declaration.
        root: The folder that holds the data set.
        split: Only this part; all that the layout offers when None.
        layout: How it lies on disk; found out when None.
        label_values: What stored label values mean, instead of the data set's own table.

    Returns:
        The report; problems of single files do not raise.

    Raises:
        DataError: Nothing of the data set is there at all, or two files claim one id.
        ConfigError: An unknown name, layout or label table.
    """
    spec = dataset_spec(name) if isinstance(name, str) else name
    if spec.collect is not None:
        return verify_collection(spec, spec.collect, checked_root(spec, root), split, layout)
    located, absent, problems = _locate_splits(spec, root, split, layout)
    counts = []
    for part in located:
        table = part.table(label_values)
        records = [record for record in part.records if _belongs(record, part, table)]
        labelled = sum(record.label is not None for record in records)
        expected = part.split.expected
        counts.append(SplitCount(part.split.name, len(records), labelled, expected))
        if expected is not None and len(records) != expected:
            problems.append(Problem("count", f"{part.split.name}: {len(records)} frames instead of {expected}"))
        for record in records:
            problems += _check_record(record, part, table)
        problems += _check_scan(part.scan, part) + _check_manifest(part) + _check_region(part)
    first = located[0]
    return VerifyReport(
        spec.name, first.root, first.layout.name, tuple(counts), tuple(dict.fromkeys(problems)), tuple(absent)
    )


def _locate_splits(
    spec: DatasetSpec, root: str | Path | None, split: str | None, layout: str | None
) -> tuple[list[Located], list[str], list[Problem]]:
    if split is not None:
        return [locate(spec, root, split, layout)], [], []
    located: list[Located] = []
    failures: list[tuple[str, bool, DataError]] = []
    # Splits whose labels are public come first: only labels tell the layout for certain.
    for part in sorted(spec.splits, key=lambda part: part.hidden):
        try:
            found = locate(spec, root, part.name, layout or (located[0].layout.name if located else None))
        except DataError as error:
            failures.append((part.name, part.hidden, error))
        else:
            located.append(found)
    if not located:
        raise failures[0][2]
    absent = [name for name, hidden, _ in failures if hidden]
    problems = [Problem("missing", f"split {name}: {error}") for name, hidden, error in failures if not hidden]
    return located, absent, problems


def _belongs(record: Record, located: Located, table: ValueTable) -> bool:
    """Whether a frame is of this split by what it shows; one that cannot be read is looked at where others are."""
    wanted = located.split.shows
    if wanted is None:
        return True
    try:
        return shows(record, table, located.spec.anomalous(), located.layout.decode) == wanted
    except FrameError:
        return not wanted


def _check_record(record: Record, located: Located, table: ValueTable) -> list[Problem]:
    problems = []
    loader = OverlayLoader(record.image, record.overlay) if located.layout.overlays else ImageLoader(record.image)
    shape: tuple[int, ...] | None = None
    if located.layout.overlays and record.overlay is None:
        problems.append(Problem("missing", f"overlay of {record.id}: {record.label} has no *_rgb.npz beside it"))
    else:
        try:
            shape = loader().shape[:2]
        except FrameError as error:
            problems.append(Problem("unreadable", str(error)))
    for name, meanings in located.spec.map_tables:
        if name in record.maps:
            problems += _check_map(record.maps[name], record.image, shape, meanings)
        elif name in dict(located.layout.maps):
            problems.append(Problem("missing", f"{name} map of {record.image}"))
    if record.label is not None:
        problems += _check_map(record.label, record.image, shape, table, located.layout.decode)
    elif located.layout.labels and not (located.split.hidden or located.layout.optional_labels):
        problems.append(Problem("missing", f"label of {record.image}"))
    return problems


def _check_map(
    path: Path,
    image: Path,
    shape: tuple[int, ...] | None,
    table: ValueTable,
    decode: Callable[[Path], UInt8Array] = decode_label,
) -> list[Problem]:
    """What is wrong with a label or another map; ``shape`` is the image's, None where it cannot be read."""
    try:
        stored = decode(path)
    except FrameError as error:
        return [Problem("unreadable", str(error))]
    problems = []
    if shape is not None and stored.shape != shape:
        sizes = f"{stored.shape[1]}x{stored.shape[0]}, image {image} is {shape[1]}x{shape[0]}"
        problems.append(Problem("size", f"label {path} is {sizes}"))
    try:
        table.apply(stored, str(path))
    except FrameError as error:
        problems.append(Problem("value", str(error)))
    return problems


def _check_scan(scan: Scan, located: Located) -> list[Problem]:
    found = []
    for path in scan.lone:
        if located.layout.anchor == "labels" and path.suffix.lower() != ".npz":
            found.append(Problem("missing", f"image that {path} belongs to"))
        else:
            found.append(Problem("extra", str(path)))
    return found + [Problem("extra", str(path)) for path in scan.strangers]


def _check_region(located: Located) -> list[Problem]:
    try:
        located.region  # noqa: B018 - whether it is there
    except DataError as error:
        return [Problem("missing", str(error))]
    return []


def _check_manifest(located: Located) -> list[Problem]:
    return [Problem("missing", f"image {name}, listed in {located.layout.manifest}") for name in _unlisted(located)]


def _unlisted(located: Located) -> Iterator[str]:
    """Names in the layout's own list of frames that are not here."""
    if not located.layout.manifest:
        return
    here = {record.image.name for record in located.records} | {record.id for record in located.records}
    for folder in (located.scan.image_folder, located.scan.image_folder.parent):
        path = folder / located.layout.manifest
        if path.is_file():
            names = read_json(path)
            if isinstance(names, list):
                yield from (str(name) for name in names if Path(str(name)).name not in here)
            return
