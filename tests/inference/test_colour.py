import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from inference_parts import picture
from scipy import ndimage

from anomseg.inference import (
    add_colour_bar,
    add_legend,
    colour_classes,
    colourise,
    draw_outline,
    heat_overlay,
    score_range,
)
from anomseg.inference.colour import colour_table, outline
from anomseg.inference.legend import fit_text, font, tick_labels, tick_values

finite = st.floats(-(2.0**100), 2.0**100, width=32)


@given(arrays(np.float32, (6, 7), elements=finite), st.booleans())
def test_a_range_is_never_empty(scores, bounded):
    low, high = score_range(scores, bounded=bounded)
    assert np.isfinite([low, high]).all()
    assert low < high
    assert colourise(scores, (low, high)).shape == (6, 7, 3)


def test_bounded_scores_share_one_range():
    assert score_range(np.float32([[0.2, 0.3]]), bounded=True) == (0.0, 1.0)


def test_unbounded_scores_span_their_percentiles_not_their_extremes():
    scores = np.linspace(-20, -10, 10000, dtype=np.float32).reshape(100, 100)
    scores[0, 0] = 1e6
    low, high = score_range(scores)
    assert low == pytest.approx(-19.9, abs=0.02)
    assert high == pytest.approx(-10.05, abs=0.02)


def test_only_the_region_counts():
    scores = np.zeros((10, 10), np.float32)
    scores[:5] = 100
    inside = np.zeros((10, 10), bool)
    inside[5:] = True
    scores[5:] = np.arange(50).reshape(5, 10)
    assert score_range(scores, inside=inside)[1] < 50


def test_a_few_odd_pixels_on_a_constant_ground_show():
    scores = np.full((100, 100), 3.0, np.float32)
    scores[0, 0] = 5.0
    assert score_range(scores) == (3.0, 5.0)


@pytest.mark.parametrize("offset", [0.0, -1000.0, 1e6])
def test_raw_negative_scores_do_not_give_a_black_picture(offset):
    image = picture()
    scores = (np.random.default_rng(0).normal(size=image.shape[:2]) + offset).astype(np.float32)
    overlay = heat_overlay(image, scores, score_range(scores))
    assert overlay.mean() > 50
    assert overlay.reshape(-1, 3).std(0).max() > 20


def test_colours_rise_in_lightness_with_the_score():
    lightness = colour_table().astype(float) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(lightness) > -1).all()
    assert lightness[-1] > 200 > 20 > lightness[0]


def test_outside_the_region_the_plain_image_shows():
    image = picture()
    inside = np.zeros(image.shape[:2], bool)
    inside[10:20, 10:20] = True
    overlay = heat_overlay(
        image, np.random.default_rng(0).normal(size=inside.shape).astype(np.float32), (-1, 1), inside=inside
    )
    assert np.array_equal(overlay[~inside], image[~inside])
    assert not np.array_equal(overlay[inside], image[inside])


@given(arrays(bool, (9, 11)), st.integers(1, 3))
def test_the_outline_is_what_erosion_takes_away(mask, width):
    core = ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=width, border_value=1)
    assert np.array_equal(outline(mask, width), mask & ~core)


def test_the_outline_is_drawn_on_a_copy():
    image = picture()
    before = image.copy()
    mask = np.zeros(image.shape[:2], bool)
    mask[10:20, 10:30] = True
    drawn = draw_outline(image, mask, (1, 2, 3))
    assert np.array_equal(image, before)
    assert (drawn[10, 15] == (1, 2, 3)).all()
    assert np.array_equal(drawn[14, 20], image[14, 20])


def test_class_colours_and_void():
    classes = np.uint8([[0, 1, 255]])
    assert colour_classes(classes, ((10, 20, 30), (40, 50, 60))).tolist() == [[[10, 20, 30], [40, 50, 60], [0, 0, 0]]]


@pytest.mark.parametrize("size", [(360, 480), (1024, 2048), (33, 41), (1, 1)])
def test_the_bar_stands_beside_the_untouched_picture(size):
    image = np.full((*size, 3), 77, np.uint8)
    whole = add_colour_bar(image, (-3.5, 12.0), "energy: higher = more anomalous", mark=2.0)
    assert np.array_equal(whole[: size[0], : size[1]], image)
    assert whole.shape[1] > size[1]
    bar = whole[:, size[1] :]
    # All of the colour table is there, bright end up.
    rows_bright = np.flatnonzero((bar == colour_table()[255]).all(2).any(1))
    rows_dark = np.flatnonzero((bar == colour_table()[0]).all(2).any(1))
    assert rows_bright.min() < rows_dark.max()
    # Nothing is cut off: the paper's margin is clean on all sides.
    assert (bar[0] == 255).all()
    assert (bar[-1] == 255).all()
    assert (bar[:, -1] == 255).all()


@given(st.floats(-1e12, 1e12), st.floats(1e-9, 1e12), st.integers(3, 7))
def test_ticks_are_within_the_range_and_distinct(low, extent, count):
    high = low + extent
    if not high - low > 1e-9 * max(abs(low), abs(high), 1e-3):
        return
    ticks = tick_values((low, high), count)
    assert 2 <= len(ticks) <= 2 * count
    slack = 1e-6 * (high - low) + 1e-11 * max(abs(low), abs(high))
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    labels = tick_labels(ticks)
    assert len(labels) == len(ticks)


def test_labels_differ_for_ordinary_ranges():
    for limits in ((0, 1), (-14.2, -3.1), (0, 0.004), (1000, 60000), (-0.75, 0.75), (1e-7, 3e-7)):
        labels = tick_labels(tick_values(limits))
        assert len(set(labels)) == len(labels) >= 3


def test_a_legend_lists_what_occurs():
    image = np.zeros((200, 100, 3), np.uint8)
    whole = add_legend(image, ("road", "<script>", "sky"), ((9, 9, 200), (1, 250, 1), (200, 3, 3)), present=(0, 2))
    colours = {tuple(colour) for colour in whole[:, 100:].reshape(-1, 3).tolist()}
    assert (9, 9, 200) in colours
    assert (200, 3, 3) in colours
    assert (1, 250, 1) not in colours
    assert add_legend(image, (), ()).shape[0] == 200


@given(st.text(max_size=60), st.integers(10, 300))
def test_text_is_cut_to_fit(text, width):
    cut = fit_text(text, 12, width)
    assert font(12).getlength(cut) <= width
    assert "\n" not in cut
