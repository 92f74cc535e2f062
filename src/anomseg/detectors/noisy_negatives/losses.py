"""Losses on pasted negatives: two heads, block histograms on coarse maps, and the variants with one head.

Bevandić, Krešo, Oršić, Šegvić, arXiv 2101.09193. Labels are rows of a label table, each of which stands for a set of
classes (`anomseg.training.label_table`), so that coarse labels teach here as they do in plain segmentation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.scores import kl_from_uniform
from anomseg.training.losses import softmax_nll, weighted_mean

IGNORE = 255
Likelihood = Callable[[Tensor, Tensor], Tensor]
"""Logits ``(B, K, h, w)`` and what is allowed ``(B, K, h, w)`` bool to the negative log-likelihood ``(B, h, w)``."""


def sigmoid_nll(logits: Tensor, allowed: Tensor) -> Tensor:
    """Minus the log-probability that independent sigmoids answer with none but allowed classes, and with one at least.

    Where one class is allowed this is the sum of binary cross-entropies for a target with a single one; where none
    is, that of an all-zero target.

    Args:
        logits: ``(B, K, *S)`` float.
        allowed: The same shape, bool.

    Returns:
        ``(B, *S)``, 0 or more.

    Example:
        >>> one = torch.tensor([[True, False]])
        >>> round(sigmoid_nll(torch.zeros(1, 2), one).item(), 4)   # 2 ln 2
        1.3863
        >>> round(sigmoid_nll(torch.zeros(1, 2), ~torch.zeros_like(one)).item(), 4)   # -ln(1 - 1/4)
        0.2877
    """
    logits = logits.float()
    off = F.logsigmoid(-logits)
    others = off.masked_fill(allowed, 0).sum(1)
    # P(any) = sum over k of P(k on, all allowed before k off): exact, and without a difference of near-equal numbers.
    within = off.masked_fill(~allowed, 0)
    first = F.logsigmoid(logits) + within.cumsum(1) - within
    any_on = torch.logsumexp(first.masked_fill(~allowed, -1e4), 1)
    return -(others + torch.where(allowed.any(1), any_on, torch.zeros_like(any_on)))


def label_loss(logits: Tensor, labels: Tensor, sets: Tensor, weights: Tensor, likelihood: Likelihood) -> Tensor:
    """Mean negative log-likelihood of per-pixel labels.

    Args:
        logits: ``(B, K, H, W)`` float.
        labels: ``(B, H, W)`` int64 rows of ``sets``.
        sets: ``(L, K)`` bool, what each label may stand for.
        weights: ``(L,)`` float; labels of weight 0 teach nothing.
        likelihood: `softmax_nll` or `sigmoid_nll`.
    """
    return weighted_mean(likelihood(logits, sets[labels].movedim(-1, 1)), weights[labels])


def block_histogram(labels: Tensor, stride: int, classes: int, ignore: int) -> tuple[Tensor, Tensor]:
    """Shares of the classes in every block of ``stride`` by ``stride`` pixels, what is ignored left out.

    Args:
        labels: ``(B, H, W)`` int64; sides that are no multiple of the stride are filled up with what is ignored.
        stride: Side of a block.
        classes: How many classes there are.
        ignore: The label that is none; others outside of ``[0, classes)`` are taken for it.

    Returns:
        Shares ``(B, classes, h, w)`` float that sum to 1 over the classes, and where ``(B, h, w)`` they count: in
        blocks of which less than half is ignored. Elsewhere the shares are 0.

    Example:
        >>> labels = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 5], [2, 2, 2, 2], [2, 5, 5, 5]]])
        >>> shares, valid = block_histogram(labels, 2, 3, ignore=5)
        >>> shares[0].argmax(0).tolist(), valid[0].tolist()
        ([[0, 1], [2, 0]], [[True, True], [True, False]])
    """
    batch, height, width = labels.shape
    known = (labels >= 0) & (labels < classes) & (labels != ignore)
    padded = F.pad(labels.where(known, classes), (0, -width % stride, 0, -height % stride), value=classes)
    rows, columns = padded.shape[-2] // stride, padded.shape[-1] // stride
    blocks = padded.view(batch, rows, stride, columns, stride).transpose(2, 3).reshape(-1, stride * stride)
    cell = torch.arange(len(blocks), device=labels.device)[:, None] * (classes + 1)
    counts = torch.bincount((blocks + cell).flatten(), minlength=len(blocks) * (classes + 1))
    counts = counts.view(batch, rows, columns, classes + 1).movedim(-1, 1)
    valid = 2 * counts[:, classes] < stride * stride
    counts = counts[:, :classes] * valid[:, None]
    return counts / counts.sum(1, keepdim=True).clamp_min(1), valid


def block_loss(
    levels: Sequence[Tensor], labels: Tensor, sets: Tensor, weights: Tensor, likelihood: Likelihood
) -> Tensor:
    """Soft cross-entropy of coarse logits with the shares of the labels in their blocks, over all maps together.

    Greater maps have more cells and so weigh more, as in the reference code.

    Args:
        levels: Logits ``(B, K, h, w)`` of several resolutions.
        labels: ``(B, H, W)`` int64 rows of ``sets``; others are ignored.
        sets: ``(L, K)`` bool.
        weights: ``(L,)`` float; labels of weight 0 are ignored.
        likelihood: `softmax_nll` or `sigmoid_nll`.

    Returns:
        A scalar; 0 where there are no levels or no valid blocks.
    """
    zero = weights.new_zeros(())
    total, mass = zero, zero
    inside = (labels >= 0) & (labels < len(sets))
    counted = labels.where(inside, 0)
    counted = counted.where(inside & (weights[counted] > 0), len(sets))
    for logits in levels:
        stride = -(-labels.shape[-2] // logits.shape[-2])
        shares, _ = block_histogram(counted, stride, len(sets), ignore=len(sets))
        shares = shares * weights.view(-1, 1, 1)
        rows = [likelihood(logits, one.view(1, -1, 1, 1).expand(logits.shape)) for one in sets]
        total = total + (shares * torch.stack(rows, 1)).sum()
        mass = mass + shares.sum()
    return total / mass.clamp_min(1e-6)


def outlier_loss(logits: Tensor, outlier: Tensor) -> Tensor:
    """Cross-entropy of an outlier head, the mean over what is labelled.

    Args:
        logits: ``(B, 2, H, W)`` float, inlier then outlier.
        outlier: ``(B, H, W)`` int64: 0 inlier, 1 outlier, anything else is ignored.

    Returns:
        A scalar; 0 where nothing is labelled.

    Example:
        >>> labels = torch.tensor([[[0, 255]]])
        >>> round(outlier_loss(torch.zeros(1, 2, 1, 2), labels).item(), 4)   # ln 2
        0.6931
    """
    known = outlier < 2
    loss = F.cross_entropy(logits.float(), outlier.where(known, 0), reduction="none")
    return weighted_mean(loss, known.float())


def outlier_block_loss(levels: Sequence[Tensor], outlier: Tensor) -> Tensor:
    """`block_loss` of auxiliary outlier heads ``(B, 2, h, w)``, labels as those of `outlier_loss`."""
    sets = torch.eye(2, dtype=torch.bool, device=outlier.device)
    return block_loss(levels, outlier, sets, torch.ones(2, device=outlier.device), softmax_nll)


def exposure_loss(logits: Tensor, outlier: Tensor) -> Tensor:
    """Mean divergence ``KL(U || p)`` of the softmax from the uniform distribution, on outliers (outlier exposure).

    Args:
        logits: ``(B, C, H, W)`` float.
        outlier: ``(B, H, W)``: 1 where an outlier is.

    Returns:
        A scalar; 0 where there are none.
    """
    return weighted_mean(kl_from_uniform(logits.float(), check=False), (outlier == 1).float())


def combined_loss(
    segmentation: Tensor,
    auxiliary: Tensor,
    outlier: Tensor,
    outlier_auxiliary: Tensor,
    share: float = 0.4,
    weight: float = 0.2,
) -> Tensor:
    """``(1 - share) seg + share aux + weight ((1 - share) ood + share aux_ood)``, by default the published weights.

    Args:
        segmentation: Loss of the class head.
        auxiliary: Loss of the auxiliary class heads.
        outlier: Loss of the outlier head.
        outlier_auxiliary: Loss of the auxiliary outlier heads.
        share: Of the auxiliary losses.
        weight: Of both outlier losses.

    Example:
        >>> one = torch.ones(())
        >>> round(combined_loss(one, one, one, one).item(), 4)
        1.2
    """
    return (1 - share) * segmentation + share * auxiliary + weight * ((1 - share) * outlier + share * outlier_auxiliary)
