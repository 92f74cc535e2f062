"""Open-set IoU at thresholds chosen afterwards: equal to `OpenSetIoU`, which is told its threshold before."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomseg.errors import CompatibilityError, ConfigError, DataError, FrameError
from anomseg.metrics import OpenSetCurve, OpenSetIoU, PixelCurve

CLASSES = 4


def frame(seed, size=300):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, CLASSES + 1, size).astype(np.uint8)
    prediction = np.where((rng.random(size) < 0.7) & (target < CLASSES), target, rng.integers(0, CLASSES, size))
    score = (rng.normal(size=size) + 2 * (target == CLASSES)).astype(np.float32)
    return prediction.astype(np.uint8), score, np.where(rng.random(size) < 0.1, 255, target).astype(np.uint8)


def counted(seeds):
    state = OpenSetCurve(CLASSES)
    for seed in seeds:
        state.update(*frame(seed), f"f{seed}")
    return state


def below(threshold):
    """`OpenSetIoU` asks for more than its threshold."""
    return float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))


@settings(max_examples=40)
@given(st.lists(st.integers(0, 500), min_size=1, max_size=3, unique=True), st.floats(-3, 5, width=32))
def test_equal_to_the_state_at_one_threshold(seeds, threshold):
    curve = counted(seeds)
    point = curve.at(threshold)
    assert point.threshold <= threshold
    assert point.threshold == pytest.approx(threshold, rel=1 / 2048, abs=1e-30)
    state = OpenSetIoU(CLASSES, below(point.threshold))
    for seed in seeds:
        state.update(*frame(seed), f"f{seed}")
    expected = state.compute()
    np.testing.assert_array_equal(point.iou, expected.iou)
    np.testing.assert_array_equal(curve.closed(), expected.closed_iou)
    anomalies, known = expected.confusion[-1], expected.confusion[:-1]
    assert point.tpr == pytest.approx(anomalies[-1] / anomalies.sum())
    assert point.fpr == pytest.approx(known[:, -1].sum() / known.sum())
    assert curve.accuracy() == pytest.approx(np.trace(state._closed) / state._closed.sum())


@settings(max_examples=20)
@given(st.integers(0, 500))
def test_recall_is_not_below_that_of_the_threshold_asked_for(seed):
    _, score, target = frame(seed)
    pixels = PixelCurve()
    pixels.update(score, np.where(target == CLASSES, 1, np.where(target == 255, 255, 0)))
    assert counted([seed]).at(pixels.threshold_at_recall()).tpr >= 0.95


def test_a_class_that_never_occurs_is_left_out_and_predicting_it_is_wrong():
    state = OpenSetCurve(3)
    state.update([0, 2, 2, 1], [0.0, 0.0, 0.0, 0.0], [0, 0, 3, 1])
    np.testing.assert_array_equal(state.closed(), [0.5, 1.0, np.nan])
    np.testing.assert_array_equal(state.at(1.0).iou, [0.5, 1.0, np.nan])


def test_merge_in_any_order_and_file_are_bit_equal(tmp_path):
    whole = counted(range(6))
    whole.save(tmp_path / "whole.npz")
    parts = [counted(range(shard, 6, 3)) for shard in (1, 2, 0)]
    parts[0].save(tmp_path / "part.npz")
    merged = OpenSetCurve.load(tmp_path / "part.npz").merge(*parts[1:])
    merged.save(tmp_path / "merged.npz")
    assert (tmp_path / "merged.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    np.testing.assert_equal(vars(merged.at(0.3)), vars(whole.at(0.3)))
    assert merged.missing(["f1", "x"]) == ["x"]
    with pytest.raises(DataError, match="counted twice"):
        merged.merge(parts[1])
    with pytest.raises(CompatibilityError, match="different numbers of classes"):
        merged.merge(OpenSetCurve(3))


def test_refused_input_changes_nothing():
    state = OpenSetCurve(2)
    for prediction, score, target in (
        ([0], [0.0], [5]),
        ([7], [0.0], [0]),
        ([0], [np.nan], [0]),
        ([0, 1], [0.0], [0]),
    ):
        with pytest.raises(FrameError):
            state.update(prediction, score, target, "a")
    assert state.frames == []


def test_void_frames_count_as_frames_alone():
    state = OpenSetCurve(2)
    state.update([0, 1], [0.5, 0.5], [255, 255], "a")
    assert state.frames == ["a"]
    assert np.isnan(state.closed()).all()
    assert np.isnan(state.at(0.1).tpr)


def test_as_many_classes_as_the_keys_tell_apart():
    most = 1365
    state = OpenSetCurve(most)
    state.update(np.array([0, most - 1]), np.array([1.0, 9.0], np.float32), np.array([0, most]))
    assert (state.at(5.0).tpr, state.at(5.0).fpr, state.closed()[0]) == (1.0, 0.0, 1.0)
    for count in (0, most + 1):
        with pytest.raises(ConfigError, match="1 to 1365 classes"):
            OpenSetCurve(count)
