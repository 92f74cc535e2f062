"""Negatives from ImageNet, as folders of synsets or as files named after them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anomseg.data.file_rules import walk
from anomseg.data.loaders import ImageLoader
from anomseg.data.negatives.boxes import BoxRegions
from anomseg.data.negatives.categories import is_excluded
from anomseg.data.negatives.folder import folder_categories, image_files
from anomseg.data.negatives.negative import Negative, no_regions
from anomseg.data.negatives.sources import checked_folder
from anomseg.errors import DataError

_NAMED = re.compile(r"(n\d{8})(?:_(.*))?")
_DEPTH = 5
_BOX_FOLDERS = ("Annotations", "Annotation", "annotations", "bbox")


@dataclass(frozen=True)
class ImageNetNegatives:
    """ImageNet: what an image shows is told by the synset in its name or that of its folder.

    Reads ``<synset>/<synset>_<n>.JPEG`` at any depth (the official trees), ``<synset>_<class name>.<suffix>`` in one
    folder, and folders named after classes.

    Args:
        boxes: Folder of XML files with boxes, ``<image name>.xml`` at any depth; empty: ``Annotations`` or ``bbox``
            below the root, where there is one. An image without a file is one region as a whole.
        boxed: Whether to take only images that have such a file, as the paper does.
    """

    boxes: str = ""
    boxed: bool = False

    def find(self, root: Path | None, exclude: Sequence[str] | None = None) -> list[Negative]:
        """All images below ``root``; a file name with a synset is the id (without suffix), else the path below it.

        Raises:
            DataError: The folder is missing or holds no images, or ``boxed`` asks for boxes and there are none.
        """
        folder = checked_folder(root, "imagenet")
        found = self._boxes(folder)
        negatives = []
        for path in image_files(folder, _DEPTH):
            names = (path.stem, path.parent.name)
            told = next((known for known in map(synset_categories, names) if known), frozenset())
            categories = told or folder_categories(path.relative_to(folder))
            if (self.boxed and path.stem not in found) or is_excluded(categories, exclude or ()):
                continue
            regions = BoxRegions(found[path.stem], path) if path.stem in found else no_regions
            name = path.stem if synset_categories(path.stem) else path.relative_to(folder).as_posix()
            negatives.append(Negative(name, ImageLoader(path), categories, regions, "imagenet"))
        return sorted(negatives, key=lambda negative: negative.id)

    def _boxes(self, root: Path) -> dict[str, Path]:
        folders = [Path(self.boxes).expanduser()] if self.boxes else [root / name for name in _BOX_FOLDERS]
        folder = next((one for one in folders if one.is_dir()), None)
        files = {path.stem: path for path in walk(folder, _DEPTH) if path.suffix == ".xml"} if folder else {}
        if not files and (self.boxes or self.boxed):
            looked = " or ".join(str(one) for one in folders)
            raise DataError(f"there are no boxes of ImageNet in {looked}; name the folder of XML files with boxes=DIR")
        return files


def synset_categories(name: str) -> frozenset[str]:
    """What a name tells of an ImageNet image: its synset, and its class name where that follows.

    Args:
        name: Of a file without suffix, or of a folder.

    Returns:
        Nothing where the name holds no synset.

    Example:
        >>> sorted(synset_categories("n02119789_kit_fox")), sorted(synset_categories("n01440764_10026"))
        (['kit fox', 'n02119789'], ['n01440764'])
    """
    named = _NAMED.fullmatch(name)
    if named is None:
        return frozenset()
    words = re.sub(r"[\d_]+", " ", named[2] or "").strip()
    return frozenset({named[1], words} if words else {named[1]})
