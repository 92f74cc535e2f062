"""Exact counts of all inlier scores in memory that does not grow with the number of pixels.

A float32 score has 2^32 possible keys, but the scores of one detector fill few of them. Cells are counted in pages of
2^12 neighbouring keys; a page exists once one of its keys has been seen. Pages lie in slabs of 1024. Slabs beyond a
byte budget are memory-mapped temporary files: slower, still exact.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import DataError
from anomseg.metrics.counts import Counts, Keys, keys_at_least
from anomseg.metrics.statefile import Pieces

PAGE_BITS = 12
PAGE = 1 << PAGE_BITS
SLAB_PAGES = 1 << 10
DEFAULT_BUDGET = 512 << 20
_CHUNK_PAGES = 256


class PagedCounter:
    """Counts by uint32 key.

    Args:
        memory_budget: Bytes of slabs held in memory; further ones are memory-mapped files in the system's temporary
            folder (``TMPDIR``). Memory does not depend on the order of additions, nor do the counts.

    Example:
        >>> counter = PagedCounter()
        >>> counter.add(np.array([3, 4, 9], np.uint32), np.array([1, 2, 1]))
        >>> [part.tolist() for part in counter.at_or_above(np.array([4, 9, 10], np.uint32))]
        [[3, 1, 0], [1, 0, 0]]
    """

    def __init__(self, memory_budget: int = DEFAULT_BUDGET) -> None:
        self.memory_budget = memory_budget
        self.total = 0
        self._slot_of_page = np.full(1 << (32 - PAGE_BITS), -1, np.int32)
        self._pages = 0
        self._slabs: list[NDArray[Any]] = []
        self._slab_totals: list[int] = []

    @property
    def bytes_in_memory(self) -> int:
        """Bytes of the slabs that are not memory-mapped files."""
        return sum(slab.nbytes for slab in self._slabs if not isinstance(slab, np.memmap))

    @property
    def bytes_in_files(self) -> int:
        """Bytes of the slabs that are memory-mapped files."""
        return sum(slab.nbytes for slab in self._slabs if isinstance(slab, np.memmap))

    def add(self, keys: Keys, counts: Counts) -> None:
        """Add counts.

        Args:
            keys: uint32, distinct and ascending.
            counts: Non-negative integers, same length.

        Raises:
            DataError: The budget is spent and no temporary file can be made.
        """
        if keys.size == 0:
            return
        pages = keys >> PAGE_BITS
        slots = self._slot_of_page[pages]
        if slots.min() < 0:
            new = pages[slots < 0]
            self._allocate(new[np.concatenate(([True], new[1:] != new[:-1]))])
            slots = self._slot_of_page[pages]
        slabs = (slots // SLAB_PAGES).astype(np.uint16)
        cells = (slots % SLAB_PAGES).astype(np.intp) * PAGE + (keys & (PAGE - 1))
        if slabs[0] == slabs[-1] and (slabs == slabs[0]).all():
            self._add_to_slab(int(slabs[0]), cells, counts)
        else:
            order = np.argsort(slabs, kind="stable")
            ends = np.cumsum(np.bincount(slabs))
            for slab, end in enumerate(ends.tolist()):
                start = int(ends[slab - 1]) if slab else 0
                if end > start:
                    part = order[start:end]
                    self._add_to_slab(slab, cells[part], counts[part])
        self.total += int(counts.sum())

    def _add_to_slab(self, index: int, cells: NDArray[np.intp], counts: Counts) -> None:
        # No cell can exceed what its whole slab holds, so 32 bits do until that total would leave them.
        self._slab_totals[index] += int(counts.sum())
        slab = self._slabs[index]
        if self._slab_totals[index] >= 1 << 32 and slab.dtype == np.uint32:
            wider = self._new_slab(np.uint64)
            wider[:] = slab
            self._slabs[index] = slab = wider
        np.add.at(slab, cells, counts.astype(slab.dtype))  # one pass over memory, where += makes two

    def _allocate(self, pages: Keys) -> None:
        first = self._pages
        self._slot_of_page[pages] = np.arange(first, first + pages.size, dtype=np.int32)
        self._pages += pages.size
        while len(self._slabs) * SLAB_PAGES < self._pages:
            self._slabs.append(self._new_slab(np.uint32))
            self._slab_totals.append(0)

    def _new_slab(self, dtype: Any) -> NDArray[Any]:
        cells = SLAB_PAGES * PAGE
        size = cells * np.dtype(dtype).itemsize
        if self.bytes_in_memory + size <= self.memory_budget:
            return np.zeros(cells, dtype)
        try:
            with tempfile.TemporaryFile(prefix="anomseg-counts-") as stream:
                if hasattr(os, "posix_fallocate"):
                    # A hole in a mapped file would end the process when the disk is full; reserving it raises instead.
                    os.posix_fallocate(stream.fileno(), 0, size)
                return np.memmap(stream, dtype, mode="w+", shape=(cells,))
        except OSError as error:
            raise DataError(
                f"no room for {size >> 20} MB of score counts in {tempfile.gettempdir()} ({error.strerror or error}); "
                "set TMPDIR to a larger disk or raise the memory budget"
            ) from error

    def _chunks(self) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """Page numbers in ascending order with their cells ``(n * PAGE,)``, a bounded number at a time."""
        pages = np.flatnonzero(self._slot_of_page >= 0)
        for start in range(0, pages.size, _CHUNK_PAGES):
            part = pages[start : start + _CHUNK_PAGES]
            slots = self._slot_of_page[part]
            slabs = np.unique(slots // SLAB_PAGES).tolist()
            cells = np.empty((part.size, PAGE), np.result_type(*(self._slabs[slab].dtype for slab in slabs)))
            for slab in slabs:
                mine = slots // SLAB_PAGES == slab
                cells[mine] = self._slabs[slab].reshape(SLAB_PAGES, PAGE)[slots[mine] % SLAB_PAGES]
            yield part, cells.reshape(-1)

    def items(self) -> Iterator[tuple[Keys, Counts]]:
        """Keys that occur, ascending, and their counts, in pieces of at most 2^20 cells."""
        for pages, cells in self._chunks():
            filled = np.flatnonzero(cells != 0)
            keys = (pages[filled >> PAGE_BITS] << PAGE_BITS) | (filled & (PAGE - 1))
            yield keys.astype(np.uint32), cells[filled].astype(np.int64)

    def size(self) -> tuple[int, int]:
        """How many keys occur, and the greatest count."""
        distinct, greatest = 0, 0
        for _, cells in self._chunks():
            distinct += int(np.count_nonzero(cells))
            greatest = max(greatest, int(cells.max()))
        return distinct, greatest

    def pieces(self) -> Pieces:
        """All keys and counts for a state file, as a structured array in pieces; see `add_pieces`."""
        distinct, greatest = self.size()
        pair = np.dtype([("key", "<u4"), ("count", np.min_scalar_type(greatest))])
        return Pieces(pair, distinct, (_paired(*part, pair) for part in self.items()))

    def add_pieces(self, pieces: Iterable[NDArray[Any]]) -> None:
        """Add what `pieces` gave, read back from a file."""
        for part in pieces:
            self.add(part["key"].astype(np.uint32), part["count"].astype(np.int64))

    def lowest(self) -> int | None:
        """The lowest key that occurs; None when empty."""
        return next((int(keys[0]) for keys, _ in self.items() if keys.size), None)

    def lowest_with(self, allowed: int) -> int:
        """The lowest key that occurs and has at most ``allowed`` counts at or above it; else the one above them all.

        Example:
            >>> counter = PagedCounter()
            >>> counter.add(np.array([3, 4, 9], np.uint32), np.array([1, 2, 1]))
            >>> [counter.lowest_with(allowed) for allowed in (4, 3, 1, 0)]
            [3, 4, 9, 10]
        """
        counted, last = 0, -1
        for keys, counts in self.items():
            if keys.size:
                below = counted + np.cumsum(counts) - counts
                found = int(np.searchsorted(below, self.total - allowed, side="left"))
                if found < keys.size:
                    return int(keys[found])
                counted, last = int(below[-1] + counts[-1]), int(keys[-1])
        return last + 1

    def count_at(self, thresholds: Any) -> Counts:
        """How many counted scores are at or above each of some thresholds, ``(n,)`` float64 in any order."""
        keys = np.atleast_1d(keys_at_least(thresholds))
        order = np.argsort(keys, kind="stable")
        counts = np.empty(keys.size, np.int64)
        counts[order] = self.at_or_above(keys[order])[0]
        return counts

    def at_or_above(self, keys: Keys) -> tuple[Counts, Counts]:
        """How many counted keys are at or above, and how many strictly above, each of some keys.

        Args:
            keys: ``(K,)`` uint32, ascending.

        Returns:
            Two int64 arrays ``(K,)``: ``>= key`` and ``> key``.
        """
        below = np.zeros(keys.size, np.int64)
        up_to = np.zeros(keys.size, np.int64)
        query_pages = (keys >> PAGE_BITS).astype(np.int64)
        done, counted = 0, 0
        for pages, cells in self._chunks():
            cumulative = np.empty(cells.size + 1, np.int64)
            cumulative[0] = counted
            np.cumsum(cells, dtype=np.int64, out=cumulative[1:])
            cumulative[1:] += counted
            # Queries up to this chunk's last page; those on pages that do not exist fall between two pages.
            last = int(np.searchsorted(query_pages, pages[-1], side="right"))
            mine = slice(done, last)
            row = np.searchsorted(pages, query_pages[mine])
            exists = pages[row] == query_pages[mine]
            cell = row * PAGE + np.where(exists, keys[mine] & (PAGE - 1), 0)
            below[mine] = cumulative[cell]
            up_to[mine] = cumulative[cell + exists]
            done, counted = last, int(cumulative[-1])
        below[done:] = up_to[done:] = counted
        return counted - below, counted - up_to


def _paired(keys: Keys, counts: Counts, dtype: np.dtype[Any]) -> NDArray[Any]:
    pairs = np.empty(keys.size, dtype)
    pairs["key"], pairs["count"] = keys, counts
    return pairs
