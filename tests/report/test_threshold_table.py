"""Counts at the thresholds of a page, against plain counting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomseg.metrics import PixelCurve
from anomseg.report.threshold_table import HISTOGRAM_BINS, MOST_THRESHOLDS, inlier_quantiles, threshold_table


def made(seed: int, pixels: int = 4000, kind: str = "spread") -> tuple[np.ndarray, np.ndarray, PixelCurve]:
    rng = np.random.default_rng(seed)
    label = rng.choice(np.array([0, 1, 255], np.uint8), pixels, p=[0.8, 0.15, 0.05])
    score = (rng.normal(size=pixels) + (label == 1)).astype(np.float32)
    if kind == "saturated":
        score = (1 / (1 + np.exp(-8 * score))).astype(np.float32)
    if kind == "few":
        score = np.round(score).astype(np.float32)
    curve = PixelCurve()
    curve.update(score, label, "a")
    return score, label, curve


@pytest.mark.parametrize("kind", ["spread", "saturated", "few"])
def test_counts_are_exact_at_every_threshold(kind):
    score, label, curve = made(0, kind=kind)
    table = threshold_table(curve)
    assert table.thresholds.size <= MOST_THRESHOLDS
    assert (np.diff(table.thresholds) > 0).all()
    reached = score[None].astype(np.float64) >= table.thresholds[:, None]
    assert np.array_equal(table.true_positives, (reached & (label == 1)).sum(1))
    assert np.array_equal(table.false_positives, (reached & (label == 0)).sum(1))
    assert table.true_positives[0] == table.anomaly == (label == 1).sum()
    assert table.false_positives[0] == table.inlier == (label == 0).sum()


@pytest.mark.parametrize("kind", ["spread", "saturated", "few"])
def test_marked_thresholds_give_the_stored_figures(kind):
    _, _, curve = made(1, kind=kind)
    table, result = threshold_table(curve), curve.compute()
    hits, alarms = table.true_positives[table.best_f1], table.false_positives[table.best_f1]
    assert 2 * hits / (hits + alarms + table.anomaly) == result.best_f1
    assert table.thresholds[table.best_f1] == result.best_f1_threshold
    assert table.false_positives[table.recall95] / table.inlier == result.fpr95


@given(st.integers(0, 50), st.sampled_from(["spread", "saturated", "few"]))
@settings(max_examples=15, deadline=None)
def test_levels_are_thresholds_reached(seed, kind):
    score, _, curve = made(seed, 300, kind)
    table = threshold_table(curve)
    levels = table.levels(score)
    assert levels.dtype == np.uint8
    for place in (0, table.best_f1, table.thresholds.size // 2, table.thresholds.size - 1):
        assert np.array_equal(levels > place, score.astype(np.float64) >= table.thresholds[place])


def test_histograms_count_every_pixel():
    score, label, curve = made(2)
    table = threshold_table(curve)
    assert table.edges.size == HISTOGRAM_BINS + 1
    assert table.anomaly_bins.sum() == table.anomaly
    assert table.inlier_bins.sum() == table.inlier
    inside = np.clip(score[label == 0].astype(np.float64), table.edges[0], np.nextafter(table.edges[-1], -np.inf))
    assert np.array_equal(table.inlier_bins, np.histogram(inside, table.edges)[0])


def test_quantiles_are_scores_of_their_ranks():
    score, label, curve = made(3)
    shares = np.array([1.0, 0.0, 0.5, 0.25])
    ordered = np.sort(score[label == 0])
    ranks = np.minimum(np.floor(shares * ordered.size), ordered.size - 1).astype(int)
    assert np.array_equal(inlier_quantiles(curve, shares), ordered[ranks])


def test_one_score_for_all_pixels_still_gives_a_table():
    curve = PixelCurve()
    curve.update(np.zeros(4, np.float32), np.array([0, 0, 1, 1], np.uint8), "a")
    table = threshold_table(curve)
    assert table.true_positives[0] == 2
    assert table.edges[0] < 0 < table.edges[-1]


def test_without_anomalies_there_is_none():
    curve = PixelCurve()
    curve.update(np.zeros(4, np.float32), np.zeros(4, np.uint8), "a")
    assert threshold_table(curve) is None
