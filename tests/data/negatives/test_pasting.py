"""The published geometry of pasting, blending and labels."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from negative_trees import picture

from anomseg.data.negatives.paste import (
    blend,
    draw_share,
    feathered,
    patch_scale,
    pure_window,
    resized,
    resized_mask,
    scaled_box,
    scaled_size,
    scaled_window,
)
from anomseg.data.negatives.shapes import Outline


@pytest.mark.parametrize(
    ("region", "share", "scale", "patch"),
    [
        ((50, 100), 0.01, 1.0, (50, 100)),
        ((50, 100), 0.10, math.sqrt(10), (158, 316)),
        ((10, 400), 0.10, 2.5, (25, 1000)),
        ((400, 10), 0.10, 1.25, (500, 12)),
    ],
)
def test_published_sizes_on_an_image_of_1000_by_500(region, share, scale, patch):
    found = patch_scale((500, 1000), region, share)
    assert found == pytest.approx(scale, rel=1e-12)
    assert scaled_size(region, found) == patch


def test_one_hundredth_is_exactly_one_hundredth():
    rows, columns = scaled_size((50, 100), patch_scale((500, 1000), (50, 100), 0.01))
    assert rows * columns == 0.01 * 500 * 1000


@given(
    image=st.tuples(st.integers(1, 600), st.integers(1, 600)),
    region=st.tuples(st.integers(1, 900), st.integers(1, 900)),
    share=st.floats(1e-3, 1),
    covered=st.floats(0.01, 1),
)
@settings(deadline=None, max_examples=300)
def test_a_patch_always_fits_and_covers_no_more_than_its_share(image, region, share, covered):
    scale = patch_scale(image, region, share, covered)
    rows, columns = scaled_size(region, scale)
    assert 1 <= rows <= image[0]
    assert 1 <= columns <= image[1]
    if rows > 1 and columns > 1:
        assert covered * rows * columns <= share * image[0] * image[1] * (1 + 1e-6)
    touches = math.isclose(scale * region[0], image[0]) or math.isclose(scale * region[1], image[1])
    exact = math.isclose(covered * region[0] * region[1] * scale**2, share * image[0] * image[1])
    assert touches or exact


def test_shares_are_whole_thousandths_each_as_likely():
    rng = np.random.default_rng(0)
    drawn = np.array([draw_share((0.001, 0.1), rng) for _ in range(20_000)])
    thousandths = np.round(drawn * 1000).astype(int)
    np.testing.assert_allclose(drawn * 1000, thousandths, atol=1e-9)
    counts = np.bincount(thousandths, minlength=101)[1:]
    assert len(counts) == 100
    assert counts.min() > 130
    assert counts.max() < 280


def test_ranges_finer_than_a_thousandth_are_drawn_evenly():
    rng = np.random.default_rng(0)
    drawn = np.array([draw_share((0.0002, 0.0004), rng) for _ in range(500)])
    assert drawn.min() >= 0.0002
    assert drawn.max() <= 0.0004
    assert len(np.unique(drawn)) > 400
    assert draw_share((0.05, 0.05), rng) == 0.05


def test_a_sharp_patch_replaces_pixels_and_labels_them():
    image, patch = picture(0, 40, 60), picture(1, 10, 20)
    outlier = np.zeros((40, 60), np.uint8)
    mixed, label = blend(image, outlier, patch, np.ones((10, 20), np.float32), 5, 30)
    np.testing.assert_array_equal(mixed[5:15, 30:50], patch)
    expected = np.zeros((40, 60), np.uint8)
    expected[5:15, 30:50] = 1
    np.testing.assert_array_equal(label, expected)
    untouched = expected == 0
    np.testing.assert_array_equal(mixed[untouched], image[untouched])
    assert not outlier.any()


def test_a_feathered_border_is_labelled_from_half_on_and_ignored_below():
    image, patch = np.zeros((30, 30, 3), np.uint8), np.full((20, 20, 3), 200, np.uint8)
    alpha = feathered(np.ones((20, 20), bool), 4)
    mixed, label = blend(image, np.zeros((30, 30), np.uint8), patch, alpha, 5, 5)
    # A row through the middle: distances 1, 2, 3, 4 from the outside are covered by 1/8, 3/8, 5/8, 7/8.
    np.testing.assert_array_equal(mixed[15, 4:10, 0], [0, 25, 75, 125, 175, 200])
    np.testing.assert_array_equal(label[15, 4:10], [0, 255, 255, 1, 1, 1])
    assert set(np.unique(label)) == {0, 1, 255}


def test_the_edge_of_a_second_patch_does_not_blot_out_the_first():
    outlier = np.ones((20, 20), np.uint8)
    alpha = feathered(np.ones((10, 10), bool), 4)
    _, label = blend(picture(0, 20, 20), outlier, picture(1, 10, 10), alpha, 5, 5)
    assert (label == 1).all()


@given(shape=st.tuples(st.integers(1, 25), st.integers(1, 25)), feather=st.integers(0, 30), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=100)
def test_feathering_stays_inside_the_mask_and_leaves_something_to_learn(shape, feather, seed):
    mask = Outline.random(np.random.default_rng(seed)).raster(*shape)
    alpha = feathered(mask, feather)
    assert alpha.dtype == np.float32
    assert alpha.min() >= 0
    assert alpha.max() <= 1
    np.testing.assert_array_equal(alpha > 0, mask)
    assert (alpha >= 0.5).any()


def test_feathering_against_brute_force_distances():
    mask = Outline.random(np.random.default_rng(3)).raster(17, 23)
    padded = np.pad(mask, 1)
    outside = np.argwhere(~padded)
    expected = np.zeros(mask.shape)
    for row, column in np.argwhere(mask):
        depth = np.sqrt(((outside - (row + 1, column + 1)) ** 2).sum(axis=1)).min()
        expected[row, column] = min(1.0, (depth - 0.5) / 3)
    np.testing.assert_allclose(feathered(mask, 3), expected, atol=1e-6)


@given(seed=st.integers(0, 10_000), size=st.tuples(st.integers(1, 60), st.integers(1, 60)))
@settings(deadline=None, max_examples=100)
def test_outlines_fill_their_box_and_are_connected(seed, size):
    from scipy.ndimage import label

    mask = Outline.random(np.random.default_rng(seed)).raster(*size)
    assert mask.shape == size
    assert mask.any()
    if min(size) >= 24:
        assert mask[0].any() or mask[1].any()
        assert mask[-1].any() or mask[-2].any()
        assert mask[:, :2].any()
        assert mask[:, -2:].any()
        assert label(mask, np.ones((3, 3)))[1] == 1
        assert 0.2 < mask.mean() < 0.95


def test_masks_are_resized_by_majority():
    mask = np.zeros((40, 40), bool)
    mask[:, :20] = True
    np.testing.assert_array_equal(resized_mask(mask, (4, 4)), np.repeat([[1, 1, 0, 0]], 4, axis=0).astype(bool))
    np.testing.assert_array_equal(resized_mask(mask, (40, 40)), mask)


def test_only_the_box_is_resized():
    image = np.zeros((20, 20, 3), np.uint8)
    image[5:10, 5:15] = 99
    assert (resized(image, (30, 30), (5, 5, 10, 15)) == 99).all()


@given(
    size=st.tuples(st.integers(20, 60), st.integers(20, 60)),
    box=st.tuples(st.integers(0, 19), st.integers(0, 19), st.integers(1, 30), st.integers(1, 30)),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=150)
def test_windows_of_pure_negatives_never_miss_the_box(size, box, seed):
    window = (20, 20)
    box = (box[0], box[1], min(size[0], box[0] + box[2]), min(size[1], box[1] + box[3]))
    top, left = pure_window(size, window, box, np.random.default_rng(seed), tries=3)
    assert 0 <= top <= size[0] - 20
    assert 0 <= left <= size[1] - 20
    assert min(top + 20, box[2]) > max(top, box[0])
    assert min(left + 20, box[3]) > max(left, box[1])


def test_windows_of_pure_negatives_keep_under_a_fifth_ignored_where_they_can():
    rng = np.random.default_rng(0)
    for _ in range(50):
        top, left = pure_window((100, 100), (50, 50), (20, 20, 90, 90), rng)
        shown = (min(top + 50, 90) - max(top, 20)) * (min(left + 50, 90) - max(left, 20))
        assert shown / 2500 > 0.8


def test_a_window_is_cut_as_if_the_whole_had_been_resized():
    yy, xx = np.mgrid[:40, :60]
    image = np.stack([128 + 100 * np.sin(yy / 9), 128 + 100 * np.cos(xx / 7), 2 * yy + xx], axis=-1).astype(np.uint8)
    whole = resized(image, (100, 150))
    part = scaled_window(image, (100, 150), (30, 45), (40, 50))
    assert part.shape == (40, 50, 3)
    assert np.abs(part.astype(int) - whole[30:70, 45:95]).max() <= 3


def test_scaled_boxes_keep_a_pixel():
    assert scaled_box((0, 0, 1, 1), (1000, 1000), (10, 10)) == (0, 0, 1, 1)
    assert scaled_box((999, 999, 1000, 1000), (1000, 1000), (10, 10)) == (9, 9, 10, 10)
    assert scaled_box((0, 10, 5, 20), (10, 20), (20, 40)) == (0, 20, 10, 40)
