"""What a student is to match, against the batch norm's own input and NumPy's moments."""

import numpy as np
import pytest
import torch
from dicnet_networks import FEATURE, input_of, tiny_teacher
from tiny import TinySegmenter
from torch import nn

from anomseg.detectors.dicnet import distilled_feature, target_from_maps, target_from_norm
from anomseg.detectors.dicnet.target import norm_of
from anomseg.errors import CompatibilityError
from anomseg.registry import SEGMENTERS
from anomseg.segmenters.tiling import TiledSegmenter


def norm_and_output(seed: int = 0, gamma=None, beta=None):
    torch.manual_seed(seed)
    norm = nn.BatchNorm2d(6).eval()
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.1, 3)
        norm.weight.normal_() if gamma is None else norm.weight.fill_(gamma)
        norm.bias.normal_() if beta is None else norm.bias.fill_(beta)
        x = torch.randn(2, 6, 4, 5)
        return norm, x, norm(x)


def test_the_three_norms_of_a_batch_norm():
    norm, x, y = norm_and_output()
    mean, variance = (tensor.view(-1, 1, 1) for tensor in (norm.running_mean, norm.running_var))
    assert torch.equal(target_from_norm(norm, "affine").of(y), y)
    standardized = (x - mean) / (variance + norm.eps).sqrt()
    torch.testing.assert_close(target_from_norm(norm, "standardized").of(y), standardized, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(target_from_norm(norm, "none").of(y), x, rtol=1e-4, atol=1e-4)


def test_gamma_two_and_beta_one():
    norm, _, y = norm_and_output(gamma=2.0, beta=1.0)
    standardized = target_from_norm(norm, "standardized").of(y)
    affine = target_from_norm(norm, "affine").of(y)
    torch.testing.assert_close(affine - standardized, standardized + 1)


def test_turning_affine_off_on_a_built_batch_norm_changes_nothing():
    """The published code does that, and so trains on the affine output."""
    norm, x, y = norm_and_output(gamma=2.0, beta=1.0)
    norm.affine = False
    assert torch.equal(norm(x), y)


def test_a_channel_that_the_batch_norm_has_switched_off_becomes_constant():
    norm, x, _ = norm_and_output()
    with torch.no_grad():
        norm.weight[2] = 0
        y = norm(x)
    for kind in ("standardized", "none"):
        made = target_from_norm(norm, kind).of(y)
        assert made.isfinite().all()
        assert made[:, 2].std() == 0


def test_of_a_whole_teacher():
    teacher = tiny_teacher()
    norm, image = norm_of(teacher, FEATURE), torch.rand(1, 3, 32, 48)
    x = input_of(norm, lambda: teacher(image))
    y = teacher.feature_maps(image, [FEATURE])[FEATURE]
    torch.testing.assert_close(target_from_norm(norm, "none").of(y), x, rtol=1e-4, atol=1e-4)
    assert norm_of(teacher, "bottleneck") is None
    assert norm_of(teacher, "encoder") is None
    assert norm_of(TinySegmenter(), "stem") is None
    assert norm_of(TiledSegmenter(teacher, (32, 32), overlap=8), FEATURE) is norm


def test_moments_where_there_is_no_batch_norm():
    torch.manual_seed(0)
    maps = [3 * torch.randn(5, 4, side) + torch.arange(5.0).view(5, 1, 1) for side in (3, 7, 6)]
    maps = [torch.cat([one[:4], torch.full_like(one[:1], 2.0)]) for one in maps]
    target = target_from_maps(5, iter(maps), "standardized")
    cells = np.concatenate([one.reshape(5, -1).numpy() for one in maps], 1)
    made = target.of(maps[0][None])[0].numpy()
    np.testing.assert_allclose(
        made[:4], (maps[0][:4].numpy() - cells.mean(1)[:4, None, None]) / cells.std(1)[:4, None, None], atol=1e-5
    )
    assert np.all(made[4] == made[4].flat[0])  # constant in training
    assert "3 training crops" in target.said
    for kind in ("affine", "none"):
        as_it_is = target_from_maps(5, iter(()), kind)
        assert torch.equal(as_it_is.of(maps[0][None]), maps[0][None])
        assert "as it is" in as_it_is.said


def test_refusals():
    with pytest.raises(CompatibilityError, match="no training images"):
        target_from_maps(5, iter(()), "standardized")
    with pytest.raises(CompatibilityError, match="4 channels"):
        target_from_maps(5, [torch.zeros(4, 1, 1)], "standardized")
    with pytest.raises(CompatibilityError, match="running statistics"):
        target_from_norm(nn.BatchNorm2d(3, track_running_stats=False), "standardized")


def test_the_feature_of_each_kind_of_teacher():
    assert distilled_feature(tiny_teacher()) == FEATURE
    pyramid = SEGMENTERS.create("pyramid", classes=["a", "b"], widths=(4, 6, 8, 8), bottleneck=6)
    assert distilled_feature(pyramid) == "bottleneck"
    assert distilled_feature(TinySegmenter()) == "stem"


@pytest.mark.parametrize("kind", ["standardized", "affine", "none"])
def test_rectified_is_the_networks_own_activation_whatever_was_matched(kind):
    norm, _, y = norm_and_output()
    target = target_from_norm(norm, kind)
    torch.testing.assert_close(target.rectified(target.of(y)), y.clamp(min=0), rtol=1e-4, atol=1e-4)


def test_a_channel_that_is_switched_off_is_silent_on_both_sides():
    norm, x, _ = norm_and_output()
    with torch.no_grad():
        norm.weight[2], norm.bias[2] = 0, 3
        target = target_from_norm(norm, "standardized")
        teacher, guess = target.rectified(target.of(norm(x))), target.rectified(torch.randn(2, 6, 4, 5))
    assert not teacher[:, 2].any()
    assert not guess[:, 2].any()
    assert teacher.isfinite().all()
    assert guess.isfinite().all()
