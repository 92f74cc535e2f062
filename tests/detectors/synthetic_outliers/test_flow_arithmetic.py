"""The flow's arithmetic: the numbers of the specification, and derivatives and integrals taken otherwise."""

import math

import numpy as np
import pytest
import torch
from flow_toys import plane_flow, stirred
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from anomseg.detectors.synthetic_outliers.flow import (
    AffineCoupling,
    RealNVP,
    affine,
    affine_inverse,
    bits_of,
    dequantise,
    from_logits,
    normal_log_density,
    to_logits,
)
from anomseg.detectors.synthetic_outliers.flow.baselines import gaussian_bits, histogram_bits
from anomseg.detectors.synthetic_outliers.flow.layout import squeeze, unsqueeze


class Constant(torch.nn.Module):
    """A conditioner that gives s and t of one transformed value, whatever it reads."""

    def __init__(self, raw, shift):
        super().__init__()
        self.values = torch.tensor([[raw, shift]])

    def forward(self, x):
        return self.values.expand(len(x), -1)


def test_affine_coupling_by_hand():
    """x = (1, 2), s = ln 2, t = 1 on the second: z = (1, 5), log-determinant .6931, ln p(x) = -14.1447 nats.

    The other convention, (x + t) e^s, would give 6.
    """
    coupling = AffineCoupling(([0], [1]), Constant(math.atanh(math.log(2)), 1.0))
    z, logdet = coupling(torch.tensor([[1.0, 2.0]]))
    torch.testing.assert_close(z, torch.tensor([[1.0, 5.0]]))
    assert logdet.item() == pytest.approx(0.6931, abs=5e-5)
    assert (normal_log_density(z) + logdet).item() == pytest.approx(-14.1447, abs=5e-5)
    torch.testing.assert_close(coupling.inverse(z), torch.tensor([[1.0, 2.0]]))


def test_a_new_flow_of_four_values_is_the_identity():
    """At 0 a standard normal takes .9189 / ln 2 = 1.3257 bits per dimension."""
    latents, logdet = RealNVP(channels=1, scales=1).to_latents(torch.zeros(1, 1, 2, 2))
    assert [tuple(latent.shape) for latent in latents] == [(1, 4, 1, 1)]
    density = normal_log_density(latents[0]) + logdet
    assert bits_of(density, 4).item() == pytest.approx(1.3257, abs=5e-5)


def test_normal_density_is_scipys():
    values = torch.linspace(-3, 3, 12).view(2, 3, 2)
    expected = stats.norm.logpdf(values.numpy()).sum((1, 2))
    assert normal_log_density(values).numpy() == pytest.approx(expected, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.floats(-5, 5), st.floats(-3, 3), st.floats(-5, 5))
def test_affine_and_back(x, s, t):
    tensors = [torch.tensor([[value]], dtype=torch.float64) for value in (x, s, t)]
    z, logdet = affine(*tensors)
    assert z.item() == pytest.approx(x * math.exp(s) + t)
    assert logdet.item() == pytest.approx(s)
    assert affine_inverse(z, *tensors[1:]).item() == pytest.approx(x, abs=1e-9)


def test_the_scale_is_bounded_whatever_the_network_says():
    coupling = AffineCoupling(([0], [1]), Constant(1e9, 0.0))
    z, logdet = coupling(torch.tensor([[0.0, 1.0]]))
    assert z[0, 1].item() == pytest.approx(math.e)
    assert logdet.item() == pytest.approx(1.0)


def test_logits_and_back_with_the_determinant_of_autograd():
    values = torch.tensor([[0.0, 1e-3, 0.3, 0.5, 0.99, 1.0]], dtype=torch.float64)
    real, logdet = to_logits(values, 0.9)
    assert torch.isfinite(real).all()
    torch.testing.assert_close(from_logits(real, 0.9), values)
    assert real[0, 3].item() == pytest.approx(0.0)
    assert real[0, 5].item() == pytest.approx(math.log(0.95 / 0.05))
    slopes = torch.autograd.functional.jacobian(lambda v: to_logits(v, 0.9)[0], values).view(6, 6)
    assert logdet.item() == pytest.approx(torch.linalg.slogdet(slopes)[1].item())


