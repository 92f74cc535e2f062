"""The arithmetic of a flow: affine couplings (Dinh et al., ICLR 2017), densities and bits per dimension."""

from __future__ import annotations

import math

from torch import Tensor

LEVELS = 256
"""Levels of an 8-bit channel."""


def affine(x: Tensor, log_scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """``z = x e^s + t``: scale first, then shift (Dinh et al., equation 4).

    Args:
        x: ``(B, ...)`` what is transformed.
        log_scale: s, of the same shape.
        shift: t, of the same shape.

    Returns:
        z, and ``(B,)`` the logarithm of the determinant of dz/dx.

    Example:
        >>> import torch
        >>> z, logdet = affine(torch.tensor([[2.0]]), torch.tensor([[math.log(2)]]), torch.tensor([[1.0]]))
        >>> z.item(), round(logdet.item(), 4)
        (5.0, 0.6931)
    """
    return x * log_scale.exp() + shift, log_scale.flatten(1).sum(1)


def affine_inverse(z: Tensor, log_scale: Tensor, shift: Tensor) -> Tensor:
    """The x of which `affine` made z: ``(z - t) e^-s``."""
    return (z - shift) * (-log_scale).exp()


def normal_log_density(latent: Tensor) -> Tensor:
    """Log-density ``(B,)`` in nats of ``(B, ...)`` values under independent standard normals."""
    values = latent.flatten(1)
    return -0.5 * (values.square().sum(1) + values.shape[1] * math.log(2 * math.pi))


def bits_of(log_density: Tensor, dimensions: int, levels: int = 1) -> Tensor:
    """Bits per dimension of a log-density.

    A density over [0, 1] becomes a probability over the levels of a channel by the width of a level, 1 / 256: that adds
    8 bits per dimension.

    Args:
        log_density: In nats.
        dimensions: How many values the density is of.
        levels: Levels that the unit interval stands for; 1 leaves it a density.

    Example:
        >>> import torch
        >>> round(bits_of(normal_log_density(torch.zeros(1, 4)), 4).item(), 4)
        1.3257
    """
    return math.log2(levels) - log_density / (math.log(2) * dimensions)
