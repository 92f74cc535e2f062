"""Negatives from any folder of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from anomseg.data.decoding import is_image_file
from anomseg.data.file_rules import walk
from anomseg.data.loaders import ImageLoader
from anomseg.data.negatives.categories import is_excluded, plain_words, which_tested
from anomseg.data.negatives.negative import Negative
from anomseg.data.negatives.sources import checked_folder
from anomseg.errors import DataError

# Names of folders that say how files are kept, not what they show.
_STORAGE_NAMES = "images image img imgs jpegimages train train2017 val val2017 test data photos pictures"
_STORAGE = frozenset(_STORAGE_NAMES.split())

_OTHER_FILES = frozenset({".xml", ".json", ".txt", ".csv"})


@dataclass(frozen=True)
class FolderNegatives:
    """Any images; the names of the folders they lie in are taken for what they show.

    So is a file's own name where it names a tested animal (``cow_12.jpg``).

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
            categories = folder_categories(below)
            if not is_excluded(categories, exclude or ()):
                negatives.append(Negative(below.as_posix(), ImageLoader(path), categories, source="folder"))
        return negatives


def folder_categories(path: Path) -> frozenset[str]:
    """What a path below the root tells of an image.

    Example:
        >>> sorted(folder_categories(Path("images/teapot/0001.jpg"))), sorted(folder_categories(Path("cow_12.jpg")))
        (['teapot'], ['cow'])
    """
    names = {name for name in path.parts[:-1] if name.casefold() not in _STORAGE}
    own = " ".join(word for word in plain_words(path.stem) if not word.isdigit())
    return frozenset(names | {own} if which_tested(own) else names)


def image_files(folder: Path, depth: int) -> Iterator[Path]:
    """The image files of a folder, sorted.

    Raises:
        DataError: There are none.
    """
    empty = True
    for path in walk(folder, depth):
        # Files that are plainly something else are not opened: there may be as many annotations as images.
        if path.suffix.lower() not in _OTHER_FILES and is_image_file(path):
            empty = False
            yield path
    if empty:
        raise DataError(f"{folder} holds no images (looked {depth} folders deep); give the folder of the negatives")
