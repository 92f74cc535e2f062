"""Approximate search with FAISS (the extra ``faiss``): inverted lists, a navigable graph, quantised inverted lists.

torch and FAISS each bring an OpenMP runtime of their own. On Linux both work, but two pools of threads that spin while
they wait take the processor from each other: FAISS is told to use as many threads as torch does, and
``OMP_WAIT_POLICY=PASSIVE`` helps where searches and networks take turns. On macOS a second runtime can abort the
process or crash in a parallel region (faiss-wheels #73, pytorch #149201): FAISS gets one thread there. If the import
itself aborts with ``OMP: Error #15``, use builds of both that share one runtime (conda-forge).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from anomseg.detectors.knn.search.base import TableIndex
from anomseg.detectors.options import whole
from anomseg.errors import ConfigError
from anomseg.scores.nearest import BUDGET, CentredBank, centred_bank, check_queries, distances_to, nearest
from anomseg.segmenters.guarded import import_extra

PARTS = 128
"""Codes of a vector at most, unless asked for more: each costs time, and candidates are ranked again anyway."""


class FaissIndex(TableIndex):
    """A bank in a FAISS index; features are centred first, which keeps float32 products exact enough.

    FAISS holds a copy of the bank in memory, in float32 (inverted lists, graph) or as codes.

    Args:
        index: An empty trained FAISS index under squared L2.
        bank: What it shall hold.
        rerank: Candidates for each neighbour that are ranked again by exact differences; 0 takes FAISS's distances,
            which are exact for all but quantised lists.
    """

    def __init__(self, index: Any, bank: CentredBank, rerank: int = 0) -> None:
        super().__init__(bank)
        self._index, self._rerank = index, rerank
        # FAISS adds to a graph in no fixed order unless on one thread (faiss #983).
        with _threads(_faiss(), 1):
            for part in bank.rows.split(_chunk(bank)):
                index.add(self._centred(part))

    def neighbors(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Distances ``(N, k)`` float32 and rows ``(N, k)`` int64; see `NeighborIndex.neighbors`.

        A query whose lists hold fewer than k rows is answered by the exact search.
        """
        check_queries(queries, self.width, self.size, k)
        parts = [self._search(part, k) for part in queries.split(_chunk(self._bank))]
        distances = torch.cat([part[0] for part in parts]) if parts else queries.new_empty(0, k, dtype=torch.float32)
        rows = torch.cat([part[1] for part in parts]) if parts else torch.empty(0, k, dtype=torch.int64)
        return distances.to(queries.device), rows.to(queries.device)

    def _search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        wanted = min(max(1, self._rerank) * k, self.size)
        with _threads(_faiss(), 1 if sys.platform == "darwin" else torch.get_num_threads()):
            squared, found = map(torch.from_numpy, self._index.search(self._centred(queries), wanted))
        short = found[:, k - 1] < 0  # FAISS pads with -1 what its lists do not hold
        if self._rerank:
            exact = distances_to(queries.float(), self._bank.rows, found)
            distances, order = exact.topk(k, dim=1, largest=False)
            found = found.gather(1, order)
        else:
            distances = squared.clamp_(min=0).sqrt_()  # FAISS gives squared L2
        if bool(short.any()):
            wide, found[short] = nearest(queries[short], self._bank, k)
            distances[short] = wide.float()
        return distances, found

    def _centred(self, rows: Tensor) -> Any:
        return (rows.float() - self._bank.centre).contiguous().numpy()


def ivf(bank: Tensor, seed: int, nlist: int | None = None, nprobe: int = 8) -> FaissIndex:
    """Inverted lists: k-means cells, of which the nearest few are searched exactly.

    Args:
        bank: ``(M, D)``.
        seed: Of the k-means.
        nlist: Cells; the root of the bank's size by default.
        nprobe: Cells that are searched for each query.
    """
    faiss, table = _faiss(), centred_bank(bank)
    cells, probes = _cells(table, nlist, nprobe)
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(table.width), table.width, cells)
    return _trained(index, table, probes, seed)


