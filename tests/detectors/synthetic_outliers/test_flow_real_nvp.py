"""The convolutional Real NVP: inverse, sizes, samples, saved form, and an independent library."""

import json

import numpy as np
import pytest
import torch
from flow_toys import stirred
from scipy.special import logit
from torch import nn

from anomseg.detectors.synthetic_outliers.flow import (
    FlowDivergedError,
    RealNVP,
    flow_meta,
    is_flow_directory,
    latent_shapes,
    load_flow,
    normal_log_density,
    save_flow,
)
from anomseg.detectors.synthetic_outliers.flow.layout import checkerboard, halves
from anomseg.errors import CompatibilityError, ConfigError, DataError

SIZES = [(8, 8), (16, 24), (4, 36)]


def images(size, count=3, channels=3, seed=0):
    levels = torch.randint(0, 256, (count, channels, *size), generator=torch.Generator().manual_seed(seed))
    return levels.float() / 255


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_inverse(scales):
    """f^-1(f(x)) = x within 1e-5, at float32, for every size that divides."""
    flow = stirred(scales=scales)
    assert flow.divisor == 2**scales
    for side in (8, 24):
        x = images((side, 16))
        with torch.no_grad():
            latents, logdet = flow.encode(x)
            back = flow.decode(latents)
        assert (back - x).abs().max() < 1e-5
        assert logdet.shape == (3,)
        assert [tuple(latent.shape[1:]) for latent in latents] == latent_shapes(3, scales, (side, 16))
        assert sum(latent[0].numel() for latent in latents) == x[0].numel()


def test_latents_and_back():
    flow = stirred()
    generator = torch.Generator().manual_seed(1)
    latents = [torch.randn(2, *shape, generator=generator) for shape in latent_shapes(3, 2, (12, 8))]
    with torch.no_grad():
        again, _ = flow.to_latents(flow.from_latents(latents))
    for before, after in zip(latents, again, strict=True):
        assert (before - after).abs().max() < 1e-4


def test_every_image_is_judged_by_itself():
    flow = stirred()
    x = images((8, 16))
    with torch.no_grad():
        together = flow.bits_per_dimension(x, noise=False)
        alone = torch.cat([flow.bits_per_dimension(one[None], noise=False) for one in x])
    torch.testing.assert_close(together, alone)
    assert together.unique().numel() == 3


def test_every_value_of_the_image_matters_to_the_latents():
    """The checkerboards and halves leave no channel that no coupling transforms."""
    flow = stirred()
    x = images((8, 8), 1)
    with torch.no_grad():
        plain = flow.to_latents(torch.zeros_like(x))[0]
        fresh = RealNVP(width=6, blocks=1).to_latents(x)[0]
    assert all(bool((latent != 0).all()) for latent in plain)
    # A new flow only sorts: both latent maps together are the image's values.
    assert torch.equal(torch.cat([one.flatten() for one in fresh]).sort().values, x.flatten().sort().values)


@pytest.mark.parametrize("channels", [4, 8, 12])
def test_parts_are_all_channels(channels):
    for first, second in (checkerboard(channels), halves(channels)):
        assert sorted(first + second) == list(range(channels))
        assert len(first) == len(second)


def test_of_uniform_noise_no_flow_beats_eight_bits_and_a_logistic_takes_what_the_integral_says():
    """The identity on logits: E[-log2 p(v)] + 8 of uniform v, by a plain quadrature."""
    v = (np.arange(200_000) + 0.5) / 200_000
    p = ((2 * v - 1) * 0.9 + 1) / 2
    density = np.exp(-(logit(p) ** 2) / 2) / np.sqrt(2 * np.pi) * 0.9 / (p * (1 - p))
    expected = 8 - np.log2(density).mean()
    found = RealNVP(width=2, blocks=0).bits_per_dimension(images((64, 64), 4), torch.Generator().manual_seed(0))
    assert found.mean().item() == pytest.approx(expected, abs=0.01)
    assert found.mean() > 8


