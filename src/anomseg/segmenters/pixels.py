"""Mean and deviation: how networks that others trained want their pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from anomseg.errors import ConfigError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of ImageNet's RGB values in [0, 1]."""


def normalised(batch: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """``(batch - mean) / std``, channel by channel.

    Args:
        batch: ``(B, 3, h, w)`` float.
        mean: Three numbers.
        std: Three numbers larger than 0.

    Example:
        >>> import torch
        >>> normalised(torch.ones(1, 3, 1, 1), (0.0, 0.5, 1.0), (1.0, 0.5, 2.0)).flatten().tolist()
        [1.0, 1.0, 0.0]
    """
    return (batch - batch.new_tensor(mean)[:, None, None]) / batch.new_tensor(std)[:, None, None]


def check_moments(mean: Sequence[float], std: Sequence[float]) -> None:
    """Refuse a mean or deviation that is no triple of numbers, or a deviation of zero.

    Raises:
        ConfigError: As said.
    """
    fits = len(mean) == len(std) == 3 and all(map(math.isfinite, (*mean, *std))) and min(std) > 0
    if not fits:
        raise ConfigError("mean and std are three numbers each, and the deviations are larger than 0")
