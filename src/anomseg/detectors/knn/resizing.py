"""A map over the cells of a feature, brought to the size of the image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.segmenters.base import SegmentationOutput, Size


def cells_touched(output: SegmentationOutput, grid: Size) -> Size:
    """How many rows and columns of a grid over the padded input show any of the image."""
    rows, columns = (
        min(length, -(-length * inside // padded))
        for length, inside, padded in zip(grid, output.input_size, output.padded_size, strict=True)
    )
    return rows, columns


def spread_to(score: Tensor, grid: Size) -> Tensor:
    """Give the cells of a grid that lie in the padding the score of the nearest one that does not.

    Args:
        score: ``(B, h', w')``, the grid's first rows and columns.
        grid: ``(h, w)``.

    Returns:
        ``(B, h, w)``.
    """
    below, right = grid[0] - score.shape[-2], grid[1] - score.shape[-1]
    return F.pad(score[:, None], (0, right, 0, below), mode="replicate")[:, 0] if below or right else score


def nearest_at_size(score: Tensor, output: SegmentationOutput, size: Size) -> Tensor:
    """Each pixel of the image takes the score of the cell that its centre lies in.

    Where the image's sides are multiples of the grid's that is what ``interpolate(mode="nearest")`` gives.

    Args:
        score: ``(B, h, w)`` over the padded input.
        output: The pass it comes from.
        size: ``(H, W)`` of the image.

    Returns:
        ``(B, H, W)``, without the padding.
    """
    index = []
    grid = (score.shape[-2], score.shape[-1])
    for own, length, inside, padded in zip(size, grid, output.input_size, output.padded_size, strict=True):
        centres = 2 * torch.arange(own, device=score.device) + 1  # in whole numbers, so exact
        index.append((centres * (inside * length) // (2 * own * padded)).clamp(max=length - 1))
    return score[:, index[0][:, None], index[1][None, :]]
