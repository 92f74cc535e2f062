"""The sum that training lowers: what each level costs, and which prototype each cell belongs to."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.detectors.pgan.assignment import SKIPPED, assign
from anomseg.detectors.pgan.extractor import PrototypeExtractor
from anomseg.detectors.pgan.losses import compactness_loss, contrast_loss, separation_loss
from anomseg.detectors.pgan.similarity import class_similarity
from anomseg.errors import ConfigError
from anomseg.training.losses import sample_logits, set_valued_cross_entropy


@dataclass(frozen=True)
class Weights:
    """Weight of each loss; those of contrast and compactness are ProtoSeg's, the others ours.

    Attributes:
        segmentation: Cross-entropy over the classes.
        parent: Cross-entropy over the parents of the category tree.
        contrast: Cross-entropy over all prototypes to the assigned one.
        compactness: Squared distance from the assigned one.
        separation: Between prototypes; must be 0 where they are not learned.
        margin: Cosine below which prototypes are apart enough.
    """

    segmentation: float = 1.0
    parent: float = 0.5
    contrast: float = 0.01
    compactness: float = 0.001
    separation: float = 0.0
    margin: float = 0.2


@dataclass(frozen=True)
class Labels:
    """What a batch's labels mean.

    Attributes:
        rows: ``(B, H, W)`` int64, rows of the table.
        sets: ``(L, K)`` bool, the classes a row may stand for.
        weights: ``(L,)`` float, weight of each row in the cross-entropies.
    """

    rows: Tensor
    sets: Tensor
    weights: Tensor

    def single(self) -> Tensor:
        """``(L,)`` int64: the class of a row that stands for exactly one, -1 for the others."""
        alone = self.sets.sum(1) == 1
        return torch.where(alone, self.sets.int().argmax(1), -1)

    def on_cells(self, size: tuple[int, int]) -> Tensor:
        """The single class at the middle of each cell of a feature map, ``(B h w)`` int64; -1 for none."""
        rows = F.interpolate(self.rows[:, None].float(), size, mode="nearest-exact")[:, 0].long()
        return self.single()[rows].flatten()


@dataclass(frozen=True)
class Assigned:
    """Cells of a batch that move prototypes.

    Attributes:
        embeddings: ``(n, D)`` of unit length, without a graph.
        slots: ``(n,)`` int64, number of the prototype; negative where none is moved.
    """

    embeddings: Tensor
    slots: Tensor


def level_losses(
    extractor: PrototypeExtractor,
    level: int,
    embedding: Tensor,
    labels: Labels,
    weights: Weights,
    *,
    temperature: float = 10.0,
    stride: int = 1,
    stochastic: bool = False,
    generator: torch.Generator | None = None,
) -> tuple[dict[str, Tensor], Assigned]:
    """Losses of one level, each times its weight, and what the level's prototypes may move towards.

    Args:
        extractor: The network.
        level: Which level.
        embedding: ``(B, D, h, w)`` of that level, not normalised.
        labels: Of the batch.
        weights: Of the losses; one of 0 is not computed.
        temperature: Factor on similarities in the cross-entropies.
        stride: The cross-entropies read every n-th pixel.
        stochastic: See `assign`; the losses read the deterministic assignment in any case.
        generator: Of the noise.

    Returns:
        Losses by name, and the cells whose predicted class is right with their prototypes.
    """
    raw = extractor.to_prototypes(level, embedding)
    # A label that may be a class without prototypes is void: it must not teach the other classes of its set.
    sets = labels.sets & ~(labels.sets & ~extractor.present).any(1, keepdim=True)
    size = (labels.rows.shape[-2], labels.rows.shape[-1])
    by_class = class_similarity(raw, extractor.present)
    found = {}

    def entropy(similarity: Tensor, allowed: Tensor) -> Tensor:
        logits = sample_logits(temperature * similarity, size, stride)
        return set_valued_cross_entropy(logits, labels.rows[:, ::stride, ::stride], allowed, labels.weights)

    if weights.segmentation:
        found["segmentation"] = weights.segmentation * entropy(by_class, sets)
    if weights.parent and extractor.parent_count:
        of_parents = sets.float() @ F.one_hot(extractor.parents, extractor.parent_count).float() > 0
        found["parent"] = weights.parent * entropy(extractor.to_parents(level, embedding), of_parents)
    classes = replace(labels, sets=sets).on_cells((raw.shape[-2], raw.shape[-1]))
    known = classes >= 0
    classes = classes[known]
    unit = _cells(F.normalize(embedding, dim=1))[known]
    own = extractor.prototypes[level]
    cosines = (unit @ F.normalize(own.flatten(0, 1), dim=1).T).unflatten(1, own.shape[:2])
    slots = assign(cosines.detach(), classes)
    flat = cosines.flatten(1)
    if weights.contrast:
        absent = ~extractor.present[:, None].expand(own.shape[:2]).flatten()
        found["contrast"] = weights.contrast * contrast_loss(flat.masked_fill(absent, -torch.inf), slots)
    if weights.compactness:
        found["compactness"] = weights.compactness * compactness_loss(flat, slots)
    moved = assign(cosines.detach(), classes, stochastic=True, generator=generator) if stochastic else slots
    right = _cells(by_class.detach())[known].argmax(1) == classes
    return found, Assigned(unit.detach(), torch.where(right, moved, SKIPPED))


def prototype_losses(extractor: PrototypeExtractor, weights: Weights) -> dict[str, Tensor]:
    """What the prototypes cost by themselves: their separation, mean over the levels, where they are learned.

    Raises:
        ConfigError: A separation is asked for where prototypes are no parameters, so it could not act.
    """
    if not weights.separation:
        return {}
    if not extractor.learnable:
        raise ConfigError(
            "the separation loss moves prototypes that are learned; set update: learned, or separation: 0"
        )
    used = extractor.present
    parts = [separation_loss(one[used].flatten(0, 1), weights.margin) for one in extractor.prototypes]
    return {"separation": weights.separation * torch.stack(parts).mean()}


def _cells(maps: Tensor) -> Tensor:
    """``(B, D, h, w)`` to ``(B h w, D)``."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)
