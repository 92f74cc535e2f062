"""Known objects cut out of labelled frames, for the control that pastes what is no anomaly."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from anomseg.data.negatives.negative import BoolArray, Negative, Region, mask_box
from anomseg.errors import DataError, unknown_name
from anomseg.types import Frame, UInt8Array

SOURCE = "inlier"


@dataclass(frozen=True)
class ComponentRegions:
    """Connected components of some classes of a frame's class map.

    Attributes:
        frame: The frame.
        classes: Index and name of each class.
        min_pixels: Smaller components are left out.
    """

    frame: Frame
    classes: tuple[tuple[int, str], ...]
    min_pixels: int

    def __call__(self) -> list[Region]:
        """Decode now; raises `FrameError` where the class map cannot be read."""
        labels = self.frame.classes
        return [] if labels is None else list(components(labels, self.classes, self.min_pixels))


def components(labels: UInt8Array, classes: Iterable[tuple[int, str]], min_pixels: int) -> Iterable[Region]:
    """The 8-connected components of a class map that are large enough.

    Args:
        labels: ``(H, W)`` uint8.
        classes: Index and name of the classes that are looked at.
        min_pixels: Components of fewer pixels are left out.

    Yields:
        A region each, with its mask, by class and then from top to bottom.
    """
    from scipy.ndimage import label  # noqa: PLC0415

    for index, name in classes:
        numbers, _ = label(labels == index, np.ones((3, 3)))
        sizes = np.bincount(numbers.ravel())
        for number in np.flatnonzero(sizes >= min_pixels):
            mask: BoolArray = numbers == number
            box = mask_box(mask) if number else None
            if box is not None:
                yield Region(name, box, mask)


def inlier_regions(
    frames: Iterable[Frame],
    names: Sequence[str],
    classes: Sequence[str] = ("car", "pedestrian"),
    *,
    min_pixels: int = 200,
    limit: int | None = None,
) -> list[Negative]:
    """Frames whose known objects can be pasted like negatives: a detector that flags them flags pasting, not anomaly.

    Class maps are decoded now, to know which frames show something; images and masks when asked for.

    Args:
        frames: Labelled in-distribution frames. A pasted frame should not be one its objects come from: give frames of
            another split, or another half.
        names: Names of all classes, in the order of the class numbers.
        classes: Those whose components are cut out.
        min_pixels: Components of fewer pixels are left out.
        limit: At most so many frames, the first ones that show something.

    Returns:
        A `Negative` of source ``inlier`` for each frame that shows a large enough component; the frame's id is its id.

    Raises:
        ConfigError: A class is unknown.
        DataError: No frame has class maps, or none shows such an object.
        FrameError: A class map cannot be read.
    """
    for name in classes:
        if name not in names:
            raise unknown_name("class", name, names)
    wanted = tuple((list(names).index(name), name) for name in classes)
    found: list[Negative] = []
    for frame in frames:
        if not frame.has_classes:
            continue
        regions = ComponentRegions(frame, wanted, min_pixels)
        seen = {region.category for region in regions()}
        if seen:
            shown = frozenset(name for name in seen if name)
            found.append(Negative(frame.id, frame.image, shown, regions, SOURCE))
        if limit is not None and len(found) >= limit:
            break
    if not found:
        raise DataError(
            f"no labelled frame shows {' or '.join(classes)} of at least {min_pixels} pixels; lower min_pixels, or cut "
            "out other classes"
        )
    return found
