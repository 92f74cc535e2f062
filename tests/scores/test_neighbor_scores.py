"""DNP and cDNP against the figures of the method's specification, brute force in float64 and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from anomseg.errors import CompatibilityError, ConfigError, DataError, FrameError
from anomseg.scores import combine_dnp, knn_distance
from anomseg.scores import nearest as nearest_module
from anomseg.scores.nearest import centred_bank, nearest
from anomseg.scores.neighbors import reduce_distances

LINE = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
PLANE = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [10.0, 10.0]])


def truth(queries: torch.Tensor, bank: torch.Tensor, k: int) -> torch.Tensor:
    """All differences, in float64."""
    rows = [(bank.double() - query).norm(dim=1).topk(k, largest=False).values for query in queries.double()]
    return torch.stack(rows)


def found(queries: torch.Tensor, bank: torch.Tensor, k: int) -> torch.Tensor:
    return nearest(queries, centred_bank(bank), k)[0].double()


def test_facts_on_a_line() -> None:
    score = knn_distance(torch.tensor([[0.0], [4.0], [10.0], [-1.0]]), LINE, k=2)
    assert score.tolist() == pytest.approx([0.5, 2.5, 4.0, 1.5])


def test_facts_within_the_bank_self_excluded() -> None:
    within = found(LINE, LINE, 3)[:, 1:].mean(1)
    assert (within.min().item(), within.max().item()) == pytest.approx((1.0, 8.5))


def test_facts_on_a_plane() -> None:
    queries = torch.tensor([[0.0, 0.0], [3.0, 4.0], [10.0, 10.0], [1.0, 1.0]])
    assert knn_distance(queries, PLANE).tolist() == pytest.approx([0.6667, 4.5716, 8.9691, 1.1381], abs=5e-5)


def test_the_largest_of_the_k_is_the_kth() -> None:
    assert knn_distance(torch.tensor([[4.0]]), LINE, k=2, reduction="max").tolist() == [3.0]
    with pytest.raises(ConfigError, match="reduction must be mean or max, got 'sum'"):
        reduce_distances(torch.zeros(1, 1), "sum")  # type: ignore[arg-type]


def test_distances_are_averaged_not_squares() -> None:
    assert knn_distance(torch.tensor([[0.0]]), torch.tensor([[1.0], [7.0]]), k=2).item() == pytest.approx(4.0)


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(1, 70),
    width=st.integers(1, 40),
    k=st.integers(1, 5),
    offset=st.sampled_from([0.0, 3.0, -1e3, 1e5]),
    spread=st.sampled_from([1e-3, 1.0, 50.0]),
    seed=st.integers(0, 1000),
)
def test_equals_brute_force_and_scikit_learn(
    size: int, width: int, k: int, offset: float, spread: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    bank = torch.randn(size, width, generator=generator) * spread + offset
    bank = torch.cat([bank, bank[: size // 3]])  # duplicates
    queries = torch.cat([bank[:5], torch.randn(5, width, generator=generator) * spread + offset])
    k = min(k, len(bank))
    expected = truth(queries, bank, k)
    ours = found(queries, bank, k)
    assert ours.numpy() == pytest.approx(expected.numpy(), rel=1e-5, abs=1e-6 * spread)
    theirs, _ = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(bank.double()).kneighbors(queries.double())
    # scikit-learn expands the square too; far from the origin float64 leaves it 1e-16 (offset^2 D) before the root.
    assert ours.numpy() == pytest.approx(theirs, rel=1e-4, abs=3e-8 * (abs(offset) + spread) * width**0.5 + 1e-7)


def test_members_of_the_bank_are_at_distance_0_where_cdist_is_not() -> None:
    """The specification's third pitfall: 768 channels of deviation 5, far from the origin."""
    bank = torch.randn(2000, 768, generator=torch.Generator().manual_seed(0)) * 5 + 20
    queries = bank[:200]
    assert torch.cdist(queries, bank).amin(1).max() > 0.1
    assert found(queries, bank, 1).max() == 0
    assert (found(queries, bank, 3) - truth(queries, bank, 3)).abs().max() < 1e-4


