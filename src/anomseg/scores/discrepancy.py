"""How far a student's features are from its teacher's, cell by cell (Zhou et al., DiCNet, arXiv 2112.09908)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.errors import CompatibilityError, unknown_name

Distance = Literal["mse", "cosine", "smooth_l1", "max"]
ROUNDING = 1e-6
"""What resizing a constant map leaves of differences, relative to its values."""
DISTANCES: tuple[Distance, ...] = get_args(Distance)


def feature_discrepancy(teacher: Tensor, student: Tensor, distance: Distance = "mse") -> Tensor:
    """Discrepancy of two feature maps at each cell; no upsampling, no stretch to a range.

    ``mse`` is ``(1/C) sum_c (T_c - S_c)^2``, the published score, whose mean over all cells is the training loss.
    ``smooth_l1`` is quadratic below 1 and linear above, also a mean over channels; ``cosine`` is 1 minus the cosine of
    the two vectors, which forgets their lengths; ``max`` is ``max_c (T_c - S_c)^2``, for which one odd channel is
    enough. All are 0 where both agree, and symmetric.

    Args:
        teacher: ``(B, C, *S)`` float.
        student: The same shape.
        distance: ``"mse"``, ``"cosine"``, ``"smooth_l1"`` or ``"max"``.

    Returns:
        ``(B, *S)`` in the wider of both types, at least 0.

    Raises:
        CompatibilityError: The shapes differ.
        ConfigError: An unknown distance.

    Example:
        >>> teacher = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)
        >>> feature_discrepancy(teacher, torch.ones(1, 4, 1, 1)).item()
        3.5
    """
    if teacher.shape != student.shape or teacher.ndim < 2:
        raise CompatibilityError(
            f"teacher and student must give features of one shape (batch, channels, ...), got {tuple(teacher.shape)} "
            f"and {tuple(student.shape)}"
        )
    if distance == "mse":
        return (teacher - student).square().mean(1)
    if distance == "max":
        return (teacher - student).square().amax(1)
    if distance == "smooth_l1":
        return F.smooth_l1_loss(teacher, student, reduction="none").mean(1)
    if distance == "cosine":
        return (1 - F.cosine_similarity(teacher, student, dim=1)).clamp(min=0)
    raise unknown_name("distance", distance, DISTANCES)


def smoothed(cells: Tensor, size: int) -> Tensor:
    """Mean of each cell's neighbourhood; at the edge, of the part of it that there is.

    Args:
        cells: ``(B, h, w)`` float.
        size: Cells along each side of the neighbourhood, odd; 1 leaves the map as it is.

    Example:
        >>> smoothed(torch.tensor([[[0.0, 3.0, 0.0, 9.0]]]), 3).tolist()
        [[[1.5, 1.0, 4.0, 4.5]]]
    """
    if size == 1:
        return cells
    return F.avg_pool2d(cells[:, None], size, 1, size // 2, count_include_pad=False)[:, 0]


def stretched(score: Tensor) -> Tensor:
    """Each map brought to [0, 1] by its own least and greatest value; one that is constant up to rounding becomes 0.

    Monotone within an image, so figures of single images stay as they are; those pooled over images do not.

    Args:
        score: ``(B, H, W)`` float.

    Example:
        >>> stretched(torch.tensor([[[2.0, 4.0, 6.0]]])).tolist()
        [[[0.0, 0.5, 1.0]]]
    """
    low, high = score.amin((-2, -1), keepdim=True), score.amax((-2, -1), keepdim=True)
    span = high - low
    told_apart = span > ROUNDING * torch.maximum(low.abs(), high.abs())
    return torch.where(told_apart, (score - low) / torch.where(told_apart, span, 1.0), 0.0)
