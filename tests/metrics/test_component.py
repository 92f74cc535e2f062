"""The component metric against a slow loop, and its traps one by one."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomseg.errors import CompatibilityError, DataError, FrameError
from anomseg.metrics import ComponentScore, component_fractions


def flood(mask):
    """8-connected components as sets of pixels, by flood filling."""
    todo = set(zip(*np.nonzero(mask), strict=True))
    parts = []
    while todo:
        part, edge = set(), [todo.pop()]
        while edge:
            y, x = edge.pop()
            part.add((y, x))
            for near in [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]:
                if near in todo:
                    todo.remove(near)
                    edge.append(near)
        parts.append(part)
    return parts


def slow(score, label, threshold, min_prediction, min_anomaly):
    truth = flood(label == 1)
    guess = [part for part in flood((score > threshold) & (label != 255)) if len(part) >= min_prediction]
    small = set().union(*(part for part in truth if len(part) < min_anomaly), set())
    truth = [part for part in truth if len(part) >= min_anomaly]
    guess = [part - small for part in guess if part - small]
    siou = []
    for part in truth:
        touching = set().union(*(other for other in guess if other & part), set())
        others = set().union(*(other for other in truth if other is not part), set())
        siou.append(len(part & touching) / (len(part | touching) - len(touching & others)))
    every = set().union(*truth, set())
    return siou, [len(part & every) / len(part) for part in guess]


def slow_figures(siou, ppv):
    f1 = []
    for percent in range(25, 80, 5):
        found = sum(value >= percent / 100 for value in siou)
        missed = sum(value < percent / 100 for value in siou)
        false = sum(value < percent / 100 for value in ppv)
        f1.append(2 * found / (2 * found + missed + false) if siou or false else math.nan)
    return f1


def random_map(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(3, 14, 2))
    label = rng.choice([0, 1, 255], shape, p=[0.6, 0.3, 0.1]).astype(np.uint8)
    score = rng.integers(0, 4, shape).astype(np.float32)
    score[label == 1] += rng.integers(0, 3)
    return score, label, float(rng.integers(0, 4)), int(rng.integers(1, 5)), int(rng.integers(1, 5))


@pytest.mark.parametrize("block", range(5))
def test_equal_to_the_slow_loop_on_hundreds_of_maps(block):
    for seed in range(80 * block, 80 * block + 80):
        score, label, threshold, min_prediction, min_anomaly = random_map(seed)
        siou, ppv = slow(score, label, threshold, min_prediction, min_anomaly)
        fractions = component_fractions(score > threshold, label, min_prediction, min_anomaly)
        assert sorted(fractions[0][:, 0] / fractions[0][:, 1]) == sorted(siou)
        assert sorted(fractions[1][:, 0] / fractions[1][:, 1]) == sorted(ppv)
        state = ComponentScore(min_prediction, min_anomaly, threshold)
        state.update(score, label, "a")
        result = state.compute()
        np.testing.assert_allclose(list(result.f1.values()), slow_figures(siou, ppv), rtol=1e-14)
        np.testing.assert_allclose(result.siou, np.mean(siou) if siou else np.nan, rtol=1e-14)
        np.testing.assert_allclose(result.ppv, np.mean(ppv) if ppv else 0.0, rtol=1e-14)
        np.testing.assert_allclose(result.f1_star, np.mean(list(result.f1.values())), rtol=1e-14)


def scored(score, label, min_prediction=1, min_anomaly=1, threshold=0.5):
    state = ComponentScore(min_prediction, min_anomaly, threshold)
    state.update(np.asarray(score, np.float32), np.asarray(label, np.uint8), "a")
    return state.compute()


def test_figures_pool_components_not_images():
    state = ComponentScore(1, 1, 0.5)
    state.update([[1, 1, 0, 1]], [[1, 1, 0, 1]], "two found")
    state.update([[0, 0, 0, 0]], [[1, 1, 1, 1]], "one missed")
    assert state.compute().siou == pytest.approx(2 / 3)
    assert state.compute().anomaly_components == 3


def test_nothing_predicted():
    result = scored(np.zeros((3, 3)), np.eye(3))
    assert (result.siou, result.ppv, result.f1_star, result.predicted_components) == (0.0, 0.0, 0.0, 0)
    assert set(result.f1) == {f"{t:.2f}" for t in np.arange(0.25, 0.8, 0.05)}


def test_no_anomaly_component():
    result = scored([[1, 0, 0]], [[0, 0, 0]])
    assert math.isnan(result.siou)
    assert (result.ppv, result.f1_star, result.predicted_components) == (0.0, 0.0, 1)
    nothing = scored(np.zeros((2, 2)), np.zeros((2, 2)))
    assert math.isnan(nothing.f1_star)
    assert nothing.ppv == 0.0


def test_the_threshold_itself_is_not_predicted():
    assert scored([[0.5, 0.5]], [[1, 1]], threshold=0.5).predicted_components == 0
    assert scored([[0.5, 0.5]], [[1, 1]], threshold=np.nextafter(0.5, 0)).predicted_components == 1


def test_a_float64_threshold_is_not_rounded_to_float32():
    """float32(0.1) is greater than 0.1."""
    assert scored([[0.1]], [[1]], threshold=0.1).siou == 1.0


def test_void_splits_a_prediction():
    result = scored([[1, 1, 1, 1, 1]], [[1, 1, 255, 0, 0]])
    assert result.predicted_components == 2
    assert (result.siou, result.ppv) == (1.0, 0.5)


def test_void_is_cleared_before_sizes_are_taken():
    assert scored([[1, 1, 1, 1, 1]], [[0, 0, 255, 0, 0]], min_prediction=3).predicted_components == 0


def test_components_touch_at_corners():
    assert scored(np.eye(3), np.eye(3)).anomaly_components == 1


def test_small_anomaly_components_become_void():
    label = [[1, 0, 1, 1, 1, 1]]
    score = [[1, 1, 1, 1, 1, 1]]
    result = scored(score, label, min_anomaly=2)
    assert result.anomaly_components == 1
    assert result.ppv == pytest.approx(4 / 5)
    assert result.siou == pytest.approx(4 / 5)
    alone = scored([[1, 0, 0, 0, 0, 0]], label, min_anomaly=2)
    assert alone.predicted_components == 0, "a prediction that lies wholly on it is gone"


def test_small_predictions_are_dropped_by_their_size_before_that():
    """Size is taken with the pixels that the small anomaly then removes."""
    result = scored([[1, 1, 1, 0, 1]], [[1, 0, 0, 0, 0]], min_prediction=3, min_anomaly=2)
    assert (result.predicted_components, result.ppv) == (1, 0.0)


def test_other_anomalies_are_forgiven_in_the_union():
    """One prediction over two objects and the gap: without the adjustment sIoU would be .4."""
    result = scored([[1, 1, 1, 1, 1]], [[1, 1, 0, 1, 1]])
    assert result.siou == pytest.approx(2 / 3)
    assert result.ppv == pytest.approx(4 / 5)


def test_false_positives_are_counted_by_ppv():
    """A prediction with PPV .75 and a low IoU with its object is no false positive at .75."""
    result = scored([[1, 1, 1, 1, 0, 0, 0, 0, 0]], [[0, 1, 1, 1, 1, 1, 1, 1, 1]])
    assert (result.siou, result.ppv) == (pytest.approx(3 / 9), 0.75)
    assert result.f1["0.75"] == 0.0
    assert result.f1["0.30"] == 1.0


def test_thresholds_compare_exactly():
    """.35, .55, .6 and .7 in floating point miss fractions such as 7/20."""
    for percent in range(25, 80, 5):
        label = np.ones((1, 20))
        score = np.arange(20)[None] < percent // 5
        assert scored(score, label).f1[f"{percent / 100:.2f}"] == 1.0
        if percent < 75:
            assert scored(score, label).f1[f"{(percent + 5) / 100:.2f}"] == 0.0


@given(st.permutations(range(6)))
def test_order_and_merging_do_not_matter(order):
    def count(indices):
        state = ComponentScore(1, 1, 1.0)
        for index in indices:
            state.update(*random_map(index)[:2], f"f{index}")
        return state

    whole = count(range(6)).compute()
    assert count(order[:2]).merge(count(order[2:])).compute() == whole


def test_state_is_complete_about_frames_and_settings(tmp_path):
    state = ComponentScore(3, 2, threshold=0.1)
    state.update(np.ones((4, 4)), np.ones((4, 4)), "a")
    state.save(tmp_path / "component.npz")
    again = ComponentScore.load(tmp_path / "component.npz")
    assert again.compute() == state.compute()
    assert (again.min_prediction, again.min_anomaly, again.threshold) == (3, 2, 0.1)
    with pytest.raises(DataError, match="frame 'a' is counted twice"):
        again.update(np.ones((4, 4)), np.ones((4, 4)), "a")
    with pytest.raises(DataError, match="frame 'a'"):
        again.merge(state)
    with pytest.raises(CompatibilityError):
        state.merge(ComponentScore(3, 2, threshold=0.2))
    with pytest.raises(FrameError, match="frame 'b'"):
        state.update(np.full((4, 4), np.nan), np.ones((4, 4)), "b")
    assert state.frames == ["a"]


def test_a_batch_counts_like_its_maps_one_by_one():
    rng = np.random.default_rng(0)
    score, label = rng.normal(size=(4, 9, 11)), rng.choice([0, 0, 1, 255], size=(4, 9, 11))
    batch, single = ComponentScore(3, 2, 0.3), ComponentScore(3, 2, 0.3)
    batch.update(score, label)
    for one, other in zip(score, label, strict=True):
        single.update(one, other)
    a, b = batch.compute(), single.compute()
    assert (a.siou, a.ppv, a.f1, a.anomaly_components) == (b.siou, b.ppv, b.f1, b.anomaly_components)
    with pytest.raises(FrameError, match="height, width"):
        batch.update(score[0, 0], label[0, 0])


@pytest.mark.parametrize("threshold", [0.1, 0.7, 1 / 3, -0.1, 1e-50, -1e-50, 1e300, -1e300, 0.5])
def test_float32_scores_meet_the_threshold_as_real_numbers(threshold):
    near = np.float32(np.clip(threshold, -3e38, 3e38))
    scores = np.array([np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))])
    for score in scores:
        state = ComponentScore(1, 1, threshold)
        state.update(np.full((2, 2), score), np.ones((2, 2)))
        assert state.compute().predicted_components == int(float(score) > threshold)
