"""Negatives from any folder of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from anomseg.data.decoding import is_image_file
from anomseg.data.file_rules import walk
from anomseg.data.loaders import ImageLoader
from anomseg.data.negatives.categories import is_excluded
from anomseg.data.negatives.negative import Negative
from anomseg.data.negatives.sources import checked_folder
from anomseg.errors import DataError


@dataclass(frozen=True)
class FolderNegatives:
    """Any images; the names of the folders they lie in are taken for what they show.

    Args:
        depth: How many folders deep to look.
    """

    depth: int = 3

    def find(self, root: Path | None, exclude: Sequence[str] | None = None) -> list[Negative]:
        """All images below ``root``; the path below it is the id.

        Raises:
            DataError: The folder is missing or holds no images.
        """
        folder = checked_folder(root, "folder")
        negatives = []
        for path in image_files(folder, self.depth):
            below = path.relative_to(folder)
            categories = frozenset(below.parts[:-1])
            if not is_excluded(categories, exclude or ()):
                negatives.append(Negative(below.as_posix(), ImageLoader(path), categories, source="folder"))
        return negatives


def image_files(folder: Path, depth: int) -> Iterator[Path]:
    """The image files of a folder, sorted.

    Raises:
        DataError: There are none.
    """
    empty = True
    for path in walk(folder, depth):
        if is_image_file(path):
            empty = False
            yield path
    if empty:
        raise DataError(f"{folder} holds no images (looked {depth} folders deep); give the folder of the negatives")
