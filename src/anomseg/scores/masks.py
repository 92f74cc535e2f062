"""Scores on the queries of a mask transformer: Q masks, each with a distribution over classes and "no object".

All take ``class_logits (B, Q, K)`` before the softmax, the no-object column last, and ``mask_logits (B, Q, *S)``
before the sigmoid, at the resolution to score at (``S`` is usually ``(H, W)``). Half precision is computed in
float32. None depends on the order of the queries. Pixels are worked through in pieces, so that beside its two
arguments and its result no score holds more than `PIECE` values, whatever the size of the image.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from anomseg.errors import CompatibilityError

PIECE = 2**23
"""Values of the largest intermediate tensor, queries x pixels (32 MiB in float32)."""


def mask_semantic(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """How much the queries together claim each pixel for each class (Cheng et al., MaskFormer, 2021, section 3.4).

    ``L_c = sum_q softmax(class_logits_q)_c sigmoid(mask_logits_q)`` over the real classes: the softmax runs over all
    columns, then the no-object column is dropped.

    Args:
        class_logits: ``(B, Q, C + 1)`` float, no-object last.
        mask_logits: ``(B, Q, H, W)`` float.

    Returns:
        ``(B, C, H, W)`` in [0, Q]; no probabilities, they do not sum to 1.

    Raises:
        CompatibilityError: The shapes do not belong together.

    Example:
        >>> mask_semantic(torch.zeros(1, 1, 4), torch.zeros(1, 1, 1, 2))[0, :, 0, 0].tolist()
        [0.125, 0.125, 0.125]
    """
    p, masks = _probabilities(class_logits, mask_logits)
    return _claims(p[..., :-1], masks, lambda claims: claims)


def rba(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Rejected by all: ``-sum_c tanh(L_c)`` (Nayal et al., RbA, ICCV 2023, equation 5), L as in `mask_semantic`.

    Args:
        class_logits: ``(B, Q, C + 1)`` float, no-object last.
        mask_logits: ``(B, Q, H, W)`` float.

    Returns:
        ``(B, H, W)`` in (-C, 0]: 0 where no class claims the pixel.

    Raises:
        CompatibilityError: The shapes do not belong together.

    Example:
        >>> rba(torch.zeros(1, 1, 4), torch.full((1, 1, 1, 1), -200.0)).item()
        0.0
    """
    p, masks = _probabilities(class_logits, mask_logits)
    # Taking from zero instead of negating keeps a pixel that nobody claims at 0.0 rather than -0.0.
    return _claims(p[..., :-1], masks, lambda claims: 0.0 - claims.tanh().sum(0, keepdim=True))[:, 0]


def eam(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Ensemble over anomaly scores of masks: ``1 - sum_q sigmoid(m_q) max_c softmax(class_logits_q)_c``.

    Grcić, Šarić, Šegvić: "On Advantages of Mask-level Recognition for Outlier-aware Segmentation", 2023. The
    maximum runs over all columns but the last, so a negative class, where there is one before it, takes part.

    Args:
        class_logits: ``(B, Q, K)`` float, no-object last.
        mask_logits: ``(B, Q, H, W)`` float.

    Returns:
        ``(B, H, W)`` in [1 - Q, 1]: not bounded below by 0, since masks overlap.

    Raises:
        CompatibilityError: The shapes do not belong together.

    Example:
        >>> queries = torch.tensor([[[3.0, 0, 0, 0], [0, 0, 3.0, 0]]])
        >>> masks = torch.tensor([0.9, 0.8]).logit().view(1, 2, 1, 1)
        >>> round(eam(queries, masks).item(), 4)
        -0.4791
    """
    p, masks = _probabilities(class_logits, mask_logits)
    return _claims(p[..., :-1].amax(2, keepdim=True), masks, lambda claims: 1 - claims)[:, 0]


def uno(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Unity of negative class and uncertainty: ``-sum_q sigmoid(m_q) [max_c<=K pi_qc - pi_q,negative]``.

    Delić, Grcić, Šegvić: "Outlier detection by ensembling uncertainty with negative objectness", BMVC 2024; pi is
    the softmax over K classes, the negative class and no-object.

    Args:
        class_logits: ``(B, Q, K + 2)`` float: K classes, negative, no-object.
        mask_logits: ``(B, Q, H, W)`` float.

    Returns:
        ``(B, H, W)`` in [-Q, Q].

    Raises:
        CompatibilityError: The shapes do not belong together, or there is no room for a class.

    Example:
        >>> queries = torch.tensor([[[3.0, 0, 0, 0], [0, 0, 3.0, 0]]])
        >>> masks = torch.tensor([0.9, 0.8]).logit().view(1, 2, 1, 1)
        >>> round(uno(queries, masks).item(), 4)
        -0.0827
    """
    p, masks = _probabilities(class_logits, mask_logits, least=3)
    return _claims(p[..., :-2].amax(2, keepdim=True) - p[..., -2:-1], masks, lambda claims: 0.0 - claims)[:, 0]


def _probabilities(class_logits: Tensor, mask_logits: Tensor, least: int = 2) -> tuple[Tensor, Tensor]:
    """Softmax of the class logits, in float32 at least, and the mask logits, once both are known to fit."""
    shapes = f"class logits {tuple(class_logits.shape)} and mask logits {tuple(mask_logits.shape)}"
    if class_logits.ndim != 3 or mask_logits.ndim < 2 or class_logits.shape[:2] != mask_logits.shape[:2]:
        raise CompatibilityError(
            f"{shapes} do not belong together; expected (batch, queries, classes + 1) and "
            "(batch, queries, height, width)"
        )
    if class_logits.shape[2] < least:
        raise CompatibilityError(f"{shapes}: at least {least} columns are needed, the no-object one last")
    if not (class_logits.is_floating_point() and mask_logits.is_floating_point()):
        raise CompatibilityError(f"class and mask logits are floating point, got {mask_logits.dtype}")
    return class_logits.to(torch.promote_types(class_logits.dtype, torch.float32)).softmax(2), mask_logits


def _claims(weights: Tensor, mask_logits: Tensor, reduce: Callable[[Tensor], Tensor]) -> Tensor:
    """Weighted sums of the masks, reduced piece by piece.

    Args:
        weights: ``(B, Q, K)`` of each query for each of K sums.
        mask_logits: ``(B, Q, *S)``.
        reduce: From ``(K, n)`` sums at n pixels to ``(R, n)``.

    Returns:
        ``(B, R, *S)``.
    """
    queries, space = mask_logits.shape[1], mask_logits.shape[2:]
    kind = torch.promote_types(weights.dtype, mask_logits.dtype)
    flat = mask_logits.reshape(*mask_logits.shape[:2], -1)
    piece = max(1, PIECE // max(1, queries))
    # Image by image: products over a batch may round otherwise than those over one image.
    images = [
        torch.cat([reduce(w.T.to(kind) @ part.to(kind).sigmoid()) for part in masks.split(piece, 1)], 1)
        for w, masks in zip(weights.unbind(), flat.unbind(), strict=True)
    ]
    return torch.stack(images).reshape(len(images), -1, *space)
