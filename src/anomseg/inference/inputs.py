"""From what a user points at (files, folders, globs, lists of paths) to named images in a stable order."""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from anomseg.data.decoding import IMAGE_SUFFIXES
from anomseg.errors import DataError

RESULT_PICTURES = frozenset({"overlay.png", "mask.png", "segmentation.png"})
_GLOB_MARKS = re.compile(r"[*?\[]")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\]")


@dataclass(frozen=True)
class ImageFile:
    """One image on disk.

    Attributes:
        name: Unique in its list, without folder or suffix; it names output files and seeds random detectors.
        path: Where the image lies.
    """

    name: str
    path: Path


def expand_inputs(
    inputs: Iterable[str | os.PathLike[str]], *, exclude: str | os.PathLike[str] | None = None
) -> list[ImageFile]:
    """Turn files, folders, globs and lists of paths into images with unique names.

    A folder stands for all images in it and in its subfolders, hidden ones left out, in natural order (``2``
    before ``10``). ``@list.txt`` (or a ``.txt`` file) holds one path, folder or glob a line, relative to the
    list's own folder; blank lines and lines that start with ``#`` are skipped. An image reached twice is taken once.

    Args:
        inputs: What the user named.
        exclude: A folder whose content is left out of folders and globs above it, such as that of the results.

    Returns:
        The images, in the order named.

    Raises:
        DataError: Something named does not exist, or nothing was found.
    """
    excluded = _real(Path(exclude)) if exclude is not None else None
    found: dict[Path, Path] = {}
    named = [os.fspath(item) for item in inputs]
    for text in named:
        for path in _expand(text, excluded):
            found.setdefault(_real(path), path)
    if not found:
        raise DataError(f"no images in {', '.join(named) or 'an empty list'}; name files, folders, globs or @list.txt")
    paths = list(found.values())
    return [ImageFile(name, path) for name, path in zip(unique_names(paths), paths, strict=True)]


def stands_for_many(text: str) -> bool:
    """Whether a path names a folder, a glob or a list rather than one file."""
    path = Path(text)
    if path.exists():
        return path.is_dir() or path.suffix.lower() == ".txt"
    return text.startswith("@") or bool(_GLOB_MARKS.search(text))


