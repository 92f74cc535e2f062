"""Losses of closed-set segmentation, with labels that may stand for a set of classes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def set_valued_cross_entropy(logits: Tensor, labels: Tensor, sets: Tensor, weights: Tensor) -> Tensor:
    """Mean weighted ``-log`` of the probability that a label's set of classes receives.

    Where a label stands for one class this is the ordinary cross-entropy.

    Args:
        logits: ``(B, C, H, W)`` float.
        labels: ``(B, H, W)`` int64 in ``[0, L)``: rows of `sets`.
        sets: ``(L, C)`` bool, the classes a label may stand for; a row without any is void.
        weights: ``(L,)`` float, at least 0.

    Returns:
        A scalar; 0 where every pixel is void.

    Example:
        >>> logits = torch.zeros(1, 3, 1, 2)
        >>> sets = torch.tensor([[True, False, False], [False, True, True]])
        >>> loss = set_valued_cross_entropy(logits, torch.tensor([[[0, 1]]]), sets, torch.ones(2))
        >>> round(loss.item(), 4)   # (ln 3 + ln 3/2) / 2
        0.752
    """
    weight = weights[labels] * sets.any(1)[labels]
    return weighted_mean(softmax_nll(logits, sets[labels].movedim(-1, 1)), weight)


def softmax_nll(logits: Tensor, allowed: Tensor) -> Tensor:
    """Minus the log-probability that a softmax gives to a set of classes; where one class is allowed, cross-entropy.

    Args:
        logits: ``(B, K, *S)`` float.
        allowed: The same shape, bool.

    Returns:
        ``(B, *S)``, 0 or more.
    """
    log_p = torch.log_softmax(logits.float(), 1)
    # A finite floor instead of -inf keeps the gradient of void pixels at zero rather than NaN.
    return -torch.logsumexp(log_p.masked_fill(~allowed, -1e4), 1)


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of values by weights, a scalar; 0 where all weights are 0."""
    return (values * weights).sum() / weights.sum().clamp_min(1e-6)


def inverse_log_weights(frequencies: Sequence[float], constant: float = 1.10) -> list[float]:
    """Class weights ``1 / ln(constant + p)``, divided by their mean (Paszke et al. 2016, ENet, section 5.2).

    Args:
        frequencies: Share of labelled pixels of each class, summing to 1.
        constant: Bounds the weight of rare classes; greater is flatter.

    Example:
        >>> [round(w, 2) for w in inverse_log_weights([0.9, 0.1])]
        [0.42, 1.58]
    """
    raw = [1.0 / math.log(constant + share) for share in frequencies]
    mean = sum(raw) / len(raw)
    return [weight / mean for weight in raw]


def sample_logits(logits: Tensor, size: tuple[int, int], stride: int = 1) -> Tensor:
    """What every ``stride``-th pixel gets when logits are upsampled bilinearly to ``size``, without upsampling all.

    Args:
        logits: ``(B, C, h, w)`` float.
        size: ``(H, W)`` of the image.
        stride: Distance of the pixels, the first one in the corner.

    Returns:
        ``(B, C, ceil(H / stride), ceil(W / stride))``, equal to
        ``interpolate(logits, size, mode="bilinear")[..., ::stride, ::stride]``.
    """
    if stride == 1:
        return F.interpolate(logits, size, mode="bilinear", align_corners=False)
    # Pixel centres, on the scale -1 .. 1 from edge to edge.
    y, x = ((torch.arange(0, side, stride, device=logits.device) * 2 + 1) / side - 1 for side in size)
    grid = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), -1).to(logits.dtype)
    grid = grid.expand(len(logits), -1, -1, -1)
    return F.grid_sample(logits, grid, mode="bilinear", padding_mode="border", align_corners=False)
