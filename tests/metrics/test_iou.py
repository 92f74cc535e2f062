"""Closed-set and open-set IoU against scikit-learn and by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score

from anomseg.errors import CompatibilityError, DataError, FrameError
from anomseg.metrics import OpenSetIoU, SegmentationIoU


def random_frame(seed, classes=4, size=50):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, classes, size)
    prediction = np.where(rng.random(size) < 0.6, target, rng.integers(0, classes, size)).astype(np.uint8)
    return prediction, np.where(rng.random(size) < 0.1, 255, target)


class TestClosed:
    @given(st.lists(st.integers(0, 1000), min_size=1, max_size=4, unique=True))
    def test_equal_to_scikit_learn(self, seeds):
        state = SegmentationIoU(6)
        for seed in seeds:
            state.update(*random_frame(seed), str(seed))
        prediction, target = (np.concatenate(part) for part in zip(*map(random_frame, seeds), strict=True))
        prediction, target = prediction[target != 255], target[target != 255]
        present = sorted(set(prediction) | set(target))
        expected = jaccard_score(target, prediction, labels=present, average=None, zero_division=0)
        result = state.compute()
        assert result.iou[present] == pytest.approx(expected)
        assert np.isnan(np.delete(result.iou, present)).all()
        assert result.miou == pytest.approx(expected.mean())
        assert result.accuracy == pytest.approx((prediction == target).mean())
        assert result.confusion.sum() == target.size

    def test_tensors_and_batches(self):
        state = SegmentationIoU(2)
        state.update(torch.tensor([[[0, 1]], [[1, 1]]]), torch.tensor([[[0, 1]], [[0, 255]]]), "a")
        assert state.compute().confusion.tolist() == [[1, 1], [0, 1]]

    def test_ignored_pixels_may_hold_any_prediction(self):
        state = SegmentationIoU(2)
        state.update([0, 255, 77], [0, 255, 255], "a")
        assert state.compute().miou == 1.0

    def test_nothing_counted(self):
        result = SegmentationIoU(3).compute()
        assert math.isnan(result.miou)
        assert math.isnan(result.accuracy)

    @pytest.mark.parametrize(
        ("prediction", "target", "message"),
        [
            ([0, 2], [0, 1], "predicted classes lie in 0..2, expected 0..1"),
            ([0, -1], [0, 1], "predicted classes lie in -1..0"),
            ([0, 1], [0, 7], "label values 7"),
            ([0, 1], [0, -1], "label values -1"),
            ([0, 1, 1], [0, 1], "differ in shape"),
            ([0.0, 1.0], [0, 1], "float64"),
        ],
    )
    def test_unusable_frames_are_named(self, prediction, target, message):
        state = SegmentationIoU(2)
        with pytest.raises(FrameError, match=f"frame 'a'.*{message}"):
            state.update(np.array(prediction), np.array(target), "a")
        assert state.frames == []
        assert state.compute().confusion.sum() == 0

    def test_merge_save_load(self, tmp_path):
        one, two = SegmentationIoU(4), SegmentationIoU(4)
        one.update(*random_frame(1), "a")
        two.update(*random_frame(2), "b")
        one.save(tmp_path / "iou.npz")
        merged = SegmentationIoU.load(tmp_path / "iou.npz").merge(two)
        assert np.array_equal(merged.compute().confusion, one.compute().confusion + two.compute().confusion)
        with pytest.raises(DataError, match="frame 'a'"):
            merged.merge(one)
        with pytest.raises(DataError, match="frame 'b'"):
            merged.update(*random_frame(2), "b")
        with pytest.raises(CompatibilityError):
            merged.merge(SegmentationIoU(5))


class TestOpen:
    @pytest.mark.parametrize(
        ("score", "iou"), [([0, 0, 0], 2 / 3), ([0, 0, 1], 1.0), ([0, 1, 0], 1 / 3)], ids=["none", "anomaly", "known"]
    )
    def test_three_pixels(self, score, iou):
        state = OpenSetIoU(1, threshold=0.5)
        state.update([0, 0, 0], score, [0, 0, 1])
        result = state.compute()
        assert result.iou.tolist() == [pytest.approx(iou)]
        assert result.miou == pytest.approx(iou)
        assert result.closed_miou == 1.0

    def test_the_threshold_itself_stays_known(self):
        state = OpenSetIoU(1, threshold=0.5)
        state.update([0], [0.5], [0])
        assert state.compute().miou == 1.0

    @given(st.integers(0, 1000), st.floats(-2, 2))
    def test_equal_to_sets_of_pixels(self, seed, threshold):
        rng = np.random.default_rng(seed)
        prediction, target = random_frame(seed, 3)
        target[rng.random(target.size) < 0.2] = 3
        score = rng.normal(size=target.size)
        state = OpenSetIoU(3, threshold)
        state.update(prediction, score, target, "a")
        result = state.compute()
        valid = target != 255
        for known in range(3):
            guess = valid & (prediction == known) & (score <= threshold)
            truth = valid & (target == known)
            union = np.count_nonzero(guess | truth)
            expected = np.count_nonzero(guess & truth) / union if union else math.nan
            assert result.iou[known] == pytest.approx(expected, nan_ok=True)
        closed = SegmentationIoU(3)
        closed.update(prediction, np.where(target == 3, 255, target))
        np.testing.assert_array_equal(result.closed_iou, closed.compute().iou)
        never = OpenSetIoU(3, math.inf)
        never.update(prediction, score, target)
        assert never.compute().miou <= never.compute().closed_miou + 1e-15

    def test_the_mean_is_over_known_classes_only(self):
        state = OpenSetIoU(2, 0.5)
        state.update([0, 1, 0], [0, 0, 1], [0, 1, 2])
        assert state.compute().iou.shape == (2,)
        assert state.compute().miou == 1.0

    @pytest.mark.parametrize(
        ("prediction", "score", "target", "message"),
        [
            ([0, 3], [0, 0], [0, 1], "predicted classes"),
            ([0, 1], [0, np.nan], [0, 1], "NaN"),
            ([0, 1], [0, 0], [0, 4], "label values 4"),
            ([0, 1], [0, 0, 0], [0, 1], "score and target differ"),
        ],
    )
    def test_unusable_frames_are_named(self, prediction, score, target, message):
        with pytest.raises(FrameError, match=f"frame 'a'.*{message}"):
            OpenSetIoU(3, 0.5).update(np.array(prediction), np.array(score), np.array(target), "a")

    def test_merge_save_load(self, tmp_path):
        one, two = OpenSetIoU(4, 0.1), OpenSetIoU(4, 0.1)
        for state, seed in ((one, 1), (two, 2)):
            prediction, target = random_frame(seed)
            state.update(prediction, np.random.default_rng(seed).random(target.size), target, str(seed))
        one.save(tmp_path / "open.npz")
        loaded = OpenSetIoU.load(tmp_path / "open.npz")
        assert loaded.threshold == 0.1
        total = loaded.merge(two).compute()
        assert np.array_equal(total.confusion, one.compute().confusion + two.compute().confusion)
        assert total.frames == 2
        with pytest.raises(DataError, match="frame '1'"):
            loaded.merge(one)
        with pytest.raises(CompatibilityError):
            loaded.merge(OpenSetIoU(4, 0.2))

    def test_unsigned_and_plain_integers_mix(self):
        state = OpenSetIoU(3, 0.5)
        state.update(np.array([0, 1, 2], np.uint64), [0, 1, 0], np.array([0, 3, 2], np.uint64))
        assert state.compute().miou == 1.0
