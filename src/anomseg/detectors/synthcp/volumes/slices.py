"""2.5-D: slices with their neighbours, and how the Dice of slices becomes that of a volume. Pure functions."""

from __future__ import annotations

import torch
from torch import Tensor


def with_neighbours(volume: Tensor, reach: int) -> Tensor:
    """Each slice of a volume with those beside it as channels; the outermost ones repeat.

    Args:
        volume: ``(D, H, W)``.
        reach: Slices to either side.

    Returns:
        ``(D, 2 * reach + 1, H, W)``, from the slice before to the slice after.

    Example:
        >>> with_neighbours(torch.arange(3.0).view(3, 1, 1), 1)[:, :, 0, 0].tolist()
        [[0.0, 0.0, 1.0], [0.0, 1.0, 2.0], [1.0, 2.0, 2.0]]
    """
    depth = len(volume)
    steps = torch.arange(-reach, reach + 1)
    return volume[(torch.arange(depth)[:, None] + steps).clamp(0, depth - 1)]


def soft_dice(first: Tensor, second: Tensor) -> Tensor:
    """Dice of two shares over the last two axes, NaN where both are empty; of masks of 0 and 1 the usual Dice.

    Args:
        first: ``(..., H, W)`` in [0, 1].
        second: Same shape.

    Example:
        >>> soft_dice(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])).item()
        0.6666666865348816
    """
    sizes = first.sum((-2, -1)) + second.sum((-2, -1))
    overlap = 2 * torch.minimum(first, second).sum((-2, -1))
    return torch.where(sizes > 0, overlap / sizes.clamp_min(1e-12), torch.nan)


def expected_size(predicted: Tensor, right: Tensor) -> Tensor:
    """Expected size of the true target in each slice, from the chance that each pixel is right.

    A pixel inside the predicted target is true where it is right, one outside where it is wrong.

    Args:
        predicted: ``(..., H, W)`` share of the target in the prediction.
        right: Chance that a pixel is right, same shape.

    Returns:
        ``(...)`` pixels.

    Example:
        >>> expected_size(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[0.9, 0.5, 0.75]])).item()
        1.649999976158142
    """
    return (predicted * right + (1 - predicted) * (1 - right)).sum((-2, -1))


def volume_dice(slice_dice: Tensor, predicted_size: Tensor, true_size: Tensor) -> Tensor:
    """The Dice of a volume from that of its slices: their mean, weighed by what each adds to both sizes.

    With ``d = 2 I / (P + T)`` in each slice, ``sum (P + T) d / sum (P + T)`` is ``2 sum I / sum (P + T)``: exact where
    the slices' values are. A slice without a prediction has no overlap, whatever is said of it.

    Args:
        slice_dice: ``(D, T)`` Dice of each slice and target.
        predicted_size: ``(D, T)`` pixels of the prediction.
        true_size: ``(D, T)`` expected pixels of the truth.

    Returns:
        ``(T,)``; 0 where all is empty.

    Example:
        >>> dice, size = torch.tensor([[1.0], [0.5], [9.0]]), torch.tensor([[10.0], [10.0], [0.0]])
        >>> volume_dice(dice, size, torch.tensor([[10.0], [30.0], [0.0]])).item()  # (20 + 20) / 60
        0.6666666865348816
    """
    overlap = torch.where(predicted_size > 0, slice_dice, 0.0)
    weight = predicted_size + true_size
    return (weight * overlap).sum(0) / weight.sum(0).clamp_min(1e-12)
