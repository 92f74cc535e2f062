"""Per-image figures and the bootstrap over groups."""

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from anomseg.errors import CompatibilityError, DataError, FrameError
from anomseg.metrics import (
    PerImage,
    PixelCurve,
    bootstrap_intervals,
    mean_paired_difference,
    paired_difference,
    resampled,
)


def made(groups=6, per_group=3, shift=1.5, seed=0, size=200, clean=()):
    """Frames whose groups differ in how well they are scored."""
    rng = np.random.default_rng(seed)
    rows = []
    for group in range(groups):
        strength = shift + rng.normal()
        for index in range(per_group):
            label = (rng.random(size) < 0.15).astype(np.uint8)
            label[0] = group not in clean
            if group in clean:
                label[:] = 0
            score = (rng.normal(size=size) + strength * label).astype(np.float32)
            rows.append((score, label, f"g{group}_{index}", f"g{group}"))
    return rows


def counted(rows, **options):
    state = PerImage(**options)
    for score, label, frame, group in rows:
        state.update(score, label, frame, group)
    return state


class TestPerImage:
    def test_means_are_those_of_scikit_learn(self):
        rows = made(clean=(2,))
        rows[0][1][5:9] = 255
        state = counted(rows)
        figures = []
        for score, label, _, _ in rows:
            truth, values = label[label != 255], score[label != 255]
            if truth.any():
                fpr, tpr, _ = sk.roc_curve(truth, values, drop_intermediate=False)
                area = sk.roc_auc_score(truth, values)
                figures.append((sk.average_precision_score(truth, values), area, fpr[tpr >= 0.95][0]))
        result = state.compute()
        assert (result.ap, result.auroc, result.fpr95) == pytest.approx(np.mean(figures, axis=0), abs=1e-12)
        assert result.frames == len(figures) == 15

    def test_rows_are_complete_and_sorted(self):
        state = counted(made(2, 2, clean=(1,))[::-1])
        rows = state.rows()
        assert [row["frame"] for row in rows] == ["g0_0", "g0_1", "g1_0", "g1_1"]
        assert list(rows[0]) == ["frame", "group", "inlier", "anomaly", "void", "ap", "auroc", "fpr95"]
        assert rows[2]["ap"] is None
        assert rows[2]["anomaly"] == 0
        assert rows[0]["inlier"] + rows[0]["anomaly"] == 200

    def test_frame_stands_for_an_empty_group(self):
        state = PerImage()
        state.update([1, 0], [1, 0], "a")
        assert state.rows()[0]["group"] == "a"

    def test_nothing_defined(self):
        state = PerImage()
        state.update([1, 0], [0, 0], "clean")
        result = state.compute()
        assert (result.ap, result.auroc, result.fpr95, result.frames) == (None, None, None, 0)

    def test_rules_are_used(self):
        rows = [([4.0, 3.0, 2.0, 1.0], [1, 0, 1, 0], "a", "")]
        assert counted(rows, fpr_rule="nearest").compute().fpr95 == 0.5
        assert counted(rows, ap_rule="trapezoid").compute().ap != counted(rows).compute().ap
        with pytest.raises(CompatibilityError):
            counted(rows).merge(PerImage(fpr_rule="nearest"))

    def test_order_does_not_matter(self):
        rows = made()
        assert counted(rows[::-1]).compute() == counted(rows).compute()
        assert counted(rows[7:]).merge(counted(rows[:7])).compute() == counted(rows).compute()

    def test_save_and_load(self, tmp_path):
        for rows in (made(clean=(0, 1)), [], made(1, 1)):
            state = counted(rows)
            state.save(tmp_path / "state.npz")
            again = PerImage.load(tmp_path / "state.npz")
            assert again.rows() == state.rows()
            for (_, first), (_, second) in zip(state.histograms(), again.histograms(), strict=True):
                np.testing.assert_equal(vars(first), vars(second))

    def test_frames_are_counted_once(self):
        state = counted(made())
        with pytest.raises(DataError, match="'g0_0' is counted twice"):
            state.update([1, 0], [1, 0], "g0_0")
        with pytest.raises(DataError, match="and 13 more"):
            state.merge(counted(made()))
        with pytest.raises(FrameError, match="'bad'"):
            state.update([np.nan, 0], [1, 0], "bad")
        assert state.missing(["g0_0", "bad"]) == ["bad"]

    def test_histograms_hold_every_pixel_in_order(self):
        state = counted(made(1, 1))
        ((figures, histogram),) = state.histograms()
        assert histogram.inlier_counts.sum() == figures.inlier
        assert histogram.anomaly_counts.sum() == figures.anomaly
        assert (np.diff(histogram.inlier_bins.astype(np.int64)) > 0).all()


