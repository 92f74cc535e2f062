"""Standardized max logits and their post-processing against a slow reading of the definition."""

import numpy as np
import pytest
import scipy.ndimage
import torch

from anomseg import scores
from anomseg.errors import CompatibilityError


def boundary_by_definition(classes: np.ndarray) -> np.ndarray:
    height, width = classes.shape
    boundary = np.zeros(classes.shape, bool)
    for y in range(height):
        for x in range(width):
            cross = [
                classes[v, u]
                for v, u in ((y, x), (y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
                if 0 <= v < height and 0 <= u < width
            ]
            square = classes[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            boundary[y, x] = max(cross) != square.min()
    return boundary


def suppress_by_definition(score: np.ndarray, classes: np.ndarray) -> np.ndarray:
    height, width = score.shape
    boundary = boundary_by_definition(classes)
    places = np.argwhere(boundary)
    score = score.astype(np.float64)
    for expansion in (3, 2, 1, 0):
        wide = np.zeros_like(boundary)
        for y in range(height):
            for x in range(width):
                wide[y, x] = len(places) and np.abs(places - (y, x)).sum(1).min() <= expansion
        result = score.copy()
        for y, x in np.argwhere(wide):
            inside = []
            for v in (y - 1, y, y + 1):
                for u in (x - 1, x, x + 1):
                    at = min(max(v, 0), height - 1), min(max(u, 0), width - 1)
                    if not wide[at]:
                        inside.append(score[at])
            if inside:
                result[y, x] = np.mean(inside)
        score = result
    return score


def smooth_by_definition(score: np.ndarray) -> np.ndarray:
    height, width = score.shape
    offsets = np.arange(-3, 4)
    kernel = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / 2)
    kernel /= kernel.sum()
    result = np.zeros(score.shape)
    for y in range(height):
        for x in range(width):
            rows = np.clip(y + 6 * offsets, 0, height - 1)
            columns = np.clip(x + 6 * offsets, 0, width - 1)
            result[y, x] = (kernel * score[np.ix_(rows, columns)]).sum()
    return result


def random_maps(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A score and a class map of blobs, some of them one pixel wide."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 30, 2)
    sigma = rng.choice([0.0, 1.0, 2.5, 5.0])
    smooth = scipy.ndimage.gaussian_filter(rng.normal(size=(4, height, width)), (0, sigma, sigma))
    return rng.normal(size=(height, width)), smooth.argmax(0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_acceptance_facts(dtype):
    mean, variance = torch.tensor([5.0, 10.0]), torch.tensor([4.0, 1.0])
    logits = torch.tensor([[7.0, 1.0], [1.0, 9.0]], dtype=dtype).T.reshape(1, 2, 1, 2)
    assert scores.standardized_max_logit(logits, mean, variance).flatten().tolist() == [-1.0, 1.0]
    constant = torch.full((2, 23, 31), 3.0, dtype=dtype)
    classes = torch.from_numpy(np.random.default_rng(0).integers(0, 4, (2, 23, 31)))
    torch.testing.assert_close(scores.sml_suppress_and_smooth(constant, classes), constant)
    assert scores.sml_suppress_and_smooth(constant, classes).dtype == dtype


@pytest.mark.parametrize("seed", range(40))
def test_equal_to_the_definition(seed):
    score, classes = random_maps(seed)
    tensor, prediction = torch.from_numpy(score)[None], torch.from_numpy(classes)[None]
    np.testing.assert_array_equal(scores.class_boundaries(prediction)[0], boundary_by_definition(classes))
    suppressed = suppress_by_definition(score, classes)
    np.testing.assert_allclose(scores.suppress_boundaries(tensor, prediction)[0], suppressed, atol=1e-12)
    np.testing.assert_allclose(scores.dilated_smoothing(tensor)[0], smooth_by_definition(score), atol=1e-12)
    np.testing.assert_allclose(
        scores.sml_suppress_and_smooth(tensor, prediction)[0], smooth_by_definition(suppressed), atol=1e-12
    )


def test_image_borders_are_no_boundary():
    assert not scores.class_boundaries(torch.full((1, 6, 7), 5)).any()
    assert not scores.class_boundaries(torch.zeros(1, 6, 7, dtype=torch.int64)).any()


def test_far_pixels_and_whole_maps_without_boundary_keep_their_values():
    score = torch.randn(1, 20, 40, generator=torch.Generator().manual_seed(0))
    classes = torch.zeros(1, 20, 40, dtype=torch.int64)
    assert torch.equal(scores.suppress_boundaries(score, classes), score)
    classes[..., 20:] = 1  # boundary at columns 19 and 20, widened to 16..23
    result = scores.suppress_boundaries(score, classes)
    assert torch.equal(result[..., :16], score[..., :16])
    assert torch.equal(result[..., 24:], score[..., 24:])
    assert (result[..., 16:24] != score[..., 16:24]).all()


def test_boundary_spikes_are_removed_not_spread():
    score = torch.ones(1, 15, 40)
    classes = torch.zeros(1, 15, 40, dtype=torch.int64)
    classes[..., 20:] = 1
    score[..., 19:21] = 50.0
    torch.testing.assert_close(scores.suppress_boundaries(score, classes), torch.ones_like(score))


def test_everything_boundary_keeps_its_values():
    score = torch.randn(1, 9, 9)
    classes = (torch.arange(9)[:, None] + torch.arange(9)[None]).remainder(2)[None]
    assert torch.equal(scores.suppress_boundaries(score, classes), score)


def test_batches_equal_single_maps():
    rng = np.random.default_rng(3)
    score = torch.from_numpy(rng.normal(size=(3, 21, 17)))
    classes = torch.from_numpy(rng.integers(0, 2, (3, 21, 17)))
    together = scores.sml_suppress_and_smooth(score, classes)
    for row in range(3):
        assert torch.equal(
            together[row : row + 1], scores.sml_suppress_and_smooth(score[row, None], classes[row, None])
        )


def test_differentiable():
    score = torch.randn(1, 6, 7, dtype=torch.float64, requires_grad=True)
    classes = (torch.arange(7) > 3).long().expand(1, 6, 7)
    assert torch.autograd.gradcheck(lambda s: scores.sml_suppress_and_smooth(s, classes), (score,))
    logits = torch.randn(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    statistics = torch.rand(3) + 1, torch.rand(3) + 1
    assert torch.autograd.gradcheck(lambda x: scores.standardized_max_logit(x, *statistics), (logits,))


def test_errors():
    logits = torch.randn(1, 3, 4, 4)
    with pytest.raises(CompatibilityError, match="3 classes"):
        scores.standardized_max_logit(logits, torch.zeros(2), torch.ones(3))
    with pytest.raises(CompatibilityError, match="3 classes"):
        scores.standardized_max_logit(logits, torch.zeros(3), torch.ones(1, 3))
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(CompatibilityError, match="not positive"):
            scores.standardized_max_logit(logits, torch.zeros(3), torch.tensor([1.0, bad, 1.0]))
    with pytest.raises(CompatibilityError, match="before the softmax"):
        scores.standardized_max_logit(logits.softmax(1), torch.zeros(3), torch.ones(3))
    with pytest.raises(CompatibilityError, match="height, width"):
        scores.sml_suppress_and_smooth(torch.zeros(1, 4, 4), torch.zeros(1, 4, 5))
    with pytest.raises(CompatibilityError, match="height, width"):
        scores.sml_suppress_and_smooth(torch.zeros(4, 4), torch.zeros(4, 4))
