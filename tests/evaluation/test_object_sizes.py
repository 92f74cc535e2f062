"""AP by the size of objects, against plain counting."""

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import average_precision_score

from anomseg.evaluation.object_sizes import LIMITS, ObjectSizes, size_classes
from anomseg.metrics import PixelCurve

ENDS = (0, *LIMITS, 1)


def frames(count: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    made = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        label = np.zeros((60, 80), np.uint8)
        label[2:4, 2 + seed] = 1  # 2 pixels of 4800
        label[10:15, 10:14] = 1  # 20
        label[30:50, 5 : 15 + seed] = 1  # 200 and more
        label[20:56, 40:78] = 1  # 1368
        label[:2] = 255
        score = (rng.normal(size=label.shape) + label.clip(0, 1)).astype(np.float32)
        made.append((np.round(score, 1), label))
    return made


def test_each_class_has_the_ap_of_its_objects_against_all_inliers():
    state, curve = ObjectSizes(), PixelCurve()
    scores, labels, kinds = [], [], []
    for index, (score, label) in enumerate(frames()):
        state.update(score, label)
        curve.update(score, label, str(index))
        components, count = ndimage.label(label == 1, np.ones((3, 3)))
        kind = np.full(label.shape, -1)
        for number in range(1, count + 1):
            share = (components == number).sum() / label.size
            kind[components == number] = sum(share >= limit for limit in LIMITS)
        for kept, array in ((scores, score), (labels, label), (kinds, kind)):
            kept.append(array[label != 255])
    score, label, kind = (np.concatenate(parts) for parts in (scores, labels, kinds))
    card = state.card(curve)
    assert [part["objects"] for part in card] == [3, 3, 3, 3]
    for row, part in enumerate(card):
        inside = (label == 0) | (kind == row)
        assert part["share"] == [ENDS[row], ENDS[row + 1]]
        assert part["pixels"] == (kind == row).sum()
        assert part["ap"] == pytest.approx(average_precision_score(label[inside], score[inside]), abs=1e-12)
        assert part["chance"] == pytest.approx(label[inside].mean(), abs=1e-12)


def test_merging_and_storing_change_nothing(tmp_path):
    whole, parts, curve = ObjectSizes(), [], PixelCurve()
    for index, (score, label) in enumerate(frames()):
        whole.update(score, label)
        curve.update(score, label, str(index))
        part = ObjectSizes()
        part.update(score, label)
        part.save(tmp_path / f"{index}.npz")
        parts.append(ObjectSizes.load(tmp_path / f"{index}.npz"))
    merged = parts[2].merge(parts[0], parts[1])
    assert merged.card(curve) == whole.card(curve)
    merged.save(tmp_path / "merged.npz")
    whole.save(tmp_path / "whole.npz")
    assert (tmp_path / "merged.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_a_frame_without_anomalies_counts_nothing():
    state = ObjectSizes()
    state.update(np.zeros((4, 5), np.float32), np.zeros((4, 5), np.uint8))
    assert state.pixels == [0, 0, 0, 0]
    curve = PixelCurve()
    curve.update(np.zeros((4, 5), np.float32), np.zeros((4, 5), np.uint8), "a")
    assert all(part["ap"] is None and part["objects"] == 0 for part in state.card(curve))


def test_pixels_that_touch_at_a_corner_are_one_object():
    label = np.eye(10, dtype=np.uint8)
    classes, objects = size_classes(label)
    assert objects.sum() == 1
    assert set(classes) == {3}  # ten of a hundred pixels are a tenth, which the last class begins with
