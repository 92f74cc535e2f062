"""Boxes from XML files in the form of Pascal VOC, which ImageNet uses too."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from anomseg.data.decoding import image_size
from anomseg.data.negatives.categories import is_excluded
from anomseg.data.negatives.negative import Box, Region
from anomseg.errors import FrameError

MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class XmlObjects:
    """What an XML file tells.

    Attributes:
        size: ``(height, width)`` of the annotated image, which a smaller copy need not have; None if not told.
        objects: Name and box of every object, in the order of the file; boxes with 0-based exclusive ends.
    """

    size: tuple[int, int] | None
    objects: tuple[tuple[str, Box], ...]


def read_xml_objects(path: Path) -> XmlObjects:
    """Read one file.

    Raises:
        FrameError: It is unreadable, far too large, no XML, declares entities, or holds an object without a box.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FrameError(f"{path} is far too large for the boxes of one image")
        content = path.read_bytes()
    except OSError as error:
        raise FrameError(f"{path} cannot be read: {error.strerror or error}") from error
    # Entities can only be declared in a document type, which these files never have, nor an encoding with zero bytes.
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content or b"\0" in content:
        raise FrameError(f"{path} declares a document type or entities, which boxes never need; it is not read")
    try:
        root = ET.fromstring(content)  # noqa: S314 - no document type, so no entities to expand
        objects = tuple((_text(item, "name"), _box(item)) for item in root.findall("object"))
        size = (round(float(_text(root, "size/height"))), round(float(_text(root, "size/width"))))
    except (ET.ParseError, ValueError, OverflowError, LookupError) as error:
        raise FrameError(f"{path} is no XML file of boxes: {error}") from error
    return XmlObjects(size if min(size) > 0 else None, objects)


@dataclass(frozen=True)
class BoxRegions:
    """Regions of an image from its XML file.

    Attributes:
        boxes: The XML file.
        image: The image file; boxes are scaled to its size.
        exclude: Categories that are no regions.
    """

    boxes: Path
    image: Path
    exclude: tuple[str, ...] = ()

    def __call__(self) -> list[Region]:
        """Read now; objects whose box lies outside the image are left out.

        Raises:
            FrameError: See `read_xml_objects`; or the file names objects and none is left, since the rest of the image
                is not to be cut out in their place.
        """
        found = read_xml_objects(self.boxes)
        height, width = image_size(self.image)
        down, right = (height / found.size[0], width / found.size[1]) if found.size else (1.0, 1.0)
        regions = []
        for name, box in found.objects:
            bounds = (
                max(0, int(box[0] * down)),
                max(0, int(box[1] * right)),
                min(height, round(box[2] * down)),
                min(width, round(box[3] * right)),
            )
            if bounds[0] < bounds[2] and bounds[1] < bounds[3] and not is_excluded([name], self.exclude):
                regions.append(Region(name, bounds))
        if found.objects and not regions:
            raise FrameError(f"{self.boxes} names no object that may be cut out and lies in its image")
        return regions


def _text(element: ET.Element, path: str) -> str:
    text = element.findtext(path)
    if text is None or not text.strip():
        raise ValueError(f"{path} is missing")
    return text.strip()


def _box(item: ET.Element) -> Box:
    left, top, right, bottom = (round(float(_text(item, f"bndbox/{end}"))) for end in ("xmin", "ymin", "xmax", "ymax"))
    # Pixels are counted from 1 and both ends belong to the box; a 0 does occur.
    return max(top - 1, 0), max(left - 1, 0), bottom, right
