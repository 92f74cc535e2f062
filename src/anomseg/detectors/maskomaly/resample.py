"""From the size a network reads to the size of the image, as Maskomaly's published figures do it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.segmenters.base import Size


def area_resize(maps: Tensor, size: Size) -> Tensor:
    """Each new pixel is the mean of the area that it covers, OpenCV's ``INTER_AREA`` where it shrinks.

    Where it grows, pixels are repeated and mixed along the edges.
    PyTorch's ``mode="area"`` takes whole pixels only, and so counts some twice.

    Args:
        maps: ``(..., h, w)`` float.
        size: ``(H, W)``.

    Returns:
        ``(..., H, W)``.

    Example:
        >>> area_resize(torch.tensor([[0.0, 3.0, 6.0]]), (1, 2)).tolist()
        [[1.0, 5.0]]
    """
    return _along(_along(maps, size[0], -2), size[1], -1)


def to_image(maps: Tensor, size: Size) -> Tensor:
    """Means over areas where both sides shrink, which loses nothing thin; else bilinear.

    Args:
        maps: ``(B, h, w)`` float.
        size: ``(H, W)``.
    """
    height, width = maps.shape[-2:]
    if (height, width) == size:
        return maps
    if size[0] <= height and size[1] <= width:
        return area_resize(maps, size)
    return F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def _along(maps: Tensor, target: int, dim: int) -> Tensor:
    length = maps.shape[dim]
    if length == target:
        return maps
    edges = torch.arange(target + 1, dtype=torch.float64) * (length / target)
    first = edges[:-1].floor().to(torch.int64)
    shape = [-1, 1] if dim == -2 else [-1]
    total: Tensor | None = None
    for step in range(-(-length // target) + 1):
        index = first + step
        covered = (torch.minimum(edges[1:], index + 1.0) - torch.maximum(edges[:-1], index.double())).clamp(min=0)
        weights = (covered * (target / length)).to(maps.device, maps.dtype).view(shape)
        part = maps.index_select(dim, index.clamp(max=length - 1).to(maps.device)) * weights
        total = part if total is None else total.add_(part)
    assert total is not None  # noqa: S101 - there are two steps at least
    return total
