"""ODIN as a detector: which way it steps, where, and what it leaves alone."""

from dataclasses import replace

import pytest
import torch
from tiny import CLASSES, IdentitySegmenter, TinySegmenter, scene_of

from anomseg.detectors import anomaly_maps, create_detector
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.segmenters.base import SegmentationOutput, Segmenter
from anomseg.segmenters.scene import Scene


class Linear(Segmenter):
    """Logits are the channels of the image as they are, padded to multiples of 4; class 2 is shown in padding only."""

    def __init__(self) -> None:
        super().__init__(("a", "b", "c"), divisor=4)
        self.scale = torch.nn.Parameter(torch.ones(1))

    def segment(self, batch, features):
        size = (batch.shape[-2], batch.shape[-1])
        return SegmentationOutput(batch * self.scale, size, size)


def one_pixel(values, network=None) -> Scene:
    images = torch.tensor(values)[None, :, None, None].expand(1, 3, 4, 4).contiguous()
    return Scene(images, ["x"], [(4, 4)], network or Linear())


def test_by_hand():
    """On logits l = x the likeliest class goes up by epsilon and the others down, so confidence rises."""
    detector = create_detector("odin", epsilon=0.05, temperature=2.0)
    moved = detector.perturbed(one_pixel([0.6, 0.3, 0.2]))[0, :, 0, 0]
    torch.testing.assert_close(moved, torch.tensor([0.65, 0.25, 0.15]))
    expected = 1 - (moved / 2).softmax(0).max()
    torch.testing.assert_close(anomaly_maps(detector, one_pixel([0.6, 0.3, 0.2]))[0], expected.expand(4, 4))


def test_the_opposite_sign_of_published_code_would_be_seen():
    scene = scene_of(TinySegmenter())
    still = create_detector("odin", epsilon=0.0)
    moving = create_detector("odin", epsilon=1e-3)
    assert anomaly_maps(moving, scene)[0].mean() < anomaly_maps(still, scene)[0].mean()


def test_epsilon_zero_is_msp_at_the_temperature():
    segmenter = TinySegmenter()
    scene = scene_of(segmenter)
    expected = 1 - (scene.logits() / 3).softmax(1).amax(1)
    score = anomaly_maps(create_detector("odin", epsilon=0.0), scene)[0]
    torch.testing.assert_close(score[None], expected.detach(), atol=1e-5, rtol=1e-5)


def test_padding_neither_counts_nor_moves_by_itself():
    scene = scene_of(Linear(), [(6, 7)])
    scene.images[..., 6:, :] = torch.rand(3, 2, 8)  # whatever stands in the padding
    moved = create_detector("odin", epsilon=0.01).perturbed(scene)
    assert moved.shape == (1, 3, 8, 8)
    assert torch.equal(moved[..., 6:, :7], moved[..., 5:6, :7].expand(-1, -1, 2, -1))
    assert torch.equal(moved[..., 7:], moved[..., 6:7])
    change = (moved - scene.images)[..., :6, :7]
    torch.testing.assert_close(change.abs(), torch.full_like(change, 0.01))


def test_clamp():
    scene = one_pixel([1.0, 0.0, 0.5])
    free, clamped = (create_detector("odin", epsilon=0.1, clamp=clamp).perturbed(scene) for clamp in (False, True))
    assert free.max() > 1
    assert free.min() < 0
    assert torch.equal(clamped, free.clamp(0, 1))


def test_two_passes_and_no_gradient_left():
    segmenter = TinySegmenter()
    scene = scene_of(segmenter)
    detector = create_detector("odin")
    assert not detector.needs(segmenter).first_pass
    before = segmenter.passes
    score = anomaly_maps(detector, scene)[0]
    assert segmenter.passes - before == detector.forward_passes == 2
    assert not score.requires_grad
    assert all(parameter.grad is None and parameter.requires_grad for parameter in segmenter.parameters())
    assert scene.images.grad is None


def test_it_works_under_inference_mode_and_on_images_made_there():
    segmenter = TinySegmenter()
    with torch.inference_mode():
        score = create_detector("odin").score(scene_of(segmenter))
    assert torch.equal(score[0], anomaly_maps(create_detector("odin"), scene_of(segmenter))[0])


class _Frozen(IdentitySegmenter):
    provides = IdentitySegmenter.provides - {"gradient"}


class _Cut(IdentitySegmenter):
    def segment(self, batch, features):
        output = super().segment(batch, features)
        return replace(output, logits=output.logits.detach())


def test_networks_without_gradients_are_refused():
    with pytest.raises(CompatibilityError, match="gives none"):
        create_detector("odin").needs(_Frozen(CLASSES))
    scene = Scene(torch.randn(1, 5, 8, 8), ["x"], [(8, 8)], _Cut(CLASSES))
    with pytest.raises(CompatibilityError, match="no gradient"):
        anomaly_maps(create_detector("odin"), scene)


@pytest.mark.parametrize("options", [{"epsilon": -1e-4}, {"epsilon": float("nan")}, {"temperature": 0.0}])
def test_options(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        create_detector("odin", **options)
