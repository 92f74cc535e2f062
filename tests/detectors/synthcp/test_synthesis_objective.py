"""Losses, discriminator and step of synthesis, against plain torch written from the equations."""

import copy
import sys

import pytest
import torch
from torch.nn import functional as F

from anomseg.detectors.synthcp import SPADEGenerator, one_hot_layout
from anomseg.detectors.synthcp.discriminator import PyramidDiscriminator
from anomseg.detectors.synthcp.losses import discriminator_hinge, feature_distance, feature_matching, generator_hinge
from anomseg.detectors.synthcp.objective import (
    SynthesisWeights,
    adversarial_figures,
    adversarial_step,
    discriminator_terms,
    generator_terms,
    two_rates,
)
from anomseg.detectors.synthcp.perceptual import SegmenterDistance, perceptual_distance
from anomseg.detectors.synthcp.synthesis_options import SynthesisTrainerConfig
from anomseg.errors import ConfigError
from anomseg.segmenters.pyramid import PyramidNet


def networks(dims=2, channels=3, width=2):
    torch.manual_seed(0)
    size = (16, 32) if dims == 2 else (8, 8, 8)
    generator = SPADEGenerator(3, channels, dims, size, width=width, hidden=2 * width)
    discriminator = PyramidDiscriminator(3, channels, dims, width=4, layers=2)
    classes = torch.randint(0, 3, (2, *size))
    classes[0, :4] = 255
    layout = one_hot_layout(classes, 3)
    image = torch.rand(2, channels, *size) * 2 - 1
    return generator, discriminator, layout, image


def outputs(seed, scales=2):
    torch.manual_seed(seed)
    return [
        [torch.randn(2, 4, 5 - s, 6), torch.randn(2, 8, 3, 3), 2 * torch.randn(2, 1, 4, 4 - s)] for s in range(scales)
    ]


def test_hinge_and_feature_matching_are_the_plain_formulas():
    fake, real = outputs(0), outputs(1)
    plain = sum((1 - maps[-1]).clamp_min(0).mean() for maps in real) / 2
    torch.testing.assert_close(discriminator_hinge(real, real=True), plain)
    plain = sum((1 + maps[-1]).clamp_min(0).mean() for maps in fake) / 2
    torch.testing.assert_close(discriminator_hinge(fake, real=False), plain)
    torch.testing.assert_close(generator_hinge(fake), -(fake[0][-1].mean() + fake[1][-1].mean()) / 2)
    plain = sum(F.l1_loss(fake[s][layer], real[s][layer]) for s in (0, 1) for layer in (0, 1)) / 2
    torch.testing.assert_close(feature_matching(fake, real), plain)
    maps = [one[0] for one in fake], [one[0] for one in real]
    torch.testing.assert_close(
        feature_distance(*maps), (F.l1_loss(fake[0][0], real[0][0]) + F.l1_loss(fake[1][0], real[1][0])) / 2
    )


def test_the_hinge_of_monai_is_another_loss():
    """Why it is not used: outputs go through tanh, and the generator stops at outputs of 1."""
    from monai.losses import PatchAdversarialLoss

    theirs, strong = PatchAdversarialLoss(criterion="hinge"), [[torch.full((1, 1, 2, 2), 3.0)]]
    flat = [maps[-1] for maps in strong]
    assert discriminator_hinge(strong, real=False).item() == 4
    assert theirs(flat, target_is_real=False, for_discriminator=True).item() < 2
    assert generator_hinge(strong).item() == -3
    assert theirs(flat, target_is_real=True, for_discriminator=False).item() >= 0


def test_feature_matching_moves_the_rendering_alone():
    fake, real = ([[torch.randn(1, 2, 3, 3, requires_grad=True) for _ in range(3)]] for _ in range(2))
    feature_matching(fake, real).backward()
    assert [one.grad is not None for one in fake[0]] == [True, True, False]
    assert [one.grad is not None for one in real[0]] == [False, False, False]


