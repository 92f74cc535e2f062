"""What a negative is: an image of something else, and the parts of it that may be cut out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomseg.types import UInt8Array

BoolArray = NDArray[np.bool_]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Region:
    """A part of a negative image that may be cut out.

    Attributes:
        category: What it shows, in the words of its source; None where nothing tells.
        box: ``(top, left, bottom, right)`` in pixels of the image, the last two exclusive.
        mask: ``(H, W)`` bool of the whole image, True on the object; None where only the box is known.
    """

    category: str | None
    box: Box
    mask: BoolArray | None = None


def no_regions() -> list[Region]:
    """The regions of a negative of which nothing but the image is known."""
    return []


@dataclass(frozen=True)
class Negative:
    """One image that shows what does not belong to the scenes; pixels are decoded on demand.

    Attributes:
        id: Its name, unique in its source.
        image: Called without arguments it decodes to uint8 RGB, shape ``(H, W, 3)``; raises `FrameError`.
        categories: All that the file tells of what the *image* shows, not only its regions; empty if nothing does.
        regions: Called without arguments it lists what may be cut out; an empty list stands for the whole image.
        source: The kind of source it comes from.
    """

    id: str
    image: Callable[[], UInt8Array]
    categories: frozenset[str] = frozenset()
    regions: Callable[[], list[Region]] = no_regions
    source: str = ""


def mask_box(mask: BoolArray) -> Box | None:
    """The smallest box around the True pixels of a mask; None where there is none.

    Example:
        >>> mask_box(np.array([[0, 0, 0], [0, 1, 1]], bool))
        (1, 1, 2, 3)
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
