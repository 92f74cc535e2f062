"""One volume with the segmentation that is to be judged, and whatever truth there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import FrameError, unknown_name

Volume = NDArray[np.float32]
"""``(D, H, W)`` Hounsfield units."""
Mask = NDArray[np.uint8]
"""``(D, H, W)`` class indices, 0 the background."""
FOREGROUND = "foreground"
"""The name under which all classes but the background count as one."""


@dataclass(frozen=True)
class Case:
    """One CT volume, a predicted mask and the true one; all are decoded on demand, so a long list is cheap.

    Attributes:
        id: Name of the case, unique in its list; it names output files.
        image: Decodes to float32 Hounsfield units, ``(D, H, W)``: slices, rows, columns.
        prediction: Decodes to the mask that is judged, uint8 ``(D, H, W)`` in the indices of ``classes``; None where
            there is none, as for training a generator on true masks.
        truth: Decodes to the true mask; None without one (never zeros).
        spacing: Millimetres from one voxel to the next: ``(z, y, x)``.
        group: Patient or phantom, the unit of resampling for intervals; the case's own id when empty.
        meta: Anything else worth keeping: paths, the kind of a made failure, what is not known of the scan.
        classes: Names of the mask's indices, the background first.
        soft: Decodes to the prediction's probabilities, float32 ``(C, D, H, W)``; None where only a mask is there.
    """

    id: str
    image: Callable[[], Volume]
    prediction: Callable[[], Mask] | None
    truth: Callable[[], Mask] | None
    spacing: tuple[float, float, float]
    group: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ("background", FOREGROUND)
    soft: Callable[[], Volume] | None = None

    @property
    def cluster(self) -> str:
        """The resampling unit that this case belongs to."""
        return self.group or self.id

    def decode(self) -> tuple[Volume, Mask | None, Mask | None]:
        """Image, prediction and truth, with their shapes and values checked.

        Raises:
            FrameError: They differ in shape, a mask holds an index without a class, or the image is not finite.
        """
        image = self.image()
        if image.ndim != 3 or 0 in image.shape:
            raise FrameError(f"{self.id}: the image has shape {image.shape}; a case is one volume (D, H, W)")
        bad = int(np.count_nonzero(~np.isfinite(image)))
        if bad:
            raise FrameError(f"{self.id}: {bad} voxels of the image are NaN or infinite; write them as air (-1024)")
        return image, self._mask("prediction", self.prediction, image), self._mask("truth", self.truth, image)

    def _mask(self, what: str, load: Callable[[], Mask] | None, image: Volume) -> Mask | None:
        if load is None:
            return None
        mask = load()
        if mask.shape != image.shape:
            raise FrameError(
                f"{self.id}: the {what} has shape {mask.shape} and the image {image.shape}; resample one to the other"
            )
        highest = int(mask.max(initial=0))
        if highest >= len(self.classes):
            raise FrameError(f"{self.id}: the {what} holds the index {highest}, and classes are {list(self.classes)}")
        return mask


def with_targets(case: Case, targets: tuple[str, ...]) -> Case:
    """A case whose classes are there to be judged: ``foreground`` makes one class of all but the background.

    Args:
        case: Any case.
        targets: Names of classes, or ``("foreground",)``.

    Raises:
        ConfigError: There is no such class.

    Example:
        >>> mask = np.array([[[0, 1, 2]]], np.uint8)
        >>> case = Case("a", lambda: mask.astype(np.float32), lambda: mask, None, (1, 1, 1), classes=("b", "c", "d"))
        >>> with_targets(case, ("foreground",)).prediction()
        array([[[0, 1, 1]]], dtype=uint8)
    """
    if targets == (FOREGROUND,) and case.classes != ("background", FOREGROUND):
        soft = case.soft
        return replace(
            case,
            prediction=_merged(case.prediction),
            truth=_merged(case.truth),
            soft=None if soft is None else lambda: _merged_soft(soft()),
            classes=("background", FOREGROUND),
        )
    known = case.classes[1:]
    for name in targets:
        if name not in known:
            raise unknown_name("target", name, [*known, FOREGROUND])
    return case


def _merged(load: Callable[[], Mask] | None) -> Callable[[], Mask] | None:
    return None if load is None else lambda: (load() > 0).astype(np.uint8)


def _merged_soft(probabilities: Volume) -> Volume:
    return np.stack([probabilities[0], probabilities[1:].sum(0)])
