"""Cosine logits and the prototype anomaly against worked values, plain loops and what must always hold."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from anomseg.errors import CompatibilityError
from anomseg.scores import cosine_logits, msp, prototype_anomaly


def cells(*rows):
    """Features (1, D, 1, N), one row a cell."""
    return torch.tensor(rows, dtype=torch.float32).T[None, :, None]


def test_four_features_worked_by_hand():
    logits = cosine_logits(cells((3, 4), (-1, -1), (0, 0), (5, 0)), torch.eye(2))
    wanted = [[6.0, 8.0], [-7.0710678, -7.0710678], [0.0, 0.0], [10.0, 0.0]]
    torch.testing.assert_close(logits[0, :, 0].T, torch.tensor(wanted))
    torch.testing.assert_close((logits.amax(1) + 10)[0, 0] / 20, torch.tensor([0.9, 0.14644661, 0.5, 1.0]))
    torch.testing.assert_close(prototype_anomaly(logits)[0, 0], torch.tensor([0.1, 0.85355339, 0.5, 0.0]))


def test_cross_entropy_and_softmax_of_the_first():
    logits = cosine_logits(cells((3, 4)), torch.eye(2))
    torch.testing.assert_close(F.cross_entropy(logits, torch.ones(1, 1, 1, dtype=torch.long)), torch.tensor(0.12692801))
    torch.testing.assert_close(logits.softmax(1).flatten(), torch.tensor([0.11920292, 0.88079708]))


def test_msp_is_nearly_saturated_at_scale_ten():
    logits = torch.zeros(1, 13, 1, 1)
    logits[:, 4] = 10
    assert 1 - msp(logits).item() == pytest.approx(0.99946, abs=5e-6)
    assert prototype_anomaly(logits).item() == 0


def test_the_largest_cosine_is_taken_before_upsampling():
    """Two neighbours that are certain of different classes: no border between them, unless logits are resized."""
    logits = torch.tensor([[[[10.0, -10.0]], [[-10.0, 10.0]]]])

    def resized(maps):
        return F.interpolate(maps, size=(1, 4), mode="bilinear", align_corners=False)

    first = 1 - resized(prototype_anomaly(logits)[:, None])[0, 0, 0]
    last = 1 - prototype_anomaly(resized(logits))[0, 0]
    assert first.tolist() == [1, 1, 1, 1]
    assert last.tolist() == [1, 0.75, 0.75, 1]


def test_equals_a_loop_over_cells_and_classes():
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(2, 7, 3, 4, generator=generator, dtype=torch.float64)
    prototypes = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    logits = cosine_logits(features, prototypes, scale=3.0)
    for b, k, y, x in torch.cartesian_prod(*map(torch.arange, logits.shape)):
        f, w = features[b, :, y, x], prototypes[k]
        torch.testing.assert_close(logits[b, k, y, x], 3 * (f @ w) / (f.norm() * w.norm()))
    best = torch.stack([F.cosine_similarity(features, w[None, :, None, None]) for w in prototypes]).amax(0)
    torch.testing.assert_close(prototype_anomaly(logits, scale=3.0), (1 - best) / 2)


def test_gradients_are_those_of_plain_cosines():
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(1, 4, 2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    prototypes = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(cosine_logits, (features, prototypes))


@pytest.mark.parametrize("short", [torch.float16, torch.bfloat16])
def test_short_numbers_and_mixed_precision_have_no_nan_at_a_feature_of_zeros(short):
    features = cells((3, 4), (0, 0), (1e-4, 0)).to(short).requires_grad_()
    plain = cosine_logits(features, torch.eye(2, dtype=short))
    with torch.autocast("cpu", dtype=short):
        mixed = cosine_logits(features, torch.eye(2))
    wanted = torch.tensor([[6.0, 8.0], [0.0, 0.0], [10.0, 0.0]])
    for logits in (plain, mixed):
        torch.testing.assert_close(logits[0, :, 0].T.float(), wanted, rtol=1e-2, atol=1e-2)
        logits.float().sum().backward()
        assert features.grad[..., 0].isfinite().all()


@pytest.mark.parametrize(
    ("features", "prototypes"), [((1, 3, 2, 2), (4, 5)), ((3, 2, 2), (4, 3)), ((1, 3, 2, 2), (4, 3, 1))]
)
def test_shapes_that_do_not_fit_are_refused(features, prototypes):
    with pytest.raises(CompatibilityError, match="do not fit"):
        cosine_logits(torch.zeros(features), torch.ones(prototypes))


seeds = st.integers(0, 2**31 - 1)


def drawn(seed, classes=4, channels=6):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(1, channels, 3, 5, generator=generator)
    return features, torch.randn(classes, channels, generator=generator)


@settings(max_examples=40, deadline=None)
@given(seeds, st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_lengths_of_features_and_prototypes_are_of_no_matter(seed, longer, wider):
    features, prototypes = drawn(seed)
    torch.testing.assert_close(
        cosine_logits(features * longer, prototypes * wider), cosine_logits(features, prototypes), rtol=1e-4, atol=1e-4
    )


@settings(max_examples=40, deadline=None)
@given(seeds, st.floats(0.1, 100))
def test_the_scale_is_of_no_matter_to_the_anomaly(seed, scale):
    features, prototypes = drawn(seed)
    here = prototype_anomaly(cosine_logits(features, prototypes, scale), scale)
    torch.testing.assert_close(here, prototype_anomaly(cosine_logits(features, prototypes)), rtol=1e-5, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_it_lies_in_0_to_1_and_a_further_class_only_lowers_it(seed):
    features, prototypes = drawn(seed, classes=5)
    fewer = prototype_anomaly(cosine_logits(features, prototypes[:4]))
    more = prototype_anomaly(cosine_logits(features, prototypes))
    assert fewer.min() >= 0
    assert fewer.max() <= 1
    assert (more <= fewer + 1e-7).all()


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(0, 3), st.floats(0.01, 100))
def test_it_is_0_along_a_prototype_alone_and_1_against_the_only_one(seed, which, length):
    features, prototypes = drawn(seed)
    along = (prototypes[which] * length)[None, :, None, None]
    assert prototype_anomaly(cosine_logits(along, prototypes)).item() == pytest.approx(0, abs=1e-6)
    assert prototype_anomaly(cosine_logits(-along, prototypes[which : which + 1])).item() == pytest.approx(1, abs=1e-6)
    # Random directions in six dimensions are not parallel to one of four.
    assert (prototype_anomaly(cosine_logits(features, prototypes)) > 1e-4).all()


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_max_logit_of_the_same_network_puts_cells_in_the_same_order(seed):
    logits = cosine_logits(*drawn(seed))
    assert torch.equal((-logits.amax(1)).flatten().argsort(stable=True), prototype_order(logits))


def prototype_order(logits):
    return ((1 - logits.amax(1).double() / 10) / 2).flatten().argsort(stable=True)
