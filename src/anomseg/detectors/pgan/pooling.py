"""First prototypes: masked average pooling over labelled images, and spherical k-means where a class has several.

Masked average pooling as PANet does it (Wang et al., ICCV 2019): features are upsampled to the mask's size and averaged
under it. Here the mask is brought down to the features by the transpose of that upsampling, which gives the same sums
for a fraction of the work.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-5


def upsampling_matrix(cells: int, pixels: int) -> Tensor:
    """Bilinear interpolation of one axis without aligned corners, ``(pixels, cells)`` float32; its rows sum to 1.

    Example:
        >>> upsampling_matrix(2, 4).tolist()
        [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    """
    eye = torch.eye(cells)[None]
    return F.interpolate(eye, size=pixels, mode="linear", align_corners=False)[0].T


def mask_on_cells(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """How much each cell of a feature map counts under masks of the image, if the map were upsampled to their size.

    Args:
        masks: ``(K, H, W)`` float, the weight of each pixel.
        size: ``(h, w)`` of the feature map.

    Returns:
        ``(K, h, w)``: the transpose of bilinear upsampling, applied to each mask; its sum is the mask's.
    """
    rows = upsampling_matrix(size[0], masks.shape[-2]).to(masks)
    columns = upsampling_matrix(size[1], masks.shape[-1]).to(masks)
    return rows.T @ masks @ columns


def masked_average_pooling(features: Tensor, masks: Tensor) -> Tensor:
    """Mean feature under each mask, the features upsampled to the masks' size: ``sum(f m) / (sum(m) + 1e-5)``.

    Args:
        features: ``(D, h, w)`` float.
        masks: ``(K, H, W)`` float in [0, 1].

    Returns:
        ``(K, D)``; zeros where a mask is empty.

    Example:
        >>> maps = torch.tensor([[[1.0, 3.0], [0.0, 0.0]], [[0.0, 0.0], [2.0, 4.0]]])
        >>> top = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
        >>> masked_average_pooling(maps, top).round(decimals=3).tolist()
        [[2.0, 0.0]]
    """
    cells = mask_on_cells(masks.to(features.dtype), (features.shape[-2], features.shape[-1]))
    sums = torch.einsum("khw,dhw->kd", cells, features)
    return sums / (masks.sum((-2, -1)).to(sums)[:, None] + EPSILON)


def spherical_kmeans(vectors: Tensor, count: int, *, seed: int = 0, iterations: int = 20) -> Tensor:
    """Directions that unit vectors gather around.

    The first direction is the mean of all; each further one begins at a vector drawn with the chance that its distance
    from the nearest one so far gives it (k-means++), then means and assignments alternate.

    Args:
        vectors: ``(n, D)`` float of unit length, n at least ``count``.
        count: How many directions.
        seed: Of the draws.
        iterations: At most so many.

    Returns:
        ``(count, D)`` of unit length.
    """
    generator = torch.Generator().manual_seed(seed)
    centres = F.normalize(vectors.mean(0, keepdim=True), dim=1)
    while len(centres) < count:
        far = (1 - (vectors @ centres.T).amax(1)).clamp_min(0).double().cpu() + 1e-12
        centres = torch.cat([centres, vectors[torch.multinomial(far, 1, generator=generator)].to(centres)])
    own: Tensor | None = None
    for _ in range(iterations):
        nearest = (vectors @ centres.T).argmax(1)
        if own is not None and torch.equal(nearest, own):
            break
        own = nearest
        sums = torch.zeros_like(centres).index_add_(0, own, vectors)
        lengths = sums.norm(dim=1, keepdim=True)
        centres = torch.where(lengths > EPSILON, sums / lengths.clamp_min(EPSILON), centres)
    return centres
