"""Average precision of instances against plain loops over masks, and against cases counted by hand."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anomseg.errors import CompatibilityError, DataError, FrameError
from anomseg.metrics import InstanceAP, predicted_instances
from anomseg.metrics.instances import average_precision, match_instances


def row(*values: int) -> np.ndarray:
    return np.array([values], np.int32)


def slow(frames, min_region: int) -> list[float]:
    """The same figures by loops over masks and thresholds, from the definition."""
    figures = []
    for percent in range(50, 100, 5):
        least, hits, total = percent / 100, [], 0
        for predicted, confidence, truth in frames:
            masks = {g: truth == g for g in set(truth.ravel().tolist()) if g > 0}
            large = {g: mask for g, mask in masks.items() if mask.sum() >= min_region}
            total += len(large)
            taken: dict[int, list[int]] = {}
            for p in range(1, len(confidence) + 1):
                own = predicted == p
                if not own.any():
                    continue
                partner = [g for g, mask in large.items() if (own & mask).sum() / (own | mask).sum() > least + 1e-12]
                if partner:
                    taken.setdefault(partner[0], []).append(p)
                    continue
                small = np.isin(truth, [g for g in masks if g not in large]) | (truth == -1)
                if (own & small).sum() / own.sum() <= least + 1e-12:
                    hits.append((confidence[p - 1], False))
            for rivals in taken.values():
                ordered = sorted((confidence[p - 1] for p in rivals), reverse=True)
                hits += [(sure, place == 0) for place, sure in enumerate(ordered)]
        if not total:
            figures.append(math.nan)
            continue
        points = [(0.0, 1.0)]
        for level in sorted({sure for sure, _ in hits}, reverse=True):
            above = [good for sure, good in hits if sure >= level]
            points.append((sum(above) / total, sum(above) / len(above)))
        figures.append(sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points)))
    return figures


maps = st.lists(st.integers(-1, 4), min_size=24, max_size=24)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(maps, maps, st.lists(st.integers(1, 3), min_size=4, max_size=4)), min_size=1, max_size=3))
def test_as_loops_over_masks_say(drawn):
    frames = [
        (np.maximum(np.array(p), 0).reshape(4, 6), np.array(sure) / 4, np.array(t).reshape(4, 6))
        for p, t, sure in drawn
    ]
    state = InstanceAP(min_region=3)
    for number, (predicted, confidence, truth) in enumerate(frames):
        state.update(predicted, confidence, truth, str(number))
    result = state.compute()
    np.testing.assert_allclose(list(result.by_overlap.values()), slow(frames, 3), atol=1e-12)
    parts = []
    for number, frame in enumerate(frames):
        part = InstanceAP(min_region=3)
        part.update(*frame, str(number))
        parts.append(part)
    assert repr(parts[0].merge(*parts[1:]).compute()) == repr(result)


@pytest.mark.parametrize("shift", [0, 1, 2, 3])
def test_the_overlap_decides_how_strict_a_find_is(shift):
    """Ten pixels moved by ``shift``: an overlap of (10 - shift) / (10 + shift)."""
    truth, predicted = np.zeros((1, 20), int), np.zeros((1, 20), int)
    truth[0, :10], predicted[0, shift : 10 + shift] = 1, 1
    state = InstanceAP(min_region=1)
    state.update(predicted, [0.5], truth)
    overlap = (10 - shift) / (10 + shift)
    assert list(state.compute().by_overlap.values()) == [float(overlap > p / 100) for p in range(50, 100, 5)]


def test_an_overlap_of_exactly_the_least_is_not_enough():
    state, count = match_instances(row(1, 1, 0, 0), 1, row(2, 2, 2, 2), 1)
    assert (state[0, 0], count) == (0, 1)
    state, _ = match_instances(row(1, 1, 1, 0), 1, row(2, 2, 2, 2), 1)
    assert state[0].tolist() == [1] * 5 + [0] * 5


def test_void_and_small_instances_are_neither_found_nor_false():
    truth = row(-1, -1, 5, 5, 5, 5, 9, 0)
    predicted = row(1, 1, 2, 2, 2, 2, 3, 4)
    state, count = match_instances(predicted, 4, truth, 2)
    assert count == 1
    assert state[:, 0].tolist() == [-1, 1, -1, 0]
    # Half on void is not more than half.
    assert match_instances(row(1, 1), 1, row(-1, 0), 1)[0][0].tolist() == [0] * 10


def test_average_precision_by_hand():
    found, sure = np.array([True, False, True]), np.array([0.9, 0.8, 0.7])
    # (0, 1) (1/2, 1) (1/2, 1/2) (1, 2/3)
    assert average_precision(found, sure, 2) == pytest.approx(0.5 + 0.5 * (1 / 2 + 2 / 3) / 2)
    # Equally sure predictions are one step, whatever their order.
    assert average_precision(found, np.ones(3), 2) == average_precision(found[::-1], np.ones(3), 2)
    assert average_precision(found[:0], sure[:0], 3) == 0
    assert math.isnan(average_precision(found, sure, 0))


def test_from_map_to_components():
    score = np.zeros((6, 9), np.float32)
    score[0, 0] = score[1, 1] = 3  # joined by a corner
    score[4:, 4:] = 2
    score[0, 8] = 9
    ids, sure = predicted_instances(torch.from_numpy(score), 0.5, min_size=2)
    assert ids[0, 0] == ids[1, 1] == 1
    assert ids[4, 4] == 2
    assert ids[0, 8] == 0
    assert sure.tolist() == [3.0, 2.0]
    void = np.zeros(score.shape, bool)
    void[4:, 4:] = True
    assert predicted_instances(score, 0.5, void=void, min_size=1)[1].tolist() == [3.0, 9.0]
    ids, sure = predicted_instances(np.zeros((3, 3)), 0.5)
    assert (ids.max(), len(sure)) == (0, 0)
    state = InstanceAP()
    state.update(ids, sure, ids, "nothing there, nothing said")
    assert math.isnan(state.compute().ap)


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_the_threshold_is_not_rounded_to_the_scores(kind):
    """The float32 next to 0.3 exceeds 0.3; the float16 next to it does not exceed 0.30001."""
    score = np.full((2, 2), kind(0.3))
    assert len(predicted_instances(score, 0.3, min_size=1)[1]) == int(float(kind(0.3)) > 0.3)
    lower = float(kind(0.3)) - 1e-9
    assert len(predicted_instances(score, lower, min_size=1)[1]) == 1


def test_states_are_kept_and_frames_counted_once(tmp_path):
    truth = np.kron(np.array([[1, 0], [0, 2]]), np.ones((4, 4), int))
    state = InstanceAP(min_region=4)
    state.update(truth, [0.9, 0.4], truth, "a")
    state.update(truth * 0, [], truth, "b")
    state.save(tmp_path / "state.npz")
    again = InstanceAP.load(tmp_path / "state.npz")
    assert again.compute() == state.compute()
    assert (again.frames, again.missing(["a", "c"])) == (["a", "b"], ["c"])
    result = state.compute()
    assert (result.instances, result.predictions, result.frames) == (4, 2, 2)
    assert result.ap == result.ap50 == 0.5
    with pytest.raises(DataError, match="counted twice"):
        again.update(truth, [1, 1], truth, "a")
    with pytest.raises(DataError, match="counted twice"):
        state.merge(again)
    with pytest.raises(CompatibilityError, match="min_region"):
        state.merge(InstanceAP(min_region=5))


@pytest.mark.parametrize(
    ("predicted", "confidence", "truth", "said"),
    [
        (row(1, 0), [1.0], None, "no ground truth"),
        (row(1, 0), [1.0], row(1, 0, 0), "differ in shape"),
        (row(2, 0), [1.0], row(1, 0), "one confidence each"),
        (row(-1, 0), [1.0], row(1, 0), "one confidence each"),
        (row(1, 0), [1.0], row(-2, 0), "from -1"),
        (row(1, 0), [math.nan], row(1, 0), "NaN"),
        (row(1, 0) * 0.5, [1.0], row(1, 0), "whole numbers"),
    ],
)
def test_frames_that_cannot_be_used_change_nothing(predicted, confidence, truth, said):
    state = InstanceAP(min_region=1)
    with pytest.raises(FrameError, match=said) as error:
        state.update(predicted, confidence, truth, "a")
    assert "\n" not in str(error.value)
    assert state.frames == []
    assert state.compute().predictions == 0
