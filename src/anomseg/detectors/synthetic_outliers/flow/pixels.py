"""From the 256 levels of a pixel to real numbers, and back: dequantisation and the logit transform."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.detectors.synthetic_outliers.flow.affine import LEVELS


def dequantise(images: Tensor, generator: torch.Generator | None = None, *, noise: bool = True) -> Tensor:
    """Spread every level over its share of the unit interval: ``(255 x + u) / 256``, u uniform in [0, 1).

    Without it a density could be made as large as one likes at the few values that images take.

    Args:
        images: In [0, 1], of 256 levels.
        generator: Source of u.
        noise: Draw u; else it is one half, the middle of each level.

    Returns:
        Of the same shape, in (0, 1).
    """
    if not noise:
        return (images * (LEVELS - 1) + 0.5) / LEVELS
    drawn = torch.rand(images.shape, generator=generator, device=images.device, dtype=images.dtype)
    return (images * (LEVELS - 1) + drawn) / LEVELS


def to_logits(values: Tensor, constraint: float) -> tuple[Tensor, Tensor]:
    """Stretch [0, 1] over the real line: ``logit(((2 v - 1) c + 1) / 2)``.

    The constraint c keeps the logit finite at 0 and 1, which images do take.

    Args:
        values: ``(B, ...)`` in [0, 1].
        constraint: c in (0, 1).

    Returns:
        The real numbers, and ``(B,)`` the logarithm of the determinant.
    """
    inside = ((2 * values - 1) * constraint + 1) / 2
    real = inside.log() - (1 - inside).log()
    # d logit / dp = 1 / (p (1 - p)), whose logarithm is softplus(y) + softplus(-y); dp / dv = c.
    slopes = F.softplus(real) + F.softplus(-real) + math.log(constraint)
    return real, slopes.flatten(1).sum(1)


def from_logits(real: Tensor, constraint: float) -> Tensor:
    """The values of which `to_logits` made these; any real number gives one, a little outside [0, 1] too."""
    return ((2 * real.sigmoid() - 1) / constraint + 1) / 2
