"""The tail scale: monotone, exact in ranks, additive, defined everywhere, refusing what is no score."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score

from anomseg.calibration import LEVELS, ScoreStatistics, TailScale, tail_scale
from anomseg.errors import AnomsegError, CompatibilityError, ConfigError, DataError, FrameError
from anomseg.metrics import PixelCurve, detection_margin, f1_curve, margin_thresholds, maximal_detection_margin

LARGEST = np.finfo(np.float32).max
finite = st.floats(-float(LARGEST), float(LARGEST), width=32)
samples = hnp.arrays(np.float32, st.integers(1, 60), elements=finite)
decades = st.sampled_from([0.5, 1.0, 2.0, 6.0, 15.0])


def neighbours(scores: np.ndarray) -> np.ndarray:
    """Scores with the float32 numbers next to them, finite ones."""
    with np.errstate(over="ignore"):
        beside = [np.nextafter(scores, np.float32(end)) for end in (-np.inf, np.inf)]
    found = np.concatenate([scores, *beside]).astype(np.float32)
    return found[np.isfinite(found)]


@given(samples, hnp.arrays(np.float32, st.integers(1, 80), elements=finite), decades)
def test_never_falls_and_stays_in_the_unit_interval(seen, asked, decades):
    seen = np.sort(seen)
    if seen[0] == LARGEST:
        return
    scale = tail_scale(seen, decades)
    around = np.sort(np.concatenate([asked, neighbours(seen), np.float32([-LARGEST, 0, LARGEST])]))
    values = scale(around)
    assert values.dtype == np.float32
    assert (np.diff(values) >= 0).all()
    assert values.min() >= 0
    assert values.max() < 1


@given(samples, decades)
def test_levels_are_the_rank_p_value_exactly(seen, decades):
    """Against the definition, count by count: c(s) >= level exactly where p(s) <= 10^(-decades level)."""
    seen = np.sort(seen)
    if seen[0] == LARGEST:
        return
    scale = tail_scale(seen, decades)
    around = neighbours(seen)
    p = (1 + (seen[None] >= around[:, None]).sum(1)) / (1 + seen.size)
    values = scale(around).astype(np.float64)
    for level in (1, 40, 1000, 2000, 3999):
        rate = 10 ** (-decades * level / LEVELS)
        assert ((values >= level / LEVELS) == (p <= rate * (1 + 1e-12))).all()


def test_a_threshold_reads_as_a_false_alarm_rate():
    rng = np.random.default_rng(0)
    seen = np.sort(rng.gamma(2.0, 3.0, 200_000).astype(np.float32))
    scale = tail_scale(seen, 5)
    for threshold in (0.1, 0.2, 0.4, 0.6, 0.8):
        share = (scale(seen) >= threshold).mean()
        assert share <= scale.false_alarm_rate(threshold) == pytest.approx(10 ** (-5 * threshold))
        assert share == pytest.approx(10 ** (-5 * threshold), abs=2e-5)
    # On other pixels of the same kind the rate is met up to chance.
    fresh = scale(rng.gamma(2.0, 3.0, 200_000))
    assert (fresh >= 0.4).mean() == pytest.approx(1e-2, rel=0.1)


def test_strictly_increasing_where_float32_has_room():
    seen = np.sort(np.random.default_rng(0).normal(size=5000).astype(np.float32))
    scale = tail_scale(seen, 3)
    asked = np.linspace(-8, 8, 2000).astype(np.float32)
    assert (np.diff(scale(asked)) > 0).all()
    assert scale(np.float32([-1e30, 1e30])).tolist() == sorted(scale(np.float32([-1e30, 1e30])).tolist())


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_order_survives_so_average_precision_does(seed):
    rng = np.random.default_rng(seed)
    scale = tail_scale(np.sort(rng.normal(size=3000).astype(np.float32)), 3)
    label = rng.integers(0, 2, 400)
    score = (rng.normal(size=400) + 1.5 * label).astype(np.float32)
    values = scale(score)
    if np.unique(values).size == np.unique(score).size:
        assert average_precision_score(label, values) == average_precision_score(label, score)
    assert average_precision_score(label, values) == pytest.approx(average_precision_score(label, score), abs=0.02)


RESCALINGS = {
    "affine": lambda x: 3 * x - 40,
    "tiny": lambda x: x * np.float64(2.0**-60),
    "cube": lambda x: x.astype(np.float64) ** 3,
    "exponential": lambda x: np.exp(x.astype(np.float64)),
    "squashed": lambda x: np.arctan(x.astype(np.float64)),
}


@pytest.mark.parametrize("name", RESCALINGS)
@pytest.mark.parametrize("seed", [0, 1])
def test_margin_of_a_calibrated_score_does_not_depend_on_the_raw_scale(name, seed):
    rng = np.random.default_rng(seed)
    grid = 1 / 64  # far enough apart that no rescaling merges two float32 scores
    seen = (np.round(rng.normal(size=20_000) / grid) * grid).astype(np.float32)
    label = (rng.random(4000) < 0.2).astype(np.uint8)
    score = (np.round((rng.normal(size=4000) + 4 * label) / grid) * grid).astype(np.float32)
    change = RESCALINGS[name]
    moved_seen, moved = change(seen).astype(np.float32), change(score).astype(np.float32)
    assert np.unique(np.concatenate([moved_seen, moved])).size == np.unique(np.concatenate([seen, score])).size
    plain, other = tail_scale(np.sort(seen), 4), tail_scale(np.sort(moved_seen), 4)
    margin = maximal_detection_margin(plain(score), label)
    assert 0.1 < margin < 0.9
    assert maximal_detection_margin(other(moved), label) == margin
    # From the state of raw scores, thresholds brought back: the same to the last bit, without a second pass.
    state = PixelCurve()
    state.update(moved, label)
    counts = state.counts_at(other.threshold(margin_thresholds()))
    assert detection_margin(f1_curve(*counts, int(label.sum()))).value == margin


@given(samples, hnp.arrays(np.float32, 40, elements=finite), decades)
def test_thresholds_brought_back_select_the_same_pixels(seen, asked, decades):
    seen = np.sort(seen)
    if seen[0] == LARGEST:
        return
    scale = tail_scale(seen, decades)
    thresholds = np.concatenate([np.arange(0, 1, 0.05), [-1, 1, 2]])
    raw = scale.threshold(thresholds)
    chosen = scale(asked).astype(np.float64)[None] >= thresholds[:, None]
    assert (chosen == (asked.astype(np.float64)[None] >= raw[:, None])).all()


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_statistics_add_up_in_any_order(seed, parts):
    rng = np.random.default_rng(seed)
    frames = [rng.choice(rng.normal(size=50), rng.integers(1, 300)).astype(np.float32) for _ in range(parts)]
    whole = tail_scale(np.sort(np.concatenate(frames)), 3)
    states = []
    for index in rng.permutation(parts):
        state = ScoreStatistics()
        state.update(frames[index], frame=str(index))
        states.append(state)
    merged = states[0].merge(*states[1:])
    scale = merged.scale(3)
    assert merged.pixels == whole.pixels == scale.pixels
    assert merged.frames == sorted(str(index) for index in range(parts))
    assert scale.knots.tobytes() == whole.knots.tobytes()
    assert scale.levels.tobytes() == whole.levels.tobytes()
    assert scale.sha256 == whole.sha256
    assert states[0].pixels == frames[int(states[0].frames[0])].size


def test_a_frame_counts_once():
    one, two = ScoreStatistics(), ScoreStatistics()
    one.update([1.0], frame="a")
    two.update([2.0], frame="a")
    with pytest.raises(DataError, match="counted twice"):
        one.update([1.0], frame="a")
    with pytest.raises(DataError, match="counted twice"):
        one.merge(two)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
def test_what_is_no_score_is_refused(bad):
    scale = tail_scale(np.arange(100.0), 2)
    for make in (np.asarray, torch.tensor):
        with pytest.raises(FrameError, match=r"'street'.*NaN or infinite"):
            scale(make([0.0, bad]), "street")
    statistics = ScoreStatistics()
    with pytest.raises(FrameError):
        statistics.update([0.0, bad], frame="a")
    assert statistics.pixels == 0
    assert statistics.frames == []


def test_pixels_that_are_not_valid_count_nowhere():
    statistics = ScoreStatistics()
    statistics.update(np.arange(6.0).reshape(2, 3), np.array([[True] * 3, [False] * 3]), "a")
    assert statistics.pixels == 3
    with pytest.raises(FrameError, match="differ in shape"):
        statistics.update([1.0, 2.0], [True], "b")


def test_one_score_everywhere():
    """A constant score tells nothing: what equals it is ordinary, what exceeds it has not been seen."""
    scale = tail_scale(np.full(9999, 5.0), 4)
    low, same, high = scale(np.float32([4.0, 5.0, 5.0001]))
    assert low < same < 1 / LEVELS
    assert high >= scale.reach == pytest.approx(1, abs=1 / LEVELS)


def test_few_pixels_do_not_promise_rare_alarms():
    scale = tail_scale(np.arange(99.0), 6)
    assert scale.reach == pytest.approx(2 / 6, abs=1 / LEVELS)
    assert scale.threshold(0.5) == np.inf
    assert scale(np.float32([1e9])) < 0.34


@pytest.mark.parametrize("bad", [0.0, -1.0, 16.0, np.nan])
def test_decades_out_of_range(bad):
    with pytest.raises(ConfigError, match="decades"):
        tail_scale(np.arange(10.0), bad)


def test_nothing_to_calibrate_on():
    with pytest.raises(DataError):
        tail_scale([])
    with pytest.raises(DataError):
        ScoreStatistics().scale()


def test_saved_and_loaded_bit_equal(tmp_path):
    scale = tail_scale(np.sort(np.random.default_rng(0).normal(size=4000)), 3)
    scale.save(tmp_path / "scale.npz")
    back = TailScale.load(tmp_path / "scale.npz")
    asked = np.linspace(-9, 9, 777).astype(np.float32)
    assert back(asked).tobytes() == scale(asked).tobytes()
    again = TailScale.from_parts({"decades": 3}, 4000, scale.tensors())
    assert again(asked).tobytes() == scale(asked).tobytes()
    assert again.sha256 == back.sha256 == scale.sha256


@pytest.mark.parametrize(
    ("knots", "levels"),
    [([], []), ([1, 1], [1, 2]), ([2, 1], [1, 2]), ([1, 2], [2, 2]), ([1], [LEVELS]), ([np.nan], [1]), ([1, 2], [1])],
)
def test_damaged_tables_are_refused(knots, levels):
    with pytest.raises(AnomsegError):
        TailScale(6.0, 10, np.array(knots, np.float32), np.array(levels, np.int64))
    with pytest.raises(CompatibilityError):
        TailScale.from_parts({}, 10, {})
