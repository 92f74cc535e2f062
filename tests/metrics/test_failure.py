"""Failure detection: equal to scikit-learn's figures, additive to the last bit, refusing what cannot be counted."""

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from anomseg.errors import CompatibilityError, DataError, FrameError
from anomseg.metrics import FailureDetection, failure_difference, failure_intervals
from anomseg.metrics.bootstrap import resample_weights

WRONG = [1, 0, 1, 0, 0, 1, 0, 0]
SCORE = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]


def frames(count=5, seed=0, shape=(9, 11), decimals=1, share=0.15):
    """Frames with ties, void pixels and an offset of their own; some without an error."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        wrong = (rng.random(shape) < (share if index != 1 else 0)).astype(np.uint8)
        score = (rng.normal(size=shape) + wrong + rng.normal() * 0.3).round(decimals).astype(np.float32)
        wrong[rng.random(shape) < 0.1] = 255
        made.append((score, wrong, f"frame_{index}", f"town_{index % 3}"))
    return made


def counted(made, **options):
    state = FailureDetection(**options)
    for score, wrong, frame, group in made:
        state.update(score, wrong, frame, group)
    return state


def pooled(made):
    valid = [wrong != 255 for _, wrong, *_ in made]
    score = np.concatenate([score[mask] for (score, *_), mask in zip(made, valid, strict=True)])
    wrong = np.concatenate([wrong[mask] for (_, wrong, *_), mask in zip(made, valid, strict=True)])
    return wrong, score


def fpr95(wrong, score):
    fpr, tpr, _ = sk.roc_curve(wrong, score, drop_intermediate=False)
    return fpr[np.argmax(tpr >= 0.95)]


def test_the_published_example():
    state = FailureDetection()
    state.update(np.array(SCORE), np.array(WRONG), "a")
    result = state.compute()
    assert result.aupr_error == pytest.approx(13 / 18, abs=1e-12)
    assert result.auroc == pytest.approx(11 / 15, abs=1e-12)
    assert (result.fpr95, result.fpr95_pooled) == (0.6, 0.6)
    assert (result.prevalence, result.right, result.wrong) == (3 / 8, 5, 3)
    assert result.nap == pytest.approx((13 / 18 - 3 / 8) / (5 / 8), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 100_000), st.integers(0, 3), st.sampled_from([0.02, 0.15, 0.6, 0.95]))
def test_figures_are_those_of_scikit_learn(seed, decimals, share):
    made = frames(4, seed, decimals=decimals, share=share)
    wrong, score = pooled(made)
    if not 0 < wrong.sum() < wrong.size:
        return
    result = counted(made).compute()
    assert result.aupr_error == pytest.approx(sk.average_precision_score(wrong, score), abs=1e-12)
    assert result.aupr_success == pytest.approx(sk.average_precision_score(1 - wrong, -score), abs=1e-12)
    assert result.auroc == pytest.approx(sk.roc_auc_score(wrong, score), abs=1e-12)
    assert result.fpr95_pooled == pytest.approx(fpr95(wrong, score), abs=1e-12)
    single = [pooled([one]) for one in made]
    defined = [fpr95(*pair) for pair in single if 0 < pair[0].sum() < pair[0].size]
    assert result.fpr95 == pytest.approx(np.mean(defined), abs=1e-12)
    assert result.fpr95_frames == len(defined)
    assert result.prevalence == pytest.approx(wrong.mean(), abs=1e-15)


def test_fpr95_of_images_is_a_mean_and_not_pooled():
    state = FailureDetection()
    state.update([0.9, 0.1, 0.2], [1, 0, 0], "easy")
    state.update([0.1, 0.9, 0.2, 0.3], [1, 0, 0, 0], "hard")
    result = state.compute()
    assert result.fpr95 == pytest.approx((0 + 1) / 2)
    # At 0.1 or above lie all five right pixels.
    assert result.fpr95_pooled == 1.0


def test_a_constant_confidence_beside_the_softmax_keeps_its_order():
    rng = np.random.default_rng(0)
    softmax, wrong = rng.random(500).astype(np.float32), rng.random(500) < 0.2
    alone, beside = FailureDetection(), FailureDetection()
    alone.update(-softmax, wrong, "a")
    beside.update(-(np.float64(softmax) + 0.5), wrong, "a")
    # A sum in float32 may tie scores, so it is near and not the same.
    assert beside.compute().aupr_error == pytest.approx(alone.compute().aupr_error, abs=1e-6)
    assert beside.compute().auroc == pytest.approx(alone.compute().auroc, abs=1e-6)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.booleans())
def test_shards_merge_to_one_run_bit_for_bit(seed, shards, reverse):
    made = frames(5, seed)
    states = [counted(made[shard::shards]) for shard in range(shards)]
    merged = states[-1].merge(*states[:-1]) if reverse else states[0].merge(*states[1:])
    assert merged.compute() == counted(made).compute()
    assert merged.frames == sorted(frame for *_, frame, _ in made)


def test_a_saved_state_is_the_state(tmp_path):
    state = counted(frames())
    state.save(tmp_path / "state.npz")
    read = FailureDetection.load(tmp_path / "state.npz")
    assert read.compute() == state.compute()
    assert failure_intervals(read, 30) == failure_intervals(state, 30)
    read.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "state.npz").read_bytes()
    more = frames(6)[5:]
    for one in (read, state):
        one.update(*more[0])
    assert read.compute() == state.compute()


def test_files_go_in_place_of_memory_and_change_nothing():
    made = frames(3, decimals=6, shape=(40, 50))
    assert counted(made, memory_budget=0).compute() == counted(made).compute()


def test_bad_input_leaves_the_state_as_it_is(tmp_path):
    state = counted(frames(2))
    before = asdict(state.compute())
    with pytest.raises(DataError, match="counted twice"):
        state.update(SCORE, WRONG, "frame_0")
    with pytest.raises(FrameError, match="NaN"):
        state.update([np.nan, *SCORE[1:]], WRONG, "new")
    with pytest.raises(FrameError, match="label values 7"):
        state.update(SCORE, [7, *WRONG[1:]], "new")
    with pytest.raises(FrameError, match="differ in shape"):
        state.update(SCORE, WRONG[1:], "new")
    assert asdict(state.compute()) == before
    with pytest.raises(DataError, match="counted twice"):
        state.merge(state)
    with pytest.raises(CompatibilityError, match="do not merge"):
        state.merge(FailureDetection("nearest"))
    with pytest.raises(DataError, match="does not exist"):
        FailureDetection.load(tmp_path / "none.npz")
    state.pixels.save(tmp_path / "pixels.npz")
    with pytest.raises(CompatibilityError, match="PixelCurve"):
        FailureDetection.load(tmp_path / "pixels.npz")


@pytest.mark.parametrize(("value", "kind"), [(0, "wrong"), (1, "right"), (255, "right")])
def test_without_errors_or_successes_there_are_no_figures(value, kind):
    state = FailureDetection()
    state.update([0.1, 0.2], [value, value], "a")
    assert not state.evaluable
    with pytest.raises(DataError, match=f"no {kind} pixel in 1 frames"):
        state.compute()


def drawn(made, names, weight):
    """The frames of a resample, each as often as its group was drawn."""
    return [one for one in made for _ in range(int(weight[names.index(one[3])]))]


def test_intervals_are_those_of_resampled_groups():
    made = frames(6, seed=3)
    names, weights = ["town_0", "town_1", "town_2"], resample_weights(3, 40, 7)
    values = {name: [] for name in ("aupr_error", "aupr_success", "auroc", "fpr95", "fpr95_pooled")}
    for weight in weights:
        part = drawn(made, names, weight)
        wrong, score = pooled(part)
        if not 0 < wrong.sum() < wrong.size:
            continue
        single = [pooled([one]) for one in part]
        values["aupr_error"].append(sk.average_precision_score(wrong, score))
        values["aupr_success"].append(sk.average_precision_score(1 - wrong, -score))
        values["auroc"].append(sk.roc_auc_score(wrong, score))
        values["fpr95"].append(np.mean([fpr95(*pair) for pair in single if 0 < pair[0].sum() < pair[0].size]))
        values["fpr95_pooled"].append(fpr95(wrong, score))
    found = failure_intervals(counted(made), samples=40, seed=7)
    assert (found.reason, found.groups) == (None, 3)
    for name, expected in values.items():
        assert found.figures[name] == pytest.approx(np.quantile(expected, [0.025, 0.975]), abs=1e-9), name


def test_paired_differences_are_of_the_same_segmentation():
    made = frames(6, seed=3)
    sharper = [(score + (wrong == 1) * 2, wrong, *rest) for score, wrong, *rest in made]
    first, second = counted(sharper), counted(made)
    found = failure_difference(first, second, samples=50)
    one, other = asdict(first.compute()), asdict(second.compute())
    for name in ("aupr_error", "aupr_success", "auroc", "fpr95", "fpr95_pooled"):
        assert found.difference[name] == pytest.approx(one[name] - other[name], abs=1e-9), name
    low, high = found.intervals.figures["aupr_error"]
    assert 0 < low <= high
    assert found.intervals.figures["fpr95"][1] < 0
    with pytest.raises(DataError, match="different frames or labels"):
        failure_difference(first, counted(frames(6, seed=4)))


def test_intervals_need_two_groups_with_errors():
    made = frames(4)
    state = counted([(score, wrong, frame, "one") for score, wrong, frame, _ in made])
    assert failure_intervals(state).reason == "1 of 1 groups of frames have wrong pixels; an interval needs at least 2"
    clean = [(score, wrong * (wrong == 255), frame, group) for score, wrong, frame, group in made[1:]]
    state = counted([made[0], *clean])
    assert failure_intervals(state).figures is None
    assert "1 of 3 groups" in failure_intervals(state).reason
