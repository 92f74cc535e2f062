"""The demonstration of two moons: after joint training samples are where the classifier is unsure, outside the data."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def moons():
    """The module, imported without leaving its folder on the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import two_moons

        yield two_moons


@pytest.fixture(scope="module")
def outcome(moons):
    """Fewer steps and points than the demonstration's: a third of its time, the same behaviour."""
    return moons.train(moons.Settings(flow_steps=300, classifier_steps=60, joint_steps=150, batch=128))


def test_moons_are_two_half_circles(moons):
    points, which = moons.two_moons(4000, np.random.default_rng(0))
    assert 0.45 < which.float().mean() < 0.55
    radius = [(points[which == one] - torch.tensor([[-0.5, -0.25], [0.5, 0.25]])[one]).norm(dim=1) for one in (0, 1)]
    assert all(part.mean().item() == pytest.approx(1, abs=0.02) for part in radius)
    assert points[which == 0, 1].median() > points[which == 1, 1].median()


def test_the_flow_alone_draws_the_data(moons, outcome):
    with torch.no_grad():
        axis = torch.linspace(-4, 4, 321)
        density = moons.log_density(outcome.alone, torch.cartesian_prod(axis, axis)).exp()
        assert density.sum().item() * (8 / 320) ** 2 == pytest.approx(1, abs=0.02)
        density = moons.data_log_density(torch.cartesian_prod(axis, axis)).exp()
        assert density.sum().item() * (8 / 320) ** 2 == pytest.approx(1, abs=1e-3)
        # The entropy of what the points are drawn from is less than that of one Gaussian of their covariance.
        gaussian = 0.5 * torch.logdet(outcome.points.T.cov()) + 1 + math.log(2 * math.pi)
        assert -moons.log_density(outcome.alone, outcome.points).mean() < gaussian - 0.2
        assert outcome.outside(outcome.points) == pytest.approx(0.1, abs=1e-3)
        assert outcome.outside(outcome.before) < 0.4


def test_joint_samples_leave_the_data_and_confuse_the_classifier(outcome):
    with torch.no_grad():
        found = outcome.figures()
        right = outcome.confidence(outcome.points)
    assert found["mean max-softmax on samples"] < found["mean max-softmax on data"] - 0.1
    assert found["samples outside, joint"] > 0.5
    assert found["samples outside, joint"] > found["samples outside, flow alone"] + 0.15
    assert right > 0.8  # the classifier still tells the moons apart


def test_picture(moons, outcome):
    assert moons.picture(outcome).startswith(b"\x89PNG")
