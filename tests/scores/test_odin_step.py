"""The step of ODIN against finite differences and against the mistakes of published code."""

import pytest
import torch

from anomseg.errors import CompatibilityError
from anomseg.scores import msp, odin_perturb, odin_score


def network(images: torch.Tensor) -> torch.Tensor:
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(1), dtype=images.dtype)
    return torch.nn.functional.conv2d(images, weight, padding=1)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(1, 3, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def loss(images: torch.Tensor, temperature: float) -> float:
    return float(-(network(images) / temperature).log_softmax(1).amax(1).sum())


def test_the_step_against_finite_differences(images):
    x = images.clone().requires_grad_()
    moved = odin_perturb(x, network(x), epsilon=1e-3, temperature=3.0)
    for index in range(0, images.numel(), 7):
        step = torch.zeros_like(images)
        step.view(-1)[index] = 1e-6
        slope = (loss(images + step, 3.0) - loss(images - step, 3.0)) / 2e-6
        change = float((moved - images).view(-1)[index])
        assert change == pytest.approx(-1e-3 if slope > 0 else 1e-3)


def test_confidence_rises_by_the_step(images):
    """Published code steps the other way, where confidence falls."""
    x = images.clone().requires_grad_()
    moved = odin_perturb(x, network(x), epsilon=1e-3, temperature=3.0)
    assert loss(moved, 3.0) < loss(images, 3.0)
    assert loss(2 * images - moved, 3.0) > loss(images, 3.0)
    assert not moved.requires_grad


def test_the_temperature_is_inside_the_gradient(images):
    x = images.clone().requires_grad_()
    cold, hot = (odin_perturb(x, 5 * network(x), 1e-3, temperature) for temperature in (1.0, 1000.0))
    assert not torch.equal(cold, hot)


def test_epsilon_zero_and_values_beyond_one(images):
    x = images.clone().requires_grad_()
    assert torch.equal(odin_perturb(x, network(x), 0.0), images)
    assert odin_perturb(x, network(x), 2.0).max() > 1  # the paper clamps nothing


def test_no_graph_is_a_clear_error(images):
    with pytest.raises(CompatibilityError, match="no gradient"):
        odin_perturb(images, network(images))


def test_the_score_is_msp_at_the_temperature():
    logits = torch.randn(2, 4, 3, 3)
    assert torch.equal(odin_score(logits, 3.0), msp(logits / 3))
