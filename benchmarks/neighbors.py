"""Time the search of a bank of features against what a user would write instead, as ratios within one run.

    python benchmarks/neighbors.py [--rows 100000] [--width 768] [--queries 3600] [--engines ivf,pq,hnsw]
    python benchmarks/neighbors.py --features BANK.npy --feature-queries QUERIES.npy

Contestants take turns, so that a machine whose speed drifts slows all of them; medians are printed, of the wall clock
and of processor time (steadier where others use the machine: compare with OMP_NUM_THREADS=1). Memory is the growth of
the peak resident size of a process of its own. Without feature files the bank is made up: a mixture whose components
are flat, as features are; independent normals in 768 dimensions have no neighbourhoods for an index to find. With
files, queries should come from other frames than the bank.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anomseg.detectors.knn.search import NeighborIndex, build_index, recall

K = 3
CHECKED = 500
"""Queries whose neighbours are looked up in float64 too."""

Work = Callable[[], Tensor]


@dataclass(frozen=True)
class Timing:
    """Medians over the repeats, in seconds."""

    wall: float
    processor: float


def mixture(rows: int, width: int, seed: int) -> Tensor:
    """Rows of 300 components that each vary along 24 directions, with a little noise in all."""
    shape = torch.Generator().manual_seed(0)
    centres = torch.randn(300, width, generator=shape)
    directions = torch.randn(300, 24, width, generator=shape) / 24**0.5
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(rows, width, generator=generator).mul_(0.05)
    owner = torch.randint(300, (rows,), generator=generator)
    for component in range(300):
        own = (owner == component).nonzero()[:, 0]
        weights = torch.randn(len(own), 24, generator=generator)
        table[own] += centres[component] + weights @ directions[component] * 0.6
    return table


def plain(queries: Tensor, bank: Tensor) -> Tensor:
    """What a user would write."""
    return torch.cdist(queries, bank).topk(K, dim=1, largest=False).values


def truth(queries: Tensor, bank: Tensor) -> Tensor:
    """The same from differences in float64, for the bank's rows that lie nearest by far more than rounding."""
    bank64, found = bank.double(), []
    squares = bank64.square().sum(1)
    for part in queries.double().split(64):
        near = (squares - 2 * part @ bank64.T).topk(4 * K, dim=1, largest=False).indices
        found.append((bank64[near] - part[:, None]).norm(dim=2).topk(K, dim=1, largest=False).values)
    return torch.cat(found)


