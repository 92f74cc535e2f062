"""Conformal risk control: against brute force, and the finite-sample guarantee by simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomseg.calibration import FrameScores, control_risk, units_needed
from anomseg.calibration.conformal import check_units
from anomseg.calibration.frame_scores import form_units
from anomseg.errors import CompatibilityError, ConfigError, DataError, FrameError


def state_of(maps, groups=None) -> FrameScores:
    state = FrameScores()
    for index, scores in enumerate(maps):
        state.update(np.asarray(scores, np.float32), None, f"f{index}", groups[index] if groups else "")
    return state


def grid_score(value: float, up: int = 0) -> np.float32:
    """The lowest score of the cell of a value, or of a cell above it: 12 bits of the float are left out."""
    bits = np.array([value], np.float32).view(np.uint32)
    assert value > 0
    return (((bits >> 12) + np.uint32(up)) << 12).view(np.float32)[0]


@settings(max_examples=25)
@given(
    st.lists(st.lists(st.sampled_from([0.5, 1.0, 1.5, 2.0, 7.0]), min_size=1, max_size=6), min_size=4, max_size=9),
    st.sampled_from([0.22, 0.3, 0.5, 0.81]),
    st.sampled_from(["pixels", "frames"]),
)
def test_the_threshold_is_the_least_that_the_definition_allows(maps, risk, loss):
    if len(maps) < units_needed(risk):
        with pytest.raises(DataError, match="cannot vouch"):
            control_risk(state_of(maps), risk, loss=loss)
        return
    found = control_risk(state_of(maps), risk, loss=loss)

    def corrected(threshold: float) -> float:
        alarms = [np.asarray(scores, np.float32) >= threshold for scores in maps]
        losses = [part.mean() if loss == "pixels" else float(part.any()) for part in alarms]
        return (sum(losses) + 1) / (len(maps) + 1)

    assert corrected(found.threshold) <= risk + 1e-9
    assert found.corrected == pytest.approx(corrected(found.threshold), abs=1e-12)
    # One cell of the grid lower it is no longer allowed.
    values = sorted({value for scores in maps for value in scores})
    lower = max(value for value in values if value < found.threshold)
    assert found.threshold == grid_score(lower, up=1)
    assert corrected(lower) > risk


def test_expected_loss_of_a_new_frame_stays_below_the_risk():
    """Frames differ in how many alarms they raise; over calibration sets and new frames the mean loss is bounded."""
    rng, risk, trials, frames = np.random.default_rng(0), 0.1, 200, 12
    losses = {"conformal": [], "quantile": []}
    for _ in range(trials):
        # A frame is bad as a whole, with a heavy tail: a pooled share of few frames says little of the next.
        shift = rng.pareto(1.5, frames + 1)
        maps = 0.01 * rng.normal(size=(frames + 1, 20)) + 2 * shift[:, None]
        new = maps[-1].astype(np.float32)
        found = control_risk(state_of(maps[:-1] + 100), risk)
        losses["conformal"].append((new + np.float32(100) >= found.threshold).mean())
        pooled = np.sort(maps[:-1].astype(np.float32).ravel())
        losses["quantile"].append((new >= pooled[int(np.ceil(pooled.size * (1 - risk)))]).mean())
    error = np.std(losses["conformal"]) / np.sqrt(trials)
    assert np.mean(losses["conformal"]) <= risk + 2 * error
    assert np.mean(losses["conformal"]) > 0.01  # and it is no empty promise
    # The share of pooled pixels is not bounded so.
    assert np.mean(losses["quantile"]) > risk + 2 * error


def test_frames_of_one_sequence_are_no_independent_draws_and_blocks_mend_that():
    rng, risk, trials = np.random.default_rng(1), 0.334, 400
    images, blocks = [], []
    for _ in range(trials):
        level = np.repeat(rng.normal(size=5), 2)  # four sequences to calibrate on, and a new one, both frames alike
        maps = 100 + level[:, None] + 0.001 * rng.normal(size=(10, 3))
        state = state_of(maps[:8], [f"s{index // 2}" for index in range(8)])
        new = maps[8:].astype(np.float32)
        for kept, block in ((images, 1), (blocks, 2)):
            found = control_risk(state, risk, block=block)
            kept.append((new >= found.threshold).mean())
    error = 2 * np.std(images) / np.sqrt(trials)
    assert np.mean(blocks) <= risk + error
    assert np.mean(images) > risk + error


def test_any_alarm_in_a_frame_is_bounded_too():
    rng, risk, trials, frames = np.random.default_rng(2), 0.2, 200, 9
    hit = []
    for _ in range(trials):
        maps = 10 + rng.normal(size=(frames + 1, 30))
        found = control_risk(state_of(maps[:-1]), risk, loss="frames")
        hit.append(bool((maps[-1].astype(np.float32) >= found.threshold).any()))
    assert np.mean(hit) <= risk + 2 * np.sqrt(risk * (1 - risk) / trials)
    assert np.mean(hit) > risk / 2


def test_too_few_units_are_refused_in_one_line():
    maps = np.random.default_rng(3).normal(size=(20, 4)) + 5
    with pytest.raises(DataError, match=r"^20 frames of calibration cannot vouch for a risk of 0\.01, which takes at "
                       r"least 99; calibrate on more data, or ask for a risk of 0\.0476 or more$"):  # fmt: skip
        control_risk(state_of(maps), 0.01)
    assert control_risk(state_of(maps), 1 / 21).units == 20
    groups = [f"s{index // 10}" for index in range(20)]
    with pytest.raises(DataError, match="4 blocks of 5 frames"):
        control_risk(state_of(maps, groups), 0.05, block=5)
    with pytest.raises(DataError, match="99"):
        check_units([["a"]] * 98, 0.01)
    check_units([["a"]] * 99, 0.01)


@pytest.mark.parametrize(("risk", "needed"), [(0.5, 1), (1 / 3, 2), (0.1, 9), (0.05, 19), (0.01, 99), (0.3, 3)])
def test_units_needed_is_the_definition(risk, needed):
    assert units_needed(risk) == needed
    assert 1 / (needed + 1) <= risk + 1e-12
    assert 1 / needed > risk


@pytest.mark.parametrize("risk", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_a_risk_is_between_0_and_1(risk):
    with pytest.raises(ConfigError, match="between 0 and 1"):
        units_needed(risk)


def test_blocks_are_consecutive_frames_of_a_sequence():
    frames = [f"a{index}" for index in range(7)] + ["b0"] + ["a7"]
    groups = ["a"] * 7 + ["b", "a"]
    units = form_units(frames, groups, 3)
    assert units == [["a0", "a1", "a2"], ["a3", "a4", "a5", "a6", "a7"], ["b0"]]
    assert form_units(frames, groups, 100) == [[f"a{index}" for index in range(8)], ["b0"]]
    assert form_units(frames, groups) == [[frame] for frame in frames]
    with pytest.raises(ConfigError, match="belongs to no sequence"):
        form_units(["x", "y"], ["", ""], 2)
    with pytest.raises(ConfigError, match="block of 0"):
        form_units(["x"], ["g"], 0)


def test_state_counts_saves_loads_merges(tmp_path):
    rng = np.random.default_rng(4)
    maps = rng.normal(size=(4, 6, 5)).astype(np.float32)
    valid = rng.random(maps.shape) < 0.7
    state, halves = FrameScores(), [FrameScores(), FrameScores()]
    for index, (scores, mask) in enumerate(zip(maps, valid, strict=True)):
        state.update(scores, mask, str(index), "g")
        halves[index // 2].update(scores, mask, str(index), "g")
    state.save(tmp_path / "a.npz")
    merged = halves[0].merge(halves[1])
    merged.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    back = FrameScores.load(tmp_path / "a.npz")
    assert (back.frames, back.groups) == (["0", "1", "2", "3"], ["g"] * 4)
    for threshold in (-0.5, 0.25, 1.0):  # all on the grid
        expected = [(scores[mask] >= threshold).mean() for scores, mask in zip(maps, valid, strict=True)]
        assert back.losses(threshold).tolist() == pytest.approx(expected, abs=0)
        assert back.losses(threshold, "frames").tolist() == [float(share > 0) for share in expected]
    assert back.only(["2", "0"]).frames == ["2", "0"]
    with pytest.raises(DataError, match="twice"):
        merged.merge(halves[0])
    with pytest.raises(DataError, match="twice"):
        state.update(maps[0], None, "0")
    with pytest.raises(FrameError, match="no in-distribution pixel"):
        state.update(maps[0], np.zeros((6, 5), bool), "4")
    with pytest.raises(FrameError, match="NaN"):
        state.update(np.array([np.nan]), None, "5")
    with pytest.raises(ConfigError, match="did you mean 'pixels'"):
        state.losses(0.0, "pixel")
    empty = FrameScores()
    empty.save(tmp_path / "c.npz")
    assert FrameScores.load(tmp_path / "c.npz").frames == []
    from anomseg.metrics import PixelCurve

    PixelCurve().save(tmp_path / "d.npz")
    with pytest.raises(CompatibilityError, match="PixelCurve"):
        FrameScores.load(tmp_path / "d.npz")


def test_scores_at_the_end_of_float32_have_no_threshold_above():
    with pytest.raises(DataError, match="largest float32"):
        control_risk(state_of([[float(np.finfo(np.float32).max)]] * 3), 0.3)


def test_negative_scores_keep_their_order():
    maps = -np.linspace(1, 4, 40).reshape(10, 4)
    found = control_risk(state_of(maps), 0.3)
    assert -4 < found.threshold < -1
    alarms = (maps.astype(np.float32) >= found.threshold).mean()
    assert found.measured == pytest.approx(alarms, abs=1e-12)
