"""Losses on negatives against plain loops, the acceptance facts of the method, and what teaches nothing."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from torch.nn import functional as F

from anomseg.detectors.noisy_negatives.losses import (
    block_histogram,
    block_loss,
    combined_loss,
    exposure_loss,
    label_loss,
    outlier_block_loss,
    outlier_loss,
    sigmoid_nll,
)
from anomseg.detectors.noisy_negatives.odds import BINS, LIMIT, OddsCounts, average_precision, outlier_odds
from anomseg.training.losses import set_valued_cross_entropy, softmax_nll

TOY = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 5], [2, 2, 2, 2], [2, 5, 5, 5]]])
SETS = torch.tensor([[False] * 3, [True, False, False], [False, True, False], [False, True, True]])
WEIGHTS = torch.tensor([0.0, 1.0, 2.0, 0.5])


def test_the_histograms_of_the_toy():
    shares, valid = block_histogram(TOY, 2, 3, ignore=5)
    assert valid.tolist() == [[[True, True], [True, False]]]
    expected = torch.zeros(1, 3, 2, 2)
    expected[0, 0, 0, 0] = expected[0, 1, 0, 1] = expected[0, 2, 1, 0] = 1
    assert torch.equal(shares, expected)


@pytest.mark.parametrize(("first", "expected"), [(0.0, [math.log(3)] * 3), (1.0, [0.5514, 1.5514, 1.5514])])
def test_the_losses_of_the_toy(first, expected):
    """Logits of zero, and of (1, 0, 0), in every cell: the mean over the three valid ones."""
    logits = torch.zeros(1, 3, 2, 2)
    logits[:, 0] = first
    found = block_loss([logits], TOY, torch.eye(3, dtype=torch.bool), torch.ones(3), softmax_nll)
    assert found.item() == pytest.approx(sum(expected) / 3, abs=1e-4)


def test_half_ignored_is_dropped_and_less_is_renormalised():
    labels = torch.full((1, 4, 4), 9)
    labels[0, :2] = 0
    assert not block_histogram(labels, 4, 2, ignore=9)[1].any()
    labels[0, 2, 0] = 1
    shares, valid = block_histogram(labels, 4, 2, ignore=9)
    assert valid.all()
    torch.testing.assert_close(shares[0, :, 0, 0], torch.tensor([8 / 9, 1 / 9]))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 13), st.integers(1, 13))
def test_histograms_are_those_of_a_loop(seed, stride, height, width):
    labels = torch.randint(0, 4, (2, height, width), generator=torch.Generator().manual_seed(seed))
    shares, valid = block_histogram(labels, stride, 3, ignore=3)
    for image in range(2):
        for row in range(-(-height // stride)):
            for column in range(-(-width // stride)):
                block = labels[image, row * stride : (row + 1) * stride, column * stride : (column + 1) * stride]
                known = block[block < 3]
                counts = valid[image, row, column].item()
                assert counts == (2 * (stride**2 - known.numel()) < stride**2)
                expected = torch.bincount(known, minlength=3) / max(known.numel(), 1) if counts else torch.zeros(3)
                torch.testing.assert_close(shares[image, :, row, column], expected)


def test_several_maps_are_one_mean_over_their_cells():
    """Soft cross-entropy with probabilities as targets, PyTorch's own, over 4 cells and 1 cell together."""
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (1, 8, 8))
    maps = [torch.randn(1, 3, 2, 2), torch.randn(1, 3, 1, 1)]
    total = 0.0
    for logits, stride in zip(maps, (4, 8), strict=True):
        target = F.avg_pool2d(F.one_hot(labels, 3).movedim(-1, 1).float(), stride)
        total += F.cross_entropy(logits, target, reduction="sum").item()
    found = block_loss(maps, labels, torch.eye(3, dtype=torch.bool), torch.ones(3), softmax_nll)
    assert found.item() == pytest.approx(total / 5, rel=1e-5)
    assert block_loss([], labels, torch.eye(3, dtype=torch.bool), torch.ones(3), softmax_nll) == 0


def test_coarse_labels_stand_for_sets_in_blocks_too():
    logits, labels = torch.randn(2, 3, 4, 6), torch.randint(0, 4, (2, 4, 6))
    expected = set_valued_cross_entropy(logits, labels, SETS, WEIGHTS)
    torch.testing.assert_close(block_loss([logits], labels, SETS, WEIGHTS, softmax_nll), expected)
    torch.testing.assert_close(label_loss(logits, labels, SETS, WEIGHTS, softmax_nll), expected)


def test_sigmoids_of_one_class_and_of_none_are_binary_cross_entropies():
    logits = torch.randn(2, 3, 4, 5) * 3
    for target in (torch.tensor([0.0, 1.0, 0.0]), torch.zeros(3)):
        wanted = target.view(1, 3, 1, 1).expand(logits.shape)
        expected = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(1)
        torch.testing.assert_close(sigmoid_nll(logits, wanted.bool()), expected)


