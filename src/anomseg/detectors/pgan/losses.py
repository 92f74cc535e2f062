"""Losses of the reconstruction; the weights and equations are in docs/pgan.md.

Contrast and compactness are ProtoSeg's (Zhou et al., CVPR 2022), the others ours.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def contrast_loss(cosines: Tensor, slots: Tensor) -> Tensor:
    """Cross-entropy over the cosines with all prototypes to the assigned one, without a temperature.

    Args:
        cosines: ``(n, K M)``.
        slots: ``(n,)`` int64, the assigned one; negative ones are left out.

    Returns:
        A scalar; 0 where nothing is assigned.

    Example:
        >>> round(contrast_loss(torch.tensor([[0.8, 0.2, 0.1, 0.0]]), torch.tensor([0])).item(), 5)
        0.91418
    """
    used = slots >= 0
    if not bool(used.any()):
        return cosines.sum() * 0.0
    return F.cross_entropy(cosines[used].float(), slots[used])


def compactness_loss(cosines: Tensor, slots: Tensor) -> Tensor:
    """Mean ``(1 - cos)^2`` to the assigned prototype.

    Args:
        cosines: ``(n, K M)``.
        slots: ``(n,)`` int64; negative ones are left out.

    Returns:
        A scalar; 0 where nothing is assigned.

    Example:
        >>> round(compactness_loss(torch.tensor([[0.8, 0.2, 0.1, 0.0]]), torch.tensor([0])).item(), 5)
        0.04
    """
    used = slots >= 0
    if not bool(used.any()):
        return cosines.sum() * 0.0
    own = cosines[used].float().gather(1, slots[used][:, None])
    return (1 - own).square().mean()


def separation_loss(prototypes: Tensor, margin: float = 0.2) -> Tensor:
    """Mean over pairs of different prototypes of ``relu(cos - margin)^2``.

    Args:
        prototypes: ``(P, D)`` of any length.
        margin: Cosines below it cost nothing.

    Returns:
        A scalar; 0 where there is one prototype only.

    Example:
        >>> round(separation_loss(torch.tensor([[1.0, 0.0], [0.7, 0.7141428]])).item(), 4)
        0.25
    """
    count = len(prototypes)
    if count < 2:
        return prototypes.sum() * 0.0
    unit = F.normalize(prototypes, dim=1)
    excess = (unit @ unit.T - margin).clamp_min(0).square()
    others = ~torch.eye(count, dtype=torch.bool, device=prototypes.device)
    return excess[others].mean()
