"""Figures against scikit-learn and against slow loops over every threshold."""

import warnings

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import metrics as sk

from anomseg.errors import ConfigError
from anomseg.metrics import FPR_RULES, PixelCurve
from anomseg.metrics.counts import count_scores
from anomseg.metrics.curve import Curve, auroc, average_precision, best_f1, curve_of_counts, fpr_at_recall

SPECIAL = [
    0.0,
    -0.0,
    1e-45,
    -1e-45,
    2e-45,
    1.1754944e-38,
    1.0,
    float(np.nextafter(np.float32(1), np.float32(2))),
    -1.0,
    3.4e38,
    -3.4e38,
]
SCORES = st.one_of(st.sampled_from(SPECIAL), st.integers(-2, 2).map(float), st.floats(-(2.0**126), 2.0**126, width=32))
PIXELS = st.lists(st.tuples(SCORES, st.sampled_from([0, 1, 255])), min_size=2, max_size=60)


def drawn(pixels):
    score = np.array([score for score, _ in pixels], np.float32)
    label = np.array([label for _, label in pixels], np.uint8)
    assume((label == 0).any() and (label == 1).any())
    return score, label


def valid(score, label):
    """Valid pixels as scikit-learn takes them; -0.0 and 0.0 are equal there too."""
    return label[label != 255], score[label != 255].astype(np.float64)


def slow_fpr(truth, score, rule, recall=0.95):
    """FPR95 by walking down every distinct score, inliers' too."""
    points = []
    for threshold in sorted(set(score.tolist()), reverse=True):
        chosen = score >= threshold
        rate = np.count_nonzero(chosen & (truth == 1)) / np.count_nonzero(truth == 1)
        points.append((rate, np.count_nonzero(chosen & (truth == 0)) / np.count_nonzero(truth == 0)))
        if rule == "nearest" and rate == 1:
            break
    if rule == "first>=":
        return next(fpr for rate, fpr in points if rate >= recall)
    if rule == "first>":
        return next(fpr for rate, fpr in points if rate > recall)
    closest = min(abs(rate - recall) for rate, _ in points)
    return [fpr for rate, fpr in points if abs(rate - recall) == closest][-1]


@given(PIXELS)
def test_figures_equal_scikit_learn(pixels):
    score, label = drawn(pixels)
    truth, values = valid(score, label)
    state = PixelCurve()
    state.update(score, label, "a")
    result = state.compute()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert result.ap == pytest.approx(sk.average_precision_score(truth, values), abs=1e-12)
        assert result.auroc == pytest.approx(sk.roc_auc_score(truth, values), abs=1e-12)
        fpr, tpr, _ = sk.roc_curve(truth, values, drop_intermediate=False)
        precision, recall, thresholds = sk.precision_recall_curve(truth, values)
    assert result.fpr95 == pytest.approx(fpr[tpr >= 0.95][0], abs=1e-12)
    assert result.fpr95_by_rule["first>"] == pytest.approx(fpr[tpr > 0.95][0], abs=1e-12)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    assert result.best_f1 == pytest.approx(f1.max(), abs=1e-12)
    at = f1[:-1][thresholds == result.best_f1_threshold]
    assert at == pytest.approx(f1.max(), abs=1e-12)
    # Another curve through the same points: the trapezoid.
    trapezoid = PixelCurve(ap_rule="trapezoid")
    trapezoid.update(score, label)
    assert trapezoid.compute().ap == pytest.approx(sk.auc(recall, precision), abs=1e-12)


@given(PIXELS, st.sampled_from(FPR_RULES))
def test_fpr_rules_equal_a_walk_over_every_threshold(pixels, rule):
    score, label = drawn(pixels)
    truth, values = valid(score, label)
    curve = curve_of_counts(count_scores(score, label))
    assert fpr_at_recall(curve, rule) == slow_fpr(truth, values, rule)


@given(st.integers(0, 2**32 - 1))
def test_fpr_rules_on_curves_that_pass_95_percent(seed):
    rng = np.random.default_rng(seed)
    label = (rng.random(200) < 0.4).astype(np.uint8)
    label[:2] = 0, 1
    score = (rng.integers(0, 60, 200) + 12 * label).astype(np.float32)
    curve = curve_of_counts(count_scores(score, label))
    for rule in FPR_RULES:
        assert fpr_at_recall(curve, rule) == slow_fpr(label, score, rule)


@given(PIXELS)
def test_best_f1_is_the_best_of_all_and_its_threshold_the_lowest(pixels):
    score, label = drawn(pixels)
    truth, values = valid(score, label)
    every = {}
    for threshold in set(values.tolist()):
        chosen = values >= threshold
        hits = np.count_nonzero(chosen & (truth == 1))
        every[threshold] = 2 * hits / (np.count_nonzero(chosen) + np.count_nonzero(truth == 1))
    best = max(every.values())
    f1, threshold = best_f1(curve_of_counts(count_scores(score, label)))
    assert f1 == best
    assert threshold == min(at for at, value in every.items() if value == best)


