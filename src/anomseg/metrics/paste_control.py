"""The paste control: are pasted inliers flagged more than inliers of the same classes that nobody pasted?

A detector taught with pasted negatives may have learned to see pasting. Things of known classes, cut out of other
frames and pasted the same way, are no anomalies; the share of their pixels above a threshold, beside that of untouched
pixels of the same classes in the same frames, tells how much of a detection is due to the pasting.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomseg.metrics.inputs import as_numpy, check_same_shape
from anomseg.metrics.misclassified import RIGHT, UNJUDGED, WRONG
from anomseg.types import VOID

UNTOUCHED_INLIER, PASTED_INLIER, OTHER = RIGHT, WRONG, UNJUDGED
"""How pixels are parted; `Misclassified` and `JudgedImages` count them as rightly, wrongly classified and unjudged."""


def pasted_or_untouched(control: Any, classes: Any) -> NDArray[np.uint8]:
    """Part the pixels of a frame into pasted inliers, untouched ones of their classes, and others.

    Args:
        control: ``(H, W)``, 1 where an inlier was pasted, 0 elsewhere.
        classes: ``(H, W)`` class map with the pasted things' own classes, 255 void.

    Returns:
        ``(H, W)`` uint8: 1 pasted, 0 untouched and of a class that was pasted on this frame, 255 other.

    Raises:
        FrameError: Shapes differ.

    Example:
        >>> pasted_or_untouched([[1, 0, 0, 0]], [[8, 8, 3, 255]]).tolist()
        [[1, 0, 255, 255]]
    """
    pasted, known = as_numpy(control) == 1, as_numpy(classes)
    check_same_shape(pasted, known, "control map and class map")
    of_pasted = np.setdiff1d(np.unique(known[pasted]), [VOID])
    parts = np.full(known.shape, OTHER, np.uint8)
    parts[np.isin(known, of_pasted)] = UNTOUCHED_INLIER
    parts[pasted] = PASTED_INLIER
    return parts


def paste_shares(score: Any, control: Any, classes: Any, threshold: float) -> tuple[float | None, float | None]:
    """Shares of the pasted inliers, and of untouched pixels of their classes, that score at least a threshold.

    Args:
        score: ``(H, W)``, higher = more anomalous.
        control: See `pasted_or_untouched`.
        classes: See `pasted_or_untouched`.
        threshold: Any.

    Returns:
        Two shares in [0, 1]; None where there is no such pixel.

    Raises:
        FrameError: Shapes differ.

    Example:
        >>> paste_shares([[0.9, 0.2, 0.9]], [[1, 1, 0]], [[8, 8, 8]], 0.5)
        (0.5, 1.0)
    """
    scores, parts = as_numpy(score), pasted_or_untouched(control, classes)
    check_same_shape(scores, parts, "score and control map")
    shares = []
    for part in (PASTED_INLIER, UNTOUCHED_INLIER):
        chosen = scores[parts == part]
        shares.append(float((chosen >= threshold).mean()) if chosen.size else None)
    return shares[0], shares[1]