def test_maximum_likelihood_learns_a_distribution():
    """Pixels of three neighbouring levels: log2 3 = 1.585 bits is the least there is, and 8 where one starts."""
    torch.manual_seed(0)
    flow = RealNVP(channels=1, scales=1, width=8, blocks=1, channelwise=0)
    optimiser = torch.optim.Adamax(flow.parameters(), 0.05)
    generator = torch.Generator().manual_seed(0)
    for _ in range(80):
        x = torch.randint(100, 103, (16, 1, 4, 4), generator=generator) / 255
        loss = flow.bits_per_dimension(x, generator).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert 1.55 < loss.item() < 2.6
    with torch.no_grad():
        drawn = flow.sample(64, (4, 4), generator) * 256
        odd = flow.bits_per_dimension(torch.full((1, 1, 4, 4), 200 / 255), generator)
    assert ((drawn > 98) & (drawn < 105)).float().mean() > 0.9
    assert odd.item() > 2 * loss.item()


@pytest.mark.parametrize("size", SIZES)
def test_samples_of_any_size_are_continuous_and_differentiable(size):
    flow = stirred()
    drawn = flow.sample(2, size, torch.Generator().manual_seed(0))
    assert drawn.shape == (2, 3, *size)
    assert drawn.dtype == torch.float32
    assert 0 <= drawn.min() <= drawn.max() <= 1
    # Nothing rounds them to levels: the released follow-up loses its gradient there.
    assert ((drawn * 255) - (drawn * 255).round()).abs().mean() > 0.1
    drawn.square().mean().backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    moved = [name for name, parameter in flow.named_parameters() if bool(parameter.grad.any())]
    assert {name.split(".couplings")[0] for name in moved} == {"levels.0", "levels.1"}


