"""The gate against the facts of the publication, and the streamed cosine against the plain one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from anomseg.errors import CompatibilityError, ConfigError
from anomseg.scores import StreamedCosine, feature_cosine, synthcp_gate


def pair(seed=0, shape=(2, 7, 3, 4)):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


P, C = torch.tensor([0.9995, 0.95, 0.5]), torch.tensor([0.2, 0.9, 0.1])


def test_worked_values():
    assert torch.equal(synthcp_gate(P, C, gate=0.999), -torch.tensor([0.9995, 0.9, 0.1]))


def test_ends_of_the_gate():
    assert torch.equal(synthcp_gate(P, C, gate=-1), -P)
    assert torch.equal(synthcp_gate(torch.zeros(3), C, gate=-1), torch.zeros(3))  # p = 0 passes t = -1 too
    assert torch.equal(synthcp_gate(P, C, gate=1), -C)
    assert torch.equal(synthcp_gate(torch.ones(3), C, gate=1), -C)  # p = 1 is not above 1


def test_not_monotone_at_the_gate():
    scores = synthcp_gate(torch.tensor([0.998, 0.9995]), torch.tensor([0.99, 0.2]))
    assert torch.equal(scores, -torch.tensor([0.99, 0.9995]))
    lower, higher = synthcp_gate(torch.tensor([0.998, 0.9991]), torch.tensor([0.9999, 0.9999]))
    assert higher > lower  # surer of its class, and yet odder


@given(st.integers(0, 10_000), st.floats(-1, 1))
@settings(max_examples=50, deadline=None)
def test_both_forms_equal_numpy(seed, gate):
    rng = np.random.default_rng(seed)
    p, c = rng.uniform(0, 1, (2, 5)), rng.uniform(-1, 1, (2, 5))
    hard = synthcp_gate(torch.from_numpy(p), torch.from_numpy(c), gate).numpy()
    np.testing.assert_array_equal(hard, -np.where(p > gate, p, c))
    trusted = synthcp_gate(torch.from_numpy(p), torch.from_numpy(c), gate, above="one").numpy()
    np.testing.assert_allclose(trusted, -(1 - (1 - c) * (p <= gate)), atol=1e-12)


def test_any_equal_shapes_and_no_others():
    for shape in ((), (3,), (2, 3, 4), (1, 2, 3, 4)):
        assert synthcp_gate(torch.zeros(shape), torch.zeros(shape)).shape == shape
    with pytest.raises(CompatibilityError, match="one shape"):
        synthcp_gate(torch.zeros(2, 1), torch.zeros(2, 3))
    with pytest.raises(ConfigError, match="did you mean 'msp'"):
        synthcp_gate(P, C, above="mps")


def test_identical_features_score_minus_one_at_any_positive_scale():
    first, second = pair()
    for scale in (1e-6, 1.0, 3.7, 1e6):
        cosine = feature_cosine(first, first * scale)
        torch.testing.assert_close(cosine, torch.ones(2, 3, 4))
        assert cosine.max() <= 1
        torch.testing.assert_close(synthcp_gate(torch.zeros(2, 3, 4), cosine), -torch.ones(2, 3, 4))
        torch.testing.assert_close(feature_cosine(first * scale, second), feature_cosine(first, second))


def test_it_is_the_cosine_of_torch():
    first, second = pair()
    torch.testing.assert_close(feature_cosine(first, second), F.cosine_similarity(first, second, dim=1))
    assert torch.equal(feature_cosine(first, torch.zeros_like(first)), torch.zeros(2, 3, 4))


@given(st.integers(0, 1000), st.lists(st.integers(1, 5), min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_channels_may_come_in_any_pieces(seed, pieces):
    first, second = pair(seed, (2, sum(pieces), 3, 2))
    streamed = StreamedCosine()
    for one, other in zip(first.split(pieces, 1), second.split(pieces, 1), strict=True):
        streamed.update(one, other)
    expected = F.cosine_similarity(first.double(), second.double(), dim=1).float()
    torch.testing.assert_close(streamed.compute(), expected, atol=1e-5, rtol=1e-5)


def test_half_precision_is_computed_in_float32():
    first = torch.full((1, 8, 2, 2), 300.0, dtype=torch.float16)  # whose square no float16 holds
    cosine = feature_cosine(first, first)
    assert cosine.dtype == torch.float32
    torch.testing.assert_close(cosine, torch.ones(1, 2, 2))


def test_what_does_not_fit():
    first, _ = pair()
    with pytest.raises(CompatibilityError, match="one shape"):
        feature_cosine(first, first[:, :3])
    with pytest.raises(CompatibilityError, match="those before"):
        StreamedCosine().update(first, first).update(first[..., :2], first[..., :2])
    with pytest.raises(CompatibilityError, match="no features"):
        StreamedCosine().compute()
