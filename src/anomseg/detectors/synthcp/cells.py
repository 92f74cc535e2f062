"""Features of an image and of its rendering at several scales, averaged and compared without ever lying there whole.

The mean over scales is taken before the cosine, so it cannot be had scale by scale. But the cosine is made of sums over
channels: the maps stay as coarse as the network gave them, and of a few channels at a time all scales are brought to
the common grid, averaged, and added to three sums a cell. That is exact. The published 4096 channels at 180 x 320 cells
take 0.94 GB for the image and as much for the rendering; here a piece of either takes at most `PIECE` values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.scores import StreamedCosine
from anomseg.segmenters.base import SegmentationOutput, Size

PIECE = 2**22
"""Values of the largest tensor on the common grid (16 MiB in float32)."""


@dataclass(frozen=True)
class Features:
    """Feature maps of one pass.

    Attributes:
        maps: ``(B, D, h, w)`` each, over the padded input, as coarse as the network gave them.
        inside: Which part of the input's height and width is no padding.
    """

    maps: tuple[Tensor, ...]
    inside: tuple[float, float]

    @classmethod
    def of(cls, output: SegmentationOutput, names: Sequence[str]) -> Features:
        """The maps of these names of a pass."""
        used, given = output.input_size, output.padded_size
        return cls(tuple(output.features[name] for name in names), (used[0] / given[0], used[1] / given[1]))

    @property
    def finite(self) -> list[bool]:
        """For each image whether all its features are finite."""
        good = torch.stack([one.flatten(1).isfinite().all(1) for one in self.maps]).all(0)
        return [bool(one) for one in good]


def on_grid(maps: Tensor, inside: tuple[float, float], grid: Size) -> Tensor:
    """What of some maps is no padding, on a grid; bilinear, corners not aligned.

    Args:
        maps: ``(B, K, h, w)`` over a padded input.
        inside: Which part of its height and width counts.
        grid: Rows and columns.

    Returns:
        ``(B, K, *grid)`` float32.
    """
    maps = maps.float()
    if inside == (1.0, 1.0):
        if tuple(maps.shape[-2:]) == tuple(grid):
            return maps
        return F.interpolate(maps, grid, mode="bilinear", align_corners=False)
    down, across = inside
    window = torch.tensor([[across, 0.0, across - 1], [0.0, down, down - 1]], device=maps.device)
    places = F.affine_grid(window.expand(len(maps), 2, 3), [len(maps), 1, *grid], align_corners=False)
    return F.grid_sample(maps, places, mode="bilinear", padding_mode="border", align_corners=False)


def mean_cosine(image: Sequence[Features], rendering: Sequence[Features], grid: Size, piece: int = PIECE) -> Tensor:
    """Cosine of the features of image and rendering, each averaged over its scales first (Xia et al. 2020).

    Args:
        image: Features of the image at each scale.
        rendering: Those of its rendering.
        grid: Cells that all scales are brought to before the mean.
        piece: Values of the largest tensor on that grid, as far as one channel goes.

    Returns:
        ``(B, *grid)`` float32 in [-1, 1].
    """
    streamed = StreamedCosine()
    for number, one in enumerate(image[0].maps):
        at_once = max(1, piece // (len(one) * grid[0] * grid[1]))
        for first in range(0, one.shape[1], at_once):
            channels = slice(first, first + at_once)
            streamed.update(_total(image, number, channels, grid), _total(rendering, number, channels, grid))
    return streamed.compute()


def _total(scales: Sequence[Features], number: int, channels: slice, grid: Size) -> Tensor:
    """Some channels of one map, added up over scales; a cosine does not see that it is no mean."""
    total: Tensor | None = None
    for one in scales:
        part = on_grid(one.maps[number][:, channels], one.inside, grid)
        total = part if total is None else total + part
    assert total is not None  # noqa: S101 - there is at least one scale
    return total
