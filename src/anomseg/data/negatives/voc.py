"""Negatives from Pascal VOC, in its own layout."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomseg.data.decoding import decode_label
from anomseg.data.loaders import ImageLoader
from anomseg.data.negatives.boxes import BoxRegions, read_xml_objects
from anomseg.data.negatives.categories import is_excluded
from anomseg.data.negatives.folder import image_files
from anomseg.data.negatives.negative import Negative, Region, mask_box
from anomseg.data.negatives.sources import checked_folder
from anomseg.errors import DataError, FrameError

VOC_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
_VOID = 255


@dataclass(frozen=True)
class InstanceRegions:
    """Objects of one image from its two masks: numbers of instances, and class numbers.

    Attributes:
        instances: The file in ``SegmentationObject``; 0 is background, 255 the border of objects.
        classes: The file of the same name in ``SegmentationClass``, which says what each instance is.
        exclude: Categories that are no regions.
    """

    instances: Path
    classes: Path
    exclude: tuple[str, ...] = ()

    def __call__(self) -> list[Region]:
        """Decode now.

        Raises:
            FrameError: A mask is unreadable, the two are of different size, or show nothing to cut out: what is left
                of the image is not to be cut out instead.
        """
        instances, classes = decode_label(self.instances), decode_label(self.classes)
        if instances.shape != classes.shape:
            raise FrameError(f"{self.instances} and {self.classes} are of different size")
        regions = []
        for number in np.unique(instances):
            mask = instances == number
            box = mask_box(mask)
            kind = int(np.bincount(classes[mask]).argmax())
            if number in (0, _VOID) or box is None or not 1 <= kind <= len(VOC_CLASSES):
                continue
            if not is_excluded([VOC_CLASSES[kind - 1]], self.exclude):
                regions.append(Region(VOC_CLASSES[kind - 1], box, mask))
        if not regions:
            raise FrameError(f"{self.instances} shows no object to cut out")
        return regions


@dataclass(frozen=True)
class PascalVocNegatives:
    """Pascal VOC: ``JPEGImages``, ``Annotations``, and where there are any ``SegmentationObject`` and ``...Class``.

    What an image shows is told by its annotation; images without a readable one are left out. By default no
    object that driving label spaces know is cut out (``exclude=road``).

    Args:
        masked: Whether to take only images whose objects have masks; the others have boxes.
    """

    masked: bool = False

    def find(self, root: Path | None, exclude: Sequence[str] | None = None) -> list[Negative]:
        """All annotated images with an object to cut out; the file name without suffix is the id.

        Raises:
            DataError: The folder is missing or not laid out like VOC, or nothing is left.
        """
        base = _base(checked_folder(root, "pascal_voc"))
        unwanted = tuple(("road",) if exclude is None else exclude)
        negatives, unreadable = [], []
        for path in image_files(base / "JPEGImages", 0):
            boxes = base / "Annotations" / f"{path.stem}.xml"
            instances = base / "SegmentationObject" / f"{path.stem}.png"
            classes = base / "SegmentationClass" / f"{path.stem}.png"
            has_masks = instances.is_file() and classes.is_file()
            if not boxes.is_file() or (self.masked and not has_masks):
                continue
            try:
                categories = frozenset(name for name, _ in read_xml_objects(boxes).objects)
            except FrameError as error:
                unreadable.append(str(error))
                continue
            if all(is_excluded([name], unwanted) for name in categories):
                continue
            regions = InstanceRegions(instances, classes, unwanted) if has_masks else BoxRegions(boxes, path, unwanted)
            negatives.append(Negative(path.stem, ImageLoader(path), categories, regions, "pascal_voc"))
        if unreadable:
            warnings.warn(f"{len(unreadable)} images of {base} are left out: {unreadable[0]}", stacklevel=3)
        if not negatives:
            raise DataError(f"{base} holds no annotated image with an object to cut out; exclude less")
        return negatives


def _base(root: Path) -> Path:
    """The folder that holds ``JPEGImages``: the root, or a year below it or below its ``VOCdevkit``."""
    for folder in (
        root,
        *sorted(root.glob("VOC20*"), reverse=True),
        *sorted(root.glob("VOCdevkit/VOC20*"), reverse=True),
    ):
        if (folder / "JPEGImages").is_dir():
            return folder
    raise DataError(f"{root} holds no JPEGImages, nor does a VOC20.. folder in it; give the folder of Pascal VOC")
