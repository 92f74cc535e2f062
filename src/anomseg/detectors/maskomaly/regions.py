"""Where a labelled frame shows what queries are picked by: the ground, or anomalies."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from anomseg.detectors.road import space_of
from anomseg.errors import FrameError
from anomseg.types import ANOMALY, INLIER, Frame

GROUND = frozenset({"road", "sidewalk"})


def ground_region(frame: Frame) -> tuple[Tensor, Tensor]:
    """Road and sidewalk of a frame, by the names of its data set's classes.

    A class that may be ground or something else, such as IDD's "non-drivable", is not valid.

    Args:
        frame: One with a class map.

    Returns:
        ``(H, W)`` bool, true on the ground, and ``(H, W)`` bool, true where that is known.

    Raises:
        FrameError: There is no class map of a known label space, or none of its classes is ground.
    """
    space, classes = space_of(frame), frame.classes
    if space is None or classes is None:
        raise FrameError(f"{frame.id}: no class map of a known label space, so its ground is not known")
    concepts = [frozenset(space.concepts(index)) for index in range(len(space))]
    ground = [index for index, own in enumerate(concepts) if own and own <= GROUND]
    if not ground:
        raise FrameError(f"{frame.id}: no class of {space.name} is road or sidewalk")
    known = [index for index, own in enumerate(concepts) if own <= GROUND or not own & GROUND]
    return _table(ground, classes), _table(known, classes)


def anomaly_region(frame: Frame) -> tuple[Tensor, Tensor]:
    """Anomalies of a frame.

    Args:
        frame: One with anomaly labels.

    Returns:
        ``(H, W)`` bool, true on anomalies, and ``(H, W)`` bool, true where the label is not void.

    Raises:
        FrameError: There is no anomaly label.
    """
    label = frame.label
    if label is None:
        raise FrameError(f"{frame.id}: no anomaly label, so no query can be picked on it")
    return _table([ANOMALY], label), _table([INLIER, ANOMALY], label)


def _table(values: list[int], label: np.ndarray) -> Tensor:
    table = np.zeros(256, bool)
    table[values] = True
    return torch.from_numpy(table[label])