@pytest.mark.parametrize("distance", [1e-1, 1e-3, 1e-5])
def test_many_near_duplicates_are_told_apart(distance: float) -> None:
    """More rows within the product's rounding than are nominated: the proof fails, and float64 decides."""
    generator = torch.Generator().manual_seed(1)
    centre = torch.randn(256, generator=generator) * 100
    cluster = centre + torch.randn(1500, 256, generator=generator) * distance
    bank = torch.cat([cluster, torch.randn(500, 256, generator=generator) * 100])
    queries = centre + torch.randn(30, 256, generator=generator) * distance
    expected = truth(queries, bank, 3)
    assert (found(queries, bank, 3) - expected).abs().max() < 1e-6 * (1 + distance)
    rows = nearest(queries, centred_bank(bank), 3)[1]
    own = (bank[rows].double() - queries.double()[:, None]).norm(dim=2)
    assert torch.allclose(own, expected, atol=1e-6 * (1 + distance), rtol=0)


def test_the_second_search_is_what_tells_them_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the proof the product alone would miss neighbours here."""
    generator = torch.Generator().manual_seed(1)
    centre = torch.randn(256, generator=generator) * 100
    bank = torch.cat([centre + torch.randn(1500, 256, generator=generator) * 1e-3, -centre[None].expand(1500, -1)])
    queries = centre + torch.randn(30, 256, generator=generator) * 1e-3
    expected = truth(queries, bank, 3)
    monkeypatch.setattr(nearest_module, "_proven", lambda c, *_: torch.ones(len(c), dtype=torch.bool))
    assert (found(queries, bank, 3) > expected * 1.001).any()


@pytest.mark.parametrize("wild", [1e6, 1e12, 1e17])
def test_one_wild_row_does_not_spoil_the_others(wild: float) -> None:
    """Centred on the mean, which such a row moves, all others would look alike, in float64 too."""
    bank = torch.randn(2000, 32, generator=torch.Generator().manual_seed(4))
    bank[7] = wild
    queries = torch.randn(60, 32, generator=torch.Generator().manual_seed(5))
    assert found(queries, bank, 3).numpy() == pytest.approx(truth(queries, bank, 3).numpy(), rel=1e-6)


def test_a_lowered_matmul_precision_costs_time_not_truth() -> None:
    bank = torch.randn(3000, 64, generator=torch.Generator().manual_seed(2)) * 10
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert (found(bank[:40] + 0.01, bank, 3) - truth(bank[:40] + 0.01, bank, 3)).abs().max() < 1e-4
    finally:
        torch.set_float32_matmul_precision(before)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), factor=st.sampled_from([-2.0, 0.25, 8.0]))
def test_invariants(seed: int, factor: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    bank = torch.randn(60, 7, generator=generator)
    queries = torch.randn(9, 7, generator=generator)
    score = knn_distance(queries, bank)
    assert torch.equal(knn_distance(queries, bank[torch.randperm(60, generator=generator)]), score)
    assert (knn_distance(queries, torch.cat([bank, torch.randn(20, 7, generator=generator)])) <= score).all()
    assert torch.allclose(knn_distance(queries + 4, bank + 4), score, atol=1e-5)
    assert torch.allclose(knn_distance(queries * factor, bank * factor), score * abs(factor), rtol=1e-5)
    assert (knn_distance(bank, bank, k=1) == 0).all()


def test_pieces_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(3)
    bank, queries = torch.randn(2500, 24, generator=generator), torch.randn(333, 24, generator=generator)
    whole = found(queries, bank, 4)
    monkeypatch.setattr(nearest_module, "BUDGET", 40_000)
    monkeypatch.setattr(nearest_module, "BLOCK", 17)
    assert torch.allclose(found(queries, bank, 4), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_banks_and_queries_in_half_precision(kind: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(4)
    bank = (torch.randn(300, 32, generator=generator) + 5).to(kind)
    queries = torch.randn(20, 32, generator=generator).to(kind)
    assert (found(queries, bank, 3) - truth(queries, bank, 3)).abs().max() < 1e-4


def test_float64_keeps_its_digits() -> None:
    bank = torch.tensor([[0.0], [1e-9], [1.0]], dtype=torch.float64) + 1e3
    assert knn_distance(bank[:1], bank, k=2).item() == pytest.approx(0.5e-9, rel=1e-3)


def test_values_too_long_for_a_float32_square() -> None:
    bank = torch.tensor([[0.0, 0.0], [3e25, 4e25], [1e30, 0.0]])
    assert found(torch.tensor([[0.0, 0.0]]), bank, 2).tolist() == [[0.0, pytest.approx(5e25, rel=1e-6)]]


def test_no_queries_give_no_scores() -> None:
    assert knn_distance(torch.empty(0, 1), LINE).shape == (0,)


@pytest.mark.parametrize(
    ("queries", "bank", "k", "error", "message"),
    [
        (torch.zeros(2, 3), LINE, 1, CompatibilityError, r"features of 1 channels, but the queries are \(2, 3\)"),
        (torch.zeros(2, 1), torch.zeros(0, 1), 1, DataError, "the bank is empty"),
        (torch.zeros(2, 1), LINE, 5, ConfigError, "k=5 neighbours of a bank of 4 rows"),
        (torch.zeros(2, 1), LINE, 0, ConfigError, "k must be a whole number above 0, got 0"),
        (torch.full((1, 1), torch.nan), LINE, 1, FrameError, "NaN or infinity"),
        (torch.full((1, 1), torch.inf), LINE, 1, FrameError, "NaN or infinity"),
        (torch.zeros(1, 1), torch.tensor([[0.0], [torch.nan]]), 1, DataError, "row 1 of the bank holds NaN"),
        (torch.zeros(1, 1), torch.tensor([[0.0], [-torch.inf]]), 1, DataError, "row 1 of the bank holds NaN"),
        (torch.zeros(1, 1), torch.zeros(3, 1, dtype=torch.int64), 1, CompatibilityError, "table of floats"),
    ],
)
def test_bad_input_in_one_line(
    queries: torch.Tensor, bank: torch.Tensor, k: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        knn_distance(queries, bank, k)
    assert "\n" not in str(caught.value)


def test_combination_is_a_plain_sum_without_clipping() -> None:
    s, d = torch.tensor([-3.0, 5.0, -12.0]), torch.tensor([2.0, 8.0, 0.0])
    assert combine_dnp(s, d, (-10.0, 0.0), 4.0).tolist() == pytest.approx([1.2, 3.5, -0.2])
    assert combine_dnp(s, d, (-10.0, 0.0), 4.0, clip=True).tolist() == pytest.approx([1.2, 2.0, 0.0])
    assert combine_dnp(s, d, (-10.0, 0.0), 4.0, weight=2).tolist() == pytest.approx([1.7, 5.5, -0.2])
    assert combine_dnp(s, d, (-10.0, 0.0), 4.0, weight=0).tolist() == pytest.approx([0.7, 1.5, -0.2])


def test_scaling_features_leaves_the_normalised_distance() -> None:
    generator = np.random.default_rng(0)
    bank, queries = (torch.tensor(generator.normal(size=(n, 5))) for n in (50, 8))

    def scored(a: float) -> torch.Tensor:
        top = found(bank * a, bank * a, 4)[:, 1:].mean(1).max().item()
        return combine_dnp(torch.zeros(8), knn_distance(queries * a, bank * a), (0.0, 1.0), top)

    assert torch.allclose(scored(1.0), scored(-37.0))


@pytest.mark.parametrize(
    ("limits", "top", "options", "message"),
    [
        ((1.0, 1.0), 1.0, {}, "range must be two finite numbers, low < high, got 1 and 1"),
        ((2.0, 1.0), 1.0, {}, "range must be"),
        ((0.0, float("nan")), 1.0, {}, "range must be"),
        ((0.0, float("inf")), 1.0, {}, "range must be"),
        ((0.0, 1.0), 0.0, {}, "largest distance within the bank must be above 0 and finite, got 0"),
        ((0.0, 1.0), float("nan"), {}, "largest distance"),
        ((0.0, 1.0), 1.0, {"weight": -1}, "weight must be a number, 0 or above, got -1"),
    ],
)
def test_degenerate_ranges_are_refused(
    limits: tuple[float, float], top: float, options: dict[str, float], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        combine_dnp(torch.zeros(1), torch.zeros(1), limits, top, **options)  # type: ignore[arg-type]
