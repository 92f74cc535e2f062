"""Patches of one random size, put on images at random places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from anomseg.errors import ConfigError
from anomseg.segmenters.base import Size

STEP = 8
"""Sides of patches are multiples of it, as published, and of what the flow divides by."""


@dataclass(frozen=True)
class PastedPatches:
    """Images with a patch each.

    Attributes:
        images: ``(B, 3, H, W)``.
        covered: ``(B, H, W)`` bool, where the patches lie.
        content: ``(B, 3, h, w)``, what they cover, unchanged.
    """

    images: Tensor
    covered: Tensor
    content: Tensor


def sides_between(sizes: Sequence[int], divisor: int) -> list[int]:
    """The sides that patches may have.

    Args:
        sizes: The least and the largest one.
        divisor: What the flow divides by.

    Raises:
        ConfigError: There is none.

    Example:
        >>> sides_between((16, 40), 4)
        [16, 24, 32, 40]
    """
    step = math.lcm(STEP, divisor)
    found = [side for side in range(step, max(sizes) + 1, step) if side >= min(sizes)]
    if not found:
        raise ConfigError(f"sizes {list(sizes)} hold no multiple of {step}, which the sides of a patch are")
    return found


def draw_size(sides: Sequence[int]) -> Size:
    """Height and width of the patches of a step, independent of each other, by torch's generator."""
    height, width = torch.randint(len(sides), (2,)).tolist()
    return sides[height], sides[width]


def paste(images: Tensor, patches: Tensor) -> PastedPatches:
    """Put a patch on each image, at a place that is uniform over all where it fits.

    The images' pixels do not change elsewhere, and gradients reach the patches.

    Args:
        images: ``(B, 3, H, W)``.
        patches: ``(B, 3, h, w)``, no larger.

    Raises:
        ConfigError: The patches are larger than the images.

    Example:
        >>> pasted = paste(torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 2, 4))
        >>> int(pasted.covered.sum()), pasted.content.abs().max().item(), pasted.images.sum().item()
        (8, 0.0, 24.0)
    """
    (height, width), (below, beside) = patches.shape[-2:], images.shape[-2:]
    if height > below or width > beside:
        raise ConfigError(f"a patch of {height}x{width} does not fit on an image of {below}x{beside}")
    tops = torch.randint(below - height + 1, (len(images),)).tolist()
    lefts = torch.randint(beside - width + 1, (len(images),)).tolist()
    pasted = images.clone()
    covered = torch.zeros(len(images), below, beside, dtype=torch.bool, device=images.device)
    content = []
    for row, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        inside = (slice(top, top + height), slice(left, left + width))
        content.append(images[row, :, *inside])
        pasted[row, :, *inside] = patches[row]
        covered[row, *inside] = True
    return PastedPatches(pasted, covered, torch.stack(content))


def beside_padding(images: Tensor, void: Tensor, covered: Tensor) -> Tensor:
    """Which images show something of themselves alone where a patch lies, and no black around them.

    Padding are rows and columns of a crop that are black and void from end to end.

    Args:
        images: ``(B, 3, H, W)``, before anything was pasted.
        void: ``(B, H, W)`` bool, pixels without a label.
        covered: ``(B, H, W)`` bool, where the patches lie.

    Returns:
        ``(B,)`` bool.

    Example:
        >>> images = torch.ones(2, 3, 2, 4)
        >>> images[1, ..., 0] = 0
        >>> everywhere = torch.ones(2, 2, 4, dtype=torch.bool)
        >>> beside_padding(images, images[:, 0] == 0, everywhere).tolist()
        [True, False]
    """
    black = void & (images == 0).all(1)
    padding = black.all(2, keepdim=True) | black.all(1, keepdim=True)
    return ~(padding & covered).flatten(1).any(1)
