"""SML's statistics against NumPy, and what they leave out."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import CLASSES, FixedSegmenter, TinySegmenter, made_frames, scene_of, scene_with_logits

from anomseg import scores
from anomseg.detectors import anomaly_maps, create_detector
from anomseg.detectors.moments import ClassMoments
from anomseg.errors import CompatibilityError, ConfigError, DataError, FrameError
from anomseg.segmenters.base import SegmentationOutput
from anomseg.segmenters.scene import make_scene
from anomseg.types import Frame


def gathered(segmenter, frames, keep=lambda frame, top: np.ones(top.shape, bool)):
    """Max logits and predicted classes of all frames, cut to cells inside the image."""
    tops, predictions = [], []
    for frame in frames:
        scene = make_scene([frame.image()], [frame.id], segmenter)
        height, width = scene.input_size
        logits = scene.output.logits[0, :, : height // 2, : width // 2].numpy()
        chosen = keep(frame, logits[0])
        tops.append(logits.max(0)[chosen])
        predictions.append(logits.argmax(0)[chosen])
    return np.concatenate(tops).astype(np.float64), np.concatenate(predictions)


def test_statistics_are_those_of_the_pixels_predicted_as_each_class():
    segmenter, frames = TinySegmenter(), made_frames(5)
    sml = create_detector("sml").fit(segmenter, frames)
    top, predicted = gathered(segmenter, frames)
    for index in range(len(CLASSES)):
        values = top[predicted == index]
        assert len(values) > 1
        assert sml.state()["count"][index] == len(values)
        assert sml.mean[index].item() == pytest.approx(values.mean(), rel=1e-12)
        assert sml.variance[index].item() == pytest.approx(values.var(), rel=1e-12)
    unbiased = create_detector("sml", unbiased=True).fit(segmenter, frames)
    assert unbiased.variance[1].item() == pytest.approx(top[predicted == 1].var(ddof=1), rel=1e-12)
    assert sml.fallback == []


def test_padding_is_left_out():
    """Frames of 45 x 61 are padded to 48 x 64: 24 x 32 cells, of which 22 x 30 lie inside the image."""
    sml = create_detector("sml").fit(TinySegmenter(), made_frames(3))
    assert sml.state()["count"].sum() == 3 * 22 * 30


def test_void_is_left_out_where_labels_say_so():
    segmenter, frames = TinySegmenter(), made_frames(3, (48, 64))
    half_void = np.zeros((48, 64), np.uint8)
    half_void[:, 32:] = 255
    labelled = [Frame(frame.id, frame.image, half_void) for frame in frames]
    sml = create_detector("sml").fit(segmenter, labelled)
    left = np.arange(32) < 16
    top, predicted = gathered(segmenter, frames, lambda frame, top: np.broadcast_to(left, top.shape))
    assert sml.state()["count"].sum() == len(top) == 3 * 24 * 16
    assert sml.mean[1].item() == pytest.approx(top[predicted == 1].mean(), rel=1e-12)
    all_void = [Frame(frame.id, frame.image, np.full((48, 64), 255, np.uint8)) for frame in frames]
    with pytest.raises(DataError, match="void"):
        create_detector("sml").fit(segmenter, all_void)


def test_classes_never_predicted_fall_back_to_all_pixels_and_are_listed():
    segmenter = TinySegmenter(seed=1)  # predicts two of its classes
    sml = create_detector("sml").fit(segmenter, made_frames())
    top, predicted = gathered(segmenter, made_frames())
    absent = [index for index in range(len(CLASSES)) if (predicted == index).sum() < 2]
    assert absent
    assert sml.fallback == absent
    assert sml.fitted_on["fallback_classes"] == [CLASSES[index] for index in absent]
    for index in absent:
        assert sml.mean[index].item() == pytest.approx(top.mean(), rel=1e-12)
        assert sml.variance[index].item() == pytest.approx(top.var(), rel=1e-12)


def test_no_variance_at_all():
    sml = create_detector("sml", minimum_variance=0.25).fit(FixedSegmenter([0.0, 3.0, 1.0, 0.0, 0.0]), made_frames(2))
    assert sml.variance.tolist() == [0.25] * 5
    assert sml.mean.tolist() == [3.0] * 5
    logits = torch.zeros(1, 5, 4, 4)
    logits[:, 1] = 2.0
    torch.testing.assert_close(anomaly_maps(sml, scene_with_logits(logits))[0], torch.full((4, 4), 2.0))
    with pytest.raises(ConfigError, match="minimum_variance"):
        create_detector("sml", minimum_variance=0)


def test_steps_can_be_switched_off():
    segmenter = TinySegmenter()
    sml = create_detector("sml").fit(segmenter, made_frames())
    scene = scene_of(segmenter)
    plain = scores.standardized_max_logit(scene.logits(), sml.mean, sml.variance)
    suppressed = scores.suppress_boundaries(plain, scene.prediction())
    expected = {
        (False, False): plain,
        (True, False): suppressed,
        (False, True): scores.dilated_smoothing(plain),
        (True, True): scores.sml_suppress_and_smooth(plain, scene.prediction()),
    }
    maps = []
    for (suppression, smoothing), wanted in expected.items():
        detector = create_detector("sml", boundary_suppression=suppression, smoothing=smoothing)
        detector.load_state(sml.state())
        maps.append(anomaly_maps(detector, scene)[0])
        torch.testing.assert_close(maps[-1], wanted[0])
    assert not torch.allclose(maps[0], maps[1])


def test_size_of_the_fit_is_that_asked_for():
    sml = create_detector("sml").fit(TinySegmenter(), made_frames(2), size=(32, 40))
    assert sml.state()["count"].sum() == 2 * 16 * 20


def test_another_number_of_classes_is_refused_before_any_work():
    sml = create_detector("sml").fit(TinySegmenter(), made_frames())
    wider = TinySegmenter(classes=(*CLASSES, "bus"))
    with pytest.raises(CompatibilityError, match="fitted with 5 classes"):
        sml.needs(wider)
    with pytest.raises(CompatibilityError, match="6 classes"):
        anomaly_maps(sml, scene_of(wider))


def test_fit_needs_a_network_that_gives_logits():
    with pytest.raises(CompatibilityError, match="segmenter"):
        create_detector("sml").fit(None, made_frames())

    class Softmaxed(TinySegmenter):
        def segment(self, batch, features):
            output = super().segment(batch, features)
            return SegmentationOutput(output.logits.softmax(1), output.padded_size, output.input_size)

    with pytest.raises(CompatibilityError, match="softmax"):
        create_detector("sml").fit(Softmaxed(), made_frames())
    create_detector("sml", check_logits=False).fit(Softmaxed(), made_frames())


def test_unreadable_frames_are_skipped_named_and_counted():
    def broken():
        raise FrameError("b.png is truncated")

    seen = []
    good = made_frames(2)
    sml = create_detector("sml").fit(
        TinySegmenter(),
        [good[0], Frame("b", broken), good[1]],
        progress=lambda frame, error: seen.append((frame.id, str(error) if error else None)),
    )
    assert seen == [("frame100", None), ("b", "b.png is truncated"), ("frame101", None)]
    assert sml.fitted_on["skipped"] == ["b"]
    assert sml.fitted_on["frames"] == 2
    with pytest.raises(DataError, match=r"b\.png is truncated"):
        create_detector("sml").fit(TinySegmenter(), [Frame("b", broken)])


@pytest.mark.parametrize(
    "change",
    [
        {"mean": torch.zeros(4)},
        {"variance": torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0])},
        {"variance": torch.full((5,), float("nan"))},
        {"mean": torch.full((5,), float("inf"))},
        {"mean": torch.zeros(1, 5), "variance": torch.ones(1, 5), "count": torch.ones(1, 5)},
    ],
)
def test_states_that_are_no_statistics(change):
    state = {"mean": torch.zeros(5), "variance": torch.ones(5), "count": torch.ones(5, dtype=torch.int64)}
    create_detector("sml").load_state(state)
    with pytest.raises(CompatibilityError, match="state of sml"):
        create_detector("sml").load_state({**state, **change})


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from([0.0, 1e6]), st.integers(1, 5))
def test_moments_merge_to_those_of_everything(seed, classes, offset, batches):
    rng = np.random.default_rng(seed)
    moments = ClassMoments(classes)
    values, labels = [], []
    for _ in range(batches):
        size = int(rng.integers(0, 40))
        values.append(offset + rng.normal(size=size))
        labels.append(rng.integers(0, classes, size))
        moments.update(torch.from_numpy(values[-1]), torch.from_numpy(labels[-1]))
    value, label = np.concatenate(values), np.concatenate(labels)
    for index in range(classes):
        own = value[label == index]
        assert moments.count[index] == len(own)
        if len(own):
            assert moments.mean[index].item() == pytest.approx(own.mean(), rel=1e-12, abs=1e-12)
            assert moments.variance()[index].item() == pytest.approx(own.var(), rel=1e-6, abs=1e-9)
        if len(own) > 1:
            assert moments.variance(unbiased=True)[index].item() == pytest.approx(own.var(ddof=1), rel=1e-6, abs=1e-9)
    if len(value):
        mean, variance = moments.pooled()
        assert mean == pytest.approx(value.mean(), rel=1e-12, abs=1e-12)
        assert variance == pytest.approx(value.var(), rel=1e-6, abs=1e-9)
