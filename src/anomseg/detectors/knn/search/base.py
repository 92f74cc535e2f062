"""What an index of a bank of features answers, and how much of the truth an approximate one finds."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from anomseg.errors import CompatibilityError
from anomseg.scores.nearest import CentredBank


class NeighborIndex(Protocol):
    """A bank of features that can be searched.

    Attributes:
        size: Rows of the bank.
        width: Channels of a row.
    """

    @property
    def size(self) -> int:
        """Rows of the bank."""
        ...

    @property
    def width(self) -> int:
        """Channels of a row."""
        ...

    def distances(self, queries: Tensor, k: int) -> Tensor:
        """Euclidean distances ``(N, k)`` float32, ascending, from queries ``(N, D)`` to their k nearest rows.

        Raises:
            CompatibilityError: The queries' width is not the bank's.
            ConfigError: k is not from 1 to the bank's size.
            FrameError: A query holds NaN or infinity.
        """
        ...

    def neighbors(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """As `distances`, together with the rows ``(N, k)`` int64 that were found."""
        ...


class TableIndex:
    """Base of indices over a prepared bank; subclasses implement `neighbors`.

    Args:
        bank: The bank.
    """

    def __init__(self, bank: CentredBank) -> None:
        self._bank = bank

    @property
    def size(self) -> int:
        """Rows of the bank."""
        return self._bank.size

    @property
    def width(self) -> int:
        """Channels of a row."""
        return self._bank.width

    def distances(self, queries: Tensor, k: int) -> Tensor:
        """Distances ``(N, k)`` float32, ascending; see `NeighborIndex.distances`."""
        return self.neighbors(queries, k)[0]

    def neighbors(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """See `NeighborIndex.neighbors`."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it searches")


def recall(exact: Tensor, approximate: Tensor, tolerance: float = 1e-4) -> float:
    """Share of the true neighbours that an approximate search found.

    Counted by distance, so that of several rows equally far any may be found: an approximate neighbour is a true one
    when it is no farther than the true k-th, up to the tolerance.

    Args:
        exact: ``(N, k)`` true distances, ascending.
        approximate: ``(N, k)`` true distances to the rows that were found.
        tolerance: Relative to the true k-th distance.

    Returns:
        0 to 1.

    Raises:
        CompatibilityError: The shapes differ, or there is nothing to count.

    Example:
        >>> import torch
        >>> recall(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 3.0]]))
        0.5
    """
    if exact.shape != approximate.shape or exact.ndim != 2 or not exact.numel():
        raise CompatibilityError(
            f"recall compares two (queries, k) tables of distances, got {tuple(exact.shape)} and "
            f"{tuple(approximate.shape)}"
        )
    farthest = exact[:, -1:].double()
    return (approximate.double() <= farthest * (1 + tolerance)).double().mean().item()
