"""What can be pasted: regions of negative images, and of frames of the base data set by their class maps."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from anomseg.data.label_mapping import LabelSpace
from anomseg.data.negatives import Negative, Region
from anomseg.data.negatives.categories import plain_words
from anomseg.data.pasted.manifest import OBJECT
from anomseg.errors import DataError
from anomseg.types import UInt8Array

_KEPT = 64


@dataclass(frozen=True)
class Source:
    """A decoded image that things are cut out of: its pixels, their hash and its regions."""

    id: str
    image: UInt8Array
    sha256: str
    regions: tuple[Region, ...]


class Stock:
    """Images to cut things out of, decoded when asked for; the last few are kept.

    Args:
        objects: Images with anomalous objects.
        inliers: Frames with things of known classes, from `anomseg.data.negatives.inlier_regions`.
        space: The classes of the frames pasted on; None where they have none.
    """

    def __init__(self, objects: Sequence[Negative], inliers: Sequence[Negative], space: LabelSpace | None) -> None:
        self.objects: Mapping[str, Negative] = {negative.id: negative for negative in objects}
        self.inliers: Mapping[str, Negative] = {negative.id: negative for negative in inliers}
        self.space = space
        self._source = lru_cache(_KEPT)(self._read)

    def source(self, kind: str, name: str) -> Source:
        """A source by the id that a manifest gives.

        Raises:
            DataError: There is none of that id.
            FrameError: It cannot be read.
        """
        return self._source(kind, name)

    def category(self, kind: str, name: str) -> int | None:
        """The class of an inlier by its name; None for an anomalous object."""
        return None if kind == OBJECT or self.space is None else self.space.index(name)

    def with_categories(self, categories: Sequence[str]) -> list[str]:
        """Ids of the images with objects that may show one of the categories, all when there are none; in order."""
        wanted = {normal(name) for name in categories}
        return [
            negative.id
            for negative in self.objects.values()
            if not wanted or not negative.categories or wanted & {normal(name) for name in negative.categories}
        ]

    def _read(self, kind: str, name: str) -> Source:
        known = self.objects if kind == OBJECT else self.inliers
        if name not in known:
            what = "negatives" if kind == OBJECT else "frames that inliers are cut out of"
            raise DataError(f"{name!r} is not among the {what}; give the folder and options the manifest was made with")
        negative = known[name]
        image = negative.image()
        whole = Region(None, (0, 0, image.shape[0], image.shape[1]))
        return Source(name, image, pixels_hash(image), tuple(negative.regions()) or (whole,))


def normal(name: str) -> str:
    """A category's name without regard to case and spacing.

    Example:
        >>> normal("Traffic light") == normal("traffic_light")
        True
    """
    return "_".join(plain_words(name))


def pixels_hash(image: UInt8Array) -> str:
    """SHA-256 of shape and pixels, 64 hexadecimal digits."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()
