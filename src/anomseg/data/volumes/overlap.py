"""The Dice overlap of two masks, by class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from anomseg.data.volumes.case import Mask


def dice_overlap(prediction: Mask, truth: Mask, indices: Sequence[int]) -> NDArray[np.float64]:
    """Dice of each class: twice the intersection over the sum of both sizes.

    Args:
        prediction: Class indices, any shape.
        truth: Class indices, same shape.
        indices: The classes asked for.

    Returns:
        One value a class in [0, 1]; NaN where neither mask holds the class, since 0/0 is no overlap, good or bad.

    Example:
        >>> dice_overlap(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0]), [1, 2])
        array([0.66666667,        nan])
    """
    found = []
    for index in indices:
        first, second = prediction == index, truth == index
        size = int(first.sum()) + int(second.sum())
        found.append(2 * int((first & second).sum()) / size if size else np.nan)
    return np.array(found, np.float64)
