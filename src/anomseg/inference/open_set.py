"""Open-set recognition: known classes and the anomaly in one map, from a segmentation and a score, and its colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomseg.errors import CompatibilityError
from anomseg.inference.colour import CONTOUR_COLOUR, BoolArray, outline
from anomseg.types import UInt8Array

Colour = tuple[int, int, int]

#: What legends call the class beyond the known ones.
ANOMALY_NAME = "anomaly"
#: Colours that may stand for the anomaly; the one least like every class's is taken, the first of equals.
ANOMALY_COLOURS: tuple[Colour, ...] = (CONTOUR_COLOUR, (255, 0, 255), (255, 96, 0), (140, 255, 0), (255, 255, 255))
#: Most known classes that leave room for the anomaly below 255, which is void everywhere.
MOST_CLASSES = 255
_SHARE = 0.65


def anomaly_index(classes: int) -> int:
    """The number of the anomaly in an open-set map of K known classes: K, the first after theirs.

    Raises:
        CompatibilityError: There are no classes, or so many that eight bits have no number left besides void.
    """
    if not 1 <= classes < MOST_CLASSES:
        raise CompatibilityError(
            f"an open-set map has 1 to {MOST_CLASSES - 1} known classes and the anomaly, not {classes}; use the mask"
        )
    return classes


def open_set_map(segmentation: UInt8Array, anomalous: BoolArray, classes: int) -> UInt8Array:
    """Known classes where nothing is odd, the anomaly elsewhere.

    Args:
        segmentation: ``(*S)`` uint8, known classes 0 .. K - 1.
        anomalous: ``(*S)`` bool.
        classes: K.

    Returns:
        ``(*S)`` uint8: 0 .. K - 1 known, K anomaly.

    Raises:
        CompatibilityError: There are no classes, or too many for eight bits.

    Example:
        >>> open_set_map(np.array([0, 1, 1], np.uint8), np.array([False, False, True]), 2).tolist()
        [0, 1, 2]
    """
    return np.where(anomalous, np.uint8(anomaly_index(classes)), segmentation)


def anomaly_colour(palette: Sequence[Sequence[int]]) -> Colour:
    """The colour of `ANOMALY_COLOURS` that is farthest from every colour of a palette.

    Args:
        palette: RGB triples of the known classes.

    Example:
        >>> anomaly_colour([(0, 200, 250)])
        (255, 96, 0)
    """
    if not len(palette):
        return ANOMALY_COLOURS[0]
    known = np.asarray(palette, np.int64).reshape(-1, 3)
    nearest = [int(((known - colour) ** 2).sum(axis=1).min()) for colour in ANOMALY_COLOURS]
    return ANOMALY_COLOURS[nearest.index(max(nearest))]


def draw_open_set(base: UInt8Array, classes: UInt8Array, table: Sequence[Sequence[int]]) -> UInt8Array:
    """An open-set map over an image: classes blended with it, the anomaly in its plain colour with a dark rim.

    Args:
        base: ``(H, W, 3)`` uint8, the image without hue.
        classes: ``(H, W)`` uint8: 0 .. K - 1 known, K anomaly.
        table: RGB triples of the K classes and of the anomaly.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    colours = np.asarray(table, np.uint8).reshape(-1, 3)[classes]
    odd = classes == len(table) - 1
    share = np.where(odd, 1.0, _SHARE)[..., None]
    picture = np.round(base * (1 - share) + colours * share).astype(np.uint8)
    picture[outline(~odd, max(1, round(min(odd.shape) / 600)))] = 0
    return picture
