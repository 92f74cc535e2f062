"""Scores that read a two-way head, inlier then outlier, that was trained with negative images."""

from __future__ import annotations

from torch import Tensor

from anomseg.errors import CompatibilityError
from anomseg.scores.logits import as_logits, energy


def outlier_head(logits2: Tensor, *, check: bool = True) -> Tensor:
    """Probability of the outlier column.

    Args:
        logits2: ``(B, 2, *S)`` float before the softmax: inlier, outlier.
        check: Refuse probabilities.

    Returns:
        ``(B, *S)`` in [0, 1].

    Raises:
        CompatibilityError: There are not two columns.

    Example:
        >>> import torch
        >>> outlier_head(torch.tensor([[0.0, 0.0]])).item()
        0.5
    """
    return _two_columns(logits2, check).softmax(1)[:, 1]


def dense_hybrid(logits: Tensor, logits2: Tensor, *, check: bool = True) -> Tensor:
    """Hybrid of density and posterior: ``-logsumexp(l) + ln P(outlier | x)``.

    Grcić, Bevandić, Šegvić: "DenseHybrid: Hybrid Anomaly Detection for Dense Open-set Recognition", ECCV 2022,
    equation 7. The logarithm is taken in log space, so a head that is sure of an inlier gives a large negative number
    and not minus infinity.

    Args:
        logits: ``(B, C, *S)`` float, class logits before the softmax.
        logits2: ``(B, 2, *S)`` float: inlier, outlier.
        check: Refuse probabilities.

    Returns:
        ``(B, *S)``, unbounded.

    Raises:
        CompatibilityError: The shapes do not belong together.

    Example:
        >>> import torch
        >>> round(dense_hybrid(torch.tensor([[2.0, 1.0, 0.0]]), torch.zeros(1, 2)).item(), 4)
        -3.1008
    """
    pair = _two_columns(logits2, check)
    if logits.shape[:1] != pair.shape[:1] or logits.shape[2:] != pair.shape[2:]:
        raise CompatibilityError(
            f"class logits {tuple(logits.shape)} and outlier logits {tuple(pair.shape)} lie on different grids; "
            "resize one to the other"
        )
    return energy(logits, check=check) + pair.log_softmax(1)[:, 1]


def _two_columns(logits2: Tensor, check: bool) -> Tensor:
    if logits2.ndim < 2 or logits2.shape[1] != 2:
        raise CompatibilityError(
            f"outlier logits must be (batch, 2, height, width): inlier, outlier; got {tuple(logits2.shape)}"
        )
    return as_logits(logits2, check)
