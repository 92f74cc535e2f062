"""Indexes of a bank: exact against brute force and FAISS, approximate by their recall, memory maps, bad input."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from anomseg.detectors.knn.search import NeighborIndex, build_index, engine_options, recall
from anomseg.errors import AnomsegError, CompatibilityError, ConfigError, DataError, FrameError

APPROXIMATE = ["ivf", "hnsw", "pq"]


@pytest.fixture(scope="module")
def bank() -> torch.Tensor:
    """Clusters far from the origin, as features are."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(40, 32, generator=generator) * 4 + 30
    spread = torch.randn(2000, 8, generator=generator) @ torch.randn(8, 32, generator=generator)
    return centres[torch.randint(40, (2000,), generator=generator)] + spread


@pytest.fixture(scope="module")
def queries(bank: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return bank[torch.randint(2000, (150,), generator=generator)] + torch.randn(150, 32, generator=generator) * 0.3


def truth(queries: torch.Tensor, bank: torch.Tensor, k: int) -> torch.Tensor:
    return (queries.double()[:, None] - bank.double()).norm(dim=2).topk(k, largest=False).values


def index_of(bank: torch.Tensor, engine: str, seed: int = 0) -> NeighborIndex:
    if engine != "exact":
        pytest.importorskip("faiss")
    return build_index(bank, engine, seed)


@pytest.mark.parametrize("engine", ["exact", *APPROXIMATE])
def test_every_engine_keeps_the_contract(engine: str, bank: torch.Tensor, queries: torch.Tensor) -> None:
    index = index_of(bank, engine)
    assert (index.size, index.width) == (2000, 32)
    distances, rows = index.neighbors(queries, 5)
    assert distances.shape == rows.shape == (150, 5)
    assert (distances.dtype, rows.dtype) == (torch.float32, torch.int64)
    assert (distances.diff(dim=1) >= 0).all()
    assert torch.equal(index.distances(queries, 5), distances)
    own = (queries.double()[:, None] - bank[rows].double()).norm(dim=2)
    assert (distances - own).abs().max() < 1e-4  # Euclidean, not squared, and of the rows that are named
    assert all(len(set(row)) == 5 for row in rows.tolist())
    assert index.distances(queries[:0], 5).shape == (0, 5)
    assert recall(truth(queries, bank, 5), distances) > (0.9999 if engine == "exact" else 0.9)


def test_exact_equals_float64_and_the_flat_index_of_faiss(bank: torch.Tensor, queries: torch.Tensor) -> None:
    faiss = pytest.importorskip("faiss")
    ours = build_index(bank).distances(queries, 3)
    assert (ours - truth(queries, bank, 3)).abs().max() < 1e-5
    flat = faiss.IndexFlatL2(32)
    flat.add((bank - bank.mean(0)).numpy())
    squared, _ = flat.search((queries - bank.mean(0)).numpy(), 3)
    assert ours.numpy() == pytest.approx(np.sqrt(squared), abs=1e-3)


@pytest.mark.parametrize("engine", ["exact", *APPROXIMATE])
def test_members_of_the_bank_find_themselves(engine: str, bank: torch.Tensor) -> None:
    distances, rows = index_of(bank, engine).neighbors(bank[::40], 1)
    assert (distances == 0).double().mean() > (0.9999 if engine == "exact" else 0.9)
    if engine == "exact":
        assert rows[:, 0].tolist() == list(range(0, 2000, 40))


@pytest.mark.parametrize("engine", ["exact", *APPROXIMATE])
def test_a_memory_mapped_bank_in_half_precision(
    engine: str, bank: torch.Tensor, queries: torch.Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "bank.bin"
    stored = torch.from_file(str(path), shared=True, size=bank.numel(), dtype=torch.float16).view_as(bank)
    stored.copy_(bank)
    mapped = torch.from_file(str(path), shared=False, size=bank.numel(), dtype=torch.float16).view_as(bank)
    in_memory = index_of(bank.half(), engine).distances(queries, 3)
    assert torch.equal(index_of(mapped, engine).distances(queries, 3), in_memory)
    assert (index_of(mapped, "exact").distances(queries, 3) - truth(queries, bank.half(), 3)).abs().max() < 1e-5


@pytest.mark.parametrize("engine", APPROXIMATE)
def test_the_same_seed_builds_the_same_index(engine: str, bank: torch.Tensor, queries: torch.Tensor) -> None:
    first, second = (index_of(bank, engine, seed=7).neighbors(queries, 4) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


@pytest.mark.parametrize("engine", ["ivf", "pq"])
def test_lists_that_hold_too_few_rows_are_made_up_for(engine: str) -> None:
    pytest.importorskip("faiss")
    spots = torch.arange(64.0)[:, None] * 100 + torch.tensor([0.0, 1.0])
    bank = spots.flatten()[:, None].expand(-1, 4).contiguous()
    index = build_index(bank, engine, nlist=128, nprobe=1)
    assert torch.allclose(index.distances(bank, 3).double(), truth(bank, bank, 3), rtol=1e-5)


def test_all_cells_searched_is_exact(bank: torch.Tensor, queries: torch.Tensor) -> None:
    pytest.importorskip("faiss")
    distances = build_index(bank, "ivf", nlist=10, nprobe=10).distances(queries, 3)
    assert (distances - truth(queries, bank, 3)).abs().max() < 1e-4


def test_reranking_gives_true_distances(bank: torch.Tensor, queries: torch.Tensor) -> None:
    pytest.importorskip("faiss")
    exact = truth(queries, bank, 3)
    rough = build_index(bank, "pq", m=4, rerank=0).distances(queries, 3)
    ranked = build_index(bank, "pq", m=4, rerank=30).distances(queries, 3)
    assert (rough - exact).abs().mean() > 10 * (ranked - exact).abs().mean()
    assert (ranked >= exact - 1e-5).all()


def test_threads_of_faiss_are_given_back(bank: torch.Tensor, queries: torch.Tensor) -> None:
    faiss = pytest.importorskip("faiss")
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    try:
        build_index(bank, "ivf").distances(queries, 1)
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)


@pytest.mark.parametrize("engine", ["exact", *APPROXIMATE])
@pytest.mark.parametrize(
    ("rows", "asked", "k", "error", "message"),
    [
        (torch.zeros(0, 4), torch.zeros(1, 4), 1, DataError, "the bank is empty"),
        (torch.full((20, 4), torch.nan), torch.zeros(1, 4), 1, DataError, "row 0 of the bank holds NaN or infinity"),
        (torch.zeros(4), torch.zeros(1, 4), 1, CompatibilityError, r"\(rows, channels\) table of floats, got \(4,\)"),
        (torch.eye(20), torch.zeros(1, 4), 1, CompatibilityError, r"20 channels, but the queries are \(1, 4\)"),
        (torch.eye(20), torch.zeros(1, 20), 21, ConfigError, "k=21 neighbours of a bank of 20 rows"),
        (torch.eye(20), torch.full((1, 20), torch.inf), 1, FrameError, "the features hold NaN or infinity"),
    ],
)
def test_bad_input_in_one_line(
    engine: str, rows: torch.Tensor, asked: torch.Tensor, k: int, error: type[AnomsegError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        index_of(rows, engine).distances(asked, k)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("engine", "options", "message"),
    [
        ("exakt", {}, "unknown engine 'exakt': did you mean 'exact'"),
        ("exact", {"nprobe": 3}, "unknown option of the engine exact 'nprobe'"),
        ("ivf", {"nprob": 3}, "did you mean 'nprobe'"),
        ("ivf", {"nprobe": 0}, "nprobe must be a whole number above 0"),
        ("ivf", {"nlist": 21}, "nlist=21 cells for a bank of 20 rows"),
        ("pq", {"m": 3}, "m=3 does not divide the features' 20 channels"),
        ("pq", {"nbits": 5}, "nbits must be 4 or 8, got 5"),
        ("pq", {"nbits": 8}, "8-bit codes need a bank of at least 256 rows, got 20"),
        ("pq", {"rerank": -1}, "rerank must be a whole number, 0 or above"),
        ("hnsw", {"links": 1}, "links must be at least 2"),
        ("hnsw", {"ef_search": 0}, "ef_search must be a whole number above 0"),
    ],
)
def test_wrong_options_in_one_line(engine: str, options: dict[str, int], message: str) -> None:
    if engine not in ("exakt", "exact"):
        pytest.importorskip("faiss")
    with pytest.raises(ConfigError, match=message):
        build_index(torch.eye(20), engine, **options)


@pytest.mark.parametrize("engine", APPROXIMATE)
def test_without_faiss_one_line_says_what_to_install(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=r'faiss-cpu is not installed: pip install "anomseg\[faiss\]"'):
        build_index(torch.eye(20), engine)


def test_options_are_listed() -> None:
    assert engine_options("exact") == ()
    assert {"nlist", "nprobe"} <= set(engine_options("ivf"))
    assert {"m", "nbits", "rerank"} <= set(engine_options("pq"))
    assert {"links", "ef_search", "ef_construction"} == set(engine_options("hnsw"))


def test_recall_counts_by_distance() -> None:
    exact = torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0]])
    assert recall(exact, exact) == 1.0
    assert recall(exact, torch.tensor([[2.0, 2.0, 2.5], [0.0, 0.0, 1.0]])) == pytest.approx(4 / 6)
    with pytest.raises(CompatibilityError, match="recall compares"):
        recall(exact, exact[:1])
