"""Standardized max logits with boundary suppression and dilated smoothing (Jung et al., ICCV 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.errors import CompatibilityError
from anomseg.scores.logits import as_logits

EXPANSIONS = (3, 2, 1, 0)
"""How far, in pixels of L1 distance, the boundary is widened in each of the four suppression iterations."""

GAUSSIAN_TAPS, GAUSSIAN_SIGMA, GAUSSIAN_DILATION = 7, 1.0, 6


def standardized_max_logit(logits: Tensor, mean: Tensor, variance: Tensor, *, check: bool = True) -> Tensor:
    """Minus the maximum logit, standardized by the statistics of its class: -(max l - mu_y) / sqrt(var_y).

    Args:
        logits: ``(B, C, *S)`` float.
        mean: ``(C,)`` mean of the maximum logit over the pixels predicted as each class.
        variance: ``(C,)`` its variance, above 0.
        check: Refuse probabilities, see `anomseg.scores.check_logits`.

    Returns:
        ``(B, *S)``, unbounded.

    Raises:
        CompatibilityError: The statistics are of another number of classes, or a variance is not positive.

    Example:
        >>> logits = torch.tensor([[7.0, 1.0], [1.0, 9.0]])
        >>> standardized_max_logit(logits, torch.tensor([5.0, 10.0]), torch.tensor([4.0, 1.0]))
        tensor([-1.,  1.])
    """
    logits = as_logits(logits, check)
    for name, values in (("mean", mean), ("variance", variance)):
        if values.shape != (logits.shape[1],):
            raise CompatibilityError(
                f"the {name} has shape {tuple(values.shape)} but the logits have {logits.shape[1]} classes; "
                "fit the statistics on this network"
            )
    if not bool((variance > 0).all()):
        raise CompatibilityError("a variance of the standardized max logit is not positive; fit on more frames")
    top, predicted = logits.max(1)
    mean = mean.to(logits.device, logits.dtype)
    deviation = variance.to(logits.device).sqrt().to(logits.dtype)
    return (mean[predicted] - top) / deviation[predicted]


def sml_suppress_and_smooth(score: Tensor, prediction: Tensor) -> Tensor:
    """Iterative boundary suppression, then dilated smoothing: what SML does to its map at the end.

    Args:
        score: ``(B, H, W)`` float, any sign convention (both steps are linear in it).
        prediction: ``(B, H, W)`` integer, the predicted class of each pixel.

    Returns:
        ``(B, H, W)``.

    Raises:
        CompatibilityError: The shapes differ.

    Example:
        >>> sml_suppress_and_smooth(torch.full((1, 4, 5), 3.0), torch.zeros(1, 4, 5, dtype=torch.int64)).unique()
        tensor([3.])
    """
    return dilated_smoothing(suppress_boundaries(score, prediction))


def suppress_boundaries(score: Tensor, prediction: Tensor) -> Tensor:
    """Replace scores near boundaries between predicted classes by those of the regions' insides.

    Four iterations with the boundary widened by 3, 2, 1 and 0 pixels (L1 distance). In each, a pixel of the widened
    boundary takes the mean over those pixels of its 3x3 neighbourhood that lie outside it (edge values repeated
    beyond the image); it keeps its value where there is none. Each iteration reads the result of the former.

    Args:
        score: ``(B, H, W)`` float.
        prediction: ``(B, H, W)`` integer.

    Returns:
        ``(B, H, W)``; pixels more than 3 away from any boundary are unchanged.

    Raises:
        CompatibilityError: The shapes differ.
    """
    if score.ndim != 3 or score.shape != prediction.shape:
        raise CompatibilityError(
            f"score and prediction must both be (batch, height, width), got {tuple(score.shape)} "
            f"and {tuple(prediction.shape)}"
        )
    boundary = class_boundaries(prediction).to(score.dtype)
    widened = [boundary]
    for _ in range(max(EXPANSIONS)):
        widened.append(_dilate_cross(widened[-1]))
    for expansion in EXPANSIONS:
        inside = widened[expansion] == 0
        # Selecting, not multiplying, keeps a stray infinity on the boundary from spoiling its neighbours.
        total = _sum_3x3(torch.where(inside, score, 0.0))
        count = _sum_3x3(inside.to(score.dtype))
        replace = ~inside & (count > 0)
        score = torch.where(replace, total / count.clamp(min=1), score)
    return score


def class_boundaries(prediction: Tensor) -> Tensor:
    """Pixels where the 3x3 cross dilation of the class map differs from its 3x3 square erosion.

    The border of the image is no boundary by itself.

    Args:
        prediction: ``(B, H, W)`` integer.

    Returns:
        ``(B, H, W)`` bool.

    Example:
        >>> class_boundaries(torch.tensor([[[0, 0, 0, 1, 1, 1]]])).int()
        tensor([[[0, 0, 1, 1, 0, 0]]], dtype=torch.int32)
    """
    classes = prediction.to(torch.float32)
    eroded = -F.max_pool2d(-classes[:, None], 3, stride=1, padding=1)[:, 0]
    return _dilate_cross(classes) != eroded


def dilated_smoothing(score: Tensor) -> Tensor:
    """Smooth by a 7x7 Gaussian of sigma 1 whose taps lie 6 pixels apart; edge values are repeated.

    Args:
        score: ``(B, H, W)`` float.

    Returns:
        ``(B, H, W)``.
    """
    offsets = range(-(GAUSSIAN_TAPS // 2), GAUSSIAN_TAPS // 2 + 1)
    weights = [math.exp(-(offset**2) / (2 * GAUSSIAN_SIGMA**2)) for offset in offsets]
    kernel = [weight / sum(weights) for weight in weights]
    reach = GAUSSIAN_TAPS // 2 * GAUSSIAN_DILATION
    height, width = score.shape[-2:]
    # The kernel and the repeated edges are separable, and shifted sums beat a dilated convolution on a CPU. Adding them
    # one by one fixes the order of the sum, so that a map does not depend on its batch; adding differences to the
    # middle tap leaves a constant map exactly as it was.
    for axis, length, pad in ((-2, height, (0, 0, reach, reach)), (-1, width, (reach, reach, 0, 0))):
        padded = F.pad(score[:, None], pad, mode="replicate")[:, 0]
        smooth = score
        for tap, weight in enumerate(kernel):
            if tap != GAUSSIAN_TAPS // 2:
                smooth = smooth + (padded.narrow(axis, tap * GAUSSIAN_DILATION, length) - score) * weight
        score = smooth
    return score


def _dilate_cross(maps: Tensor) -> Tensor:
    """Maximum over each pixel and its four neighbours inside the image, of maps ``(B, H, W)``."""
    planes = maps[:, None]
    vertical = F.max_pool2d(planes, (3, 1), stride=1, padding=(1, 0))
    horizontal = F.max_pool2d(planes, (1, 3), stride=1, padding=(0, 1))
    return torch.maximum(vertical, horizontal)[:, 0]


def _sum_3x3(maps: Tensor) -> Tensor:
    """Sum over each pixel's 3x3 neighbourhood, edge values repeated, of maps ``(B, H, W)``."""
    padded = F.pad(maps[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
