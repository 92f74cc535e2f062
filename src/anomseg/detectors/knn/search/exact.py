"""Exact search: chunked matrix products that nominate, exact differences that decide."""

from __future__ import annotations

from torch import Tensor

from anomseg.scores.nearest import centred_bank, nearest


class ExactIndex:
    """All neighbours found, see `anomseg.scores.nearest`; the bank is neither copied nor held in memory.

    Args:
        bank: ``(M, D)`` float32 or float16, possibly a memory map; it must not be changed while the index lives.

    Raises:
        CompatibilityError: The bank is not a table of floats.
        DataError: The bank is empty, or a value is not finite.
    """

    def __init__(self, bank: Tensor) -> None:
        self._bank = centred_bank(bank)

    @property
    def size(self) -> int:
        """Rows of the bank."""
        return self._bank.size

    @property
    def width(self) -> int:
        """Channels of a row."""
        return self._bank.width

    def distances(self, queries: Tensor, k: int) -> Tensor:
        """Euclidean distances ``(N, k)`` float32, ascending; see `NeighborIndex.distances`."""
        return self.neighbors(queries, k)[0]

    def neighbors(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Distances ``(N, k)`` float32 and rows ``(N, k)`` int64; see `NeighborIndex.neighbors`."""
        distances, rows = nearest(queries, self._bank, k)
        return distances.float(), rows
