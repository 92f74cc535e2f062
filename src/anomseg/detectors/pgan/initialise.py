"""Where prototypes begin: masked average pooling over the support set, and spherical k-means where M > 1."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.detectors.pgan.extractor import PrototypeExtractor
from anomseg.detectors.pgan.objective import Labels
from anomseg.detectors.pgan.pooling import masked_average_pooling, spherical_kmeans

CELLS_PER_CLASS = 200
"""Cells of each class that are kept of an image, for k-means."""
JITTER = 0.01


@dataclass
class _Level:
    """Sums over images of one level's pooled embeddings, and cells of each class."""

    sums: Tensor
    images: Tensor
    cells: dict[int, list[Tensor]] = field(default_factory=dict)


@torch.no_grad()
def initialise(extractor: PrototypeExtractor, samples: Iterable[tuple[list[Tensor], Labels]], *, seed: int = 0) -> None:
    """Place the prototypes by labelled images.

    For each image the embeddings, upsampled to the mask's size, are averaged under the mask of each class; the averages
    are averaged over the images that show the class. A projection's last bias is set so that these averages of all
    classes add up to zero: features after an activation point into one corner, and so would all first prototypes.

    Args:
        extractor: Its prototypes are placed, its last biases shifted. A class that no image shows keeps what it has.
        samples: Maps of the levels ``(1, d, h, w)`` and the labels of one image each, read once.
        seed: Of k-means.
    """
    classes = len(extractor.present)
    found = [_Level(one.new_zeros(classes, one.shape[2]), one.new_zeros(classes)) for one in extractor.prototypes]
    per_class = extractor.prototypes[0].shape[1]
    for maps, labels in samples:
        single = labels.single()[labels.rows][0]
        masks = torch.stack([single == index for index in range(classes)]).float()
        shown = masks.sum((1, 2)) > 0
        for one, embedding in zip(found, extractor.embed(maps), strict=True):
            one.sums += masked_average_pooling(embedding[0], masks)
            one.images += shown
            if per_class > 1:
                _keep(one, embedding, labels.on_cells((embedding.shape[-2], embedding.shape[-1])))
    for level, one in enumerate(found):
        here = one.images > 0
        pooled = one.sums / one.images.clamp_min(1)[:, None]
        shift = _centre(extractor.projections[level], pooled[here].mean(0)) if bool(here.any()) else 0.0
        pooled = torch.where(here[:, None], pooled - shift, 0)
        extractor.set_prototypes(level, _seeds(one, pooled, shift, per_class, seed))


def _keep(one: _Level, embedding: Tensor, classes: Tensor) -> None:
    cells = embedding[0].flatten(1).T
    for index in classes[classes >= 0].unique().tolist():
        own = cells[classes == index]
        one.cells.setdefault(index, []).append(own[:: max(1, -(-len(own) // CELLS_PER_CLASS))])


def _centre(projection: nn.Module, mean: Tensor) -> Tensor | float:
    """Take a mean off what a projection gives; what was taken off, 0 where it has no bias."""
    if not isinstance(projection, nn.Sequential):
        return 0.0
    bias = projection[-1].bias
    assert isinstance(bias, Tensor)  # noqa: S101 - the projection is ours
    bias -= mean
    return mean


def _seeds(one: _Level, pooled: Tensor, shift: Tensor | float, per_class: int, seed: int) -> Tensor:
    """``(K, M, D)``: one prototype a class is its average; several are the directions that its cells gather around."""
    seeds = pooled[:, None].repeat(1, per_class, 1)
    if per_class == 1:
        return seeds
    generator = torch.Generator().manual_seed(seed)
    # Where a class has too few cells, its prototypes begin side by side, but not at one place.
    noise = torch.randn(seeds.shape, generator=generator).to(seeds)
    seeds = seeds + JITTER * noise * seeds.norm(dim=2, keepdim=True) / seeds.shape[2] ** 0.5
    for index, parts in one.cells.items():
        cells = F.normalize(torch.cat(parts) - shift, dim=1)
        if len(cells) >= per_class:
            seeds[index] = spherical_kmeans(cells, per_class, seed=seed)
    return seeds
