"""ECE against a plain loop, the Brier score against scikit-learn, both the same for shards in any order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss

from anomseg.errors import CompatibilityError, DataError
from anomseg.metrics import PixelCurve, probability_figures


def frame(seed, size=400):
    rng = np.random.default_rng(seed)
    score = rng.beta(0.5, 2, size).astype(np.float32)
    label = (rng.random(size) < score).astype(np.uint8)
    score[:3] = (0.0, 1.0, np.float32(1 / 15))
    label[rng.random(size) < 0.1] = 255
    return score, label


def counted(seeds):
    curve = PixelCurve()
    for seed in seeds:
        curve.update(*frame(seed), f"f{seed}")
    return curve


def plain_ece(score, truth, index):
    gaps = [
        (index == row).mean() * abs(score[index == row].mean() - truth[index == row].mean()) for row in np.unique(index)
    ]
    return sum(gaps)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 500), min_size=1, max_size=3, unique=True), st.sampled_from([1, 7, 15]))
def test_equal_to_scikit_learn_and_to_a_plain_loop(seeds, bins):
    figures = probability_figures(counted(seeds), bins)
    score, label = (np.concatenate(part) for part in zip(*map(frame, seeds), strict=True))
    score, label = score[label != 255].astype(np.float64), label[label != 255]
    assert figures.brier == pytest.approx(brier_score_loss(label, score), abs=1e-12)
    assert figures.brier_of_prevalence == pytest.approx(brier_score_loss(label, np.full(label.size, label.mean())))
    index = np.array([min(max(k for k in range(bins) if value >= k / bins), bins - 1) for value in score])
    assert figures.ece == pytest.approx(plain_ece(score, label, index), abs=1e-12)
    assert [part.pixels for part in figures.bins] == [int((index == row).sum()) for row in range(bins)]
    ranks = np.searchsorted(np.sort(score), score)  # equal scores share the lowest rank of theirs
    assert figures.ece_equal_mass == pytest.approx(plain_ece(score, label, ranks * bins // score.size), abs=1e-12)


def test_by_hand():
    curve = PixelCurve()
    curve.update([0.2, 0.2, 0.8, 0.8], [0, 1, 1, 1])
    figures = probability_figures(curve, bins=2)
    assert figures.ece == pytest.approx((2 * 0.3 + 2 * 0.2) / 4)
    assert figures.brier == pytest.approx((0.04 + 0.64 + 0.04 + 0.04) / 4)
    assert figures.brier_of_prevalence == pytest.approx(0.75 * 0.25)
    low, high = figures.bins
    assert (low.pixels, low.anomalous, high.anomalous) == (2, 0.5, 1.0)
    assert (low.low, low.high, high.high) == (0.0, 0.5, 1.0)


def test_perfect_forecast_and_empty_bins():
    curve = PixelCurve()
    curve.update([0.0, 1.0], [0, 1])
    figures = probability_figures(curve)
    assert (figures.ece, figures.ece_equal_mass, figures.brier) == (0.0, 0.0, 0.0)
    assert figures.bins[7].mean_score is None
    assert figures.bins[7].anomalous is None


def test_merged_shards_are_bit_equal():
    parts = [counted(range(shard, 6, 3)) for shard in (2, 0, 1)]
    assert probability_figures(parts[0].merge(*parts[1:])) == probability_figures(counted(range(6)))


def test_scores_outside_are_refused():
    for score in (-0.01, 1.01):
        curve = PixelCurve()
        curve.update([score, 0.5], [0, 1])
        with pytest.raises(CompatibilityError, match=r"lies in \[0, 1\]"):
            probability_figures(curve)
    with pytest.raises(DataError, match="no valid pixel"):
        probability_figures(PixelCurve())
