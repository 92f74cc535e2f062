"""Scores on feature maps: distances to, and likelihoods under, Gaussians that were fitted to in-distribution features.

All take features ``(B, D, *S)`` and give ``(B, *S)``, computed in the wider of the features' and the parameters'
types and at least in float32: give parameters in float64 where the last digits matter. Pixels are worked through in
pieces of at most `PIECE` values, image by image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from anomseg.errors import CompatibilityError

PIECE = 2**19
"""Values of the largest intermediate tensor, channels x pixels (2 MiB in float32, which caches hold)."""

Reduction = Literal["max", "logsumexp"]


def mahalanobis(features: Tensor, means: Tensor, precisions: Tensor) -> Tensor:
    """Squared Mahalanobis distance to the nearest class (Lee et al., NeurIPS 2018, equation 2; higher is odder).

    ``min_c (f - mu_c)^T P_c (f - mu_c)``. The precisions are factorised on each call; `mahalanobis_whitened` takes
    the factors.

    Args:
        features: ``(B, D, *S)`` float.
        means: ``(C, D)`` float.
        precisions: ``(C, D, D)`` symmetric positive (semi)definite, or one ``(D, D)`` that all classes share.

    Returns:
        ``(B, *S)``, at least 0.

    Raises:
        CompatibilityError: The shapes do not belong together, or a precision has a negative eigenvalue.

    Example:
        >>> f, mu = torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0], [3.0, 4.0]])
        >>> mahalanobis(f, mu, torch.diag(torch.tensor([1.0, 0.25]))).item()
        4.0
    """
    return mahalanobis_whitened(features, means, whitening_of(precisions))


def whitening_of(precisions: Tensor) -> Tensor:
    """Factors W of precisions, ``P = W^T W``, so that the distance is the length of ``W (f - mu)``.

    Args:
        precisions: ``(..., D, D)`` symmetric positive (semi)definite, float32 or float64.

    Returns:
        ``(..., D, D)``.

    Raises:
        CompatibilityError: They are not square, or have a negative eigenvalue.

    Example:
        >>> whitening_of(torch.diag(torch.tensor([4.0, 9.0]))).tolist()
        [[2.0, 0.0], [0.0, 3.0]]
    """
    if precisions.ndim < 2 or precisions.shape[-1] != precisions.shape[-2]:
        raise CompatibilityError(f"precisions must be (classes, D, D) or (D, D), got {tuple(precisions.shape)}")
    factor, failed = torch.linalg.cholesky_ex(precisions)
    if not bool(failed.any()):
        return factor.mT
    values, vectors = torch.linalg.eigh(precisions)  # a semidefinite precision has no Cholesky factor
    if bool((values < -1e-5 * values.abs().amax(-1, keepdim=True)).any()):
        raise CompatibilityError("a precision matrix has negative eigenvalues; give the inverse of a covariance")
    return values.clamp(min=0).sqrt()[..., None] * vectors.mT


def mahalanobis_whitened(features: Tensor, means: Tensor, whitening: Tensor) -> Tensor:
    """`mahalanobis` with the precisions given by their factors, see `whitening_of`.

    With one shared factor, features and means are whitened once and the rest is a matrix product.

    Args:
        features: ``(B, D, *S)`` float.
        means: ``(C, D)`` float.
        whitening: ``(C, D, D)``, or one ``(D, D)`` that all classes share.

    Returns:
        ``(B, *S)``, at least 0.

    Raises:
        CompatibilityError: The shapes do not belong together.
    """
    channels = means.shape[-1]
    if (
        means.ndim != 2
        or not len(means)
        or features.ndim < 2
        or features.shape[1] != channels
        or whitening.shape not in {(channels, channels), (len(means), channels, channels)}
    ):
        raise CompatibilityError(
            f"features {tuple(features.shape)}, means {tuple(means.shape)} and precisions {tuple(whitening.shape)} "
            "do not belong together; expected (batch, D, height, width), (classes, D) and (classes, D, D) or (D, D)"
        )
    kind = _common_type(features, means, whitening)
    means, whitening = means.to(kind), whitening.to(kind)

    def nearest(f: Tensor) -> Tensor:
        if whitening.ndim == 2:
            # Differences, not |a|^2 - 2ab + |b|^2, which loses all digits far from the origin.
            white = (f - means.mean(0)) @ whitening.T
            centres = (means - means.mean(0)) @ whitening.T
            return torch.cdist(white, centres, compute_mode="donot_use_mm_for_euclid_dist").square().amin(1)
        best: Tensor | None = None
        for mean, factor in zip(means, whitening, strict=True):
            distance = ((f - mean) @ factor.T).square().sum(1)
            best = distance if best is None else torch.minimum(best, distance)
        assert best is not None  # noqa: S101 - there is at least one class
        return best

    return _by_pixel(features, kind, nearest)


def gaussian_mixture(
    features: Tensor,
    weights: Tensor,
    means: Tensor,
    factors: Tensor,
    reduction: Reduction = "max",
    prior: Tensor | None = None,
) -> Tensor:
    """Negative log-likelihood under one Gaussian mixture a class.

    ``-max_c ln p(f | c)`` (as GMMSeg, Liang et al., NeurIPS 2022, scores anomalies), or ``-ln sum_c p(f | c)``; with a
    prior ``p(f | c) pi_c`` stands in their place, so the sum becomes the density of f.

    Args:
        features: ``(B, D, *S)`` float.
        weights: ``(C, K)`` of the components, each row summing to 1; 0 switches a component off.
        means: ``(C, K, D)``.
        factors: Cholesky factors U of the precisions, ``P = U U^T`` with U upper triangular, ``(C, K, D, D)``, or of
            diagonal ones the diagonal ``(C, K, D)``: `sklearn.mixture.GaussianMixture.precisions_cholesky_`. An axis
            K of length 1 is shared by all components.
        reduction: ``"max"`` or ``"logsumexp"`` over the classes.
        prior: ``(C,)`` probability of each class; none by default.

    Returns:
        ``(B, *S)`` in nats, unbounded.

    Raises:
        CompatibilityError: The shapes do not belong together, or the reduction is unknown.

    Example:
        >>> one = torch.ones(1, 1)
        >>> score = gaussian_mixture(torch.zeros(1, 2), one, torch.zeros(1, 1, 2), torch.ones(1, 1, 2))
        >>> round(score.item(), 4)  # ln 2 pi
        1.8379
    """
    if reduction not in ("max", "logsumexp"):
        raise CompatibilityError(f"reduction must be max or logsumexp, got {reduction!r}")
    _check_mixture(features, weights, means, factors, prior)
    kind = _common_type(features, means, factors)
    weights, means, factors = weights.to(kind), means.to(kind), factors.to(kind)
    diagonal = factors if factors.ndim == 3 else factors.diagonal(dim1=-2, dim2=-1)
    constant = weights.log() + diagonal.log().sum(-1) - 0.5 * means.shape[-1] * math.log(2 * math.pi)
    factors = factors.expand(-1, weights.shape[1], *factors.shape[2:])
    if prior is not None:
        constant = constant + prior.to(kind).log()[:, None]

    def odds(f: Tensor) -> Tensor:
        classes = []
        for offsets, centres, scales in zip(constant, means, factors, strict=True):
            terms = []
            for offset, centre, scale in zip(offsets, centres, scales, strict=True):
                white = (f - centre) * scale if scale.ndim == 1 else (f - centre) @ scale
                terms.append(offset - 0.5 * white.square().sum(1))
            classes.append(torch.stack(terms).logsumexp(0))
        likelihood = torch.stack(classes)
        return -(likelihood.amax(0) if reduction == "max" else likelihood.logsumexp(0))

    return _by_pixel(features, kind, odds)


def _check_mixture(features: Tensor, weights: Tensor, means: Tensor, factors: Tensor, prior: Tensor | None) -> None:
    fits = means.ndim == 3 and means.numel() and features.ndim >= 2 and features.shape[1] == means.shape[2]
    if fits:
        classes, components, channels = means.shape
        fits = (
            weights.shape == (classes, components)
            and factors.shape[:1] == (classes,)
            and factors.shape[1:2] in {(1,), (components,)}
            and factors.shape[2:] in {(channels,), (channels, channels)}
            and (prior is None or prior.shape == (classes,))
        )
    if not fits:
        raise CompatibilityError(
            f"features {tuple(features.shape)}, weights {tuple(weights.shape)}, means {tuple(means.shape)} and factors "
            f"{tuple(factors.shape)} do not belong together; expected (batch, D, height, width), (classes, K), "
            "(classes, K, D) and (classes, K, D, D) or (classes, K, D)"
        )


def _common_type(*tensors: Tensor) -> torch.dtype:
    kind = torch.float32
    for tensor in tensors:
        kind = torch.promote_types(kind, tensor.dtype)
    return kind


def _by_pixel(features: Tensor, kind: torch.dtype, score: Callable[[Tensor], Tensor]) -> Tensor:
    """Score ``(n, D)`` rows of pixels piece by piece, image by image; ``(B, D, *S)`` to ``(B, *S)``."""
    batch, channels, *space = features.shape
    piece = max(1, PIECE // max(1, channels))
    rows = [
        torch.cat([score(part.T.to(kind)) for part in image.split(piece, 1)])
        for image in features.reshape(batch, channels, -1).unbind()
    ]
    return torch.stack(rows).reshape(batch, *space)
