"""Distances and likelihoods on features against SciPy and scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis
from sklearn.mixture import GaussianMixture

from anomseg import scores
from anomseg.errors import CompatibilityError
from anomseg.scores import features as module


def precisions(seed: int, count: int, channels: int) -> torch.Tensor:
    root = torch.randn(count, channels, channels, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return root @ root.mT + 0.1 * torch.eye(channels, dtype=torch.float64)


def test_acceptance_fact():
    feature, means = torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    precision = torch.diag(torch.tensor([1.0, 1 / 4]))
    for given_precision in (precision, precision.expand(2, 2, 2)):
        assert scores.mahalanobis(feature, means, given_precision).item() == pytest.approx(4.0)
    # Each class alone is 4 away; a covariance taken for a precision would give 64 for the second.
    assert scores.mahalanobis(feature, means[1:], precision).item() == pytest.approx(4.0)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(1, 4), channels=st.integers(1, 6), shared=st.booleans())
def test_mahalanobis_is_scipys_squared_to_the_nearest_class(seed, classes, channels, shared):
    generator = torch.Generator().manual_seed(seed)
    features = 5 * torch.randn(2, channels, 3, 2, dtype=torch.float64, generator=generator)
    means = 5 * torch.randn(classes, channels, dtype=torch.float64, generator=generator)
    inverse = precisions(seed, classes, channels)
    if shared:
        inverse = inverse[:1].expand(classes, -1, -1)
    result = scores.mahalanobis(features, means, inverse[0] if shared else inverse)
    assert result.dtype == torch.float64
    for image in range(2):
        for y in range(3):
            for x in range(2):
                distances = [
                    scipy_mahalanobis(features[image, :, y, x], mean, one) ** 2
                    for mean, one in zip(means.numpy(), inverse.numpy(), strict=True)
                ]
                assert result[image, y, x].item() == pytest.approx(min(distances), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("shared", [True, False])
def test_far_from_the_origin_no_digits_are_lost(shared):
    """|a|^2 - 2ab + |b|^2 in float32 is off by hundreds here."""
    means = torch.tensor([[3000.0, 3000.0], [3001.0, 3000.0]])
    features = torch.tensor([[3000.25, 3000.0]])
    eye = torch.eye(2) if shared else torch.eye(2).expand(2, 2, 2)
    assert scores.mahalanobis(features, means, eye).item() == pytest.approx(0.0625)


def test_semidefinite_precisions_have_factors_and_indefinite_ones_are_refused():
    flat = torch.diag(torch.tensor([4.0, 0.0]))
    assert scores.mahalanobis(torch.tensor([[1.0, 9.0]]), torch.zeros(1, 2), flat).item() == pytest.approx(4.0)
    with pytest.raises(CompatibilityError, match="negative"):
        scores.mahalanobis(torch.zeros(1, 2), torch.zeros(1, 2), torch.diag(torch.tensor([1.0, -1.0])))


def test_pieces_batches_and_half_precision(monkeypatch):
    features = torch.randn(3, 4, 5, 7)
    means, inverse = torch.randn(2, 4), precisions(0, 2, 4).float()
    mixture = (torch.full((2, 3), 1 / 3), torch.randn(2, 3, 4), torch.rand(2, 3, 4) + 0.5)
    whole = scores.mahalanobis(features, means, inverse), scores.gaussian_mixture(features, *mixture)
    half = scores.mahalanobis(features.half(), means, inverse)
    assert half.dtype == torch.float32
    assert torch.equal(half, scores.mahalanobis(features.half().float(), means, inverse))
    monkeypatch.setattr(module, "PIECE", 4 * 6)
    torch.testing.assert_close(scores.mahalanobis(features, means, inverse), whole[0])
    torch.testing.assert_close(scores.gaussian_mixture(features, *mixture), whole[1])
    assert torch.equal(
        scores.mahalanobis(features[1:2], means, inverse)[0], scores.mahalanobis(features, means, inverse)[1]
    )


@pytest.mark.parametrize("kind", ["diag", "full", "tied"])
def test_a_mixture_is_scikit_learns(kind):
    rng = np.random.default_rng(0)
    data = [rng.normal(size=(300, 3)) @ rng.normal(size=(3, 3)) + 4 * shift for shift in (0, 1)]
    models = [GaussianMixture(2, covariance_type=kind, random_state=0).fit(one) for one in data]
    factors = [torch.from_numpy(model.precisions_cholesky_) for model in models]
    weights, means = (
        torch.stack([torch.from_numpy(getattr(model, name)) for model in models]) for name in ("weights_", "means_")
    )
    stacked = torch.stack([factor[None] if kind == "tied" else factor for factor in factors])
    points = rng.normal(size=(2, 3, 4, 5)) * 3
    rows = points.transpose(0, 2, 3, 1).reshape(-1, 3)
    each = np.stack([model.score_samples(rows) for model in models])
    features = torch.from_numpy(points)
    best = scores.gaussian_mixture(features, weights, means, stacked)
    np.testing.assert_allclose(best.reshape(-1), -each.max(0), rtol=1e-9)
    total = scores.gaussian_mixture(features, weights, means, stacked, "logsumexp")
    np.testing.assert_allclose(total.reshape(-1), -np.logaddexp(*each), rtol=1e-9)
    prior = torch.tensor([0.9, 0.1], dtype=torch.float64)
    weighted = scores.gaussian_mixture(features, weights, means, stacked, "logsumexp", prior)
    expected = -np.logaddexp(each[0] + np.log(0.9), each[1] + np.log(0.1))
    np.testing.assert_allclose(weighted.reshape(-1), expected, rtol=1e-9)


def test_a_component_of_no_weight_is_none():
    features = torch.randn(1, 2, 3, 3)
    weights, means, factors = torch.ones(1, 1), torch.zeros(1, 1, 2), torch.ones(1, 1, 2)
    more = torch.tensor([[1.0, 0.0]]), torch.randn(1, 2, 2) * torch.tensor([[[0.0], [1.0]]]), torch.ones(1, 2, 2)
    expected = scores.gaussian_mixture(features, weights, means, factors)
    torch.testing.assert_close(scores.gaussian_mixture(features, *more), expected)


def test_what_is_refused():
    features, means = torch.zeros(1, 2, 3, 3), torch.zeros(4, 2)
    for inverse in (torch.eye(3), torch.eye(2).expand(3, 2, 2), torch.zeros(2)):
        with pytest.raises(CompatibilityError, match="precisions"):
            scores.mahalanobis(features, means, inverse)
    with pytest.raises(CompatibilityError, match="belong together"):
        scores.mahalanobis(torch.zeros(1, 3, 3, 3), means, torch.eye(2))
    weights, centres, factors = torch.ones(4, 1), torch.zeros(4, 1, 2), torch.ones(4, 1, 2)
    with pytest.raises(CompatibilityError, match="belong together"):
        scores.gaussian_mixture(features, weights[:3], centres, factors)
    with pytest.raises(CompatibilityError, match="belong together"):
        scores.gaussian_mixture(features, weights, centres, factors, prior=torch.ones(3))
    with pytest.raises(CompatibilityError, match="reduction"):
        scores.gaussian_mixture(features, weights, centres, factors, "mean")
