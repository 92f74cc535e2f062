"""How near an embedding is to a prototype, and the anomaly score that follows from it."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor
from torch.nn import functional as F

Similarity = Literal["cosine", "euclidean", "dot"]
SIMILARITIES: tuple[Similarity, ...] = get_args(Similarity)
NEVER = -1e4
"""The logit of a class without prototypes."""


def similarities(embeddings: Tensor, prototypes: Tensor, kind: Similarity = "cosine") -> Tensor:
    """Similarity of every place to every prototype, higher = nearer.

    Args:
        embeddings: ``(B, D, h, w)`` float, of any length.
        prototypes: ``(K, M, D)`` of unit length.
        kind: ``"cosine"``; ``"euclidean"``, minus the distance of the normalised embedding; ``"dot"``, the product with
            the embedding as it is.

    Returns:
        ``(B, K, M, h, w)``: in [-1, 1], in [-2, 0], or unbounded.
    """
    classes, per_class, width = prototypes.shape
    maps = embeddings if kind == "dot" else F.normalize(embeddings, dim=1)
    kernel = prototypes.reshape(-1, width, 1, 1).to(maps.dtype)
    products = F.conv2d(maps, kernel).unflatten(1, (classes, per_class))
    if kind == "euclidean":
        # Of unit vectors |e - p|^2 = 2 - 2 cos; the floor keeps the root's gradient finite where they meet.
        return -(2 - 2 * products).clamp_min(1e-8).sqrt()
    return products


def class_similarity(by_prototype: Tensor, present: Tensor, absent: float = NEVER) -> Tensor:
    """The greatest similarity over each class's prototypes, ``(B, K, M, h, w)`` to ``(B, K, h, w)``.

    Args:
        by_prototype: As `similarities` gives them.
        present: ``(K,)`` bool, classes that have prototypes.
        absent: What the others get.
    """
    return by_prototype.amax(2).masked_fill(~present[:, None, None], absent)


def bounded(similarity: Tensor, kind: Similarity) -> Tensor:
    """A similarity brought to [-1, 1] without changing its order.

    Cosines stay; of ``euclidean`` 1 is added, so a distance d becomes 1 - d; ``dot`` becomes ``x / (1 + |x|)``.
    """
    if kind == "dot":
        return similarity / (1 + similarity.abs())
    return (similarity + 1 if kind == "euclidean" else similarity).clamp(-1, 1)


def prototype_distance_anomaly(scores: Tensor) -> Tensor:
    """Half of what is left to 1: ``(1 - max_k s_k) / 2``.

    Args:
        scores: ``(B, K, h, w)`` in [-1, 1].

    Returns:
        ``(B, h, w)`` in [0, 1], higher = more anomalous.

    Example:
        >>> import torch
        >>> cosines = torch.tensor([[0.70711, 0.70711], [-1.0, 0.0], [1.0, 0.0]])
        >>> [round(value, 4) for value in prototype_distance_anomaly(cosines.T[None, :, None])[0, 0].tolist()]
        [0.1464, 0.5, 0.0]
    """
    return ((1 - scores.amax(1)) / 2).clamp(0, 1)
