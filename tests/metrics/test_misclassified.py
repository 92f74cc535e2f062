"""EFPR and CFPR: the published fact, scikit-learn on the two subsets, the bootstrap against a plain loop."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from anomseg.errors import DataError, FrameError
from anomseg.metrics import (
    FPR_RULES,
    JUDGED_FIGURES,
    JudgedImages,
    Misclassified,
    PerImage,
    PixelCurve,
    conditional_fpr,
    count_judged,
    count_scores,
    judged_difference,
    judged_intervals,
)


def frame(seed, shape=(12, 20), decimals=2):
    """Scores with ties, higher on anomalies and on misclassified inliers; void, and inliers that are not judged."""
    rng = np.random.default_rng(seed)
    label = (rng.random(shape) < 0.15).astype(np.uint8)
    judged = rng.choice(np.array([0, 0, 0, 1, 255], np.uint8), shape)
    score = (rng.normal(size=shape) + 2 * label + (judged == 1)).round(decimals).astype(np.float32)
    label[rng.random(shape) < 0.1] = 255
    return score, label, judged


def counted(seeds, rule="first>="):
    curve, state, images = PixelCurve(rule), Misclassified(), JudgedImages(PerImage(rule), PerImage(rule))
    for seed in seeds:
        score, label, judged = frame(seed)
        counts = count_scores(score, label)
        curve.add(counts, f"f{seed}")
        parts = count_judged(counts, score, label, judged)
        state.add(parts, f"f{seed}")
        images.add(parts, f"f{seed}", f"g{seed % 3}")
    return curve, state, images


def pooled(seeds):
    return (np.concatenate(part, axis=None) for part in zip(*map(frame, seeds), strict=True))


def test_the_published_fact():
    """Four inliers classified right, right, wrong, wrong; flagged 0, 1, 1, 1."""
    assert conditional_fpr([0, 1, 1, 1], wrong=[0, 0, 1, 1]) == (0.5, 1.0)
    curve, state = PixelCurve(), Misclassified()
    score, label = [0.1, 0.6, 0.7, 0.8, 0.5], [0, 0, 0, 0, 1]
    curve.update(score, label, "a")
    state.update(score, label, [0, 0, 1, 1, 255], "a")
    found = state.compute(curve).at_recall
    assert (found.threshold, found.cfpr, found.efpr, found.share, found.fpr) == (0.5, 0.5, 1.0, 2 / 3, 0.75)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 500), min_size=1, max_size=4, unique=True))
def test_equal_to_scikit_learn_on_the_subsets(seeds):
    curve, state, _ = counted(seeds)
    result = state.compute(curve)
    score, label, judged = pooled(seeds)
    for value, found in ((0, result.at_recall.cfpr), (1, result.at_recall.efpr)):
        subset = (label == 1) | ((label == 0) & (judged == value))
        fpr, tpr, _ = roc_curve(label[subset], score[subset], drop_intermediate=False)
        assert found == pytest.approx(fpr[np.argmax(tpr >= 0.95)], abs=1e-12)
    inlier = label == 0
    assert (result.right, result.wrong, result.unjudged) == tuple(
        int((judged[inlier] == value).sum()) for value in (0, 1, 255)
    )


@settings(max_examples=25)
@given(st.lists(st.integers(0, 500), min_size=1, max_size=3, unique=True), st.sampled_from([0.0, 0.05, 0.3, 1.0]))
def test_equal_fpr_by_brute_force(seeds, level):
    curve, state, _ = counted(seeds)
    result = state.compute(curve, fpr=level)
    score, label, judged = pooled(seeds)
    inliers, wrong = score[label == 0], judged[label == 0] == 1
    judgeable = judged[label == 0] != 255
    within = [value for value in np.unique(inliers) if (inliers >= value).mean() <= level]
    flagged = inliers >= min(within, default=math.inf)
    found = result.at_fpr
    assert (inliers >= found.threshold).tolist() == flagged.tolist()
    assert found.fpr == pytest.approx(flagged.mean())
    assert (found.cfpr, found.efpr) == conditional_fpr(flagged[judgeable], wrong[judgeable])
    alarms = (flagged & judgeable).sum()
    assert found.share == (pytest.approx((flagged & wrong).sum() / alarms) if alarms else None)
    assert result.base == pytest.approx(wrong.sum() / judgeable.sum())


@pytest.mark.parametrize("rule", FPR_RULES)
def test_the_threshold_is_that_of_fpr95_by_each_rule(rule):
    curve, state, _ = counted(range(4), rule)
    result = state.compute(curve)
    assert result.at_recall.fpr == curve.compute().fpr95
    alarms = curve.counts_at([result.at_recall.threshold])[1][0]
    assert alarms / curve.inlier == curve.compute().fpr95


def test_the_rest_is_judged_neither_right_nor_wrong():
    curve, state = PixelCurve(), Misclassified()
    curve.update([0.9, 0.2], [0, 1], "a")
    state.update([0.9, 0.2], [0, 1], [255, 255], "a")
    result = state.compute(curve)
    assert (result.right, result.wrong, result.unjudged, result.base) == (0, 0, 1, None)
    assert (result.at_recall.fpr, result.at_recall.cfpr, result.at_recall.efpr) == (1.0, None, None)
    assert result.at_recall.share is None


def test_merge_in_any_order_and_file_are_bit_equal(tmp_path):
    curve, state, images = counted(range(6))
    parts = [counted(range(shard, 6, 3)) for shard in (2, 0, 1)]
    for index, (_, part, _) in enumerate(parts):
        part.save(tmp_path / f"{index}.npz")
    loaded = [Misclassified.load(tmp_path / f"{index}.npz") for index in range(3)]
    merged = loaded[0].merge(*loaded[1:])
    assert merged.compute(curve) == state.compute(curve)
    merged.save(tmp_path / "merged.npz")
    state.save(tmp_path / "whole.npz")
    assert (tmp_path / "merged.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    joined = parts[0][2].merge(parts[1][2], parts[2][2])
    assert joined.compute() == images.compute()
    assert judged_intervals(joined, samples=40) == judged_intervals(images, samples=40)
    assert merged.missing(["f0", "x"]) == ["x"]
    with pytest.raises(DataError, match="counted twice"):
        merged.merge(loaded[0])


def test_refused_input_changes_nothing():
    state = Misclassified()
    with pytest.raises(FrameError, match="differ in shape"):
        state.update([0.1, 0.2], [0, 1], [0], "a")
    with pytest.raises(FrameError, match="0 right, 1 wrong, 255 unjudged"):
        state.update([0.1, 0.2], [0, 1], [0, 7], "a")
    assert state.frames == []
    curve = PixelCurve()
    curve.update([0.1, 0.2], [0, 1], "b")
    with pytest.raises(DataError, match="other frames"):
        state.compute(curve)


def test_means_over_images_take_each_image_at_its_own_threshold():
    _, _, images = counted(range(5))
    expected = {0: [], 1: []}
    for seed in range(5):
        score, label, judged = frame(seed)
        for value, found in expected.items():
            subset = (label == 1) | ((label == 0) & (judged == value))
            fpr, tpr, _ = roc_curve(label[subset], score[subset], drop_intermediate=False)
            found.append(fpr[np.argmax(tpr >= 0.95)])
    means = images.compute()
    assert means.cfpr95 == pytest.approx(np.mean(expected[0]))
    assert means.efpr95 == pytest.approx(np.mean(expected[1]))
    assert (means.cfpr_frames, means.efpr_frames) == (5, 5)


def resampled(seeds, samples, seed):
    """The plain bootstrap: pixels of the drawn groups put together, with the definitions above."""
    groups = sorted({f"g{index % 3}" for index in seeds})
    draws = np.random.default_rng(seed).multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=samples)
    values = {name: [] for name in JUDGED_FIGURES}
    for draw in draws:
        drawn = [s for name, count in zip(groups, draw, strict=True) for s in seeds if f"g{s % 3}" == name]
        drawn = [s for s in drawn for _ in range(draw[groups.index(f"g{s % 3}")])]
        score, label, judged = (np.concatenate(part, axis=None) for part in zip(*map(frame, drawn), strict=True))
        usable = (label == 1) | ((label == 0) & (judged != 255))
        score, label, wrong = score[usable], label[usable], judged[usable] == 1
        hits = np.sort(score[label == 1])[::-1]
        threshold = hits[math.ceil(0.95 * hits.size - 1e-9) - 1]
        inliers, misses = score[label == 0], wrong[label == 0]
        cfpr, efpr = conditional_fpr(inliers >= threshold, misses)
        within = [value for value in np.unique(inliers) if (inliers >= value).mean() <= 0.05]
        flagged = inliers >= min(within, default=math.inf)
        at = conditional_fpr(flagged, misses)
        share = misses[flagged].mean()
        found = (efpr, cfpr, at[1], at[0], share, share - misses.mean())
        for name, value in zip(JUDGED_FIGURES, found, strict=True):
            values[name].append(value)
    return {name: np.array(value) for name, value in values.items()}


def test_intervals_are_those_of_the_plain_bootstrap():
    """Few distinct scores, so that the histograms lose nothing."""
    seeds = list(range(6))
    _, _, images = counted(seeds)
    intervals = judged_intervals(images, samples=60, seed=3)
    plain = resampled(seeds, 60, 3)
    for name in JUDGED_FIGURES:
        assert intervals.figures[name] == pytest.approx(np.quantile(plain[name], [0.025, 0.975]), abs=1e-9), name
    assert (intervals.samples, intervals.groups, intervals.reason) == (60, 3, None)


def test_paired_difference_shares_its_resamples():
    _, _, images = counted(range(6))
    same = judged_difference(images, images, samples=30)
    assert set(same.difference.values()) == {0.0}
    assert set(same.intervals.figures.values()) == {(0.0, 0.0)}
    other = JudgedImages()
    for seed in range(6):
        score, label, judged = frame(seed)
        score = -score
        other.add(count_judged(count_scores(score, label), score, label, judged), f"f{seed}", f"g{seed % 3}")
    paired = judged_difference(images, other, samples=30)
    assert paired.difference["efpr95"] == -judged_difference(other, images, samples=30).difference["efpr95"]
    low, high = paired.intervals.figures["cfpr95"]
    assert low <= paired.difference["cfpr95"] <= high < 0
    foreign = JudgedImages()
    score, label, judged = frame(0)
    foreign.add(count_judged(count_scores(score, label), score, label, 1 - judged // 255), "f0", "g0")
    with pytest.raises(DataError, match="judged on different frames or by different networks"):
        judged_difference(images, foreign)


def test_a_comparison_without_anomalies_or_frames_is_refused_in_one_line():
    clean = JudgedImages()
    score, label, judged = frame(0)
    label[label == 1] = 0
    clean.add(count_judged(count_scores(score, label), score, label, judged), "a")
    for images in (JudgedImages(), clean):
        with pytest.raises(DataError, match="nothing to compare"):
            judged_difference(images, images)


def test_one_group_has_no_interval():
    images = JudgedImages()
    score, label, judged = frame(0)
    images.add(count_judged(count_scores(score, label), score, label, judged), "a")
    intervals = judged_intervals(images)
    assert intervals.figures is None
    assert "at least 2" in intervals.reason
