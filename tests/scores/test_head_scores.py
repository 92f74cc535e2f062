"""Scores of outlier heads: facts, stability, and what they refuse."""

import pytest
import torch

from anomseg import scores
from anomseg.errors import CompatibilityError


def test_acceptance_fact():
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    assert scores.dense_hybrid(logits, torch.zeros(1, 2)).item() == pytest.approx(-3.1008, abs=5e-5)


def test_the_second_column_is_the_outlier():
    pair = torch.tensor([[0.0, 3.0]])
    assert scores.outlier_head(pair).item() == pytest.approx(torch.tensor(3.0).sigmoid().item())
    logits = torch.zeros(1, 3)
    assert scores.dense_hybrid(logits, pair) > scores.dense_hybrid(logits, -pair)


def test_equal_to_its_two_parts():
    logits, pair = torch.randn(2, 5, 4, 6, dtype=torch.float64), torch.randn(2, 2, 4, 6, dtype=torch.float64)
    expected = -logits.exp().sum(1).log() + pair.softmax(1)[:, 1].log()
    torch.testing.assert_close(scores.dense_hybrid(logits, pair), expected)
    torch.testing.assert_close(scores.outlier_head(pair), pair.softmax(1)[:, 1])


def test_a_head_that_is_sure_gives_a_number_and_not_infinity():
    logits, pair = torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2, 2)
    pair[:, 0] = 500.0
    score = scores.dense_hybrid(logits, pair)
    assert score.isfinite().all()
    assert score.max().item() == pytest.approx(-500 - torch.tensor(3.0).log().item())


def test_half_precision_is_computed_in_float32():
    logits, pair = torch.randn(1, 3, 2, 2).half(), torch.randn(1, 2, 2, 2).half()
    assert scores.dense_hybrid(logits, pair).dtype == torch.float32
    assert torch.equal(scores.outlier_head(pair), scores.outlier_head(pair.float()))


def test_what_is_refused():
    with pytest.raises(CompatibilityError, match="inlier, outlier"):
        scores.outlier_head(torch.zeros(1, 3, 4, 4))
    with pytest.raises(CompatibilityError, match="grids"):
        scores.dense_hybrid(torch.zeros(1, 3, 4, 4), torch.zeros(1, 2, 4, 5))
    with pytest.raises(CompatibilityError, match="probabilities"):
        scores.outlier_head(torch.randn(1, 2, 8, 8).softmax(1))
    assert scores.outlier_head(torch.randn(1, 2, 8, 8).softmax(1), check=False).shape == (1, 8, 8)
