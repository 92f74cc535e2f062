"""Distances of the cells of cached frames to banks: several sizes and numbers of neighbours out of one search."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from knn_bank import Rows
from knn_cache import CachedFrame, Say
from numpy.typing import NDArray
from torch import Tensor

from anomseg.detectors.knn.search import NeighborIndex, build_index

FULL = 1


@dataclass(frozen=True)
class Cells:
    """Which cells of each map are read: every so-manieth in both directions.

    Attributes:
        step: 1 reads them all.
    """

    step: int = FULL

    def of(self, grid: tuple[int, int]) -> NDArray[np.int64]:
        """Indices of the cells in the flattened map."""
        rows, columns = (np.arange(self.step // 2, length, self.step) for length in grid)
        return (rows[:, None] * grid[1] + columns).ravel()


def queries(one: CachedFrame, layer: str, cells: Cells) -> Tensor:
    """``(n, D)`` float32 features of a frame's cells."""
    features = one.features(layer)
    chosen = features if cells.step == FULL else features[cells.of(one.grid(layer))]
    return torch.from_numpy(np.array(chosen)).to(torch.float32)


def means(distances: Tensor, k: int) -> NDArray[np.float32]:
    """Mean of the k smallest of ascending distances ``(n, K)``, ``(n,)``."""
    return distances[:, :k].mean(1).numpy().astype(np.float32)


def nested_search(
    frames: Sequence[CachedFrame],
    rows: Rows,
    sizes: Sequence[int],
    ks: Sequence[int],
    cells: Cells,
    say: Say,
    chunk: int = 200_000,
) -> dict[tuple[int, int], list[NDArray[np.float32]]]:
    """Distances to the first ``size`` rows of a bank, for several sizes at the price of the largest.

    The bank is cut where the sizes end; each part is searched by itself and its nearest rows are merged with those
    found before, which is the exact answer for each beginning of the bank.

    Args:
        frames: Frames to score.
        rows: The bank in its random order.
        sizes: Rows used; each at least the largest k.
        ks: Numbers of neighbours.
        cells: Which cells are scored.
        say: Told of progress.
        chunk: Rows of the bank in memory at once.

    Returns:
        By size and k: for each frame the mean distances ``(n,)`` of its cells.
    """
    sizes = sorted({min(size, len(rows)) for size in sizes})
    most = max(ks)
    cuts = sorted({0, *sizes, *range(chunk, sizes[-1], chunk)})
    best: list[Tensor | None] = [None] * len(frames)
    found: dict[tuple[int, int], list[NDArray[np.float32]]] = {}
    for start, stop in pairwise(cuts):
        index = build_index(rows.vectors(start, stop), engine="exact")
        for place, one in enumerate(frames):
            new = index.distances(queries(one, rows.layer, cells), min(most, stop - start))
            old = best[place]
            merged = new if old is None else torch.cat([old, new], 1).sort(1).values[:, :most]
            best[place] = merged
        say(f"searched rows {start} to {stop} of {sizes[-1]} of {rows.layer} for {len(frames)} frames")
        if stop in sizes:
            for k in ks:
                found[stop, k] = [means(distances, k) for distances in best if distances is not None]
    return found


def search(frames: Sequence[CachedFrame], layer: str, index: NeighborIndex, k: int, cells: Cells) -> list[Tensor]:
    """For each frame the distances ``(n, k)`` of its cells to any index."""
    return [index.distances(queries(one, layer, cells), k) for one in frames]


def seconds_a_frame(frames: Sequence[CachedFrame], layer: str, index: NeighborIndex, k: int) -> list[float]:
    """Wall seconds of searching all cells of each frame, the reading from disk left out."""
    taken = []
    for one in frames:
        wanted = queries(one, layer, Cells())
        start = time.perf_counter()
        index.distances(wanted, k)
        taken.append(time.perf_counter() - start)
    return taken


def greatest_distance(rows: Rows, k: int, most: int = 30_000) -> float:
    """The largest mean distance to k others among bank rows: the range of the distance in cDNP.

    Args:
        rows: The bank; its first ``most`` rows are a uniform sample.
        k: Neighbours, the row itself left out.
        most: Rows used.
    """
    sample = rows.first(most).vectors().to(torch.float32)
    index = build_index(sample, engine="exact")
    greatest = 0.0
    for part in sample.split(8192):
        distances = index.distances(part, min(k + 1, index.size))
        greatest = max(greatest, float(distances[:, 1:].mean(1).max()))
    return greatest
