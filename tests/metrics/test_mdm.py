"""The maximal detection margin against the definition, threshold by threshold."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anomseg.errors import CompatibilityError, DataError, FrameError
from anomseg.metrics import (
    PixelCurve,
    detection_margin,
    f1_curve,
    margin_from_counts,
    margin_thresholds,
    maximal_detection_margin,
)


def slow(score, label, quality, steps):
    """The definition: F1 at every threshold, then the longest of all runs, quadratically."""
    truth, score = label[label != 255], score[label != 255]
    good = []
    for step in range(steps):
        chosen = score >= step / steps if step else score > 0
        hits = np.count_nonzero(chosen & (truth == 1))
        good.append(2 * hits / (np.count_nonzero(chosen) + np.count_nonzero(truth == 1)) > quality)
    return (
        max(
            (stop - start for start in range(steps) for stop in range(start, steps + 1) if all(good[start:stop])),
            default=0,
        )
        / steps
    )


@pytest.mark.parametrize("make", [list, np.float32, np.float64, torch.tensor])
@pytest.mark.parametrize(("quality", "margin"), [(0.7, 0.5), (0.9, 0.3)])
def test_documented_example(make, quality, margin):
    assert maximal_detection_margin(make([0.9, 0.6, 0.3, 0.1]), [1, 1, 0, 0], quality, steps=10) == margin


@given(st.integers(0, 2**32 - 1), st.sampled_from([7, 10, 25]), st.sampled_from([0.0, 0.3, 0.5, 2 / 3, 0.7]))
def test_equal_to_the_definition(seed, steps, quality):
    rng = np.random.default_rng(seed)
    label = rng.choice([0, 1, 255], 30, p=[0.5, 0.4, 0.1])
    label[0] = 1
    score = (rng.integers(0, steps + 1, 30) / steps + 0.3 * label.clip(0, 1)).clip(0, 1)
    assert maximal_detection_margin(score, label, quality, steps) == slow(score, label, quality, steps)


@given(st.integers(0, 2**32 - 1))
def test_pooled_margin_from_the_pixel_curve(seed):
    rng = np.random.default_rng(seed)
    label = rng.choice([0, 1, 255], (3, 40), p=[0.6, 0.3, 0.1])
    label[0, 0] = 1
    score = (0.6 * rng.random((3, 40)) + 0.4 * (label == 1)).astype(np.float32).round(2)
    state = PixelCurve()
    for row in range(3):
        state.update(score[row], label[row], str(row))
    hits, false = state.counts_at(margin_thresholds(100))
    positives = int(np.count_nonzero(label == 1))
    assert margin_from_counts(hits, false, positives) == maximal_detection_margin(score, label, steps=100)


def test_the_first_threshold_asks_for_more_than_zero():
    """All inliers exactly 0: with ``>= 0`` the first threshold would fail."""
    assert maximal_detection_margin([1.0, 0.0, 0.0, 0.0], [1, 0, 0, 0], steps=10) == 1.0
    assert maximal_detection_margin([1e-40, 0.0, 0.0, 0.0], [1, 0, 0, 0], steps=10) == 0.1


def test_quality_is_strict():
    assert maximal_detection_margin([1.0, 1.0], [1, 0], quality=2 / 3, steps=10) == 0.0
    assert maximal_detection_margin([1.0, 1.0], [1, 0], quality=0.66, steps=10) == 1.0


def test_a_good_order_with_bunched_scores_has_a_small_margin():
    score, label = np.repeat([0.50, 0.49], 50), np.repeat([1, 0], 50)
    assert maximal_detection_margin(score, label) == 0.01
    assert maximal_detection_margin(score * 2 - 0.98 * 1.0, label) > 0.01, "not invariant to rescaling, on purpose"


def test_f1_curve():
    assert f1_curve([2, 1, 0], [1, 0, 0], 2) == pytest.approx([0.8, 2 / 3, 0])


def test_runs_at_both_ends_and_none():
    assert margin_from_counts([9, 9, 0, 9], [0, 0, 0, 0], 9) == 0.5
    assert margin_from_counts([0, 9, 9, 9], [0, 0, 0, 0], 9) == 0.75
    assert margin_from_counts([0, 0], [0, 0], 9) == 0.0


@pytest.mark.parametrize("score", [[-0.01, 0.5], [0.5, 1.01], [-12.0, 3.0]])
def test_scores_outside_the_unit_interval_are_refused(score):
    with pytest.raises(CompatibilityError, match=r"\[0, 1\].*calibrate"):
        maximal_detection_margin(score, [0, 1])


def test_undefined_and_unusable_input():
    with pytest.raises(DataError, match="no anomalous pixel"):
        maximal_detection_margin([0.1, 0.2], [0, 255])
    with pytest.raises(FrameError):
        maximal_detection_margin([np.nan, 0.2], [0, 1])


@given(st.lists(st.sampled_from([0.0, 0.69, 0.7, 0.71, 1.0]), min_size=1, max_size=40))
def test_the_interval_is_the_first_longest_run(f1):
    margin = detection_margin(f1, 0.7)
    steps = len(f1)
    runs = [
        (stop - start, -start)
        for start in range(steps)
        for stop in range(start + 1, steps + 1)
        if all(value > 0.7 for value in f1[start:stop])
    ]
    if not runs:
        assert (margin.value, margin.interval) == (0.0, None)
        return
    length, start = max(runs)
    assert margin.value == length / steps
    assert margin.interval == (-start / steps, (length - start) / steps)
    assert (margin.quality, margin.steps) == (0.7, steps)
