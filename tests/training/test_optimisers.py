import pytest
import torch

from anomseg.registry import SEGMENTERS
from anomseg.segmenters.erfnet_pyramid import ERFNetPyramid
from anomseg.segmenters.pyramid import PyramidNet
from anomseg.training.optimisers import build_optimiser, parameter_groups
from anomseg.training.options import OptimiserConfig

PUBLISHED = OptimiserConfig(
    steps=100,
    validate_every=50,
    optimiser="sgd",
    schedule="poly",
    learning_rate=0.007,
    weight_decay=1e-4,
    decay_all=True,
)


def _network():
    return PyramidNet(["a", "b"], widths=(4, 4, 4, 4), bottleneck=4)


def _run(optimiser, schedule, steps):
    rates = []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return rates


def test_poly_rates_are_pans():
    """Fontanel et al. 2021: at half of the iterations .007 * .5 ** .9 = .003751."""
    optimiser, schedule = build_optimiser(_network(), PUBLISHED)
    rates = _run(optimiser, schedule, 100)
    assert rates[0] == pytest.approx(0.007)
    assert rates[50] == pytest.approx(0.003751, abs=5e-7)
    assert rates == pytest.approx([0.007 * (1 - step / 100) ** 0.9 for step in range(100)])


def test_sgd_steps_are_nesterovs_written_out():
    optimiser, _ = build_optimiser(_network(), PUBLISHED)
    parameter = optimiser.param_groups[0]["params"][0]
    value, speed = parameter.detach().clone(), torch.zeros_like(parameter)
    for step in range(3):
        for one in optimiser.param_groups[0]["params"]:
            one.grad = torch.full_like(one, 0.1 * (step + 1))
        gradient = parameter.grad + 1e-4 * value
        speed = 0.9 * speed + gradient
        value = value - 0.007 * (gradient + 0.9 * speed)
        optimiser.step()
    torch.testing.assert_close(parameter.detach(), value)


def test_weight_decay_spares_norms_and_biases_unless_told():
    network = _network()
    spared = parameter_groups(network, OptimiserConfig())
    assert {group["weight_decay"]: {p.ndim > 1 for p in group["params"]} for group in spared} == {
        0.02: {True},
        0.0: {False},
    }
    (everything,) = parameter_groups(network, PUBLISHED)
    assert everything["weight_decay"] == 1e-4
    assert len(everything["params"]) == len(list(network.parameters()))


def test_the_encoder_may_learn_slower_and_frozen_parameters_are_left_out():
    network = ERFNetPyramid(["a", "b"], bottleneck=8)
    encoder = set(network.encoder.parameters())
    groups = parameter_groups(network, OptimiserConfig(learning_rate=0.5, encoder_rate=0.1))
    for group in groups:
        assert {parameter in encoder for parameter in group["params"]} == {group["lr"] == pytest.approx(0.05)}
    network.encoder.requires_grad_(False)
    trained = [p for group in parameter_groups(network, OptimiserConfig()) for p in group["params"]]
    assert len(trained) == len(list(network.parameters())) - len(encoder)
    assert not encoder & set(trained)


def test_each_groups_cosine_has_its_own_peak():
    network = ERFNetPyramid(["a", "b"], bottleneck=8)
    config = OptimiserConfig(steps=40, validate_every=40, learning_rate=0.5, encoder_rate=0.1, warmup=0.25)
    optimiser, schedule = build_optimiser(network, config)
    peaks = {group["weight_decay"]: [] for group in optimiser.param_groups}
    seen = []
    for _ in range(40):
        seen.append([group["lr"] for group in optimiser.param_groups])
        optimiser.step()
        schedule.step()
    peaks = sorted({round(max(rates), 6) for rates in zip(*seen, strict=True)})
    assert peaks == pytest.approx([0.05, 0.5], rel=0.02)
    assert max(seen[-1]) < 0.02


def test_adam_decays_through_the_gradient_at_a_constant_rate():
    """Adam as in DiCNet: torch's own, its weight decay added to the gradient, the rate never moved."""
    config = OptimiserConfig(
        steps=10, validate_every=5, optimiser="adam", schedule="constant", learning_rate=1e-2, weight_decay=0.5,
        decay_all=True,
    )  # fmt: skip
    network = _network()
    optimiser, schedule = build_optimiser(network, config)
    parameter = optimiser.param_groups[0]["params"][0]
    value, first, second = parameter.detach().clone(), 0.0, 0.0
    for step in range(1, 4):
        for one in network.parameters():
            one.grad = torch.full_like(one, 0.1 * step)
        gradient = parameter.grad + 0.5 * value
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        value = value - 1e-2 * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
        optimiser.step()
        schedule.step()
        assert schedule.get_last_lr() == [1e-2] * len(optimiser.param_groups)
    torch.testing.assert_close(parameter.detach(), value, rtol=1e-5, atol=1e-6)


def test_the_outlier_head_learns_at_its_own_rate():
    network = SEGMENTERS.create(
        "erfnet_pyramid", classes=["a", "b"], bottleneck=8, outlier_layers=["bottleneck"], outlier_width=4
    )
    groups = parameter_groups(network, OptimiserConfig(learning_rate=0.5, encoder_rate=0.1, outlier_rate=4.0))
    rates = {parameter: group["lr"] for group in groups for parameter in group["params"]}
    head = {*network.outlier.parameters(), *network.outlier_auxiliary.parameters()}
    assert head
    for parameter in network.parameters():
        encoder = any(parameter is one for one in network.encoder.parameters())
        assert rates[parameter] == pytest.approx(2.0 if parameter in head else 0.05 if encoder else 0.5)
