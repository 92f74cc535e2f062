import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from anomseg.training.losses import inverse_log_weights, sample_logits, set_valued_cross_entropy


@given(st.integers(0, 2**31), st.integers(2, 7))
def test_single_classes_give_ordinary_weighted_cross_entropy(seed, count):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, count, 3, 4, generator=generator) * 5
    labels = torch.randint(0, count, (2, 3, 4), generator=generator)
    weights = torch.rand(count, generator=generator) + 0.1
    ours = set_valued_cross_entropy(logits, labels, torch.eye(count, dtype=torch.bool), weights)
    torch.testing.assert_close(ours, F.cross_entropy(logits, labels, weight=weights), rtol=1e-4, atol=1e-5)


def test_a_set_is_minus_log_of_the_summed_probability():
    logits = torch.tensor([2.0, 1.0, 0.0]).view(1, 3, 1, 1)
    p = logits.softmax(1).flatten()
    sets = torch.tensor([[True, False, True]])
    loss = set_valued_cross_entropy(logits, torch.zeros(1, 1, 1, dtype=torch.long), sets, torch.ones(1))
    assert loss.item() == pytest.approx(-math.log(p[0] + p[2]), abs=1e-6)


def test_the_full_set_costs_nothing_and_void_has_no_gradient():
    logits = torch.randn(1, 3, 1, 2, requires_grad=True)
    sets = torch.tensor([[True, True, True], [False, False, False]])
    loss = set_valued_cross_entropy(logits, torch.tensor([[[0, 1]]]), sets, torch.ones(2))
    assert abs(loss.item()) < 1e-6
    loss.backward()
    assert logits.grad.abs().max() < 1e-6


def test_all_void_gives_zero_not_nan():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = set_valued_cross_entropy(
        logits, torch.zeros(1, 2, 2, dtype=torch.long), torch.zeros(1, 3, dtype=torch.bool), torch.ones(1)
    )
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(logits.grad).all()


def test_gradient_agrees_with_finite_differences():
    torch.manual_seed(0)
    logits = torch.randn(1, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    sets = torch.tensor([[True, False, False, True], [False, True, True, False]])
    labels = torch.tensor([[[0, 1], [1, 0]]])
    loss = set_valued_cross_entropy(logits, labels, sets, torch.ones(2))
    loss.backward()
    step = 1e-2
    for index in [(0, 0, 0, 0), (0, 2, 1, 0)]:
        moved = logits.detach().clone()
        moved[index] += step
        up = set_valued_cross_entropy(moved, labels, sets, torch.ones(2))
        moved[index] -= 2 * step
        down = set_valued_cross_entropy(moved, labels, sets, torch.ones(2))
        assert ((up - down) / (2 * step)).item() == pytest.approx(logits.grad[index].item(), abs=1e-3)


def test_rare_classes_weigh_more_and_the_mean_is_one():
    weights = inverse_log_weights([0.5, 0.3, 0.15, 0.05])
    assert np.all(np.diff(weights) > 0)
    assert np.mean(weights) == pytest.approx(1)
    assert weights[0] / weights[3] == pytest.approx(math.log(1.15) / math.log(1.6))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(1, 40), st.integers(1, 4))
def test_sampled_logits_are_those_of_full_upsampling_at_the_same_pixels(h, w, height, width, stride):
    logits = torch.randn(2, 3, h, w, generator=torch.Generator().manual_seed(h * w))
    full = F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
    torch.testing.assert_close(
        sample_logits(logits, (height, width), stride), full[..., ::stride, ::stride], rtol=1e-4, atol=1e-4
    )
