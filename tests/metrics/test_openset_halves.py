"""Open-set IoU at the other half's threshold, and the facts that any open-set IoU has to meet."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from anomseg.errors import CompatibilityError
from anomseg.metrics import OpenSetCurve, OpenSetHalves, OpenSetIoU, PixelCurve, pixel_kinds

CLASSES = 4


def frame(seed, size=300):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, CLASSES + 1, size).astype(np.uint8)
    prediction = np.where((rng.random(size) < 0.7) & (target < CLASSES), target, rng.integers(0, CLASSES, size))
    score = (rng.normal(size=size) + 2 * (target == CLASSES)).astype(np.float32)
    return prediction.astype(np.uint8), score, np.where(rng.random(size) < 0.1, 255, target).astype(np.uint8)


def counted(seeds, *, halved=True):
    state = OpenSetHalves.empty(CLASSES, halved=halved)
    for seed in seeds:
        prediction, score, target = frame(seed)
        state.add(pixel_kinds(prediction, target, CLASSES), score, f"f{seed}", second=seed % 2 == 1)
    return state


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([0, 0, 0], 2 / 3), ([0, 0, 1], 1.0), ([0, 1, 0], 1 / 3)],
    ids=["nothing rejected", "the anomaly rejected", "a known pixel rejected"],
)
def test_three_pixels_of_which_the_last_is_odd(scores, expected):
    at_once, later = OpenSetIoU(1, 0.5), OpenSetCurve(1)
    for state in (at_once, later):
        state.update([0, 0, 0], scores, [0, 0, 1])
    assert at_once.compute().iou[0] == pytest.approx(expected)
    assert later.at(0.5).iou[0] == pytest.approx(expected)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 500), min_size=1, max_size=3, unique=True))
def test_rejecting_nothing_is_no_better_than_the_closed_set(seeds):
    at_once, later = OpenSetIoU(CLASSES, float("inf")), OpenSetCurve(CLASSES)
    for seed in seeds:
        at_once.update(*frame(seed))
        later.update(*frame(seed))
    result, point = at_once.compute(), later.at(float("inf"))
    assert result.miou <= result.closed_miou
    assert np.nanmean(point.iou) <= np.nanmean(later.closed())
    np.testing.assert_array_equal(point.iou, result.iou)
    # The gap is made of anomalous pixels called a class, and of nothing else.
    confusion = result.confusion
    right = np.diagonal(confusion)[:CLASSES]
    union = confusion[:CLASSES].sum(1) + confusion[:CLASSES, :CLASSES].sum(0) - right
    np.testing.assert_allclose(result.iou, right / (union + confusion[CLASSES, :CLASSES]))
    np.testing.assert_allclose(result.closed_iou, right / union)


@settings(max_examples=30)
@given(st.integers(0, 500), st.sampled_from([0.5, 0.9, 0.95, 1.0]))
def test_the_threshold_is_the_first_that_reaches_the_recall(seed, recall):
    prediction, score, target = frame(seed)
    state = OpenSetCurve(CLASSES)
    state.update(prediction, score, target)
    odd, valid = target == CLASSES, target != 255
    _, tpr, thresholds = roc_curve(odd[valid], score[valid], drop_intermediate=False)
    exact = thresholds[np.argmax(tpr >= recall)]
    found = state.threshold_at_recall(recall)
    assert found == state.at(exact).threshold
    strict = thresholds[np.argmax(tpr > recall)] if recall < 1 else exact
    assert state.threshold_at_recall(recall, strict=True) == state.at(strict).threshold
    pixels = PixelCurve()
    pixels.update(score, np.where(odd, 1, np.where(valid, 0, 255)))
    assert found == state.at(pixels.threshold_at_recall(recall)).threshold


def test_exactly_at_the_recall_strict_goes_one_further():
    state = OpenSetCurve(1)
    state.update([0] * 20, np.arange(20, dtype=np.float32), [1] * 20)
    assert (state.threshold_at_recall(0.95), state.threshold_at_recall(0.95, strict=True)) == (1.0, 0.0)
    assert state.threshold_at_recall(1.0, strict=True) == 0.0


def test_each_half_is_judged_at_the_other_ones_threshold():
    state = counted(range(7))
    halves = state.crossed()
    alone = [OpenSetCurve(CLASSES), OpenSetCurve(CLASSES)]
    for seed in range(7):
        alone[seed % 2].update(*frame(seed), f"f{seed}")
    for row, half in enumerate(halves):
        threshold = alone[1 - row].threshold_at_recall()
        assert half.point.threshold == threshold
        np.testing.assert_array_equal(half.point.iou, alone[row].at(threshold).iou)
        assert half.frames == (4, 3)[row]
    np.testing.assert_array_equal(state.whole().at(0.3).iou, counted(range(7), halved=False).first.at(0.3).iou)
    assert state.frames == [f"f{seed}" for seed in range(7)]


def test_merged_parts_are_bit_equal():
    whole = counted(range(9))
    merged = counted([8, 1]).merge(counted([0, 5, 3]), counted([2, 4, 6, 7]))
    np.testing.assert_equal(
        [vars(half.point) for half in merged.crossed()], [vars(half.point) for half in whole.crossed()]
    )
    # With a part that knows of no halves there are none, and the whole stays.
    mixed = counted([8, 1]).merge(counted([0, 5, 3], halved=False), counted([2, 4, 6, 7]))
    assert mixed.crossed() is None
    np.testing.assert_equal(vars(mixed.whole().at(0.5)), vars(whole.whole().at(0.5)))


def test_no_halves_where_one_shows_no_anomaly():
    state = counted([0, 2])
    assert state.crossed() is None
    assert counted([0, 1], halved=False).crossed() is None
    with pytest.raises(CompatibilityError, match="one label table"):
        OpenSetHalves(OpenSetCurve(1), OpenSetCurve(2))