def test_sigmoids_of_a_set_are_the_sum_over_all_answers_that_it_allows():
    logits = torch.randn(5, 4, dtype=torch.float64)
    allowed = torch.tensor([True, False, True, True]).expand(5, 4)
    p, total = logits.sigmoid(), torch.zeros(5, dtype=torch.float64)
    for code in range(1, 8):
        on = torch.tensor([code & 1, 0, code >> 1 & 1, code >> 2 & 1], dtype=torch.bool)
        total += torch.where(on, p, 1 - p).prod(1)
    torch.testing.assert_close(sigmoid_nll(logits, allowed).double(), -total.log(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [-120.0, 120.0])
@pytest.mark.parametrize("likelihood", [softmax_nll, sigmoid_nll])
def test_extreme_logits_have_finite_losses_and_gradients(value, likelihood):
    logits = torch.full((1, 3, 2, 2), value, requires_grad=True)
    for row in SETS:
        loss = likelihood(logits, row.view(1, 3, 1, 1).expand(logits.shape)).sum()
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.isfinite()
        assert gradient.isfinite().all()


def test_the_outlier_loss_ignores_what_is_neither():
    torch.manual_seed(0)
    logits, outlier = torch.randn(2, 2, 6, 8), torch.randint(0, 2, (2, 6, 8))
    outlier[0, :, :3] = 255
    expected = F.cross_entropy(logits, outlier, ignore_index=255)
    torch.testing.assert_close(outlier_loss(logits, outlier), expected)
    changed = logits.clone()
    changed[0, :, :, :3] += 100 * torch.randn(2, 6, 3)
    assert torch.equal(outlier_loss(changed, outlier), outlier_loss(logits, outlier))
    assert torch.equal(outlier_loss(logits, outlier.masked_fill(outlier == 255, 2)), outlier_loss(logits, outlier))
    assert outlier_loss(logits, torch.full_like(outlier, 255)) == 0
    assert outlier_block_loss([logits], torch.full_like(outlier, 255)) == 0
    torch.testing.assert_close(outlier_block_loss([logits], outlier), expected)


def test_weights_of_the_published_loss():
    one = torch.ones(())
    assert combined_loss(one, one, one, one).item() == pytest.approx(1.2)
    parts = [combined_loss(*(one * (index == kind) for kind in range(4))).item() for index in range(4)]
    assert parts == pytest.approx([0.6, 0.4, 0.12, 0.08])


def test_exposure_is_the_divergence_to_uniform_on_outliers_alone():
    torch.manual_seed(0)
    logits, outlier = torch.randn(1, 4, 3, 5), torch.randint(0, 2, (1, 3, 5))
    outlier[0, 0, :2] = 255
    uniform = torch.full((4,), 0.25)
    each = [
        F.kl_div(logits[0, :, y, x].log_softmax(0), uniform, reduction="sum").item()
        for y, x in (outlier[0] == 1).nonzero().tolist()
    ]
    assert exposure_loss(logits, outlier).item() == pytest.approx(sum(each) / len(each), rel=1e-5)
    assert exposure_loss(torch.zeros(1, 4, 3, 5), outlier).item() == pytest.approx(0, abs=1e-6)
    assert exposure_loss(logits, torch.zeros_like(outlier)) == 0


def test_log_odds_are_those_of_the_scores():
    logits = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    scores = {
        "two_head": logits[:, :2].softmax(1)[:, 1],
        "extra_class": logits.softmax(1)[:, -1],
        "sigmoid": 1 - logits.sigmoid().amax(1),
        "outlier_exposure": 1 - logits.softmax(1).amax(1),
    }
    for variant, score in scores.items():
        read = logits[:, :2] if variant == "two_head" else logits
        torch.testing.assert_close(outlier_odds(variant, read).sigmoid(), score)


def test_average_precision_of_counts_is_scikit_learns():
    rng = np.random.default_rng(0)
    counts, every = OddsCounts(), []
    for _ in range(3):
        outlier = torch.from_numpy(rng.choice([0, 1, 255], (20, 30), p=[0.7, 0.2, 0.1]))
        odds = torch.from_numpy(rng.normal(0, 9, (20, 30))) + 5 * (outlier == 1)
        counts.update(odds, outlier)
        every += list(zip(odds.flatten().tolist(), outlier.flatten().tolist(), strict=True))
    scores, labels = np.array([pair for pair in every if pair[1] < 2]).T
    binned = np.round((np.clip(scores, -LIMIT, LIMIT) + LIMIT) * BINS / (2 * LIMIT))
    assert average_precision(counts.counts) == pytest.approx(average_precision_score(labels, binned), abs=1e-12)
    assert average_precision(counts.counts) == pytest.approx(average_precision_score(labels, scores), abs=2e-2)
    assert average_precision(np.zeros((2, 5), np.int64)) is None
