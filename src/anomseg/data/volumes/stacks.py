"""The three short stacks of real CT slices, for figures without a claim."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from anomseg.data.volumes.case import Case
from anomseg.errors import DataError

FILE = "pancreas_slices.npz"
STACK = 5
Held = TypeVar("Held")
PROVENANCE = "from a public project; which scanner and which patients they come from is not established"


def slice_stacks(root: str | Path) -> list[Case]:
    """The slices of ``pancreas_slices.npz`` as stacks of five neighbours, each a case with true masks.

    Where the scans come from is not established, nor is their spacing: it is given as 1 mm, and ``meta`` says so.

    Args:
        root: The file, or a folder that holds it.

    Raises:
        DataError: It is missing, or holds something else.
    """
    path = Path(root)
    path = path / FILE if path.is_dir() else path
    try:
        with np.load(path, allow_pickle=False) as arrays:
            image, mask = arrays["image"], arrays["mask"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} does not hold the arrays image and mask: {' '.join(str(error).split())}") from error
    if image.ndim != 3 or image.shape != mask.shape or len(image) % STACK or not np.isin(mask, (0, 1)).all():
        raise DataError(
            f"{path}: image {image.shape} and mask {mask.shape} are no stacks of {STACK} slices with 0 and 1"
        )
    return [
        Case(
            f"stack-{number}",
            _held(image[number * STACK : (number + 1) * STACK].astype(np.float32)),
            None,
            _held(mask[number * STACK : (number + 1) * STACK].astype(np.uint8)),
            (1.0, 1.0, 1.0),
            meta={"provenance": PROVENANCE, "spacing": "not known"},
            classes=("background", "pancreas"),
        )
        for number in range(len(image) // STACK)
    ]


def _held(array: Held) -> Callable[[], Held]:
    return lambda: array
