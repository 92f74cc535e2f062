"""From cells of a feature map to pixels of an image, corners aligned, padding left out."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.segmenters.base import Size


def aligned_resize(maps: Tensor, padded: Size, inside: Size, size: Size) -> Tensor:
    """Bilinear interpolation whose corner cells lie on the corner pixels, as DiCNet's code does it.

    The corner cells belong to the corners of the *padded* input. Of that, the image covers the rows and columns up to
    ``inside``; its corner pixels are put on those of that part, and every pixel is read once, at its own place between
    the cells. Without padding this is ``interpolate(maps, size, mode="bilinear", align_corners=True)``; with padding,
    and an image of the working size, it is that of ``padded``, cropped.

    Args:
        maps: ``(B, K, h, w)`` float over the padded input.
        padded: ``(height, width)`` of the padded input.
        inside: ``(height, width)`` before padding.
        size: ``(H, W)`` of the image.

    Returns:
        ``(B, K, H, W)``.

    Example:
        >>> maps = torch.tensor([[0.0, 1.0], [2.0, 3.0]])[None, None]
        >>> [round(x, 2) for x in aligned_resize(maps, (16, 16), (16, 16), (4, 4))[0, 0, 0].tolist()]
        [0.0, 0.33, 0.67, 1.0]
    """
    if padded == inside:
        return F.interpolate(maps, size, mode="bilinear", align_corners=True)
    # On the scale -1 .. 1 from the first to the last cell, which are the first and the last pixel of the padded input.
    ends = [2 * (inner - 1) / max(outer - 1, 1) - 1 for inner, outer in zip(inside, padded, strict=True)]
    y, x = (
        torch.linspace(-1, end, count, dtype=maps.dtype, device=maps.device)
        for end, count in zip(ends, size, strict=True)
    )
    grid = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), -1).expand(len(maps), -1, -1, -1)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=True)


def on_grid(guess: Tensor, teacher: Tensor) -> Tensor:
    """A student's map on the cells of its teacher's, float32; they are the same where both have one stride."""
    if guess.shape[-2:] != teacher.shape[-2:]:
        guess = F.interpolate(guess.float(), teacher.shape[-2:], mode="bilinear", align_corners=False)
    return guess.float()
