"""Scores that read nothing but class logits; each is a pure and differentiable function of one tensor.

All take logits ``(B, C, *S)`` *before* the softmax, float32 or float64 (half precision is computed in float32),
with ``S`` empty, ``(H, W)`` or ``(D, H, W)``, and give ``(B, *S)``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.errors import CompatibilityError

MIN_PIXELS = 16
"""Fewer pixels than this that look like probabilities may do so by accident."""

SUM_TOLERANCE = 1e-4
RANGE_TOLERANCE = 1e-6  # upsampling a saturated softmax may leave 1.0000001


def check_logits(logits: Tensor) -> None:
    """Refuse tensors that went through a softmax already, which would apply it twice.

    Args:
        logits: ``(B, C, *S)`` float.

    Raises:
        CompatibilityError: Every value lies in [0, 1] and every pixel sums to 1 within 1e-4, over at least 16
            pixels and more than one class.

    Example:
        >>> check_logits(torch.zeros(1, 3, 4, 4))
        >>> check_logits(torch.zeros(1, 3, 4, 4).softmax(1))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        anomseg.errors.CompatibilityError: these logits are probabilities (each value in [0, 1], ...
    """
    if logits.ndim < 2 or logits.shape[1] < 2 or logits.numel() // logits.shape[1] < MIN_PIXELS:
        return
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return  # a decision on values has no place in a graph
    values = logits.detach()
    # One column of pixels settles nearly every case; the whole tensor is read only where that column looks suspicious.
    if (values.ndim < 3 or _are_probabilities(values[..., :1])) and _are_probabilities(values):
        raise CompatibilityError(
            "these logits are probabilities (each value in [0, 1], each pixel sums to 1): give the values before "
            "the softmax, or switch this check off with check=False (of a detector: check_logits=false)"
        )


def _are_probabilities(values: Tensor) -> bool:
    low, high = values.aminmax()
    if low < 0 or high > 1 + RANGE_TOLERANCE:
        return False
    tolerance = max(SUM_TOLERANCE, torch.finfo(values.dtype).eps)  # half precision cannot sum to 1 within 1e-4
    return bool(((values.sum(1, dtype=torch.float64) - 1).abs() <= tolerance).all())


def as_logits(logits: Tensor, check: bool = True) -> Tensor:
    """Check the shape and kind of logits and bring half precision to float32.

    Args:
        logits: ``(B, C, *S)`` float.
        check: Also refuse probabilities, see `check_logits`.

    Returns:
        The same values in float32 or float64.

    Raises:
        CompatibilityError: The tensor has another shape, is empty or is not floating point.
    """
    if logits.ndim not in (2, 4, 5) or logits.numel() == 0:
        raise CompatibilityError(f"logits must be (batch, classes, height, width), got shape {tuple(logits.shape)}")
    if not logits.is_floating_point():
        raise CompatibilityError(f"logits must be floating point before the softmax, got {logits.dtype}")
    if check:
        check_logits(logits)
    return logits if logits.dtype in (torch.float32, torch.float64) else logits.to(torch.float32)


def _positive(temperature: float) -> float:
    if not (temperature > 0 and math.isfinite(temperature)):
        raise CompatibilityError(f"temperature must be a positive number, got {temperature}")
    return float(temperature)


def msp(logits: Tensor, *, check: bool = True) -> Tensor:
    """One minus the maximum softmax probability (Hendrycks and Gimpel, 2017).

    Args:
        logits: ``(B, C, *S)`` float.
        check: Refuse probabilities.

    Returns:
        ``(B, *S)`` in [0, 1 - 1/C].

    Example:
        >>> round(msp(torch.tensor([[2.0, 1.0, 0.0]])).item(), 4)
        0.3348
    """
    return 1 - as_logits(logits, check).softmax(1).amax(1)


def max_logit(logits: Tensor, *, check: bool = True) -> Tensor:
    """Minus the maximum logit (Hendrycks et al., Scaling out-of-distribution detection, 2022).

    Args:
        logits: ``(B, C, *S)`` float.
        check: Refuse probabilities.

    Returns:
        ``(B, *S)``, unbounded.

    Example:
        >>> max_logit(torch.tensor([[2.0, 1.0, 0.0]])).item()
        -2.0
    """
    return -as_logits(logits, check).max(1).values


def entropy(logits: Tensor, normalized: bool = False, *, check: bool = True) -> Tensor:
    """Shannon entropy of the softmax, in nats.

    Args:
        logits: ``(B, C, *S)`` float.
        normalized: Divide by ln C, so that the score lies in [0, 1].
        check: Refuse probabilities.

    Returns:
        ``(B, *S)`` in [0, ln C], or in [0, 1].

    Raises:
        CompatibilityError: Normalised entropy of a single class.

    Example:
        >>> logits = torch.tensor([[2.0, 1.0, 0.0]])
        >>> round(entropy(logits).item(), 4), round(entropy(logits, normalized=True).item(), 4)
        (0.8324, 0.7577)
    """
    logits = as_logits(logits, check)
    classes = logits.shape[1]
    if normalized and classes < 2:
        raise CompatibilityError("normalised entropy needs at least two classes")
    log_p = logits.log_softmax(1)
    # Subtracting from zero instead of negating keeps a certain pixel at 0.0 rather than -0.0.
    nats = 0.0 - (log_p.exp() * log_p).sum(1)
    return (nats / math.log(classes)).clamp(max=1) if normalized else nats


def energy(logits: Tensor, temperature: float = 1.0, *, check: bool = True) -> Tensor:
    """Free energy -T logsumexp(l / T) (Liu et al., Energy-based out-of-distribution detection, 2020).

    Args:
        logits: ``(B, C, *S)`` float.
        temperature: T > 0.
        check: Refuse probabilities.

    Returns:
        ``(B, *S)``, unbounded.

    Raises:
        CompatibilityError: The temperature is not positive.

    Example:
        >>> round(energy(torch.tensor([[2.0, 1.0, 0.0]])).item(), 4)
        -2.4076
    """
    temperature = _positive(temperature)
    return -temperature * (as_logits(logits, check) / temperature).logsumexp(1)


def js_to_uniform(logits: Tensor, temperature: float = 1.0, *, check: bool = True) -> Tensor:
    """Jensen-Shannon divergence between the uniform distribution and softmax(l / T), in nats.

    This is a divergence, so small where the network is unsure; a detector negates it.

    Args:
        logits: ``(B, C, *S)`` float.
        temperature: T > 0.
        check: Refuse probabilities.

    Returns:
        ``(B, *S)`` in [0, ln 2].

    Raises:
        CompatibilityError: The temperature is not positive.

    Example:
        >>> js_to_uniform(torch.zeros(1, 3)).item()
        0.0
    """
    temperature = _positive(temperature)
    log_p = (as_logits(logits, check) / temperature).log_softmax(1)
    log_u = torch.full_like(log_p, -math.log(log_p.shape[1]))
    log_mean = torch.logaddexp(log_p, log_u) - math.log(2)
    terms = log_p.exp() * (log_p - log_mean) + log_u.exp() * (log_u - log_mean)
    return F.relu(0.5 * terms.sum(1))  # rounding may leave -1e-8 at the uniform distribution


def kl_from_uniform(logits: Tensor, *, check: bool = True) -> Tensor:
    """Kullback-Leibler divergence KL(U || softmax(l)) of the prediction from the uniform distribution, in nats.

    This is a divergence, so small where the network is unsure; a detector negates it.

    Args:
        logits: ``(B, C, *S)`` float.
        check: Refuse probabilities.

    Returns:
        ``(B, *S)``, at least 0.

    Example:
        >>> round(kl_from_uniform(torch.tensor([[2.0, 1.0, 0.0]])).item(), 4)
        0.309
    """
    log_p = as_logits(logits, check).log_softmax(1)
    return F.relu(-math.log(log_p.shape[1]) - log_p.mean(1))
