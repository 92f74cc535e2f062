"""The probability: Newton against SciPy and scikit-learn, and every class in turn as the unknown one."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from anomseg.detectors.pgan import PrototypeExtractor, anomaly_of
from anomseg.detectors.pgan.probability import LeftOut, fit_logistic, logistic
from anomseg.errors import CompatibilityError


def drawn(seed=0, count=400):
    rng = np.random.default_rng(seed)
    targets = rng.random(count) < 0.3
    scores = rng.normal(0.2 + 0.15 * targets, 0.1)
    return torch.from_numpy(scores), torch.from_numpy(targets), torch.from_numpy(rng.random(count))


def test_newton_finds_the_optimum():
    scores, targets, weights = drawn()
    slope, intercept = fit_logistic(scores, targets, weights)

    def cost(at):
        z = at[0] * scores.numpy() + at[1]
        return (weights.numpy() * (np.logaddexp(0, z) - targets.numpy() * z)).sum()

    best = minimize(cost, [0.0, 0.0], method="BFGS", options={"gtol": 1e-9})
    assert math.isclose(slope, best.x[0], rel_tol=1e-3)
    assert math.isclose(intercept, best.x[1], rel_tol=1e-3)


def test_newton_equals_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    scores, targets, weights = drawn(1)
    model = LogisticRegression(C=1e6, tol=1e-10, max_iter=1000)
    model.fit(scores[:, None].numpy(), targets.numpy(), sample_weight=weights.numpy())
    slope, intercept = fit_logistic(scores, targets, weights)
    assert math.isclose(slope, model.coef_[0, 0], rel_tol=2e-3)
    assert math.isclose(intercept, model.intercept_[0], rel_tol=2e-3)


def test_scores_that_separate_give_a_finite_curve():
    slope, intercept = fit_logistic(torch.tensor([0.0, 0.1, 0.9, 1.0]), torch.tensor([0, 0, 1, 1]), torch.ones(4))
    assert slope > 0
    assert math.isfinite(slope)
    assert math.isfinite(intercept)


def test_the_prior_is_the_mean_probability():
    """At the optimum of a logistic regression the weighted mean of its probabilities is that of the targets."""
    scores, targets, _ = drawn(2)
    weights = torch.where(targets, 0.01 / targets.sum(), 0.99 / (~targets).sum())
    curve = fit_logistic(scores, targets, weights)
    assert math.isclose((weights * logistic(scores, *curve)).sum().item(), 0.01, rel_tol=1e-6)


def clustered(noise=0.3):
    """Cells of three classes around three orthogonal prototypes."""
    torch.manual_seed(0)
    extractor = PrototypeExtractor([6], 3, projection="identity", parents=[0, 0, 1])
    extractor.set_prototypes(0, torch.eye(6)[:3, None])
    classes = torch.arange(3).repeat_interleave(40).view(1, 10, 12)
    classes[0, 0, 0] = -1
    maps = torch.eye(6)[classes.clamp_min(0)].permute(0, 3, 1, 2) + noise * torch.randn(1, 6, 10, 12)
    return extractor, [maps], classes


@pytest.mark.parametrize("parent_term", [False, True])
def test_each_class_is_scored_without_its_own_prototypes(parent_term):
    extractor, maps, classes = clustered()
    before = {name: tensor.clone() for name, tensor in extractor.state_dict().items()}
    left = LeftOut()
    left.update(extractor, maps, classes, parent_term)
    assert all(torch.equal(before[name], tensor) for name, tensor in extractor.state_dict().items())
    for index in range(3):
        own = classes == index
        whole = anomaly_of(extractor, maps, parent_term)[own]
        assert torch.equal(torch.cat(left.known[index]), whole)
        extractor.present[index] = False
        assert torch.equal(torch.cat(left.unknown[index]), anomaly_of(extractor, maps, parent_term)[own])
        extractor.present[index] = True


def test_a_probability_without_any_anomaly_label_is_monotone_and_small_on_what_is_known():
    extractor, maps, classes = clustered()
    left = LeftOut()
    left.update(extractor, maps, classes)
    slope, intercept = left.fit(0.01)
    assert slope > 0
    known = torch.cat([torch.cat(parts) for parts in left.known.values()])
    unknown = torch.cat([torch.cat(parts) for parts in left.unknown.values()])
    assert logistic(known, slope, intercept).mean() < 0.02
    assert logistic(unknown, slope, intercept).mean() > logistic(known, slope, intercept).mean() * 5
    more = left.fit(0.2)
    assert logistic(known, *more).mean() > logistic(known, slope, intercept).mean()


def test_without_labels_or_without_effect_there_is_no_probability():
    with pytest.raises(CompatibilityError, match="no labelled"):
        LeftOut().fit(0.01)
    flat = LeftOut(known={0: [torch.tensor([0.5, 0.6])]}, unknown={0: [torch.tensor([0.5, 0.4])]})
    with pytest.raises(CompatibilityError, match="no higher"):
        flat.fit(0.01)
