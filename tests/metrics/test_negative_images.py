"""The rule of negative images: against plain counting, and what it forgives and what not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomseg.errors import CompatibilityError, DataError, FrameError
from anomseg.metrics import NegativeImagesIoU, SegmentationIoU

CLASSES = 3


def frame(seed):
    rng = np.random.default_rng(seed)
    target = rng.choice([0, 1, 2, 255], 200).astype(np.uint8)
    return rng.integers(0, CLASSES + 1, 200).astype(np.uint8), target, bool(seed % 3 == 0)


def counted(seeds):
    state = NegativeImagesIoU(CLASSES)
    for seed in seeds:
        prediction, target, negative = frame(seed)
        state.update(prediction, target, negative=negative, frame=f"f{seed}")
    return state


def plain(frames):
    """IoU by look at every pixel: unknown counts as the pixel's own class on negative images."""
    right, targets, predicted = np.zeros(CLASSES), np.zeros(CLASSES), np.zeros(CLASSES)
    for prediction, target, negative in frames:
        for guess, truth in zip(prediction.tolist(), target.tolist(), strict=True):
            if truth == 255:
                continue
            counted_as = truth if guess == CLASSES and negative else guess
            targets[truth] += 1
            right[truth] += counted_as == truth
            if counted_as < CLASSES:
                predicted[counted_as] += 1
    with np.errstate(invalid="ignore"):
        return right / (targets + predicted - right)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True))
def test_equal_to_plain_counting(seeds):
    result = counted(seeds).compute()
    frames = [frame(seed) for seed in seeds]
    for iou, part in (
        (result.meta_iou, frames),
        (result.classic_iou, [f for f in frames if not f[2]]),
        (result.negative_iou, [f for f in frames if f[2]]),
    ):
        np.testing.assert_allclose(iou, plain(part))
    negatives = [(p, t) for p, t, negative in frames if negative]
    if negatives:
        called = np.concatenate([p[t != 255] == CLASSES for p, t in negatives])
        assert result.unknown == pytest.approx(called.mean())
    else:
        assert np.isnan(result.unknown)


def test_calling_all_unknown_is_perfect_on_negative_images_and_worthless_on_others():
    target = np.array([0, 1, 2, 255])
    state = NegativeImagesIoU(CLASSES)
    state.update(np.full(4, CLASSES), target, negative=True, frame="garden")
    state.update(np.full(4, CLASSES), target, negative=False, frame="street")
    result = state.compute()
    assert (result.negative_miou, result.classic_miou, result.meta_miou) == (1.0, 0.0, 0.5)
    assert result.unknown == 1.0
    assert result.frames == (1, 1)


def test_without_unknown_it_is_the_closed_set_figure():
    state, closed = NegativeImagesIoU(CLASSES), SegmentationIoU(CLASSES)
    for seed in range(4):
        prediction, target, negative = frame(seed)
        state.update(prediction % CLASSES, target, negative=negative)
        closed.update(prediction % CLASSES, target)
    np.testing.assert_array_equal(state.compute().meta_iou, closed.compute().iou)


def test_merge_and_file_are_bit_equal(tmp_path):
    whole = counted(range(7))
    whole.save(tmp_path / "whole.npz")
    parts = [counted(range(shard, 7, 3)) for shard in (2, 0, 1)]
    parts[0].save(tmp_path / "part.npz")
    merged = NegativeImagesIoU.load(tmp_path / "part.npz").merge(*parts[1:])
    merged.save(tmp_path / "merged.npz")
    assert (tmp_path / "merged.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert merged.missing(["f6", "x"]) == ["x"]
    with pytest.raises(DataError, match="counted twice"):
        merged.merge(parts[1])
    with pytest.raises(CompatibilityError, match="one label table"):
        merged.merge(NegativeImagesIoU(CLASSES + 1))


def test_a_frame_is_regular_or_negative_but_not_both():
    state, other = NegativeImagesIoU(1), NegativeImagesIoU(1)
    state.update([0], [0], negative=True, frame="a")
    with pytest.raises(DataError, match="counted twice"):
        state.update([0], [0], negative=False, frame="a")
    other.update([0], [0], negative=False, frame="a")
    with pytest.raises(DataError, match="counted twice"):
        state.merge(other)


def test_values_outside_the_table_are_refused():
    state = NegativeImagesIoU(CLASSES)
    with pytest.raises(FrameError, match=r"expected 0\.\.3"):
        state.update([4], [0], negative=True)
    with pytest.raises(FrameError, match=r"classes 0\.\.2, 255 void"):
        state.update([0], [3], negative=True)