def slow_bootstrap(rows, samples, seed):
    """Pools the pixels of each resample and asks scikit-learn."""
    groups = sorted({row[3] for row in rows})
    draws = np.random.default_rng(seed).multinomial(len(groups), [1 / len(groups)] * len(groups), size=samples)
    values = []
    for draw in draws:
        score = np.concatenate([row[0] for row in rows for _ in range(draw[groups.index(row[3])])])
        label = np.concatenate([row[1] for row in rows for _ in range(draw[groups.index(row[3])])])
        fpr, tpr, _ = sk.roc_curve(label, score, drop_intermediate=False)
        values.append((sk.average_precision_score(label, score), sk.roc_auc_score(label, score), fpr[tpr >= 0.95][0]))
    return np.quantile(values, [0.025, 0.975], axis=0).T


class TestBootstrap:
    def test_equal_to_pooling_every_resample(self):
        """Scores of few distinct values fall into bins of their own, so the intervals are exact."""
        rows = [(score.round(0), *rest) for score, *rest in made()]
        got = bootstrap_intervals(counted(rows), samples=60, seed=3)
        expected = slow_bootstrap(rows, 60, 3)
        assert np.array([got.figures[name] for name in ("ap", "auroc", "fpr95")]) == pytest.approx(expected, abs=1e-12)
        assert (got.samples, got.dropped, got.groups, got.reason, got.level) == (60, 0, 6, None, 0.95)

    def test_close_to_it_on_any_scores(self):
        rows = made()
        got = bootstrap_intervals(counted(rows), samples=60, seed=3).figures
        expected = slow_bootstrap(rows, 60, 3)
        assert np.array([got[name] for name in ("ap", "auroc", "fpr95")]) == pytest.approx(expected, abs=0.01)

    @pytest.mark.parametrize("size", [200, 20_000])
    def test_scores_crowded_at_one_end_do_not_fall_together(self, size):
        """One minus a tiny probability: bins of fixed width would make most pixels ties."""
        rows = [
            ((1 - np.exp(-score.astype(np.float64) - 9)).astype(np.float32), *rest) for score, *rest in made(size=size)
        ]
        got = bootstrap_intervals(counted(rows), samples=40, seed=3).figures
        expected = slow_bootstrap(rows, 40, 3)
        assert np.array([got[name] for name in ("ap", "auroc", "fpr95")]) == pytest.approx(expected, abs=0.004)

    def test_covers_the_point_estimate_and_repeats(self):
        rows = made(groups=12)
        state = counted(rows)
        pixel = PixelCurve()
        for score, label, frame, _ in rows:
            pixel.update(score, label, frame)
        first, second = bootstrap_intervals(state), bootstrap_intervals(counted(rows[::-1]))
        assert first == second
        for name, (low, high) in first.figures.items():
            assert low < getattr(pixel.compute(), name) < high
        assert bootstrap_intervals(state, seed=1) != first
        wide = bootstrap_intervals(state, level=0.99).figures["ap"]
        assert wide[0] < first.figures["ap"][0] < first.figures["ap"][1] < wide[1]

    def test_groups_are_resampled_not_frames(self):
        """Copies of a frame within its group add no knowledge."""
        rows = made(6, 1)
        copies = [(score, label, f"{frame}-{copy}", group) for score, label, frame, group in rows for copy in range(5)]
        one = bootstrap_intervals(counted(rows), samples=200).figures
        many = bootstrap_intervals(counted(copies), samples=200).figures
        for name in one:
            assert one[name] == pytest.approx(many[name], abs=1e-12)

    @pytest.mark.parametrize("rule", ["first>=", "first>", "nearest"])
    def test_identical_groups_have_no_width(self, rule):
        score, label = np.arange(20.0), np.tile([0, 0, 1, 0], 5)
        state = counted([(score, label, f"f{i}", "") for i in range(4)], fpr_rule=rule)
        for name, (low, high) in bootstrap_intervals(state, samples=50).figures.items():
            assert low == pytest.approx(high, abs=1e-12)
            assert low == pytest.approx(getattr(state.compute(), name), abs=1e-12)

    def test_reasons_for_no_interval(self):
        alone = bootstrap_intervals(counted(made(1)))
        assert alone.figures is None
        assert "1 group" in alone.reason
        clean = bootstrap_intervals(counted(made(3, clean=(0, 2))))
        assert clean.figures is None
        assert "1 of 3 groups contain anomalies" in clean.reason
        assert bootstrap_intervals(PerImage()).figures is None

    def test_resamples_without_anomalies_are_left_out_and_counted(self):
        got = bootstrap_intervals(counted(made(4, clean=(0, 1))), samples=400)
        assert got.samples + got.dropped == 400
        assert got.dropped == pytest.approx(400 / 16, abs=20)
        assert got.dropped > 0
        assert all(math.isfinite(end) for interval in got.figures.values() for end in interval)