def take_turns(works: dict[str, Work], repeats: int) -> tuple[dict[str, Timing], dict[str, Tensor]]:
    """Time each in turn, several times over; the last results too."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    results = {}
    for _ in range(repeats):
        for name, work in works.items():
            wall, processor = time.perf_counter(), time.process_time()
            results[name] = work()
            seconds[name].append((time.perf_counter() - wall, time.process_time() - processor))
    medians = {
        name: Timing(statistics.median(w for w, _ in values), statistics.median(p for _, p in values))
        for name, values in seconds.items()
    }
    return medians, results


def peak_growth(name: str, bank_file: str, query_file: str) -> float:
    """MB by which a search, and making its index, raises the peak resident size of this (fresh) process."""
    bank, queries = (torch.from_numpy(np.load(file)) for file in (bank_file, query_file))
    run = plain if name == "cdist" else lambda q, table: build_index(table).distances(q, K)
    run(queries[:8], bank[:8])  # libraries set themselves up
    before = peak_resident()
    run(queries, bank)
    return peak_resident() - before


def peak_resident() -> float:
    """Largest resident size of this process so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts what the parent held into a child's ru_maxrss
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def peak_growth_apart(name: str, bank_file: str, query_file: str) -> float:
    """`peak_growth` in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(peak_growth, name, bank_file, query_file).result()


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def verdict(met: bool) -> str:
    """Whether a mark is met."""
    return "met" if met else "MISSED"


def compare_exact(bank: Tensor, queries: Tensor, repeats: int) -> NeighborIndex:
    """Our exact search against cdist and against the bare product."""
    started = time.process_time()
    index = build_index(bank)
    say(f"exact index made in {time.process_time() - started:.2f} s of processor time")
    works = {
        "product": lambda: queries @ bank.T,
        "cdist": lambda: plain(queries, bank),
        "exact": lambda: index.distances(queries, K),
    }
    times, results = take_turns(works, repeats)
    for name, timing in times.items():
        say(f"  {name:8} {timing.wall:8.3f} s, {timing.processor:8.3f} s of processor time")
    ours, other, bare = (times[name] for name in ("exact", "cdist", "product"))
    say(f"exact against cdist + topk: {other.wall / ours.wall:.2f} (processor {other.processor / ours.processor:.2f}) "
        f"times faster; mark > 1: {verdict(ours.processor < other.processor)}")  # fmt: skip
    say(f"exact against the bare product: {ours.wall / bare.wall:.2f} (processor {ours.processor / bare.processor:.2f})"
        f" times its time; mark <= 1.4: {verdict(ours.processor <= 1.4 * bare.processor)}")  # fmt: skip
    true = truth(queries[:CHECKED], bank)
    for name in ("exact", "cdist"):
        found = recall(true, results[name][:CHECKED], 1e-6)
        gap = (results[name][:CHECKED] - true).abs().max().item()
        mark = f"; mark 1.0 and < 1e-4: {verdict(found == 1 and gap < 1e-4)}" if name == "exact" else ""
        say(f"{name}: recall {found:.6f}, largest difference from float64 {gap:.1e}{mark}")
    return index


def compare_memory(bank: Tensor, queries: Tensor) -> None:
    """Peak memory of both beyond bank and queries."""
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder) / name) for name in ("bank.npy", "queries.npy")]
        for file, table in zip(files, (bank, queries), strict=True):
            np.save(file, table.numpy())
        ours, other = (peak_growth_apart(name, *files) for name in ("exact", "cdist"))
    say(f"peak memory beyond the data: exact {ours:.0f} MB, cdist + topk {other:.0f} MB; "
        f"mark < 0.1: {verdict(ours < 0.1 * other)}")  # fmt: skip


def compare_engine(engine: str, bank: Tensor, queries: Tensor, exact: NeighborIndex) -> None:
    """One approximate engine against the exact search."""
    started = time.process_time()
    index = build_index(bank, engine)
    built = time.process_time() - started
    works = {"exact": lambda: exact.distances(queries, K), engine: lambda: index.distances(queries, K)}
    times, results = take_turns(works, 3)
    ours, base = times[engine], times["exact"]
    true = results["exact"]
    found = recall(true, results[engine])
    off = ((results[engine].mean(1) - true.mean(1)) / true.mean(1).clamp(min=1e-12)).mean().item()
    say(f"{engine}: {base.wall / ours.wall:.1f} (processor {base.processor / ours.processor:.1f}) times faster than "
        f"exact at recall {found:.4f}, score {off:+.2%} on average, made in {built:.1f} s; mark 10 at .95: "
        f"{verdict(base.processor >= 10 * ours.processor and found > 0.95)}")  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the bank")
    parser.add_argument("--width", type=int, default=768, help="channels of the made-up features")
    parser.add_argument("--queries", type=int, default=3600, help="queries")
    parser.add_argument("--repeats", type=int, default=3, help="turns of the exact contestants")
    parser.add_argument("--engines", default="ivf,pq,hnsw", help="approximate engines, with commas; empty for none")
    parser.add_argument("--features", type=Path, help="npy file of real features for the bank, (N, D)")
    parser.add_argument("--feature-queries", type=Path, help="npy file of real features of other frames, (N, D)")
    options = parser.parse_args()
    if options.features:
        table = torch.from_numpy(np.load(options.features)).float()
        if options.feature_queries:
            bank, queries = table, torch.from_numpy(np.load(options.feature_queries)).float()
        else:
            order = torch.randperm(len(table), generator=torch.Generator().manual_seed(0))
            bank, queries = table[order[options.queries :]], table[order[: options.queries]]
        bank, queries = bank[: options.rows].contiguous(), queries[: options.queries].contiguous()
    else:
        bank, queries = mixture(options.rows, options.width, 1), mixture(options.queries, options.width, 2)
    say(f"bank {tuple(bank.shape)}, {len(queries)} queries, k={K}, {torch.get_num_threads()} threads")
    exact = compare_exact(bank, queries, options.repeats)
    compare_memory(bank, queries)
    for engine in filter(None, options.engines.split(",")):
        compare_engine(engine, bank, queries, exact)


if __name__ == "__main__":
    main()