@pytest.mark.parametrize(("dims", "channels"), [(2, 3), (3, 1)])
def test_the_discriminator_reads_layout_and_image_on_two_scales(dims, channels):
    _, discriminator, layout, image = networks(dims, channels)
    scales = discriminator.eval()(layout, image)
    assert [len(maps) for maps in scales] == [4, 4]
    assert all(maps[-1].shape[1] == 1 for maps in scales)
    assert [maps[1].shape[1] for maps in scales] == [8, 8]
    assert all(one < two for one, two in zip(scales[1][-1].shape[2:], scales[0][-1].shape[2:], strict=True))
    # Half the size, as the mean of the neighbours that there are.
    x = torch.cat([layout, image], 1)
    pool, ones = (F.avg_pool2d if dims == 2 else F.avg_pool3d), torch.ones_like(x)
    halved = pool(x, 3, 2, 1) / pool(ones, 3, 2, 1)
    for ours, theirs in zip(discriminator.networks[1](halved), scales[1], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)
    moved = discriminator(layout.flip(0), image)
    assert not torch.allclose(moved[0][-1], scales[0][-1])


def test_the_published_discriminator():
    with torch.device("meta"):
        discriminator = PyramidDiscriminator(19, width=64)
    for network in discriminator.networks:
        kernels = [one.weight for one in network.modules() if isinstance(one, torch.nn.Conv2d)]
        assert [tuple(one.shape[:2]) for one in kernels] == [(64, 22), (128, 64), (256, 128), (512, 256), (1, 512)]
        strides = [one.stride for one in network.modules() if isinstance(one, torch.nn.Conv2d)]
        assert strides == [(2, 2), (2, 2), (2, 2), (1, 1), (1, 1)]
    assert len(discriminator.networks) == 2


def test_twenty_steps_are_those_of_a_plain_loop():
    generator, discriminator, layout, image = networks()
    weights = SynthesisWeights(features=10.0, pixels=2.0)
    g, d = copy.deepcopy(generator), copy.deepcopy(discriminator)
    adam_g = torch.optim.Adam(g.parameters(), lr=1e-3, betas=(0.0, 0.9))
    adam_d = torch.optim.Adam(d.parameters(), lr=4e-3, betas=(0.0, 0.9))
    optimisers = two_rates(generator, discriminator, learning_rate=1e-3)
    for _ in range(20):
        told = adversarial_step(generator, discriminator, *optimisers, layout, image, weights=weights)

        fake = g(layout)
        seen, made = d(layout, image), d(layout, fake)
        hinge = -(made[0][-1].mean() + made[1][-1].mean()) / 2
        matching = sum((seen[s][i].detach() - made[s][i]).abs().mean() for s in (0, 1) for i in range(3)) / 2
        pixels = (fake - image).abs().mean()
        loss = hinge + 10 * matching + 2 * pixels
        adam_g.zero_grad()
        loss.backward()
        adam_g.step()

        seen, made = d(layout, image), d(layout, fake.detach())
        real = (F.relu(1 - seen[0][-1]).mean() + F.relu(1 - seen[1][-1]).mean()) / 2
        false = (F.relu(1 + made[0][-1]).mean() + F.relu(1 + made[1][-1]).mean()) / 2
        adam_d.zero_grad()
        (real + false).backward()
        adam_d.step()

        for name, plain in (("loss", loss), ("real", real), ("fake", false), ("features", matching)):
            torch.testing.assert_close(told[name], plain.detach(), atol=1e-4, rtol=1e-3)
    for ours, plain in ((generator, g), (discriminator, d)):
        for (name, one), other in zip(ours.state_dict().items(), plain.state_dict().values(), strict=True):
            torch.testing.assert_close(one, other, atol=2e-3, rtol=1e-2, msg=name)


def test_figures_of_validation_are_the_terms_of_both():
    generator, discriminator, layout, image = networks()
    generator.eval()
    discriminator.eval()
    rendering, told = adversarial_figures(generator, discriminator, layout, image, F.mse_loss)
    terms = generator_terms(generator, discriminator, layout, image, F.mse_loss)
    real, fake = discriminator_terms(discriminator, layout, image, terms.rendering)
    torch.testing.assert_close(told, {**terms.told(), "real": real.detach(), "fake": fake.detach()})
    assert torch.equal(rendering, terms.rendering)


def test_each_network_is_moved_by_its_own_loss():
    generator, discriminator, layout, image = networks()
    before = copy.deepcopy(discriminator.state_dict())
    still = torch.optim.SGD(discriminator.parameters(), lr=0.0)
    adversarial_step(generator, discriminator, two_rates(generator, discriminator)[0], still, layout, image)
    parameters = dict(discriminator.named_parameters())
    assert all(torch.equal(before[name], value) for name, value in parameters.items())
    assert all(value.requires_grad and value.grad is not None for value in parameters.values())
    # The rendering's hinge does not reach the generator through the discriminator's step.
    generator.zero_grad()
    real, fake = discriminator_terms(discriminator, layout, image, generator(layout))
    (real + fake).backward()
    assert all(value.grad is None for value in generator.parameters())