@given(st.integers(0, 2**32 - 1))
def test_scores_without_anomalies_and_leading_axes_change_nothing(seed):
    """What the bootstrap relies on: weighted rows with empty bins give the figures of the expanded pixels."""
    rng = np.random.default_rng(seed)
    bins = 12
    anomaly = rng.integers(0, 3, (4, bins)) * rng.integers(0, 2, (4, bins))
    inlier = rng.integers(0, 4, (4, bins))
    anomaly[:, 3] += 1
    inlier[:, 5] += 1
    at_or_above = np.cumsum(inlier, axis=1)
    batch = Curve(anomaly, at_or_above, at_or_above - inlier, inlier.sum(axis=1), np.zeros(0, np.float32))
    for row in range(4):
        scores = -np.arange(bins, dtype=np.float32)
        score = np.concatenate([np.repeat(scores, anomaly[row]), np.repeat(scores, inlier[row])])
        label = np.repeat([1, 0], [anomaly[row].sum(), inlier[row].sum()])
        single = curve_of_counts(count_scores(score, label))
        for rule in ("step", "trapezoid"):
            assert average_precision(batch, rule)[row] == pytest.approx(average_precision(single, rule), abs=1e-12)
        assert auroc(batch)[row] == pytest.approx(auroc(single), abs=1e-12)
        for fpr_rule in FPR_RULES:
            assert fpr_at_recall(batch, fpr_rule)[row] == fpr_at_recall(single, fpr_rule)


@given(PIXELS, st.integers(0, 3))
def test_a_monotone_transform_leaves_rank_figures(pixels, which):
    score, label = drawn(pixels)
    ranks = np.unique(score + np.float32(0), return_inverse=True)[1].astype(np.float64)
    moved = [ranks, 3 * ranks - 7, ranks**3, np.log1p(ranks)][which]
    one, two = (PixelCurve(), PixelCurve())
    one.update(score, label)
    two.update(moved, label)
    first, second = one.compute(), two.compute()
    assert (first.ap, first.auroc, first.fpr95_by_rule) == (second.ap, second.auroc, second.fpr95_by_rule)
    assert first.best_f1 == second.best_f1


@given(PIXELS)
def test_label_flip_gives_one_minus_auroc(pixels):
    score, label = drawn(pixels)
    flipped = np.where(label == 255, 255, 1 - label.astype(int))
    first = auroc(curve_of_counts(count_scores(score, label)))
    second = auroc(curve_of_counts(count_scores(score, flipped)))
    assert first == pytest.approx(1 - second, abs=1e-12)
    negated = auroc(curve_of_counts(count_scores(-score, label)))
    assert first == pytest.approx(1 - negated, abs=1e-12)


def test_documented_example():
    curve = curve_of_counts(count_scores(np.arange(0.9, 0.15, -0.1), [1, 0, 1, 0, 0, 1, 0, 0]))
    assert average_precision(curve) == pytest.approx(0.7222, abs=5e-5)
    assert auroc(curve) == pytest.approx(0.7333, abs=5e-5)
    assert fpr_at_recall(curve) == pytest.approx(0.6)


def test_all_equal_scores():
    curve = curve_of_counts(count_scores(np.full(8, 0.3), [1, 0, 1, 0, 0, 1, 0, 0]))
    assert (average_precision(curve), auroc(curve), fpr_at_recall(curve)) == (0.375, 0.5, 1.0)


def test_the_three_fpr_rules_differ_where_they_should():
    """19 anomalies above all 20 inliers, one below: recall is exactly .95 until the last."""
    curve = curve_of_counts(count_scores([*range(100, 81, -1), *range(50, 30, -1), 0], [1] * 19 + [0] * 20 + [1]))
    assert [fpr_at_recall(curve, rule) for rule in FPR_RULES] == [0.0, 1.0, 1.0]
    assert average_precision(curve) == pytest.approx(0.975)


def test_nearest_stops_where_recall_is_first_full():
    """Inliers below the last anomaly do not count; those between two anomalies count against the higher."""
    curve = curve_of_counts(count_scores([4.0, 3.0, 2.0, 1.0], [1, 0, 1, 0]))
    assert fpr_at_recall(curve, "nearest") == 0.5
    curve = curve_of_counts(count_scores([0.75, 0.6, 0.9, 0.6, 0.7, 0.2], [255, 255, 0, 0, 1, 1]))
    assert fpr_at_recall(curve, "nearest") == 1.0


@pytest.mark.parametrize(
    ("score", "label", "fpr"), [([0.9, 0.6, 0.7, 0.2], [1, 0, 1, 0], 0.0), ([0.9, 0.1, 0.7, 0.2], [1, 1, 0, 0], 1.0)]
)
def test_four_pixel_examples(score, label, fpr):
    assert fpr_at_recall(curve_of_counts(count_scores(score, label)), "nearest") == fpr


def test_per_image_protocol_example_ignores_void():
    score = [0.9, 0.6, 0.7, 0.2]
    curve = curve_of_counts(count_scores(score, [0, 0, 1, 1]))
    assert average_precision(curve) == pytest.approx(0.5)
    caos = curve_of_counts(count_scores([-value for value in score], [0, 0, 1, 1]))
    assert (auroc(caos), fpr_at_recall(caos, "nearest")) == (0.75, 0.5)
    assert average_precision(caos) == pytest.approx(0.8333, abs=5e-5)
    void = curve_of_counts(count_scores([-value for value in score], [0, 0, 255, 1]))
    assert (auroc(void), average_precision(void), fpr_at_recall(void, "nearest")) == (1.0, 1.0, 0.0)


def test_unknown_rules_suggest_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'first>='"):
        PixelCurve(fpr_rule="first>==")
    with pytest.raises(ConfigError, match="did you mean 'trapezoid'"):
        PixelCurve(ap_rule="trapezoids")
