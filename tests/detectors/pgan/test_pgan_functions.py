"""Pooling, assignment, moving averages, similarities and losses against worked values and plain loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from anomseg.detectors.pgan import (
    assign,
    compactness_loss,
    contrast_loss,
    masked_average_pooling,
    moving_average,
    prototype_distance_anomaly,
    separation_loss,
    similarities,
    sinkhorn,
    spherical_kmeans,
)
from anomseg.detectors.pgan.assignment import check_unit
from anomseg.detectors.pgan.pooling import mask_on_cells
from anomseg.detectors.pgan.similarity import bounded, class_similarity
from anomseg.errors import CompatibilityError


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_pooled_prototypes_and_the_anomaly_of_three_queries():
    pixels = torch.tensor([[[1.0, 3.0], [0.0, 0.0]], [[0.0, 0.0], [2.0, 4.0]]])  # (1,0) (3,0) above, (0,2) (0,4) below
    masks = torch.tensor([[[1.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]]])
    pooled = masked_average_pooling(pixels, masks)
    torch.testing.assert_close(pooled, torch.tensor([[2.0, 0.0], [0.0, 3.0]]), atol=1e-4, rtol=0)
    prototypes = F.normalize(pooled, dim=1)[:, None]
    torch.testing.assert_close(prototypes[:, 0], torch.eye(2))
    queries = torch.tensor([[1.0, 1.0], [-1.0, 0.0], [2.0, 0.0]]).T[None, :, None]
    cosines = similarities(queries, prototypes)[:, :, 0]
    torch.testing.assert_close(cosines[0, :, 0].T, torch.tensor([[0.7071, 0.7071], [-1, 0], [1, 0]]), atol=1e-4, rtol=0)
    anomaly = prototype_distance_anomaly(cosines)
    torch.testing.assert_close(anomaly[0, 0], torch.tensor([0.1464, 0.5, 0.0]), atol=1e-4, rtol=0)


def test_masked_average_pooling_of_a_row():
    maps = torch.tensor([[[1.0, 3.0], [0.0, 0.0]], [[0.0, 0.0], [2.0, 4.0]]])
    top = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    pooled = masked_average_pooling(maps, top)
    torch.testing.assert_close(pooled, torch.tensor([[2.0, 0.0]]), atol=1e-4, rtol=0)
    cosines = 20 * similarities(maps[None], F.normalize(pooled, dim=1)[:, None])[0, 0, 0]
    torch.testing.assert_close(cosines, torch.tensor([[20.0, 20.0], [0.0, 0.0]]))


@pytest.mark.parametrize(
    ("cells", "pixels"), [((3, 4), (24, 32)), ((5, 7), (33, 41)), ((6, 6), (6, 6)), ((9, 8), (5, 4))]
)
def test_pooling_is_that_of_features_upsampled_to_the_mask(cells, pixels):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(5, *cells, generator=generator)
    masks = (torch.rand(3, *pixels, generator=generator) > 0.6).float()
    masks[2] = 0
    up = F.interpolate(features[None], pixels, mode="bilinear", align_corners=False)[0]
    plain = torch.stack([(up * one).sum((1, 2)) / (one.sum() + 1e-5) for one in masks])
    torch.testing.assert_close(masked_average_pooling(features, masks), plain, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(mask_on_cells(masks, cells).sum((1, 2)), masks.sum((1, 2)))


def test_kmeans_finds_directions_that_are_apart():
    centres = torch.eye(3)
    points = F.normalize(centres.repeat(50, 1) + 0.05 * torch.randn(150, 3, generator=torch.Generator().manual_seed(1)))
    found = spherical_kmeans(points, 3, seed=0)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    assert sorted((found @ centres.T).argmax(1).tolist()) == [0, 1, 2]
    assert (found @ centres.T).amax(1).min() > 0.99
    assert torch.equal(found, spherical_kmeans(points, 3, seed=0))
    torch.testing.assert_close(spherical_kmeans(points, 1)[0], F.normalize(points.mean(0), dim=0))


def plain_sinkhorn(cosines, iterations=3, epsilon=0.05):
    """One class, step by step, with all normalisations of the published algorithm."""
    plan = np.exp(cosines.numpy().astype(np.float64) / epsilon).T
    plan /= plan.sum()
    count, pixels = plan.shape
    for _ in range(iterations):
        plan = plan / plan.sum(1, keepdims=True) / count
        plan = plan / plan.sum(0, keepdims=True) / pixels
    return torch.from_numpy((plan * pixels).T).float()


def test_sinkhorn_balances():
    clear = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.6], [0.1, 0.9]])
    assert sinkhorn(clear).argmax(1).tolist() == [0, 0, 0, 1]
    lopsided = torch.tensor([[0.9, 0.5], [0.9, 0.6], [0.9, 0.7], [0.9, 0.8]])
    assert lopsided.argmax(1).tolist() == [0, 0, 0, 0]
    assert sinkhorn(lopsided).argmax(1).tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(sinkhorn(clear), plain_sinkhorn(clear))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 5))
def test_all_classes_at_once_are_each_class_alone(seed, classes, per_class):
    generator = torch.Generator().manual_seed(seed)
    cosines = torch.rand(40, per_class, generator=generator) * 2 - 1
    groups = torch.randint(classes, (40,), generator=generator)
    plan = sinkhorn(cosines, groups)
    torch.testing.assert_close(plan.sum(1), torch.ones(40))
    for index in groups.unique():
        own = groups == index
        torch.testing.assert_close(plan[own], plain_sinkhorn(cosines[own]), atol=1e-4, rtol=1e-3)


def test_vectors_that_are_not_of_unit_length_are_refused():
    with pytest.raises(CompatibilityError, match="normalise"):
        sinkhorn(torch.tensor([[1.2, 0.1]]))
    with pytest.raises(CompatibilityError, match=r"unit length, got a length of 2"):
        check_unit(torch.tensor([[1.0, 0.0], [2.0, 0.0]]), "prototypes")
    check_unit(unit(4, 3), "prototypes")


def test_fewer_pixels_than_prototypes_are_skipped():
    cosines = torch.rand(5, 2, 3)
    slots = assign(cosines, torch.tensor([0, 0, 1, 1, 1]))
    assert (slots[:2] < 0).all()
    assert set((slots[2:]).tolist()) <= {3, 4, 5}
    assert assign(torch.rand(0, 2, 3), torch.zeros(0, dtype=torch.int64)).tolist() == []


def test_the_assignment_is_deterministic_unless_asked_otherwise():
    cosines = similarities(torch.randn(1, 8, 20, 20), unit(4, 3, 8))[0].flatten(2).permute(2, 0, 1)
    labels = torch.arange(400) % 4
    assert torch.equal(assign(cosines, labels), assign(cosines, labels))
    drawn = [assign(cosines, labels, stochastic=True, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[0] // 3, labels)


def test_moving_average():
    half = moving_average(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[0.0, 1.0]]), torch.tensor([0]), 0.5)
    torch.testing.assert_close(half[0, 0], torch.tensor([0.7071, 0.7071]), atol=1e-4, rtol=0)


def test_moving_average_equals_a_loop_and_leaves_the_untouched_alone():
    prototypes, embeddings = unit(3, 2, 5), unit(40, 5, seed=1)
    slots = torch.randint(-1, 4, (40,), generator=torch.Generator().manual_seed(0))  # class 2 is not there
    moved = moving_average(prototypes, embeddings, slots, 0.9)
    for slot in range(6):
        own, old = embeddings[slots == slot], prototypes.flatten(0, 1)[slot]
        if not len(own):
            assert torch.equal(moved.flatten(0, 1)[slot], old)
            continue
        mean = F.normalize(own.sum(0), dim=0)
        torch.testing.assert_close(moved.flatten(0, 1)[slot], F.normalize(0.9 * old + 0.1 * mean, dim=0))
    torch.testing.assert_close(moved.norm(dim=2), torch.ones(3, 2))


def test_losses_of_worked_cosines():
    cosines, slots = torch.tensor([[0.8, 0.2, 0.1, 0.0]]), torch.tensor([0])
    assert math.isclose(contrast_loss(cosines, slots).item(), 0.91418, abs_tol=1e-5)
    assert math.isclose(compactness_loss(cosines, slots).item(), 0.04, abs_tol=1e-6)
    assert contrast_loss(cosines, torch.tensor([-1])).item() == 0
    assert compactness_loss(cosines, torch.tensor([-1])).item() == 0


def test_separation_equals_a_loop():
    prototypes = unit(5, 4)
    pairs = [max(float(prototypes[a] @ prototypes[b]) - 0.2, 0) ** 2 for a in range(5) for b in range(5) if a != b]
    assert math.isclose(separation_loss(prototypes).item(), np.mean(pairs), rel_tol=1e-5)
    assert separation_loss(prototypes[:1]).item() == 0


def test_each_kind_of_similarity():
    embeddings, prototypes = torch.randn(2, 4, 3, 5), unit(3, 2, 4)
    rows = embeddings.permute(0, 2, 3, 1).reshape(-1, 4)
    flat = prototypes.reshape(6, 4)
    expected = {
        "dot": rows @ flat.T,
        "cosine": F.normalize(rows, dim=1) @ flat.T,
        "euclidean": -torch.cdist(F.normalize(rows, dim=1), flat),
    }
    for kind, values in expected.items():
        found = similarities(embeddings, prototypes, kind)
        assert found.shape == (2, 3, 2, 3, 5)
        torch.testing.assert_close(found.permute(0, 3, 4, 1, 2).reshape(-1, 6), values, atol=1e-4, rtol=1e-4)
        inside = bounded(found, kind)
        assert inside.abs().max() <= 1
        order = found.flatten().argsort()
        assert (inside.flatten()[order].diff() >= 0).all()


def test_the_distance_has_a_finite_gradient_where_embedding_and_prototype_meet():
    embedding = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).requires_grad_()
    similarities(embedding, torch.tensor([[[1.0, 0.0]]]), "euclidean").sum().backward()
    assert embedding.grad.isfinite().all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_more_prototypes_never_raise_the_anomaly(seed):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(1, 6, 4, 4, generator=generator)
    many = F.normalize(torch.randn(3, 4, 6, generator=generator), dim=2)
    present = torch.ones(3, dtype=torch.bool)
    before = 1.0
    for count in (1, 2, 4):
        scores = class_similarity(similarities(embeddings, many[:, :count]), present)
        now = prototype_distance_anomaly(scores)
        assert (now <= before + 1e-6).all()  # products of other sizes are rounded otherwise
        before = now


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["cosine", "euclidean", "dot"]))
def test_the_anomaly_lies_between_0_and_1(seed, kind):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(1, 6, 4, 4, generator=generator) * 10 ** torch.empty(1).uniform_(
        -3, 3, generator=generator
    )
    scores = class_similarity(
        similarities(embeddings, unit(3, 2, 6, seed=seed), kind), torch.tensor([True, True, False])
    )
    anomaly = prototype_distance_anomaly(bounded(scores, kind))
    assert anomaly.min() >= 0
    assert anomaly.max() <= 1
