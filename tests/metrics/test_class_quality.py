"""Foretold against true overlap: SciPy's correlations, nothing where none is defined, additive to the last bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from anomseg.errors import CompatibilityError, ConfigError, DataError, FrameError
from anomseg.metrics import ClassQuality, quality_difference, quality_intervals
from anomseg.metrics.bootstrap import resample_weights

NAMES = ("road", "car", "sky")


def rows(count=8, seed=0, decimals=2, noise=0.2, absent=0.2):
    """Predicted and true overlaps with ties; classes are missing here and there."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        true = rng.random(3).round(decimals)
        guess = (true + rng.normal(size=3) * noise).round(decimals)
        true[rng.random(3) < absent] = np.nan
        made.append((guess, true, f"frame_{index}", f"town_{index % 3}"))
    return made


def counted(made, measure="iou"):
    state = ClassQuality(NAMES, measure)
    for row in made:
        state.update(*row)
    return state


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 100_000), st.integers(4, 12), st.integers(1, 3))
def test_figures_are_those_of_scipy(seed, count, decimals):
    made = rows(count, seed, decimals)
    result = counted(made).compute()
    means = {"mae": [], "std": [], "pearson": [], "spearman": []}
    for index, name in enumerate(NAMES):
        pairs = np.array([(guess[index], true[index]) for guess, true, *_ in made if not np.isnan(true[index])])
        found = result.classes[name]
        assert found.frames == len(pairs)
        if not len(pairs):
            assert (found.mae, found.pearson, found.reason) == (None, None, "no images show the class")
            continue
        error = np.abs(pairs[:, 0] - pairs[:, 1])
        assert found.mae == pytest.approx(error.mean(), abs=1e-12)
        assert found.std == pytest.approx(error.std(), abs=1e-12)
        means["mae"].append(found.mae)
        means["std"].append(found.std)
        if len(pairs) < 3 or np.ptp(pairs[:, 0]) == 0 or np.ptp(pairs[:, 1]) == 0:
            assert (found.pearson, found.spearman) == (None, None)
            assert found.reason
            continue
        assert found.pearson == pytest.approx(stats.pearsonr(*pairs.T).statistic, abs=1e-9)
        assert found.spearman == pytest.approx(stats.spearmanr(*pairs.T).statistic, abs=1e-9)
        means["pearson"].append(found.pearson)
        means["spearman"].append(found.spearman)
    for figure, values in means.items():
        assert getattr(result.mean, figure) == (pytest.approx(np.mean(values), abs=1e-12) if values else None)
        assert result.counted[figure] == len(values)


def test_a_perfect_regression():
    made = [(true, true, frame, group) for _, true, frame, group in rows(6, absent=0)]
    result = counted(made).compute()
    for figures in (*result.classes.values(), result.mean, result.image):
        assert (figures.mae, figures.std) == (0, 0)
        assert figures.pearson == pytest.approx(1, abs=1e-12)
        assert figures.spearman == pytest.approx(1, abs=1e-12)


def test_an_image_is_the_mean_over_the_classes_that_it_shows():
    state = ClassQuality(NAMES)
    state.update([0.5, 0.9, np.nan], [0.4, np.nan, 0.1], "a")
    state.update([0.2, 0.4, 0.6], [0.3, 0.3, 0.9], "b")
    state.update([0.9, 0.9, 0.9], [np.nan, np.nan, np.nan], "c")
    predicted, true = state.image_values()
    assert predicted[:2] == pytest.approx([0.5, 0.4])
    assert true[:2] == pytest.approx([0.4, 0.5])
    assert np.isnan([predicted[2], true[2]]).all()
    figures = state.compute().image
    assert (figures.frames, figures.pearson) == (2, None)
    assert figures.mae == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("guess", "true", "reason"),
    [
        ([0.1, 0.2], [0.3, 0.4], "2 images show the class, and a correlation needs 3"),
        ([0.1], [0.3], "1 image show"),
        ([0.5, 0.5, 0.5], [0.1, 0.2, 0.3], "the predicted overlap is the same in all images"),
        ([0.1, 0.2, 0.3], [0.5, 0.5, 0.5], "the true overlap is the same in all images"),
        ([0.1, 0.2], [np.nan, np.nan], "no images show the class"),
    ],
)
def test_undefined_correlations_are_null_and_say_why(guess, true, reason):
    state = ClassQuality(["car"], "dice")
    for index, pair in enumerate(zip(guess, true, strict=True)):
        state.update([pair[0]], [pair[1]], f"frame_{index}")
    figures = state.compute().classes["car"]
    assert (figures.pearson, figures.spearman) == (None, None)
    assert figures.reason.startswith(reason)
    assert state.compute().mean.reason == "no class has a correlation"


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 4))
def test_shards_merge_to_one_run_bit_for_bit(seed, shards):
    made = rows(7, seed)
    states = [counted(made[shard::shards]) for shard in range(shards)]
    merged = states[-1].merge(*states[:-1])
    assert merged.compute() == counted(made).compute()
    assert quality_intervals(merged, 30) == quality_intervals(counted(made), 30)


