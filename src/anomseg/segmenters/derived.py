"""Logits of networks that have none of their own: made from what the queries of a mask head claim."""

from __future__ import annotations

from torch import Tensor

LEAST_CLAIM = 1e-8
"""The floor of a claim, so that its logarithm stays finite."""


def derived_logits(claims: Tensor) -> Tensor:
    """``log(claims)``, at least log 1e-8.

    Args:
        claims: ``(B, C, h, w)`` float, 0 or more, as of `anomseg.scores.mask_semantic`.

    Example:
        >>> import torch
        >>> [round(value, 4) for value in derived_logits(torch.tensor([0.0, 1.0])).tolist()]
        [-18.4207, 0.0]
    """
    return claims.clamp(min=LEAST_CLAIM).log()
