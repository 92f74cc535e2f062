"""Which sub-prototype of its class a pixel belongs to: a balanced assignment, and moving averages of what was assigned.

Sinkhorn-Knopp assignment, momentum update and its two targets as ProtoSeg has them (Zhou et al., CVPR 2022), for all
classes at once.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.errors import CompatibilityError

UNIT_TOLERANCE = 1e-3
SKIPPED = -1


def check_unit(vectors: Tensor, what: str) -> None:
    """Refuse vectors that are not of unit length: ``exp(cos / 0.05)`` of others overflows.

    Args:
        vectors: ``(..., D)``.
        what: What they are, for the message.

    Raises:
        CompatibilityError: One is longer or shorter than 1 by more than a thousandth.
    """
    lengths = vectors.detach().norm(dim=-1)
    if lengths.numel() and not bool(((lengths - 1).abs() < UNIT_TOLERANCE).all()):
        worst = lengths.flatten()[(lengths - 1).abs().flatten().argmax()].item()
        raise CompatibilityError(f"{what} must be of unit length, got a length of {worst:.4g}; normalise them first")


def sinkhorn(cosines: Tensor, groups: Tensor | None = None, *, iterations: int = 3, epsilon: float = 0.05) -> Tensor:
    """A plan that gives every sub-prototype of a class the same share of the class's pixels (Cuturi, 2013).

    Args:
        cosines: ``(n, M)`` of each pixel with the sub-prototypes of its own class, in [-1, 1].
        groups: ``(n,)`` int64, the class of each pixel; all of one class by default. Classes do not mix.
        iterations: Rounds of normalising over pixels, then over sub-prototypes.
        epsilon: Smaller is harder.

    Returns:
        ``(n, M)``; each row sums to 1.

    Raises:
        CompatibilityError: They are no cosines of unit vectors.

    Example:
        >>> raw = torch.tensor([[0.9, 0.5], [0.9, 0.6], [0.9, 0.7], [0.9, 0.8]])
        >>> raw.argmax(1).tolist(), sinkhorn(raw).argmax(1).tolist()
        ([0, 0, 0, 0], [0, 0, 1, 1])
    """
    if cosines.numel() and float(cosines.detach().abs().amax()) > 1 + UNIT_TOLERANCE:
        raise CompatibilityError("sinkhorn takes cosines in [-1, 1]; normalise embeddings and prototypes first")
    if not len(cosines):
        return cosines
    groups = cosines.new_zeros(len(cosines), dtype=torch.int64) if groups is None else groups
    classes = int(groups.max()) + 1
    plan = torch.exp(cosines.detach().float() / epsilon)
    for _ in range(iterations):
        loads = plan.new_zeros(classes, plan.shape[1]).index_add_(0, groups, plan)
        plan = plan / loads[groups].clamp_min(torch.finfo(plan.dtype).tiny)
        plan = plan / plan.sum(1, keepdim=True).clamp_min(torch.finfo(plan.dtype).tiny)
    return plan


def assign(
    cosines: Tensor, labels: Tensor, *, stochastic: bool = False, generator: torch.Generator | None = None
) -> Tensor:
    """The slot of each pixel: its class's number times M plus the sub-prototype that the plan gives it.

    Args:
        cosines: ``(n, K, M)`` of each pixel with every sub-prototype.
        labels: ``(n,)`` int64, classes.
        stochastic: Draw from the plan with Gumbel noise, as ProtoSeg does for its update, instead of its largest entry.
        generator: Of the noise.

    Returns:
        ``(n,)`` int64 in [0, K M), or `SKIPPED` for all pixels of a class with fewer of them than sub-prototypes.
    """
    count, classes, per_class = cosines.shape
    own = cosines[torch.arange(count, device=cosines.device), labels]
    plan = sinkhorn(own, labels)
    if stochastic:
        noise = torch.rand(plan.shape, generator=generator).to(plan).clamp(1e-12, 1 - 1e-7)
        plan = plan - torch.log(-torch.log(noise))
    slots = labels * per_class + plan.argmax(1) if count else labels
    enough = torch.bincount(labels, minlength=classes) >= per_class
    return torch.where(enough[labels], slots, SKIPPED)


def moving_average(prototypes: Tensor, embeddings: Tensor, slots: Tensor, momentum: float) -> Tensor:
    """Prototypes moved towards the direction of what was assigned to them: ``normalise(g p + (1 - g) mean)``.

    Args:
        prototypes: ``(K, M, D)`` of unit length.
        embeddings: ``(n, D)`` of unit length.
        slots: ``(n,)`` int64 as `assign` gives them; skipped pixels count for nothing.
        momentum: g in [0, 1], the share of the old.

    Returns:
        ``(K, M, D)`` of unit length; a prototype that was assigned nothing is the same to the last bit.

    Example:
        >>> old = torch.tensor([[[1.0, 0.0]]])
        >>> new = moving_average(old, torch.tensor([[0.0, 1.0]]), torch.tensor([0]), 0.5)
        >>> [round(value, 4) for value in new.flatten().tolist()]
        [0.7071, 0.7071]
    """
    classes, per_class, width = prototypes.shape
    used = slots >= 0
    sums = prototypes.new_zeros(classes * per_class, width)
    sums.index_add_(0, slots[used], embeddings[used].to(prototypes.dtype))
    means = F.normalize(sums, dim=1)
    flat = prototypes.reshape(-1, width)
    moved = F.normalize(momentum * flat + (1 - momentum) * means, dim=1)
    touched = sums.norm(dim=1, keepdim=True) > 0
    return torch.where(touched, moved, flat).reshape(prototypes.shape)