class TestPairedDifference:
    def test_of_a_detector_with_itself_is_zero(self):
        got = paired_difference(counted(made()), counted(made()), samples=50)
        assert got.difference == {"ap": 0.0, "auroc": 0.0, "fpr95": 0.0}
        assert got.intervals.figures["ap"] == (0.0, 0.0)

    def test_pairing_is_narrower_than_two_intervals(self):
        rows = made(groups=10)
        rng = np.random.default_rng(1)
        worse = [(score + 0.3 * rng.normal(size=score.size), *rest) for score, *rest in rows]
        first, second = counted(rows), counted(worse)
        got = paired_difference(first, second, samples=300)
        low, high = got.intervals.figures["auroc"]
        assert 0 < low < got.difference["auroc"] < high
        alone = bootstrap_intervals(first, samples=300).figures["auroc"]
        assert high - low < alone[1] - alone[0]
        back = paired_difference(second, first, samples=300)
        assert back.difference["ap"] == -got.difference["ap"]
        assert back.intervals.figures["ap"] == pytest.approx([-end for end in got.intervals.figures["ap"][::-1]])

    def test_mean_over_runs(self):
        rng = np.random.default_rng(3)
        other = counted(made(groups=8))
        runs = [
            counted([(score + scale * rng.normal(size=score.size), *rest) for score, *rest in made(groups=8)])
            for scale in (0.1, 0.4, 0.2)
        ]
        single = [paired_difference(one, other, samples=100) for one in runs]
        mean = mean_paired_difference(runs, [other] * 3, samples=100)
        for name, value in mean.difference.items():
            assert value == pytest.approx(np.mean([one.difference[name] for one in single]))
        # Nearly the same pixels are scored three times: averaging hides the noise of runs, not that of frames.
        low, high = mean.intervals.figures["ap"]
        ends = np.array([one.intervals.figures["ap"] for one in single])
        assert ends[:, 0].min() <= low < mean.difference["ap"] < high <= ends[:, 1].max()
        assert mean_paired_difference([runs[0]], [other], samples=100) == single[0]

    def test_resampled_once_gives_the_same(self):
        first, second = counted(made()), counted([(-score, *rest) for score, *rest in made()])
        drawn = [resampled(one, 80, 2) for one in (first, second)]
        assert paired_difference(*drawn, 80, 2) == paired_difference(first, second, 80, 2)
        assert paired_difference(drawn[0], second, 80, 2) == paired_difference(first, second, 80, 2)
        assert bootstrap_intervals(drawn[0], 80, 2) == bootstrap_intervals(first, 80, 2)
        assert resampled(drawn[0], 80, 2) is drawn[0]
        for samples, seed in ((81, 2), (80, 3)):
            with pytest.raises(DataError, match="80 resamples of seed 2"):
                paired_difference(*drawn, samples, seed)

    def test_mean_over_runs_needs_runs_of_the_same_frames(self):
        state, fewer = counted(made()), counted(made()[:-1])
        with pytest.raises(DataError, match="g5_2"):
            mean_paired_difference([state, fewer], [state, fewer])
        with pytest.raises(DataError, match="no runs"):
            mean_paired_difference([], [])

    def test_needs_the_same_frames_labels_and_rules(self):
        state = counted(made())
        with pytest.raises(DataError, match="g5_2"):
            paired_difference(state, counted(made()[:-1]))
        with pytest.raises(DataError, match="rules"):
            paired_difference(state, counted(made(), fpr_rule="nearest"))
        clean = counted(made(3, clean=(0, 1, 2)))
        with pytest.raises(DataError, match="nothing to compare"):
            paired_difference(clean, clean)

    def test_says_why_there_is_no_interval(self):
        got = paired_difference(counted(made(1)), counted(made(1, seed=0)))
        assert got.intervals.figures is None
        assert "1 group" in got.intervals.reason