def _expand(text: str, excluded: Path | None, *, inside_list: Path | None = None) -> list[Path]:
    if not text.strip():
        raise DataError("an input is empty; name files, folders, globs or @list.txt ('.' is this folder)")
    path = Path(text) if inside_list is None else inside_list.parent / text
    where = f" (named in {inside_list})" if inside_list else ""
    if path.is_dir():
        images = _images_below(path)
        images = [image for image in images if not _is_below(image, excluded, named=path)]
        if not images:
            raise DataError(f"{path} holds no images{where}; known types: {', '.join(sorted(IMAGE_SUFFIXES))}")
        return images
    if path.is_file() and (path.suffix.lower() != ".txt" or inside_list is not None):
        return [path]
    if inside_list is None and (path.is_file() or (text.startswith("@") and Path(text[1:]).is_file())):
        return _expand_list(path if path.is_file() else Path(text[1:]), excluded)
    if _GLOB_MARKS.search(text):
        matches = [Path(match) for match in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - absolute ones too
        images = [match for match in matches if match.is_file() and is_image_name(match)]
        images = [image for image in images if not _is_below(image, excluded, named=_fixed_part(path))]
        images = [image for image in images if not _is_result(image)]
        if not images:
            raise DataError(f"no image matches {text}{where}")
        return sorted(images, key=natural_key)
    if inside_list is not None:
        return [path]  # skipped and named when it is read, as any other bad file of many
    raise DataError(f"{text[1:] if text.startswith('@') else path} does not exist{where}")


def _expand_list(listing: Path, excluded: Path | None) -> list[Path]:
    try:
        lines = [line.strip() for line in listing.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{listing} cannot be read as a list of paths: {error}; write one path a line") from error
    entries = [line for line in lines if line and not line.startswith("#")]
    return [path for line in entries for path in _expand(line, excluded, inside_list=listing)]


def _images_below(folder: Path) -> list[Path]:
    images = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        images += [
            Path(parent) / name
            for name in names
            if not name.startswith(".") and is_image_name(Path(name)) and not _is_result(Path(parent, name))
        ]
    return sorted(images, key=natural_key)


def _is_result(path: Path) -> bool:
    # Pictures of an earlier run, known by the sidecar beside them, are no inputs of the next.
    stem, _, kind = path.name.rpartition("_")
    return kind in RESULT_PICTURES and path.with_name(f"{stem}.json").exists()


def _is_below(path: Path, folder: Path | None, *, named: Path) -> bool:
    # Results that go into the very folder that was named, or above it, must not hide that folder's images.
    if folder is None or _real(named).is_relative_to(folder):
        return False
    return _real(path).is_relative_to(folder)


def _fixed_part(pattern: Path) -> Path:
    fixed = itertools.takewhile(lambda part: not _GLOB_MARKS.search(part), pattern.parts)
    return Path(*fixed)


def _real(path: Path) -> Path:
    # Path.resolve raises on a link that leads to itself; such a file is to be skipped and named, not to end the run.
    return Path(os.path.realpath(path))


def is_image_name(path: Path) -> bool:
    """Whether a file's suffix is that of an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def natural_key(path: Path) -> list[tuple[tuple[int, int, str], ...]]:
    """Sort key that puts ``frame2`` before ``frame10``, folder by folder."""
    return [
        tuple(
            (0, int(run), "") if run.isdecimal() else (1, 0, run) for run in re.split(r"(\d+)", part.casefold()) if run
        )
        for part in path.parts
    ]


def stem_of(path: Path) -> str:
    """File name without an image suffix; other dots are part of the name.

    Example:
        >>> stem_of(Path("scene/snowstorm1_00_16_02.578.webp")), stem_of(Path("snowstorm1_00_16_02.578"))
        ('snowstorm1_00_16_02.578', 'snowstorm1_00_16_02.578')
    """
    return path.name[: -len(path.suffix)] if is_image_name(path) else path.name


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Name images so that no two outputs meet, even where the file system ignores case.

    A stem that occurs once is the name. Equal stems take the folders below their common parent, joined by
    ``__``; what is still equal is numbered from ``-2``.

    Example:
        >>> unique_names([Path("a/1.png"), Path("b/1.png"), Path("b/2.png"), Path("b/2.jpg")])
        ['a__1', 'b__1', '2', '2-2']
    """
    stems = [safe_name(stem_of(path)) for path in paths]
    rivals: dict[str, list[str]] = {}
    for path, stem in zip(paths, stems, strict=True):
        rivals.setdefault(stem.casefold(), []).append(os.path.abspath(path.parent))  # noqa: PTH100 - links kept
    common = {stem: _common_parent(folders) for stem, folders in rivals.items() if len(folders) > 1}
    names = []
    for path, stem in zip(paths, stems, strict=True):
        parts: list[str] = []
        if stem.casefold() in common:
            below = os.path.relpath(os.path.abspath(path.parent), common[stem.casefold()])  # noqa: PTH100
            parts = [part for part in Path(below).parts if part != "."]
        names.append("__".join([*parts, stem]))
    return number_duplicates(names)


def _common_parent(folders: Sequence[str]) -> str:
    # Folders on several drives have no common parent; relative to their own drive they still differ in name.
    same_drive = len({Path(folder).anchor for folder in folders}) == 1
    return os.path.commonpath(folders) if same_drive else Path(folders[0]).anchor


def number_duplicates(names: Sequence[str]) -> list[str]:
    """Append ``-2``, ``-3`` ... to names that were taken before, case ignored."""
    taken = {name.casefold() for name in names}
    seen: set[str] = set()
    result = []
    for name in names:
        fresh, number = name, 2
        while fresh.casefold() in seen or (fresh != name and fresh.casefold() in taken):
            fresh, number = f"{name}-{number}", number + 1
        seen.add(fresh.casefold())
        result.append(fresh)
    return result


def safe_name(text: str) -> str:
    """A text made fit to name a file in a folder of results: no separators, no control characters, not hidden.

    Example:
        >>> safe_name("berlin/000001"), safe_name("../x")
        ('berlin_000001', '_._x')
    """
    name = _UNSAFE.sub("_", text)[:180]
    return "_" + name[1:] if name.startswith(".") else name or "image"
