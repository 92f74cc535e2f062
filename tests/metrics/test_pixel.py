"""The pooled state: additive to the last bit, complete about its frames, and free of the known mistakes."""

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from anomseg.errors import CompatibilityError, DataError, FrameError
from anomseg.metrics import ComponentScore, PerImage, PixelCurve, count_scores


def frames(count=6, seed=0, shape=(20, 30), clean=(), decimals=2):
    """Frames with ties, void and an offset of their own."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        label = (rng.random(shape) < 0.1).astype(np.uint8)
        if index in clean:
            label[:] = 0
        score = (rng.normal(size=shape) + label + rng.normal()).round(decimals)
        label[rng.random(shape) < 0.1] = 255
        made.append((score.astype(np.float32), label, f"frame_{index}"))
    return made


def counted(made, **options):
    state = PixelCurve(**options)
    for score, label, name in made:
        state.update(score, label, name)
    return state


def pooled(made):
    score = np.concatenate([score[label != 255] for score, label, _ in made])
    label = np.concatenate([label[label != 255] for _, label, _ in made])
    return label, score


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 5), st.booleans())
def test_merged_shards_equal_one_run_bit_for_bit(seed, shards, reverse):
    made = frames(5, seed, (6, 7))
    states = [counted(made[shard::shards]) for shard in range(shards)]
    if reverse:
        states.reverse()
    before = [len(state.frames) for state in states]
    merged = states[0].merge(*states[1:])
    assert merged.compute() == counted(made).compute()
    assert [len(state.frames) for state in states] == before, "merging must leave its inputs alone"


def test_order_of_frames_does_not_matter():
    made = frames()
    assert counted(made).compute() == counted(made[::-1]).compute()


def test_a_tiny_budget_changes_nothing():
    made = frames(decimals=7)
    state = counted(made, memory_budget=0)
    assert state.compute() == counted(made).compute()
    assert state.merge(counted([])).compute() == state.compute()


def test_duplicating_all_frames_changes_nothing():
    made = frames()
    copies = [(score, label, f"copy of {name}") for score, label, name in made]
    one, two = counted(made).compute(), counted(made + copies).compute()
    for name in ("ap", "nap", "auroc", "fpr95", "best_f1", "best_f1_threshold", "prevalence", "fpr95_by_rule"):
        assert getattr(one, name) == getattr(two, name)
    assert (two.inlier, two.anomaly, two.void, two.frames) == (2 * one.inlier, 2 * one.anomaly, 2 * one.void, 12)


def test_save_and_load(tmp_path):
    state = counted(frames(), fpr_rule="nearest", ap_rule="trapezoid")
    state.save(tmp_path / "deep" / "pixel.npz")
    again = PixelCurve.load(tmp_path / "deep" / "pixel.npz")
    assert again.compute() == state.compute()
    assert again.frames == state.frames
    again.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "deep" / "pixel.npz").read_bytes()
    with np.load(tmp_path / "again.npz", allow_pickle=False) as plain:
        assert plain["inlier"]["count"].sum() == state.compute().inlier
    with pytest.raises(DataError, match="frame 'frame_3' is counted twice"):
        again.update(*frames()[3])
    empty = PixelCurve()
    empty.save(tmp_path / "empty.npz")
    assert PixelCurve.load(tmp_path / "empty.npz").frames == []


def test_greater_counts_survive_saving(tmp_path):
    state = PixelCurve()
    state.update(np.zeros(70_000), np.r_[1, np.zeros(69_999)], "a")
    state.save(tmp_path / "state.npz")
    assert PixelCurve.load(tmp_path / "state.npz").compute() == state.compute()


def test_damaged_missing_and_foreign_states_are_one_line_errors(tmp_path):
    path = tmp_path / "state.npz"
    with pytest.raises(DataError, match="does not exist"):
        PixelCurve.load(path)
    counted(frames()).save(path)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"x" * 100, whole[:-1]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="cannot be read as a PixelCurve state") as caught:
            PixelCurve.load(path)
        assert "\n" not in str(caught.value)
    ComponentScore().save(path)
    with pytest.raises(CompatibilityError, match="ComponentScore"):
        PixelCurve.load(path)
    np.savez(path, header=np.array([{"kind": "PixelCurve"}], dtype=object))
    with pytest.raises(DataError, match="cannot be read"):
        PixelCurve.load(path)


def test_no_flipped_byte_gives_another_figure(tmp_path):
    path = tmp_path / "state.npz"
    state = counted(frames(2, shape=(4, 4)))
    state.save(path)
    whole = path.read_bytes()
    refused = 0
    for position in range(0, len(whole), 5):
        flipped = bytearray(whole)
        flipped[position] ^= 0xFF
        path.write_bytes(flipped)
        try:
            assert PixelCurve.load(path).compute() == state.compute(), position
        except (DataError, CompatibilityError):
            refused += 1
    assert refused > len(whole) / 5 / 2


def test_a_frame_counted_twice_is_named():
    made = frames()
    state = counted(made)
    with pytest.raises(DataError, match="frame 'frame_2' is counted twice"):
        state.update(*made[2])
    with pytest.raises(DataError, match="frames 'frame_1', 'frame_2' are counted twice"):
        state.merge(counted(made[1:3]))
    with pytest.raises(DataError, match="'frame_0'"):
        state.add(count_scores(*made[0][:2]), "frame_0")
    assert state.compute() == counted(made).compute(), "a refused frame must leave no trace"


def test_missing_frames_are_named():
    made = frames()
    assert counted(made[:4]).missing([name for _, _, name in made]) == ["frame_4", "frame_5"]


def test_frames_without_ids_are_counted():
    state = PixelCurve()
    for score, label, _ in frames(3):
        state.update(score, label)
    assert state.compute().frames == 3
    assert state.merge(state).compute().frames == 6


def test_a_refused_frame_leaves_the_state_unchanged():
    made = frames()
    state = counted(made)
    score, label, _ = frames(1, seed=5)[0]
    for bad_score, bad_label in ((np.where(label == 1, np.nan, score), label), (score, label + 2), (score[1:], label)):
        with pytest.raises(FrameError, match="frame 'bad'"):
            state.update(bad_score, bad_label, "bad")
    state.update(score, label, "bad")
    assert state.compute() == counted([*made, (score, label, "bad")]).compute()


def test_rules_must_agree_to_merge():
    with pytest.raises(CompatibilityError):
        PixelCurve().merge(PixelCurve(fpr_rule="nearest"))


@pytest.mark.parametrize(
    ("label", "what"), [(0, "no anomalous pixel in 1 frames"), (1, "no inlier pixel"), (255, "no anomalous")]
)
def test_undefined_figures_are_one_line_errors(label, what):
    state = PixelCurve()
    state.update(np.zeros((2, 2)), np.full((2, 2), label), "a")
    for ask in (state.compute, state.points):
        with pytest.raises(DataError, match=what) as caught:
            ask()
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="no anomalous pixel in 0 frames"):
        PixelCurve().compute()


def test_result_is_complete():
    made = frames()
    truth, score = pooled(made)
    result = counted(made).compute()
    assert result.prevalence == truth.mean()
    assert result.nap == pytest.approx((result.ap - truth.mean()) / (1 - truth.mean()))
    assert (result.inlier, result.anomaly) == tuple(np.bincount(truth))
    assert result.void == sum(np.count_nonzero(label == 255) for _, label, _ in made)
    assert result.frames == 6
    assert result.fpr95 == result.fpr95_by_rule["first>="]
    assert all(type(value) in (float, int, dict) for value in asdict(result).values()), "plain values, ready for JSON"
    chosen = score >= result.best_f1_threshold
    assert sk.f1_score(truth, chosen) == pytest.approx(result.best_f1)


def test_counts_at_thresholds():
    made = frames()
    truth, score = pooled(made)
    thresholds = np.concatenate([np.linspace(3, -3, 25), score[:5], [np.inf, -np.inf, 0.1, -0.0]])
    hits, false = counted(made).counts_at(thresholds)
    for threshold, hit, wrong in zip(thresholds, hits, false, strict=True):
        chosen = score.astype(np.float64) >= threshold
        assert hit == np.count_nonzero(chosen & (truth == 1))
        assert wrong == np.count_nonzero(chosen & (truth == 0))
    assert counted(made).counts_at(0.5)[0].shape == (1,)


def test_points_lie_on_the_curve():
    made = frames(decimals=6)
    truth, score = pooled(made)
    state = counted(made)
    points = state.points(20)
    assert 15 <= points.recall.size <= 22
    assert (np.diff(points.recall) >= 0).all()
    assert (np.diff(points.fpr) >= 0).all()
    for recall, precision, fpr, threshold in zip(
        points.recall, points.precision, points.fpr, points.threshold, strict=True
    ):
        chosen = score >= threshold
        assert recall == pytest.approx(sk.recall_score(truth, chosen))
        assert precision == pytest.approx(sk.precision_score(truth, chosen))
        assert fpr == pytest.approx(chosen[truth == 0].mean())
    assert (points.recall[-1], points.fpr[-1]) == (1.0, 1.0)
    assert points.precision[-1] == state.compute().prevalence


class TestKnownMistakes:
    """Each is made by some published code; here it would change a figure."""

    def test_pooling_is_not_a_mean_over_images(self):
        state, per_image = PixelCurve(), PerImage()
        for name, score in (("a", [0.9, 0.1]), ("b", [0.05, 0.01])):
            state.update(score, [1, 0], name)
            per_image.update(score, [1, 0], name)
        assert state.compute().ap == pytest.approx(0.8333, abs=5e-5)
        assert per_image.compute().ap == 1.0

    def test_clean_frames_are_kept(self):
        made = frames(clean=(1, 4))
        truth, score = pooled(made)
        kept = counted(made).compute()
        assert kept.ap == pytest.approx(sk.average_precision_score(truth, score), abs=1e-12)
        assert kept.ap != counted([row for row in made if (row[1] == 1).any()]).compute().ap
        assert kept.frames == 6

    def test_saturated_scores_are_not_binned(self):
        """All scores within 1e-6 of 1: a hundred uniform bins would give FPR95 1."""
        rng = np.random.default_rng(0)
        label = (rng.random(4000) < 0.1).astype(np.uint8)
        score = (1 - 1e-6 * (1 - 0.5 * label) * rng.random(4000)).astype(np.float32)
        binned = np.floor(score.clip(0, 1) * 100).clip(0, 99)
        fpr, tpr, _ = sk.roc_curve(label, score, drop_intermediate=False)
        fpr_binned, tpr_binned, _ = sk.roc_curve(label, binned, drop_intermediate=False)
        assert fpr_binned[tpr_binned >= 0.95][0] == 1.0
        state = PixelCurve()
        state.update(score, label)
        assert state.compute().fpr95 == fpr[tpr >= 0.95][0] < 0.6

    def test_scores_are_not_rounded_to_half_precision(self):
        state = PixelCurve()
        state.update(np.float32([1.0001, 1.0002]), [0, 1])
        assert state.compute().auroc == 1.0

    def test_any_range_of_scores_will_do(self):
        """Energies do not lie in [0, 1]."""
        state = PixelCurve()
        state.update([-30.0, -20.0, -10.0, 500.0], [0, 0, 1, 1])
        assert (state.compute().fpr95, state.compute().auroc) == (0.0, 1.0)

    def test_fpr_is_at_95_not_90_percent(self):
        score = [*range(40, 22, -1), *range(10, 0, -1), 0.5, 0.4]
        state = PixelCurve()
        state.update(score, [1] * 18 + [0] * 10 + [1] * 2)
        assert state.compute().fpr95 == 1.0

    def test_minmax_of_each_image_changes_pooled_figures_only(self):
        made = frames(decimals=7)
        scaled = [((s - s.min()) / (s.max() - s.min()), label, name) for s, label, name in made]
        assert counted(made).compute().ap != pytest.approx(counted(scaled).compute().ap, abs=1e-4)
        for (s, label, _), (t, _, _) in zip(made, scaled, strict=True):
            one, two = PerImage(), PerImage()
            one.update(s, label, "a")
            two.update(t, label, "a")
            assert one.compute().auroc == pytest.approx(two.compute().auroc, abs=1e-3)

    def test_a_threshold_includes_scores_equal_to_it(self):
        state = PixelCurve()
        state.update([0.5, 0.5, 0.2], [1, 1, 0])
        result = state.compute()
        assert (result.best_f1, result.best_f1_threshold) == (1.0, 0.5)
        assert [part.tolist() for part in state.counts_at([0.5])] == [[2], [0]]

    def test_frames_are_not_capped(self):
        state = PixelCurve()
        for index in range(460):
            state.update([index, 0.0], [1, 0], str(index))
        assert (state.compute().frames, state.compute().anomaly) == (460, 460)

    def test_the_step_rule_is_not_the_trapezoid(self):
        pair = [PixelCurve(ap_rule=rule) for rule in ("step", "trapezoid")]
        for state in pair:
            state.update([3, 2, 1, 0], [1, 0, 1, 0])
        step, trapezoid = (state.compute().ap for state in pair)
        assert step == pytest.approx(5 / 6)
        assert trapezoid == pytest.approx((1 + (1 / 2 + 2 / 3) / 2) / 2)
