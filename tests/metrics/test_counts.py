"""Frames as counts: keys keep the order of scores, and nothing unusable is counted."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from anomseg.errors import FrameError
from anomseg.metrics.counts import count_scores, keys_at_least, score_keys, scores_of_keys

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(hnp.arrays(np.float32, st.integers(1, 50), elements=FLOATS))
def test_keys_order_as_scores_and_come_back(scores):
    keys = score_keys(scores)
    assert np.array_equal(keys[:, None] < keys[None], scores[:, None] < scores[None])
    assert np.array_equal(keys[:, None] == keys[None], scores[:, None] == scores[None])
    assert np.array_equal(scores_of_keys(keys), scores)


def test_scores_are_left_as_they_were():
    scores = np.array([-1.0, -0.0, 2.0], np.float32)
    kept = scores.copy()
    count_scores(scores, np.zeros(3, np.uint8))
    assert scores.tobytes() == kept.tobytes()


@given(
    hnp.arrays(np.float32, st.integers(1, 30), elements=FLOATS),
    st.one_of(st.floats(allow_nan=False), FLOATS),
)
def test_threshold_keys_compare_like_float64(scores, threshold):
    expected = scores.astype(np.float64) >= np.float64(threshold)
    assert np.array_equal(score_keys(scores) >= keys_at_least(threshold), expected)


def test_nan_threshold_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        keys_at_least([0.5, np.nan])


@given(hnp.arrays(np.int8, st.integers(1, 60), elements=st.integers(-3, 3)), st.randoms(use_true_random=False))
def test_counts_are_those_of_unique(values, random):
    label = np.array([random.choice([0, 1, 255]) for _ in values], np.uint8)
    scores = values.astype(np.float32) / 2
    counts = count_scores(scores, label, "a")
    for name, value in (("inlier", 0), ("anomaly", 1)):
        distinct, number = np.unique(scores[label == value], return_counts=True)
        assert np.array_equal(scores_of_keys(getattr(counts, f"{name}_keys")), distinct)
        assert np.array_equal(getattr(counts, f"{name}_counts"), number)
    assert counts.void == np.count_nonzero(label == 255)
    assert counts.inlier + counts.anomaly + counts.void == label.size


@pytest.mark.parametrize(
    "make",
    [
        np.asarray,
        torch.tensor,
        lambda values: torch.tensor(values, dtype=torch.bfloat16),
        lambda values: torch.tensor(values, dtype=torch.float16),
        lambda values: torch.tensor(values, requires_grad=True),
        list,
    ],
)
def test_arrays_tensors_and_lists_are_taken(make):
    counts = count_scores(make([0.5, 0.25, 0.5]), torch.tensor([0, 1, 0], dtype=torch.uint8))
    assert counts.inlier_counts.tolist() == [2]
    assert scores_of_keys(counts.anomaly_keys).tolist() == [0.25]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("where", [0, 1, 2])
def test_scores_that_are_not_finite_float32_are_refused_even_on_void(bad, where):
    score = np.zeros((1, 3))
    score[0, where] = bad
    with pytest.raises(FrameError, match=r"frame 'street_7'.*1 of 3 scores"):
        count_scores(score, np.array([[0, 1, 255]]), "street_7")


def test_shapes_must_agree():
    with pytest.raises(FrameError, match=r"frame 'a'.*\(2, 3\) and \(3, 2\)"):
        count_scores(np.zeros((2, 3)), np.zeros((3, 2), np.uint8), "a")


@pytest.mark.parametrize("label", [[0, 2, 1, 254], [0, 1, 1, -1]])
def test_label_values_outside_the_table_are_listed(label):
    wrong = [value for value in sorted(label) if value not in (0, 1)]
    with pytest.raises(
        FrameError, match=f"frame 'a'.*values {', '.join(map(str, wrong))} are not in the table"
    ) as caught:
        count_scores(np.zeros(4), np.array(label), "a")
    assert "\n" not in str(caught.value)


def test_no_ground_truth_is_an_error_not_zeros():
    with pytest.raises(FrameError, match="no ground truth"):
        count_scores(np.zeros(4), None, "a")


def test_all_void_frame_counts_nothing():
    counts = count_scores(np.ones((2, 2)), np.full((2, 2), 255))
    assert (counts.inlier, counts.anomaly, counts.void) == (0, 0, 4)
