"""Logit scores against the acceptance facts, SciPy and properties."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anomseg import scores
from anomseg.errors import CompatibilityError

SCORES = {
    "msp": scores.msp,
    "max_logit": scores.max_logit,
    "entropy": scores.entropy,
    "entropy_normalized": lambda logits, **k: scores.entropy(logits, normalized=True, **k),
    "energy": scores.energy,
    "energy_t": lambda logits, **k: scores.energy(logits, temperature=2.5, **k),
    "js": scores.js_to_uniform,
    "kl": scores.kl_from_uniform,
}
every_score = pytest.mark.parametrize("score", SCORES.values(), ids=SCORES.keys())


def pixels(*values: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype).view(1, -1, 1, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_acceptance_facts(dtype):
    logits = pixels(2, 1, 0, dtype=dtype)
    assert scores.msp(logits).item() == pytest.approx(0.3348, abs=5e-5)
    assert scores.max_logit(logits).item() == -2
    assert scores.entropy(logits).item() == pytest.approx(0.8324, abs=5e-5)
    assert scores.entropy(logits, normalized=True).item() == pytest.approx(0.7577, abs=5e-5)
    assert scores.energy(logits).item() == pytest.approx(-2.4076, abs=5e-5)
    shifted = logits + 5
    assert scores.msp(shifted).item() == pytest.approx(scores.msp(logits).item(), abs=1e-6)
    assert scores.entropy(shifted).item() == pytest.approx(scores.entropy(logits).item(), abs=1e-6)
    assert scores.energy(shifted).item() == pytest.approx(-7.4076, abs=5e-5)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(2, 8),
    st.floats(0.1, 30),
    st.floats(0.2, 5),
    st.integers(0, 10**6),
)
def test_equal_to_scipy(classes, scale, temperature, seed):
    logits = np.random.default_rng(seed).normal(0, scale, (2, classes, 3, 4))
    tensor = torch.from_numpy(logits)
    p = scipy.special.softmax(logits, axis=1)
    uniform = np.full_like(p, 1 / classes)
    np.testing.assert_allclose(scores.msp(tensor), 1 - p.max(1), atol=1e-12)
    np.testing.assert_allclose(scores.entropy(tensor), scipy.stats.entropy(p, axis=1), atol=1e-10)
    np.testing.assert_allclose(
        scores.energy(tensor, temperature),
        -temperature * scipy.special.logsumexp(logits / temperature, axis=1),
        atol=1e-10,
    )
    np.testing.assert_allclose(
        scores.kl_from_uniform(tensor), scipy.stats.entropy(uniform, p, axis=1), rtol=1e-8, atol=1e-10
    )
    q = scipy.special.softmax(logits / temperature, axis=1)
    mean = (q + uniform) / 2
    js = (scipy.stats.entropy(uniform, mean, axis=1) + scipy.stats.entropy(q, mean, axis=1)) / 2
    np.testing.assert_allclose(scores.js_to_uniform(tensor, temperature), js, atol=1e-10)


@every_score
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_huge_logits_stay_finite_with_gradients(score, dtype):
    generator = torch.Generator().manual_seed(0)
    logits = (torch.rand(2, 7, 5, 6, generator=generator, dtype=dtype) - 0.5) * 2e4
    logits[0, :, 0, 0] = 1e4
    logits[0, :, 0, 1] = 0
    logits[0, 3, 0, 1] = -1e4
    logits.requires_grad_()
    out = score(logits)
    assert out.shape == (2, 5, 6)
    assert out.dtype == dtype
    assert out.isfinite().all()
    out.sum().backward()
    assert logits.grad.isfinite().all()


@every_score
def test_gradients(score):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(1, 4, 2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(score, (logits,))


@every_score
@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 4, 6), (2, 5, 3, 4, 6)])
def test_pixels_are_independent(score, shape):
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(shape, generator=generator) * 3
    out = score(logits)
    assert out.shape == (shape[0], *shape[2:])
    flat = score(logits.movedim(1, -1).reshape(-1, shape[1]))
    torch.testing.assert_close(out.reshape(-1), flat)


@every_score
def test_half_precision_is_computed_in_float32(score):
    logits = (torch.randn(1, 5, 4, 4, generator=torch.Generator().manual_seed(3)) * 3).half()
    out = score(logits)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, score(logits.float()))


@every_score
@pytest.mark.parametrize(
    "bad",
    [torch.zeros(3), torch.zeros(3, 4, 4), torch.zeros(0, 3, 4, 4), torch.zeros(1, 3, 4, 4, dtype=torch.int64)],
    ids=["1d", "no batch", "empty", "integers"],
)
def test_wrong_shapes_are_one_line_errors(score, bad):
    with pytest.raises(CompatibilityError) as caught:
        score(bad)
    assert "\n" not in str(caught.value)


def test_bounds_at_the_extremes():
    uniform, certain = torch.zeros(1, 19, 1, 1), torch.zeros(1, 19, 1, 1)
    certain[0, 4] = 1e4
    assert scores.entropy(uniform, normalized=True).item() == pytest.approx(1, abs=1e-6)
    assert scores.entropy(uniform, normalized=True).item() <= 1
    assert scores.msp(uniform).item() == pytest.approx(18 / 19)
    assert scores.js_to_uniform(uniform).item() == pytest.approx(0, abs=1e-6)
    assert scores.kl_from_uniform(uniform).item() == pytest.approx(0, abs=1e-6)
    for score in (scores.msp, scores.entropy):
        value = score(certain).item()
        assert value == 0
        assert math.copysign(1, value) == 1  # -0.0 would sort apart from 0.0 by its bits
    assert scores.js_to_uniform(certain).item() <= math.log(2)


def test_bad_options():
    logits = torch.randn(1, 3, 2, 2)
    for temperature in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(CompatibilityError, match="temperature"):
            scores.energy(logits, temperature)
        with pytest.raises(CompatibilityError, match="temperature"):
            scores.js_to_uniform(logits, temperature)
    with pytest.raises(CompatibilityError, match="two classes"):
        scores.entropy(torch.randn(1, 1, 2, 2), normalized=True)


class TestSoftmaxAppliedTwice:
    """The reference evaluation of anomaly-seg fed probabilities to its scores."""

    @every_score
    def test_refused(self, score):
        probabilities = torch.randn(2, 5, 4, 4).softmax(1)
        with pytest.raises(CompatibilityError, match="check=False"):
            score(probabilities)
        assert score(probabilities, check=False).isfinite().all()

    def test_refused_in_half_precision_and_upsampled(self):
        probabilities = torch.randn(1, 19, 8, 8).softmax(1)
        with pytest.raises(CompatibilityError, match="softmax"):
            scores.check_logits(torch.nn.functional.interpolate(probabilities, size=(21, 33), mode="bilinear"))
        with pytest.raises(CompatibilityError, match="softmax"):
            scores.check_logits(torch.randn(64, 3).softmax(1))
        for dtype in (torch.float16, torch.bfloat16):
            with pytest.raises(CompatibilityError, match="softmax"):
                scores.check_logits(probabilities.to(dtype))

    def test_not_refused(self):
        probabilities = torch.randn(1, 5, 4, 4).softmax(1)
        scores.check_logits(probabilities[..., :3])  # 12 pixels: may be an accident
        scores.check_logits(torch.ones(1, 1, 8, 8))  # one class sums to 1 whatever it is
        one_off = probabilities.clone()
        one_off[0, :, 3, 3] += 0.001
        scores.check_logits(one_off)  # one pixel sums to something else
        outside = probabilities.clone()
        outside[0, 0, 3, 3] += 1.5
        outside[0, 1, 3, 3] -= 1.5
        scores.check_logits(outside)  # sums to 1, but one value lies outside [0, 1]
        scores.check_logits(torch.full((1, 5, 4, 4), math.nan))

    def test_sum_tolerance(self):
        probabilities = torch.randn(1, 5, 4, 4, dtype=torch.float64).softmax(1)
        with pytest.raises(CompatibilityError):
            scores.check_logits(probabilities * (1 - 0.9e-4))
        scores.check_logits(probabilities * (1 - 1.1e-4))
