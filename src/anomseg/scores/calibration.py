"""Temperature scaling and what it is judged by (Guo et al., On calibration of modern neural networks, ICML 2017)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anomseg.errors import CompatibilityError

LOWEST, HIGHEST = 0.01, 100.0
"""Temperatures that are looked at; the best one of a network without any error is 0, of a guessing one infinite."""


def negative_log_likelihood(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> float:
    """Mean of -ln softmax(l / T) at the true class, in nats.

    Args:
        logits: ``(N, C)`` float.
        labels: ``(N,)`` integer in [0, C).
        temperature: T > 0.

    Example:
        >>> round(negative_log_likelihood(torch.zeros(4, 3), torch.tensor([0, 1, 2, 0])), 4)
        1.0986
    """
    scaled = logits.detach().to(torch.float64) / temperature
    return float((scaled.logsumexp(1) - scaled.gather(1, labels[:, None].long())[:, 0]).mean())


def fit_temperature(logits: Tensor, labels: Tensor, tolerance: float = 1e-10, steps: int = 200) -> float:
    """The temperature at which the likelihood of the labels is highest.

    In b = 1/T the negative log-likelihood is convex and its derivative is the mean of E_p[l] - l_y, so that the
    minimum is found by Newton's steps, halved wherever they would leave the bracket.

    Args:
        logits: ``(N, C)`` float, before the softmax.
        labels: ``(N,)`` integer in [0, C).
        tolerance: Relative width of the bracket at which to stop.
        steps: Most steps.

    Returns:
        T in [0.01, 100]; an end of this range where the best one lies beyond it.

    Raises:
        CompatibilityError: There are no labels, or they do not fit the logits.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0]] * 4)
        >>> round(fit_temperature(logits, torch.tensor([0, 0, 0, 1])), 4)  # 3 of 4 right: l / T = ln 3
        1.8205
    """
    if logits.ndim != 2 or len(logits) == 0 or labels.shape != logits.shape[:1]:
        raise CompatibilityError(
            f"a temperature is fitted to logits (N, C) and labels (N,), got {tuple(logits.shape)} and "
            f"{tuple(labels.shape)}"
        )
    values = logits.detach().to(torch.float64)
    values = values - values.amax(1, keepdim=True)
    target = float(values.gather(1, labels[:, None].long()).mean())

    def slope(inverse: float) -> tuple[float, float]:
        p = (values * inverse).softmax(1)
        first = (p * values).sum(1)
        second = (p * values**2).sum(1) - first**2
        return float(first.mean()) - target, float(second.mean())

    low, high = 1 / HIGHEST, 1 / LOWEST
    if slope(low)[0] >= 0:
        return HIGHEST
    if slope(high)[0] <= 0:
        return LOWEST
    inverse = 1.0
    for _ in range(steps):
        gradient, curvature = slope(inverse)
        low, high = (inverse, high) if gradient < 0 else (low, inverse)
        if gradient == 0 or high - low <= tolerance * high:
            break
        step = inverse - gradient / curvature if curvature > 0 else math.nan
        inside = low < step < high
        if inside and abs(step - inverse) <= tolerance * inverse:
            inverse = step
            break
        inverse = step if inside else math.sqrt(low * high)
    return 1 / inverse


def expected_calibration_error(confidence: Tensor, correct: Tensor, bins: int = 15) -> float:
    """Distance between confidence and accuracy, averaged over bins of equal width (equation 3 of the paper).

    Args:
        confidence: ``(N,)`` float in [0, 1], the largest probability of each prediction.
        correct: ``(N,)`` bool, whether that prediction is right.
        bins: Number of bins; their right ends belong to them.

    Returns:
        In [0, 1]; 0 where nothing was given.

    Example:
        >>> round(expected_calibration_error(torch.tensor([0.9, 0.9]), torch.tensor([True, False])), 4)
        0.4
    """
    if len(confidence) == 0:
        return 0.0
    values, hits = confidence.to(torch.float64), correct.to(torch.float64)
    index = ((values * bins).ceil().long() - 1).clamp(0, bins - 1)
    gaps = torch.bincount(index, values - hits, minlength=bins)
    return float(gaps.abs().sum() / len(values))
