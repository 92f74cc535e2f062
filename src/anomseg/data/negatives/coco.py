"""Negatives from COCO with panoptic masks, in COCO's own layout."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from anomseg.data.decoding import decode_image
from anomseg.data.loaders import ImageLoader
from anomseg.data.negatives.categories import is_excluded
from anomseg.data.negatives.negative import Negative, Region, mask_box
from anomseg.data.negatives.sources import checked_folder
from anomseg.errors import DataError, FrameError

_PREFIX = "panoptic_"


@dataclass(frozen=True)
class PanopticRegions:
    """Segments of one image, read from its panoptic PNG (segment id = R + 256 G + 65536 B).

    Attributes:
        path: The PNG.
        segments: Segment id and category of each.
    """

    path: Path
    segments: tuple[tuple[int, str], ...]

    def __call__(self) -> list[Region]:
        """Decode now; segments that have no pixel are left out.

        Raises:
            FrameError: The PNG is unreadable, or shows none of them: the whole image is not to be cut out instead.
        """
        colours = decode_image(self.path).astype(np.uint32)
        ids = colours[..., 0] + 256 * colours[..., 1] + 65536 * colours[..., 2]
        masks = ((category, ids == segment) for segment, category in self.segments)
        boxed = ((category, mask_box(mask), mask) for category, mask in masks)
        regions = [Region(category, box, mask) for category, box, mask in boxed if box is not None]
        if not regions:
            raise FrameError(f"{self.path} shows none of the segments that its annotation names")
        return regions


@dataclass(frozen=True)
class CocoPanopticNegatives:
    """COCO: ``<split>/*.jpg``, ``annotations/panoptic_<split>.json``, ``annotations/panoptic_<split>/*.png``.

    Things are cut out, crowds never. By default none that driving label spaces know (``exclude=road``), so that a
    network is not taught that people and cars are outliers.

    Args:
        split: Which one; empty: the only one there is, else ``train2017``.
        stuff: Whether segments of stuff (curtain, towel) are cut out too.
        min_pixels: Segments smaller than this are not.
    """

    split: str = ""
    stuff: bool = False
    min_pixels: int = 400

    def find(self, root: Path | None, exclude: Sequence[str] | None = None) -> list[Negative]:
        """All images that have a segment to cut out; the name of the panoptic PNG (the image id) is the id.

        Raises:
            DataError: Folder, annotations or images are missing or of another form.
        """
        folder = checked_folder(root, "coco_panoptic")
        annotations = self._annotations(folder)
        masks, images = annotations.with_suffix(""), folder / annotations.stem.removeprefix(_PREFIX)
        if not images.is_dir():
            raise DataError(f"{folder} holds {annotations.name} but not the folder {images.name} of its images")
        unwanted = tuple(("road",) if exclude is None else exclude)
        try:
            content = json.loads(annotations.read_text())
            entries = self._entries(content, unwanted)
        except OSError as error:
            raise DataError(f"{annotations} cannot be read: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{annotations} is no panoptic annotation of COCO: {error!r}") from error
        negatives = []
        for image, mask, categories, segments in entries:
            if segments and (images / image).is_file():
                regions = PanopticRegions(masks / mask, segments)
                negatives.append(
                    Negative(Path(mask).stem, ImageLoader(images / image), categories, regions, "coco_panoptic")
                )
        if not negatives:
            raise DataError(f"{images} holds no image with a segment to cut out; exclude less or lower min_pixels")
        return sorted(negatives, key=lambda negative: negative.id)

    def _annotations(self, root: Path) -> Path:
        below = root / "annotations"
        found = sorted(below.glob(f"{_PREFIX}*.json")) if below.is_dir() else []
        wanted = self.split or "train2017"
        named = [path for path in found if path.stem == _PREFIX + wanted]
        if not named and not self.split and len(found) == 1:
            named = found
        if not named:
            there = ", ".join(path.stem.removeprefix(_PREFIX) for path in found) or "none"
            raise DataError(f"{root} holds no annotations/{_PREFIX}{wanted}.json; splits that are there: {there}")
        return named[0]

    def _entries(
        self, content: Mapping[str, Any], exclude: tuple[str, ...]
    ) -> list[tuple[str, str, frozenset[str], tuple[tuple[int, str], ...]]]:
        """Image file, mask file, categories of the whole image, and the segments to cut out, for every image."""
        names = {int(one["id"]): str(one["name"]) for one in content["categories"]}
        things = {int(one["id"]) for one in content["categories"] if one.get("isthing", 1)}
        # Names from the file are reduced to their last part: they never lead out of their folder.
        images = {one["id"]: PurePosixPath(str(one["file_name"])).name for one in content["images"]}
        entries = []
        for one in content["annotations"]:
            segments, categories = [], set()
            for segment in one["segments_info"]:
                kind = int(segment["category_id"])
                category = names.get(kind, str(kind))
                categories.add(category)
                whole = not segment.get("iscrowd", 0) and segment.get("area", self.min_pixels) >= self.min_pixels
                if whole and (self.stuff or kind in things) and not is_excluded([category], exclude):
                    segments.append((int(segment["id"]), category))
            mask = PurePosixPath(str(one["file_name"])).name
            image = images.get(one["image_id"], PurePosixPath(mask).with_suffix(".jpg").name)
            entries.append((image, mask, frozenset(categories), tuple(segments)))
        return entries