def test_gradients_are_clipped_each_by_itself():
    generator, discriminator, layout, image = networks()
    optimisers = [torch.optim.SGD(one.parameters(), lr=0.0) for one in (generator, discriminator)]
    adversarial_step(generator, discriminator, *optimisers, layout, image, clip=1e-3)
    for network in (generator, discriminator):
        norm = torch.stack([one.grad.norm() for one in network.parameters() if one.grad is not None]).norm()
        assert norm.item() == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize(("dims", "channels"), [(2, 3), (3, 1)])
def test_one_image_is_learned(dims, channels):
    generator, discriminator, layout, image = networks(dims, channels, width=4)
    layout = F.interpolate(layout, scale_factor=0.25)
    layout = F.interpolate(layout, scale_factor=4.0)  # patches of one class instead of noise
    image = torch.einsum("bc...,cd->bd...", layout, torch.linspace(-0.8, 0.8, 3 * channels).view(3, channels))
    optimisers = two_rates(generator, discriminator, learning_rate=3e-3, discriminator_rate=1.0)
    weights = SynthesisWeights(features=10.0, pixels=10.0)
    before = generator_terms(generator.eval(), discriminator, layout, image).pixels
    generator.train()
    for _ in range(40):
        adversarial_step(generator, discriminator, *optimisers, layout, image, weights=weights)
    after = generator_terms(generator.eval(), discriminator, layout, image).pixels
    assert after < 0.5 * before


def test_published_rates_and_their_fall():
    generator, discriminator, *_ = networks()
    of_generator, of_discriminator = two_rates(generator, discriminator)
    assert of_generator.defaults["lr"] == pytest.approx(1e-4)
    assert of_discriminator.defaults["lr"] == pytest.approx(4e-4)
    assert of_generator.defaults["betas"] == of_discriminator.defaults["betas"] == (0.0, 0.9)
    trainer = SynthesisTrainerConfig(steps=200, validate_every=100)
    factors = [trainer.factor(step) for step in range(201)]
    assert factors[:101] == [1.0] * 101
    assert factors[150] == pytest.approx(0.5)
    assert factors[200] == 0
    assert SynthesisTrainerConfig(decay_from=1.0).factor(400) == 1


def test_the_perceptual_loss_of_a_segmenter_reads_images_from_0_to_1_and_stays_as_it_is():
    torch.manual_seed(0)
    segmenter = PyramidNet(["a", "b"]).eval()
    names = list(segmenter.feature_info)[:2]
    distance = SegmenterDistance(segmenter, names).train()
    assert not segmenter.training
    rendering, image = torch.rand(1, 3, 30, 41).requires_grad_(), torch.rand(1, 3, 30, 41)
    maps = [segmenter.feature_maps(segmenter.pad(one), names) for one in (rendering, image)]
    plain = sum(F.l1_loss(maps[0][name], maps[1][name]) for name in names) / 2
    found = distance(2 * rendering - 1, 2 * image - 1)
    torch.testing.assert_close(found, plain)
    found.backward()
    assert rendering.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in segmenter.parameters())
    generator, discriminator, layout, picture = networks()
    terms = generator_terms(generator, discriminator, layout, picture, distance)
    torch.testing.assert_close(
        terms.total(SynthesisWeights(features=0.0, perceptual=7.0)), terms.adversarial + 7 * terms.perceptual
    )
    with pytest.raises(ConfigError, match="unknown feature"):
        SegmenterDistance(segmenter, ["no"])
    with pytest.raises(ConfigError, match="name feature maps"):
        SegmenterDistance(segmenter, [])


def test_a_perceptual_network_that_cannot_be_had_is_told_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "monai.losses", None)
    with pytest.raises(ConfigError, match="name a saved segmenter") as caught:
        perceptual_distance("vgg", ())
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="leave perceptual_features out"):
        perceptual_distance("vgg", ("relu1",))


def test_without_monai_training_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)
    with pytest.raises(ConfigError, match=r"pip install 'anomseg\[train\]'"):
        PyramidDiscriminator(3)
