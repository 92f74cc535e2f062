"""The prototype extraction network: a projection and prototypes for each of several feature maps of any network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.detectors.pgan.assignment import check_unit
from anomseg.detectors.pgan.hierarchy import parent_prototypes
from anomseg.detectors.pgan.similarity import NEVER, Similarity, bounded, class_similarity, similarities

Projection = Literal["mlp", "identity"]


class PrototypeExtractor(nn.Module):
    """Embeds L feature maps and compares each with K x M prototypes; the network they come from is not part of it.

    A level is projected by a 1x1 convolution d to d, a ReLU and a 1x1 convolution d to D; its end is linear, so that
    cosines may be negative. Prototypes begin at random directions; `set_prototypes` places them.

    Args:
        channels: Channels d of each level.
        classes: K.
        per_class: M, prototypes a class.
        dimension: D; not read with ``identity``.
        projection: ``"identity"`` compares the features as they are.
        similarity: See `similarities`.
        learnable: Prototypes are parameters that an optimiser moves, instead of averages that move by themselves.
        parents: Parent of each class for a category tree; empty for none.
        level_weights: Weight of each level in the scores, normalised to sum to 1; equal by default.

    Example:
        >>> extractor = PrototypeExtractor([8, 6], classes=3, per_class=2, dimension=4)
        >>> extractor([torch.rand(1, 8, 4, 6), torch.rand(1, 6, 2, 3)]).shape
        torch.Size([1, 3, 4, 6])
    """

    level_weights: Tensor
    parents: Tensor
    present: Tensor

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        per_class: int = 1,
        dimension: int = 256,
        projection: Projection = "mlp",
        similarity: Similarity = "cosine",
        learnable: bool = False,
        parents: Sequence[int] = (),
        level_weights: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.channels = list(channels)
        self.similarity, self.learnable = similarity, learnable
        widths = [width if projection == "identity" else dimension for width in channels]
        self.projections = nn.ModuleList(
            nn.Identity() if projection == "identity" else _two_layers(width, dimension) for width in channels
        )
        self.prototypes = nn.ParameterList(
            nn.Parameter(F.normalize(torch.randn(classes, per_class, width), dim=2), requires_grad=learnable)
            for width in widths
        )
        weights = torch.tensor(list(level_weights) or [1.0] * len(widths), dtype=torch.float32)
        self.register_buffer("level_weights", weights / weights.sum())
        self.register_buffer("parents", torch.tensor(list(parents) or [-1] * classes))
        self.register_buffer("present", torch.ones(classes, dtype=torch.bool))

    @property
    def levels(self) -> int:
        """Number of levels L."""
        return len(self.prototypes)

    @property
    def parent_count(self) -> int:
        """Number of parents in the category tree; 0 without one."""
        return int(self.parents.max()) + 1

    def embed(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Project each level, ``(B, d, h, w)`` to ``(B, D, h, w)`` float32, not normalised."""
        return [project(one.float()) for project, one in zip(self.projections, maps, strict=True)]

    def to_prototypes(self, level: int, embedding: Tensor) -> Tensor:
        """Similarity of one level's embedding to its prototypes, ``(B, K, M, h, w)``."""
        return similarities(embedding, self.prototypes[level], self.similarity)

    def parents_of(self, level: int) -> Tensor:
        """Prototypes of the parents at one level, ``(P, 1, D)``."""
        parents = self.parents.masked_fill(~self.present, -1)
        return parent_prototypes(self.prototypes[level], parents, self.parent_count)

    def to_parents(self, level: int, embedding: Tensor) -> Tensor:
        """Similarity of one level's embedding to the prototypes of the parents, ``(B, P, h, w)``."""
        maps = similarities(embedding, self.parents_of(level), self.similarity)[:, :, 0]
        return maps.masked_fill(~self.present_parents()[:, None, None], NEVER)

    def present_parents(self) -> Tensor:
        """``(P,)`` bool: parents that have a class with prototypes."""
        own = self.parents[self.present]
        return torch.bincount(own[own >= 0], minlength=self.parent_count) > 0

    def scores(self, embeddings: Sequence[Tensor]) -> Tensor:
        """Similarity to each class, weighted sum over the levels on the finest grid, ``(B, K, h, w)`` in [-1, 1].

        A class without prototypes has -1.
        """
        by_level = []
        for level, embedding in enumerate(embeddings):
            best = class_similarity(self.to_prototypes(level, embedding), self.present)
            by_level.append(bounded(best, self.similarity))
        return self._combined(by_level)

    def parent_scores(self, embeddings: Sequence[Tensor]) -> Tensor:
        """The same for the parents, ``(B, P, h, w)`` in [-1, 1]."""
        return self._combined(
            [bounded(self.to_parents(level, one), self.similarity) for level, one in enumerate(embeddings)]
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Scores of feature maps; see `scores`."""
        return self.scores(self.embed(maps))

    def _combined(self, by_level: Sequence[Tensor]) -> Tensor:
        sizes = [(one.shape[-2], one.shape[-1]) for one in by_level]
        finest = max(sizes, key=lambda size: size[0] * size[1])
        total = torch.zeros_like(by_level[sizes.index(finest)])
        for weight, one in zip(self.level_weights.unbind(), by_level, strict=True):
            fits = (one.shape[-2], one.shape[-1]) == finest
            total = total + weight * (one if fits else F.interpolate(one, finest, mode="bilinear", align_corners=False))
        return total.clamp(-1, 1)

    @torch.no_grad()
    def set_prototypes(self, level: int, values: Tensor) -> None:
        """Place the prototypes of one level.

        Args:
            level: Which.
            values: ``(K, M, D)``, normalised here; rows of zeros keep what was there.
        """
        own = self.prototypes[level]
        kept = values.norm(dim=2, keepdim=True) == 0
        own.copy_(torch.where(kept, own, F.normalize(values.to(own), dim=2)))

    @torch.no_grad()
    def normalise(self) -> None:
        """Bring prototypes that an optimiser has moved back to unit length."""
        for one in self.prototypes:
            one.copy_(F.normalize(one, dim=2))


def _two_layers(width: int, dimension: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, dimension, 1))


def extractor_from(state: dict[str, Tensor], similarity: Similarity) -> PrototypeExtractor:
    """An extractor of the shapes that its tensors have, filled with them.

    Args:
        state: `PrototypeExtractor.state_dict`.
        similarity: See `PrototypeExtractor`.

    Raises:
        KeyError: A tensor is missing.
        RuntimeError: Tensors are left over, or do not fit each other.
        CompatibilityError: A prototype is not of unit length.
    """
    levels = sum(name.startswith("prototypes.") for name in state)
    projected = any(name.startswith("projections.") for name in state)
    shapes = [state[f"prototypes.{level}"].shape for level in range(levels)]
    if not shapes or any(len(shape) != 3 for shape in shapes):
        raise KeyError("prototypes")
    channels = [
        state[f"projections.{level}.0.weight"].shape[1] if projected else shape[2] for level, shape in enumerate(shapes)
    ]
    classes, per_class, width = shapes[0]
    extractor = PrototypeExtractor(channels, classes, per_class, width, "mlp" if projected else "identity", similarity)
    extractor.load_state_dict(state)
    for one in extractor.prototypes:
        check_unit(one, "prototypes")
    return extractor.requires_grad_(False).eval()
