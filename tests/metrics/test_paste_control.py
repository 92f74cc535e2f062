"""Pasted inliers beside untouched ones of their classes, against plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomseg.errors import DataError, FrameError
from anomseg.metrics import Misclassified, PixelCurve, paste_shares, pasted_or_untouched


@given(st.integers(0, 2**32 - 1))
def test_shares_are_those_of_a_loop_over_pixels(seed):
    rng = np.random.default_rng(seed)
    control, classes = rng.integers(0, 2, (5, 6)), rng.choice([1, 2, 3, 255], (5, 6))
    score, threshold = rng.integers(0, 5, (5, 6)) / 4, 0.5
    pasted, untouched = [], []
    shown = {int(c) for c, p in zip(classes.ravel(), control.ravel(), strict=True) if p and c != 255}
    for s, p, c in zip(score.ravel(), control.ravel(), classes.ravel(), strict=True):
        if p:
            pasted.append(s >= threshold)
        elif int(c) in shown:
            untouched.append(s >= threshold)
    expected = tuple(sum(part) / len(part) if part else None for part in (pasted, untouched))
    assert paste_shares(score, control, classes, threshold) == expected


def test_frames_without_pastes_and_unequal_shapes():
    assert (pasted_or_untouched(np.zeros((2, 2)), np.ones((2, 2))) == 255).all()
    assert paste_shares(np.ones((2, 2)), np.zeros((2, 2)), np.ones((2, 2)), 0.5) == (None, None)
    with pytest.raises(FrameError):
        pasted_or_untouched(np.zeros((2, 2)), np.ones((2, 3)))
    with pytest.raises(FrameError):
        paste_shares(np.ones((3, 2)), np.zeros((2, 2)), np.ones((2, 2)), 0.5)


def test_figures_at_thresholds_of_ones_own_are_counts():
    rng = np.random.default_rng(3)
    score, label = rng.random((20, 30)).astype(np.float32), rng.choice([0, 0, 0, 1, 255], (20, 30)).astype(np.uint8)
    judged = rng.choice([0, 1, 255], (20, 30)).astype(np.uint8)
    curve, state = PixelCurve(), Misclassified()
    curve.update(score, label, "a")
    state.update(score, label, judged, "a")
    for figures, threshold in zip(state.at(curve, [0.3, 2.0]), [0.3, 2.0], strict=True):
        flagged, inlier = score >= threshold, label == 0
        assert figures.fpr == pytest.approx(flagged[inlier].mean(), abs=1e-15)
        assert figures.cfpr == pytest.approx(flagged[inlier & (judged == 0)].mean(), abs=1e-15)
        assert figures.efpr == pytest.approx(flagged[inlier & (judged == 1)].mean(), abs=1e-15)
    with pytest.raises(DataError, match="other frames"):
        Misclassified().at(curve, [0.3])
