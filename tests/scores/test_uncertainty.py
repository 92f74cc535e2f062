"""Averages of several predictions against their definitions and SciPy."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy

from anomseg.errors import CompatibilityError
from anomseg.scores import PredictionMean, mutual_information, predictive_entropy, probability_entropy

MEMBERS = torch.tensor([[[0.9, 0.1]], [[0.1, 0.9]]], dtype=torch.float64)


def some_members(passes: int = 4, seed: int = 0, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(passes, 2, 5, *(shape or (6, 7)), generator=generator, dtype=torch.float64)
    return logits.softmax(2)


def test_acceptance_facts():
    assert predictive_entropy(MEMBERS).item() == pytest.approx(0.6931, abs=5e-5)
    assert probability_entropy(MEMBERS[:, 0]).mean().item() == pytest.approx(0.3251, abs=5e-5)
    assert mutual_information(MEMBERS).item() == pytest.approx(0.3681, abs=5e-5)
    assert mutual_information(MEMBERS[:1].expand(5, -1, -1)).item() == 0
    assert predictive_entropy(MEMBERS, normalized=True).item() == pytest.approx(1)
    assert mutual_information(MEMBERS, normalized=True).item() == pytest.approx(0.3681 / 0.693147, abs=1e-4)


def test_against_scipy():
    members = some_members()
    total = torch.from_numpy(scipy_entropy(members.mean(0).numpy(), axis=1))
    expected = torch.from_numpy(scipy_entropy(members.numpy(), axis=2)).mean(0)
    torch.testing.assert_close(predictive_entropy(members), total)
    torch.testing.assert_close(mutual_information(members), total - expected)


def test_certain_members_have_no_nan():
    certain = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert predictive_entropy(certain).item() == pytest.approx(0.6931, abs=5e-5)
    assert mutual_information(certain).item() == pytest.approx(0.6931, abs=5e-5)
    assert predictive_entropy(certain[:1]).item() == 0


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(0, 99), st.permutations(range(6)))
def test_bounds_and_order(passes, seed, order):
    members = some_members(6, seed, 3).float()
    shuffled = members[list(order)]
    first, again = mutual_information(members), mutual_information(shuffled)
    torch.testing.assert_close(first, again, atol=1e-6, rtol=1e-5)
    few = members[:passes]
    total = predictive_entropy(few)
    assert (mutual_information(few) >= 0).all()
    assert (mutual_information(few) <= total + 1e-6).all()
    assert mutual_information(few, normalized=True).max() <= 1
    identical = members[:1].expand(passes, *members.shape[1:])
    assert mutual_information(identical).abs().max() < 1e-6


def test_the_running_mean_is_the_mean_and_leaves_its_input_alone():
    members = some_members()
    before = members.clone()
    passes = PredictionMean()
    for member in members:
        passes.update(member)
    assert torch.equal(members, before)
    torch.testing.assert_close(passes.mean, members.mean(0))
    torch.testing.assert_close(passes.summary().predictive_entropy(), predictive_entropy(members))
    torch.testing.assert_close(passes.summary().mutual_information(), mutual_information(members))
    torch.testing.assert_close(passes.summary().msp, 1 - members.mean(0).amax(1))


def test_bad_input():
    with pytest.raises(CompatibilityError, match="no pass"):
        PredictionMean().summary()
    with pytest.raises(CompatibilityError, match="two classes"):
        predictive_entropy(torch.ones(2, 1, 1), normalized=True)
