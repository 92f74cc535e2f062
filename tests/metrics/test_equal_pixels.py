"""Negative images against inliers at equal numbers of pixels: scikit-learn on the very pixels that were drawn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from anomseg.errors import ConfigError, DataError, FrameError
from anomseg.metrics import PixelCurve, equal_pixel_ap

RNG = np.random.default_rng(0)
INLIERS = RNG.normal(size=(6, 10, 11)).astype(np.float32).round(2)
MAPS = {f"n{index}": (RNG.normal(size=(5 + index, 9)) + 1).astype(np.float32).round(2) for index in range(15)}


def state(rows=range(6)):
    curve = PixelCurve()
    for row in rows:
        label = np.zeros((10, 11), np.uint8)
        label[0] = [0, 255, 1] + [0] * 8
        curve.update(INLIERS[row], label, f"f{row}")
    return curve


def counted():
    keep = np.ones((6, 10, 11), bool)
    keep[:, 0, 1:3] = False
    return INLIERS[keep]


def draw(repeat, seed=0):
    """The rule in plain words: images in random order, the last one thinned."""
    rng = np.random.default_rng([seed, repeat])
    names, left, parts = sorted(MAPS), counted().size, []
    for index in rng.permutation(len(names)):
        score = MAPS[names[index]].ravel()
        if score.size > left:
            score = score[rng.choice(score.size, left, replace=False)]
        parts.append(score)
        left -= score.size
        if not left:
            return np.concatenate(parts), len(parts)
    raise AssertionError


def test_equal_to_scikit_learn_on_the_pixels_drawn():
    result = equal_pixel_ap(state(), list(MAPS), MAPS.get, repeats=7)
    inliers, expected, images = counted(), [], []
    for repeat in range(7):
        odd, drawn = draw(repeat)
        assert odd.size == inliers.size
        truth = np.r_[np.zeros(inliers.size), np.ones(odd.size)]
        expected.append(average_precision_score(truth, np.r_[inliers, odd]))
        images.append(drawn)
    np.testing.assert_allclose(result.aps, expected, atol=1e-12)
    assert result.mean == pytest.approx(np.mean(expected), abs=1e-12)
    assert result.std == pytest.approx(np.std(expected), abs=1e-12)
    assert result.std > 0
    assert result.pixels == inliers.size
    assert result.images == (min(images), max(images))


def test_seeded_whatever_the_order_of_names_and_shards():
    whole = equal_pixel_ap(state(), list(MAPS), MAPS.get, repeats=5, seed=3)
    merged = state([5, 0]).merge(state([1, 4]), state([2, 3]))
    assert equal_pixel_ap(merged, list(MAPS)[::-1], MAPS.get, repeats=5, seed=3) == whole
    assert equal_pixel_ap(state(), list(MAPS), MAPS.get, repeats=2, seed=3).aps == whole.aps[:2]
    assert equal_pixel_ap(state(), list(MAPS), MAPS.get, repeats=5, seed=4) != whole


def test_fifty_draws_unless_told_otherwise():
    seen = []
    maps = {name: np.ones((30, 30), np.float32) for name in "ab"}
    result = equal_pixel_ap(state([0]), list(maps), maps.get, on_draw=lambda done, total: seen.append((done, total)))
    assert len(result.aps) == 50
    assert seen[-1] == (50, 50)
    assert result.images == (1, 1)


def test_identical_scores_are_chance():
    curve = PixelCurve()
    curve.update(np.zeros(8, np.float32), np.zeros(8, np.uint8), "a")
    assert equal_pixel_ap(curve, ["n"], lambda _: np.zeros((2, 5), np.float32)).mean == 0.5


def test_what_is_refused():
    with pytest.raises(DataError, match=r"2 negative images have 108 pixels, fewer than the 648 inliers"):
        equal_pixel_ap(state(), ["n0", "n2"], MAPS.get)
    with pytest.raises(DataError, match="no inlier pixel"):
        equal_pixel_ap(PixelCurve(), ["n0"], MAPS.get)
    with pytest.raises(ConfigError, match="0 repeats"):
        equal_pixel_ap(state(), ["n0"], MAPS.get, repeats=0)
    with pytest.raises(ConfigError, match="one name"):
        equal_pixel_ap(state(), ["n0", "n0"], MAPS.get)
    with pytest.raises(FrameError, match=r"'n'.*NaN"):
        equal_pixel_ap(state(), ["n"], lambda _: np.full((50, 50), np.nan, np.float32))
    with pytest.raises(DataError, match="needs anomalous"):
        state().ap_against(np.zeros(0, np.uint32), np.zeros(0, np.int64))
