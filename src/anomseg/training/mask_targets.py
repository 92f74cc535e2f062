"""What a mask transformer is taught of a class map: one binary mask for each class in the image."""

from __future__ import annotations

import torch
from torch import Tensor


def class_masks(rows: Tensor, sets: Tensor) -> tuple[Tensor, Tensor] | None:
    """The masks of one image, or None where they are not fully known.

    Args:
        rows: ``(H, W)`` int64 rows of `sets`; see `LabelTable`.
        sets: ``(L, C)`` bool, the classes a row may stand for; a row without any is void.

    Returns:
        ``(N, H, W)`` float masks and their ``(N,)`` int64 classes. None where a label stands for several classes, so
        that which query should claim it cannot be said, and where every pixel is void.

    Example:
        >>> sets = torch.tensor([[False, False], [True, False], [False, True], [True, True]])
        >>> masks, classes = class_masks(torch.tensor([[0, 2, 2]]), sets)
        >>> classes.tolist(), masks.tolist()
        ([1], [[[0.0, 1.0, 1.0]]])
        >>> class_masks(torch.tensor([[1, 3]]), sets) is None
        True
    """
    present = torch.unique(rows)
    counts = sets[present].sum(1)
    if bool((counts > 1).any()) or not bool((counts == 1).any()):
        return None
    exact = present[counts == 1]
    classes = sets[exact].int().argmax(1)
    # Two rows may stand for one class, such as the same class of two data sets.
    taught, position = torch.unique(classes, return_inverse=True)
    masks = rows.new_zeros((len(taught), *rows.shape), dtype=torch.float32)
    for row, place in zip(exact, position, strict=True):
        masks[place] += (rows == row).float()
    return masks, taught
