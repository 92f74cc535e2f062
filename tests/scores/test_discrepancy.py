"""Discrepancy of teacher and student against worked values, plain torch and the training loss."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from anomseg.errors import CompatibilityError, ConfigError
from anomseg.scores import feature_discrepancy
from anomseg.scores.discrepancy import DISTANCES, smoothed, stretched

every_distance = pytest.mark.parametrize("distance", DISTANCES)


def pair(seed: int = 0, shape=(2, 5, 3, 4)):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


def test_worked_value():
    teacher = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)
    assert feature_discrepancy(teacher, torch.ones(1, 4, 1, 1)).tolist() == [[[3.5]]]


@every_distance
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_zero_on_agreement_symmetric_never_negative(distance, seed, channels, side):
    teacher, student = pair(seed, (2, channels, side, side + 1))
    score = feature_discrepancy(teacher, student, distance)
    assert score.shape == (2, side, side + 1)
    assert score.min() >= 0
    torch.testing.assert_close(score, feature_discrepancy(student, teacher, distance))
    agreed = feature_discrepancy(teacher, teacher.clone(), distance)
    assert torch.allclose(agreed, torch.zeros(()), atol=1e-6)
    if distance != "cosine":
        assert torch.equal(agreed, torch.zeros_like(agreed))


@pytest.mark.parametrize("k", [0.5, 2.0, 8.0])
def test_scaling_both_by_k_scales_by_its_square(k):
    teacher, student = pair()
    once = feature_discrepancy(teacher, student)
    torch.testing.assert_close(feature_discrepancy(k * teacher, k * student), k * k * once)
    cosine = feature_discrepancy(teacher, student, "cosine")
    torch.testing.assert_close(feature_discrepancy(k * teacher, k * student, "cosine"), cosine)


def test_mean_of_the_map_is_the_training_loss():
    teacher, student = pair()
    torch.testing.assert_close(feature_discrepancy(teacher, student).mean(), F.mse_loss(student, teacher))
    smooth = feature_discrepancy(teacher, student, "smooth_l1").mean()
    torch.testing.assert_close(smooth, F.smooth_l1_loss(student, teacher))


def test_the_largest_channel_alone():
    teacher, student = pair()
    squares = ((teacher - student) ** 2).numpy()
    assert (feature_discrepancy(teacher, student, "max").numpy() == squares.max(axis=1)).all()


def test_cosine_by_hand():
    teacher, student = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1), torch.tensor([4.0, 3.0]).view(1, 2, 1, 1)
    assert feature_discrepancy(teacher, student, "cosine").item() == pytest.approx(1 - 24 / 25, abs=1e-6)


def test_shapes_and_names_are_checked():
    teacher, student = pair()
    with pytest.raises(CompatibilityError, match="one shape"):
        feature_discrepancy(teacher, student[:, :4])
    with pytest.raises(ConfigError, match="did you mean 'cosine'"):
        feature_discrepancy(teacher, student, "cosin")


def test_stretching_each_map_to_its_own_range():
    maps = torch.tensor([[[2.0, 4.0, 6.0]], [[5.0, 5.0, 5.0]]])
    assert stretched(maps).tolist() == [[[0.0, 0.5, 1.0]], [[0.0, 0.0, 0.0]]]
    assert stretched(0 * maps).tolist() == [[[0.0, 0.0, 0.0]]] * 2


def test_a_constant_map_stays_one_after_resizing():
    constant = F.interpolate(torch.full((1, 1, 6, 8), 2.4), (47, 61), mode="bilinear", align_corners=True)[:, 0]
    assert torch.equal(stretched(constant), torch.zeros_like(constant))


@pytest.mark.parametrize("size", [3, 5, 7])
def test_smoothing_is_the_mean_of_the_neighbours_that_there_are(size):
    cells = torch.rand(2, 4, 6, generator=torch.Generator().manual_seed(0))
    found, reach = smoothed(cells, size), size // 2
    for row in range(4):
        for column in range(6):
            part = cells[:, max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
            torch.testing.assert_close(found[:, row, column], part.mean((1, 2)))
    assert smoothed(cells, 1) is cells
