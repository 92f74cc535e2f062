"""Pixels as channels: 2 x 2 squares are squeezed into channels, which couplings then part in two."""

from __future__ import annotations

from torch import Tensor

from anomseg.segmenters.base import Size

Parts = tuple[list[int], list[int]]
"""Two lists of channels that together are all of them."""


def squeeze(x: Tensor) -> Tensor:
    """``(B, C, h, w)`` to ``(B, 4C, h/2, w/2)``: channel ``4c + p`` is pixel p of each square, row by row."""
    batch, channels, height, width = x.shape
    squares = x.reshape(batch, channels, height // 2, 2, width // 2, 2)
    return squares.permute(0, 1, 3, 5, 2, 4).reshape(batch, 4 * channels, height // 2, width // 2)


def unsqueeze(x: Tensor) -> Tensor:
    """Undo `squeeze`."""
    batch, channels, height, width = x.shape
    squares = x.reshape(batch, channels // 4, 2, 2, height, width)
    return squares.permute(0, 1, 4, 2, 5, 3).reshape(batch, channels // 4, 2 * height, 2 * width)


def checkerboard(channels: int) -> Parts:
    """Squeezed channels by the colour of their pixel on a checkerboard: those on the squares' diagonal come first.

    Args:
        channels: Squeezed channels, a multiple of four.

    Example:
        >>> checkerboard(8)
        ([0, 3, 4, 7], [1, 2, 5, 6])
    """
    first = [index for index in range(channels) if index % 4 in (0, 3)]
    return first, [index for index in range(channels) if index % 4 in (1, 2)]


def halves(channels: int) -> Parts:
    """The first half of the channels and the second.

    Example:
        >>> halves(4)
        ([0, 1], [2, 3])
    """
    return list(range(channels // 2)), list(range(channels // 2, channels))


def latent_shapes(channels: int, scales: int, size: Size) -> list[tuple[int, int, int]]:
    """Shape ``(C, h, w)`` of each latent map of an image: one that each scale but the last sets aside, and the last.

    Args:
        channels: Of the image.
        scales: Of the flow.
        size: ``(h, w)`` of the image, multiples of ``2 ** scales``.

    Example:
        >>> latent_shapes(3, 2, (16, 24))
        [(6, 8, 12), (24, 4, 6)]
    """
    height, width = size
    shapes = []
    for scale in range(scales):
        height, width, channels = height // 2, width // 2, 4 * channels
        if scale < scales - 1:
            channels //= 2
        shapes.append((channels, height, width))
    return shapes