def test_samples_are_seeded_and_follow_the_temperature():
    flow = stirred()
    with torch.no_grad():
        one, two, other = (flow.sample(4, (8, 8), torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
        cold = flow.sample(4, (8, 8), torch.Generator().manual_seed(0), temperature=0.0)
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(cold[0], cold[1])
    assert one.std() > cold.std()


def test_samples_have_the_density_they_are_judged_by():
    """ln p of a decoded latent is its normal density plus the log-determinant of the way back."""
    flow = stirred()
    latents = [0.3 * torch.randn(2, *shape) for shape in latent_shapes(3, 2, (8, 8))]
    with torch.no_grad():
        x = flow.decode(latents)
        assert 0 < x.min() < x.max() < 1
        _, logdet = flow.encode(x)
        expected = sum(normal_log_density(latent) for latent in latents) + logdet
        torch.testing.assert_close(flow.log_density(x), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("size", [(7, 8), (8, 10), (0, 8), (1, 1)])
def test_odd_sizes_are_refused_in_one_line(size):
    flow = stirred()
    for call in (lambda: flow.sample(1, size), lambda: flow.encode(torch.rand(1, 3, *size))):
        with pytest.raises(ConfigError, match="multiples of 4") as caught:
            call()
        assert "\n" not in str(caught.value)
        assert f"{size[0]}x{size[1]}" in str(caught.value)


def test_other_channels_are_refused():
    with pytest.raises(ConfigError, match=r"\(B, 3, h, w\)"):
        stirred().bits_per_dimension(torch.rand(1, 1, 8, 8))


def test_a_flow_that_diverged_says_so_in_one_line(tmp_path):
    flow = stirred()
    with torch.no_grad():
        next(flow.parameters()).fill_(float("nan"))
    with pytest.raises(FlowDivergedError, match="diverged") as caught:
        flow.sample(1, (8, 8))
    assert "\n" not in str(caught.value)
    save_flow(flow, tmp_path)
    with pytest.raises(DataError, match="diverged"):
        load_flow(tmp_path)


@pytest.mark.parametrize(
    "options", [{"channels": 0}, {"scales": 0}, {"width": 0}, {"constraint": 1.0}, {"blocks": -1}, {"constraint": 0.0}]
)
def test_options_out_of_range(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        RealNVP(**options)


def test_no_layer_counts_over_a_batch():
    """Batch norm would have to be frozen when sampling; there is none, nor any other state than the parameters."""
    flow = RealNVP()
    assert set(flow.state_dict()) == {name for name, _ in flow.named_parameters()}


def test_saved_and_loaded_bit_for_bit(tmp_path):
    flow = stirred(scales=3, channelwise=1, constraint=0.8)
    save_flow(flow, tmp_path / "flow", {"fitted_on": {"frames": 3}})
    assert is_flow_directory(tmp_path / "flow")
    assert not is_flow_directory(tmp_path)
    loaded = load_flow(tmp_path / "flow")
    assert loaded.options() == flow.options()
    assert not loaded.training
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in flow.state_dict().items())
    x = images((16, 8))
    with torch.no_grad():
        assert torch.equal(loaded.bits_per_dimension(x, noise=False), flow.bits_per_dimension(x, noise=False))
    assert flow_meta(tmp_path / "flow") == {"fitted_on": {"frames": 3}}
    save_flow(loaded, tmp_path / "again", flow_meta(tmp_path / "flow"))
    for name in ("flow.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "flow" / name).read_bytes()


def _edit(path, change):
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "flow.json").unlink(), "holds no flow.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "is missing"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 99), "sha256"),
        (lambda folder: (folder / "flow.json").write_text("{"), "JSON"),
        (lambda folder: _edit(folder / "flow.json", lambda one: one.update(schema=9)), "update anomseg"),
        (lambda folder: _edit(folder / "flow.json", lambda one: one.update(flow="glow")), "names no flow"),
        (lambda folder: _edit(folder / "flow.json", lambda one: one.update(options=[])), "no JSON object"),
        (lambda folder: _edit(folder / "flow.json", lambda one: one["options"].update(depth=3)), "damaged"),
        (lambda folder: _edit(folder / "flow.json", lambda one: one["options"].update(width="x")), "damaged"),
        (lambda folder: _edit(folder / "flow.json", lambda one: one["options"].update(width=7)), "do not fit"),
    ],
)
def test_damaged_directories(tmp_path, damage, words):
    save_flow(stirred(), tmp_path)
    damage(tmp_path)
    with pytest.raises((DataError, CompatibilityError), match=words) as caught:
        load_flow(tmp_path)
    assert "\n" not in str(caught.value)


class Interleaved(nn.Module):
    """Our conditioner as normflows expects one: shift and log-scale by turns."""

    def __init__(self, coupling):
        super().__init__()
        self.coupling = coupling

    def forward(self, read):
        raw, shift = self.coupling.conditioner(read).chunk(2, 1)
        scale = self.coupling.scale.view(-1, 1, 1) * raw.tanh()
        return torch.stack([shift, scale], 2).flatten(1, 2)


def test_normflows_agrees():
    """Logit, squeeze, couplings, splits and density of another library, wired up to the same weights."""
    nf = pytest.importorskip("normflows")
    flow = stirred()
    x = images((8, 12)).clamp(0.01, 0.99)
    with torch.no_grad():
        real, total = nf.transforms.Logit(alpha=0.05).inverse(x)
        density = torch.zeros(len(x))
        for index, level in enumerate(flow.levels):
            real, _ = nf.flows.Squeeze().inverse(real)
            for coupling in level.couplings:
                order = torch.cat([coupling.reads, coupling.writes])
                real, logdet = nf.flows.AffineCouplingBlock(Interleaved(coupling)).forward(real[:, order])
                real, total = real[:, order.argsort()], total + logdet
            if index == 0:
                kept, aside = checkerboard(real.shape[1])
                (real, latent), _ = nf.flows.Split("channel").forward(real[:, kept + aside])
                density += nf.distributions.DiagGaussian(latent.shape[1:], trainable=False).log_prob(latent)
        density += nf.distributions.DiagGaussian(real.shape[1:], trainable=False).log_prob(real)
        latents, logdet = flow.encode(x)
        torch.testing.assert_close(latents[0], latent)
        torch.testing.assert_close(latents[1], real)
        torch.testing.assert_close(logdet, total, rtol=1e-5, atol=1e-3)
        torch.testing.assert_close(flow.log_density(x), density + total, rtol=1e-5, atol=1e-3)
