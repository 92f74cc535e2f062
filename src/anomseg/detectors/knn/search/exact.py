"""Exact search: chunked matrix products that nominate, exact differences that decide."""

from __future__ import annotations

from torch import Tensor

from anomseg.detectors.knn.search.base import TableIndex
from anomseg.scores.nearest import centred_bank, nearest


class ExactIndex(TableIndex):
    """All neighbours found, see `anomseg.scores.nearest`; the bank is neither copied nor held in memory.

    Args:
        bank: ``(M, D)`` float32 or float16, possibly a memory map; it must not be changed while the index lives.

    Raises:
        CompatibilityError: The bank is not a table of floats.
        DataError: The bank is empty, or a value is not finite.
    """

    def __init__(self, bank: Tensor) -> None:
        super().__init__(centred_bank(bank))

    def neighbors(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Distances ``(N, k)`` float32 and rows ``(N, k)`` int64; see `NeighborIndex.neighbors`."""
        distances, rows = nearest(queries, self._bank, k)
        return distances.float(), rows
