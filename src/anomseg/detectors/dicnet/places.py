"""How large a discrepancy is usual at each place of the picture, and a discrepancy told in those terms; ours.

A discrepancy is positive and its large values lie far out, so its logarithm is what is averaged and compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.detectors.moments import ClassMoments
from anomseg.errors import CompatibilityError, DataError

LEAST_FRAMES = 2
"""Fewer have no deviation."""
FLOOR = 1e-6
"""Smaller discrepancies count as this one: student and teacher agree."""
_LEAST_DEVIATION = 1e-6  # what rounding leaves of a place whose discrepancy never changes


@dataclass(frozen=True)
class Places:
    """Mean and deviation of the logarithm of the discrepancy at each cell, over images that show known things alone.

    Attributes:
        mean: ``(h, w)`` float32.
        deviation: ``(h, w)`` float32, at least 0.

    Raises:
        CompatibilityError: They are no maps of one shape, or hold values that they cannot have.
    """

    mean: Tensor
    deviation: Tensor

    def __post_init__(self) -> None:
        mean, deviation = self.mean, self.deviation
        fit = mean.ndim == 2 and mean.shape == deviation.shape and mean.numel() > 0
        if not fit or not bool(mean.isfinite().all() and deviation.isfinite().all() and (deviation >= 0).all()):
            raise CompatibilityError(
                "the discrepancy usual by place is a mean and a deviation of one (rows, columns), the latter 0 or "
                f"more; got {tuple(mean.shape)} and {tuple(deviation.shape)}"
            )

    def standardised(self, cells: Tensor) -> Tensor:
        """``(log d - mean) / deviation`` of each cell; 0 where the discrepancy never changed.

        Args:
            cells: ``(B, h, w)`` float, at least 0; the statistics are brought to its size where that is another one.

        Returns:
            The same shape, float32.

        Example:
            >>> places = Places(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.5, 0.0]]))
            >>> places.standardised(torch.tensor([[[1.0, 3.0]], [[torch.e, 3.0]]])).tolist()
            [[[0.0, 0.0]], [[2.0, 0.0]]]
        """
        size = (cells.shape[-2], cells.shape[-1])
        mean, deviation = (resized(one.to(cells.device), size) for one in (self.mean, self.deviation))
        told = deviation > _LEAST_DEVIATION
        return torch.where(told, (logarithm(cells.float()) - mean) / torch.where(told, deviation, 1.0), 0.0)


class PlaceMoments:
    """Running mean and deviation of the logarithm at each cell, over maps one by one; the first one's size is kept."""

    def __init__(self) -> None:
        self._moments: ClassMoments | None = None
        self._size = (0, 0)
        self.maps = 0

    def update(self, cells: Tensor) -> None:
        """Add the map of an image.

        Args:
            cells: ``(h, w)`` float, at least 0; brought to the size of the first one.
        """
        cells = logarithm(cells)
        if self._moments is None:
            self._size = (cells.shape[-2], cells.shape[-1])
            self._moments = ClassMoments(cells.numel())
        self._moments.update(resized(cells, self._size).flatten(), torch.arange(self._size[0] * self._size[1]))
        self.maps += 1

    def places(self, spread: float) -> Places:
        """What is usual, averaged over neighbouring places.

        Args:
            spread: Standard deviation of the Gaussian that averages, in cells.

        Raises:
            DataError: There were too few maps.
        """
        if self._moments is None or self.maps < LEAST_FRAMES:
            raise DataError(
                f"what is usual at a place takes {LEAST_FRAMES} images or more, got {self.maps}; give more "
                "in-distribution frames"
            )
        deviation = self._moments.variance().clamp(min=0).sqrt()
        mean, deviation = (blurred(one.view(self._size), spread) for one in (self._moments.mean, deviation))
        return Places(mean.float(), deviation.float())


def logarithm(cells: Tensor) -> Tensor:
    """Natural logarithm of discrepancies, which are `FLOOR` at the least."""
    return cells.clamp(min=FLOOR).log()


def blurred(cells: Tensor, spread: float) -> Tensor:
    """A map averaged with Gaussian weights; at the edge, over the part of the neighbourhood that there is.

    Args:
        cells: ``(h, w)`` float.
        spread: Standard deviation of the Gaussian, in cells, above 0.

    Example:
        >>> blurred(torch.tensor([[0.0, 1.0, 2.0, 3.0]]), 1.0).mul(10).round().tolist()
        [[5.0, 11.0, 19.0, 25.0]]
    """
    rows, columns = (_weights(length, spread, cells) for length in cells.shape)
    return rows @ cells @ columns.T


def _weights(length: int, spread: float, like: Tensor) -> Tensor:
    """``(length, length)`` Gaussian weights of every cell for every cell along one axis; rows add up to 1."""
    cells = torch.arange(length, dtype=torch.float64, device=like.device)
    weights = torch.exp(-((cells[:, None] - cells) ** 2) / (2 * spread**2))
    return (weights / weights.sum(1, keepdim=True)).to(like.dtype)


def resized(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """``(h, w)`` of another size, bilinear; as it is where it has that size."""
    if tuple(cells.shape) == size:
        return cells
    return F.interpolate(cells[None, None], size, mode="bilinear", align_corners=False)[0, 0]