def pq(
    bank: Tensor,
    seed: int,
    nlist: int | None = None,
    nprobe: int = 12,
    m: int | None = None,
    nbits: int = 4,
    rerank: int = 12,
) -> FaissIndex:
    """Inverted lists of product-quantised codes, whose best candidates are ranked again by exact differences.

    Args:
        bank: ``(M, D)``; rows are read from it again for the re-ranking.
        seed: Of the k-means.
        nlist: Cells; the root of the bank's size by default.
        nprobe: Cells that are searched for each query.
        m: Parts of a vector, each with a code of its own; a divisor of D, by default the largest up to D / 2 and 128.
        nbits: Bits of a code, 4 (scanned with vector instructions) or 8.
        rerank: Candidates for each neighbour that are ranked again; 0 returns approximate distances.
    """
    faiss, table = _faiss(), centred_bank(bank)
    cells, probes = _cells(table, nlist, nprobe)
    parts = whole("m", m) if m is not None else _largest_divisor(table.width, max(1, min(table.width // 2, PARTS)))
    if table.width % parts:
        raise ConfigError(f"m={parts} does not divide the features' {table.width} channels; give a divisor")
    if nbits not in (4, 8):
        raise ConfigError(f"nbits must be 4 or 8, got {nbits!r}")
    if isinstance(rerank, bool) or not isinstance(rerank, int) or rerank < 0:
        raise ConfigError(f"rerank must be a whole number, 0 or above, got {rerank!r}")
    if table.size < 2**nbits:
        raise ConfigError(f"{nbits}-bit codes need a bank of at least {2**nbits} rows, got {table.size}; use exact")
    kind = faiss.IndexIVFPQFastScan if nbits == 4 else faiss.IndexIVFPQ
    index = kind(faiss.IndexFlatL2(table.width), table.width, cells, parts, nbits)
    index.pq.cp.seed, index.pq.cp.min_points_per_centroid = seed, 1
    return _trained(index, table, probes, seed, rerank)


def hnsw(bank: Tensor, seed: int, links: int = 32, ef_search: int = 32, ef_construction: int = 80) -> FaissIndex:
    """Hierarchical navigable small world: a graph that is walked towards the query (Malkov and Yashunin, 2018).

    Args:
        bank: ``(M, D)``.
        seed: Of the rows' levels.
        links: Of a row to others (the paper's M).
        ef_search: Candidates kept during a search, at least k.
        ef_construction: Candidates kept during construction.
    """
    faiss, table = _faiss(), centred_bank(bank)
    if whole("links", links) < 2:
        raise ConfigError("links must be at least 2")
    index = faiss.IndexHNSWFlat(table.width, links)
    index.hnsw.rng = faiss.RandomGenerator(seed)
    index.hnsw.efSearch = whole("ef_search", ef_search)
    index.hnsw.efConstruction = whole("ef_construction", ef_construction)
    return FaissIndex(index, table)


def _trained(index: Any, bank: CentredBank, nprobe: int, seed: int, rerank: int = 0) -> FaissIndex:
    """Train the cells on as many rows as FAISS would use, drawn here so that a memory map is not read as a whole."""
    index.cp.seed, index.cp.min_points_per_centroid = seed, 1  # 1: no warning from C++ on a small bank
    index.nprobe = nprobe
    enough = max(index.nlist, 256) * index.cp.max_points_per_centroid
    drawn = torch.randperm(bank.size, generator=torch.Generator().manual_seed(seed))[:enough].sort().values
    sample = (bank.rows[drawn].float() - bank.centre).contiguous().numpy()
    with _threads(_faiss(), 1):
        index.train(sample)
    return FaissIndex(index, bank, rerank)


def _cells(bank: CentredBank, nlist: int | None, nprobe: int) -> tuple[int, int]:
    cells = whole("nlist", nlist) if nlist is not None else round(math.sqrt(bank.size))
    if cells > bank.size:
        raise ConfigError(f"nlist={cells} cells for a bank of {bank.size} rows; give fewer")
    return cells, min(whole("nprobe", nprobe), cells)


def _largest_divisor(number: int, limit: int) -> int:
    return next(value for value in range(limit, 0, -1) if number % value == 0)


def _chunk(bank: CentredBank) -> int:
    return max(1, BUDGET // 4 // (4 * bank.width))


def _faiss() -> ModuleType:
    return import_extra("faiss", "faiss-cpu", "faiss")


@contextmanager
def _threads(faiss: ModuleType, count: int) -> Iterator[None]:
    """Let FAISS use this many threads, and give back what it had."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
