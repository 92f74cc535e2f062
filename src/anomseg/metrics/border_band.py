"""The pixels near the borders of anomalous objects: where a detector has to tell known from unknown most finely."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import ConfigError
from anomseg.types import ANOMALY, VOID, UInt8Array


def border_band(label: UInt8Array, width: float) -> NDArray[np.bool_]:
    """Pixels within some pixels of the border of an anomalous object, inside and outside of it.

    An anomalous pixel is within n of the border where the nearest pixel that is not anomalous (an inlier or void) is
    at most n away, any other pixel where the nearest anomalous one is: Euclidean distances of the pixels' centres, so
    that n = 1 gives the two rows of pixels that the border runs between. The edge of the picture is no border.

    Args:
        label: ``(H, W)`` uint8: 0 inlier, 1 anomaly, 255 void.
        width: n, at least 1.

    Returns:
        ``(H, W)`` bool; all False without an anomaly, or with nothing else.

    Raises:
        ConfigError: The width is below 1.

    Example:
        >>> border_band(np.array([[0, 0, 0, 1, 1, 1]], np.uint8), 2)[0].tolist()
        [False, True, True, True, True, False]
    """
    from scipy.ndimage import distance_transform_edt  # noqa: PLC0415 - slow to import, wanted for this alone

    if not width >= 1:
        raise ConfigError(f"a band of {width:g} pixels holds no pixel; give 1 or more")
    anomalous = label == ANOMALY
    if not anomalous.any() or anomalous.all():
        return np.zeros(label.shape, bool)
    # Distances are looked for where they can matter alone: around the objects' bounding box.
    box = _around(anomalous, int(np.ceil(width)) + 1)
    part = anomalous[box]
    band = np.zeros(label.shape, bool)
    if part.all():
        return band
    distance = np.where(part, distance_transform_edt(part), distance_transform_edt(~part))
    band[box] = distance <= width
    return band


def band_label(label: UInt8Array, width: float) -> UInt8Array:
    """A label with everything outside the band made void; see `border_band`.

    Args:
        label: ``(H, W)`` uint8: 0 inlier, 1 anomaly, 255 void.
        width: Pixels.

    Raises:
        ConfigError: The width is below 1.
    """
    return np.where(border_band(label, width), label, np.uint8(VOID))


def _around(mask: NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
    spans = []
    for axis in (1, 0):
        found = np.flatnonzero(mask.any(axis=axis))
        spans.append(slice(max(0, int(found[0]) - margin), int(found[-1]) + 1 + margin))
    return spans[0], spans[1]