def test_a_saved_state_is_the_state(tmp_path):
    state = counted(rows(), "dice")
    state.save(tmp_path / "state.npz")
    read = ClassQuality.load(tmp_path / "state.npz")
    assert (read.compute(), read.measure) == (state.compute(), "dice")
    assert (read.frames, read.groups) == (state.frames, state.groups)
    empty = ClassQuality(NAMES)
    empty.save(tmp_path / "empty.npz")
    assert ClassQuality.load(tmp_path / "empty.npz").merge(counted(rows(), "iou")).compute().mean.mae is not None


def test_bad_input_leaves_the_state_as_it_is():
    state = counted(rows(4))
    before = state.compute()
    with pytest.raises(DataError, match="counted twice"):
        state.update([0, 0, 0], [0, 0, 0], "frame_0")
    with pytest.raises(FrameError, match="one value a class"):
        state.update([0, 0], [0, 0, 0], "new")
    with pytest.raises(FrameError, match="infinite"):
        state.update([np.inf, 0, 0], [0, 0, 0], "new")
    with pytest.raises(FrameError, match="out of"):
        state.update([0, 0, 0], [1.5, 0, 0], "new")
    assert state.compute() == before
    with pytest.raises(CompatibilityError, match="do not merge"):
        state.merge(ClassQuality(NAMES, "dice"))
    with pytest.raises(ConfigError, match="did you mean 'dice'"):
        ClassQuality(NAMES, "dise")


def expected_of(made):
    """MAE and both correlations, means over classes, then of images, by SciPy on rows that may repeat."""
    guess, true = np.array([row[0] for row in made]), np.array([row[1] for row in made])
    names = np.array([row[2] for row in made])
    figures = []
    with np.errstate(invalid="ignore"):
        images = [np.nanmean(np.where(np.isnan(true), np.nan, part), axis=1) for part in (guess, true)]
    for one, other in [(guess[:, index], true[:, index]) for index in range(3)] + [tuple(images)]:
        known = ~np.isnan(other)
        one, other = one[known], other[known]  # noqa: PLW2901
        few = len(set(names[known])) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0
        figures.append(
            [
                np.abs(one - other).mean() if one.size else np.nan,
                np.nan if few else stats.pearsonr(one, other).statistic,
                np.nan if few else stats.spearmanr(one, other).statistic,
            ]
        )
    return np.concatenate([np.nanmean(figures[:3], axis=0), figures[3]])


def test_intervals_are_those_of_resampled_groups():
    made = rows(15, seed=2, decimals=1)
    names, weights = ["town_0", "town_1", "town_2"], resample_weights(3, 25, 5)
    values = np.array([expected_of([row for row in made for _ in range(int(w[names.index(row[3])]))]) for w in weights])
    found = quality_intervals(counted(made), samples=25, seed=5)
    for index, name in enumerate(("mae", "pearson", "spearman", "image_mae", "image_pearson", "image_spearman")):
        column = values[:, index]
        expected = np.quantile(column[~np.isnan(column)], [0.025, 0.975])
        assert found.figures[name] == pytest.approx(expected, abs=1e-9), name


def test_paired_differences_are_of_the_same_truth():
    made = rows(15, seed=2)
    better = [(true * 0.9 + 0.05, true, frame, group) for _, true, frame, group in made]
    first, second = counted(better), counted(made)
    found = quality_difference(first, second, samples=50)
    one, other = first.compute().mean, second.compute().mean
    assert found.difference["pearson"] == pytest.approx(one.pearson - other.pearson, abs=1e-9)
    assert found.intervals.figures["pearson"][0] > 0
    with pytest.raises(DataError, match="different frames, classes or segmentations"):
        quality_difference(first, counted(rows(15, seed=3)))
    alone = counted([(*row[:3], "one") for row in made])
    assert quality_intervals(alone).reason == "1 group of frames; an interval needs at least 2"
