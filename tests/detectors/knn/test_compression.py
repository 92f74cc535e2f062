"""Compressed banks: k-means against scikit-learn, the coreset against what greedy cover promises."""

from __future__ import annotations

import pytest
import torch
from sklearn.cluster import KMeans

from anomseg.detectors.knn.compression import compress, coreset, kmeans
from anomseg.errors import ConfigError, DataError
from anomseg.scores import knn_distance


def blobs(count: int = 8, each: int = 60, width: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(count, 1, width, generator=generator) * 20 + 50
    return (centres + torch.randn(count, each, width, generator=generator)).flatten(0, 1)


def spread(bank: torch.Tensor, centres: torch.Tensor) -> float:
    return knn_distance(bank, centres, k=1).double().square().sum().item()


def test_kmeans_is_as_tight_as_scikit_learn_from_the_same_start() -> None:
    bank = blobs()
    start = torch.randperm(len(bank), generator=torch.Generator().manual_seed(3))[:20].sort().values
    theirs = KMeans(20, init=bank[start].numpy(), n_init=1, algorithm="lloyd").fit(bank.numpy())
    assert spread(bank, kmeans(bank, 20, seed=3, iterations=300)) == pytest.approx(theirs.inertia_, rel=1e-3)


def test_more_iterations_never_spread_more() -> None:
    bank = blobs()
    values = [spread(bank, kmeans(bank, 8, iterations=count)) for count in (1, 3, 10)]
    assert values == sorted(values, reverse=True)


def test_a_centre_without_rows_moves() -> None:
    bank = torch.tensor([[0.0]] * 20 + [[5.0], [9.0]])
    assert sorted(kmeans(bank, 3).flatten().tolist()) == [0.0, 5.0, 9.0]


@pytest.mark.parametrize("projection", [None, 4])
def test_a_coreset_covers_every_blob(projection: int | None) -> None:
    bank = blobs()
    chosen = coreset(bank, 8, projection=projection)
    assert knn_distance(bank, chosen, k=1).max() < 15  # blobs lie about 100 apart
    assert all((bank == row).all(1).any() for row in chosen)


def test_a_coreset_is_at_most_twice_the_best_radius() -> None:
    """Gonzalez's bound: the rows k + 1 in the greedy order are at least their radius apart."""
    bank = blobs()
    chosen = coreset(bank, 15, projection=None)
    radius = knn_distance(bank, chosen, k=1).max()
    apart = torch.cdist(chosen.double(), chosen.double()).fill_diagonal_(torch.inf).min()
    assert apart >= radius - 1e-4


def test_duplicates_are_taken_last_and_no_row_twice() -> None:
    bank = torch.tensor([[1.0], [1.0], [1.0], [4.0]])
    assert sorted(coreset(bank, 2).flatten().tolist()) == [1.0, 4.0]
    assert sorted(coreset(bank, 4).flatten().tolist()) == [1.0, 1.0, 1.0, 4.0]


@pytest.mark.parametrize("method", ["kmeans", "coreset"])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_seeded_of_the_banks_type_and_of_the_size_asked(method: str, kind: torch.dtype) -> None:
    bank = blobs().to(kind)
    first, second = (compress(bank, 10, method, seed=5) for _ in range(2))
    assert torch.equal(first, second)
    assert (first.shape, first.dtype) == ((10, 12), kind)
    assert not torch.equal(first, compress(bank, 10, method, seed=6))
    assert spread(bank, compress(bank, len(bank), method)) == pytest.approx(0, abs=1e-6)


def test_bad_input_in_one_line() -> None:
    bank = blobs()
    with pytest.raises(ConfigError, match="unknown compression 'kmean': did you mean 'kmeans'"):
        compress(bank, 3, "kmean")
    with pytest.raises(ConfigError, match="a bank of 480 rows cannot be compressed to 481"):
        compress(bank, 481)
    with pytest.raises(ConfigError, match="rows must be a whole number above 0"):
        compress(bank, 0, "coreset")
    bank[7, 0] = torch.nan
    with pytest.raises(DataError, match="row 7 of the bank holds NaN"):
        compress(bank, 3, "coreset")
    with pytest.raises(DataError, match="row 7 of the bank holds NaN"):
        compress(bank, 3, "kmeans")