def test_dequantisation_fills_the_interval_of_each_level():
    levels = torch.arange(256).view(1, 1, 16, 16) / 255
    one, two = (dequantise(levels, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert torch.equal((one * 256).floor(), torch.arange(256.0).view(1, 1, 16, 16))
    assert not torch.equal(one, two)
    assert torch.equal(one, dequantise(levels, torch.Generator().manual_seed(0)))
    assert 0 <= one.min() < one.max() < 1
    torch.testing.assert_close(dequantise(levels, noise=False), (levels * 255 + 0.5) / 256)


def test_squeezed_channels_are_the_pixels_of_each_square():
    x = torch.arange(2 * 4 * 6.0).view(1, 2, 4, 6)
    squeezed = squeeze(x)
    for channel in range(2):
        for row in range(2):
            for column in range(2):
                assert torch.equal(squeezed[0, 4 * channel + 2 * row + column], x[0, channel, row::2, column::2])
    assert torch.equal(unsqueeze(squeezed), x)


def test_the_density_over_a_plane_sums_to_one():
    """A flow of two numbers through the same couplings, over a grid that holds nearly all of it."""
    chain = plane_flow()
    with torch.no_grad():
        axis = torch.linspace(-12, 12, 401)
        points = torch.cartesian_prod(axis, axis)
        z, logdet = chain(points)
        density = (normal_log_density(z) + logdet).exp()
        moved = (z - points).abs().max()
    assert moved > 0.5
    assert (density.sum() * (24 / 400) ** 2).item() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1, 2, 2), {"channels": 1, "scales": 1}),
        ((1, 4, 4), {"channels": 1, "scales": 2}),
        ((3, 4, 4), {"scales": 2}),
        ((2, 4, 8), {"channels": 2, "scales": 2, "last": 1, "channelwise": 1}),
    ],
)
def test_log_determinant_is_that_of_the_jacobian(shape, options):
    flow = stirred(**options).double()
    x = torch.rand(1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def flat(values):
        # `encode` computes in single precision; a derivative is checked in double.
        real, _ = to_logits(values.view(1, *shape), flow.constraint)
        latents, _ = flow.to_latents(real)
        return torch.cat([latent.flatten() for latent in latents])

    jacobian = torch.autograd.functional.jacobian(flat, x.flatten())
    real, first = to_logits(x, flow.constraint)
    logdet = first + flow.to_latents(real)[1]
    assert jacobian.shape[0] == jacobian.shape[1] == math.prod(shape)
    assert logdet.item() == pytest.approx(torch.linalg.slogdet(jacobian)[1].item(), abs=1e-8)
    assert abs(logdet.item() - first.item()) > 1e-3  # the couplings do something


def test_histogram_coder_is_the_cross_entropy():
    rng = np.random.default_rng(0)
    fitted = rng.integers(0, 256, (5000, 3), dtype=np.uint8) // 4
    coded = rng.integers(0, 256, (4000, 3), dtype=np.uint8) // 4
    assert histogram_bits(fitted, coded) == pytest.approx(6.0, abs=0.2)
    assert histogram_bits(np.zeros((10, 1), np.uint8), np.full((1, 1), 9, np.uint8)) == pytest.approx(math.log2(266))


def test_gaussian_coder_is_scipys_density_of_spread_levels():
    rng = np.random.default_rng(1)
    mixing = np.array([[20, 5, 3], [0, 12, 4], [0, 0, 9]])
    pixels = np.clip(rng.normal(size=(20000, 3)) @ mixing + 120, 0, 255).astype(np.uint8)
    spread = pixels + rng.random(pixels.shape)
    normal = stats.multivariate_normal(spread.mean(0), np.cov(spread.T))
    expected = -normal.logpdf(spread).mean() / math.log(2) / 3
    assert gaussian_bits(pixels, pixels) == pytest.approx(expected, abs=2e-3)
