"""The gate found on in-distribution frames: the quantile it is said to be."""

import numpy as np
import pytest
import torch
from cp_networks import made_generator
from tiny import TinySegmenter, made_frames, scene_of

from anomseg.detectors import anomaly_maps, create_detector, load_detector, save_detector, seen_frames
from anomseg.detectors.fitting import digest_of
from anomseg.detectors.synthcp import SynthCP
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.segmenters import make_scene
from anomseg.types import Frame


@pytest.fixture(scope="module")
def segmenter():
    return TinySegmenter()


@pytest.fixture(scope="module")
def generator():
    return made_generator(prints=("a",))


def confidences(segmenter, frames):
    """Largest softmax probability of each frame at its own size, as `msp` says it."""
    msp = create_detector("msp")
    scenes = [make_scene([frame.image()], [frame.id], segmenter) for frame in frames]
    return [1 - anomaly_maps(msp, scene)[0].numpy() for scene in scenes]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_named_share_of_valid_pixels_does_not_pass(segmenter, generator, share):
    frames = made_frames(classes=True)
    detector = SynthCP.of(generator, gate="fit", share=share, pixels=10**6).fit(segmenter, frames)
    valid = [p[frame.classes != 255] for p, frame in zip(confidences(segmenter, frames), frames, strict=True)]
    values = np.sort(np.concatenate(valid))
    assert detector.threshold == pytest.approx(values[int(np.ceil(share * len(values))) - 1], abs=1e-6)
    told = detector.fitted_on["gate"]
    assert told["pixels"] == len(values) == 4 * 44 * 61  # the last row is void
    assert told["compared"] == pytest.approx(share, abs=1e-3)
    assert (values > told["gate"] + 1e-6).mean() == pytest.approx(1 - share, abs=1e-3)


def test_anomalous_pixels_are_left_out(segmenter, generator):
    (frame,) = made_frames(1)
    label = np.ones((45, 61), np.uint8)
    label[10:20] = 0
    marked = Frame(frame.id, frame.image, None, label, "", frame.meta)
    detector = SynthCP.of(generator, gate="fit", share=1.0, pixels=10**6).fit(segmenter, [marked])
    assert detector.fitted_on["gate"]["pixels"] == 10 * 61
    assert detector.threshold == pytest.approx(confidences(segmenter, [frame])[0][10:20].max(), abs=1e-6)
    nothing = Frame(frame.id, frame.image, None, np.ones_like(label), "", frame.meta)
    with pytest.raises(DataError, match="no pixel of these frames is in-distribution"):
        SynthCP.of(generator, gate="fit").fit(segmenter, [nothing])


def test_a_network_that_is_always_sure_is_always_compared(generator):
    sure = TinySegmenter()
    with torch.no_grad():
        sure.head.weight.zero_()
        sure.head.bias.copy_(torch.tensor([99.0, 0, 0, 0, 0, 0]))
    detector = SynthCP.of(generator, gate="fit", share=0.1).fit(sure, made_frames(2))
    assert detector.threshold == 1.0
    assert detector.fitted_on["gate"]["compared"] == 1.0
    scene = scene_of(sure)
    assert torch.equal(anomaly_maps(detector, scene)[0], -detector.compared(scene).cosine[0])


def test_a_sample_of_pixels_is_always_the_same_and_no_rendering_is_made(segmenter, generator, monkeypatch):
    monkeypatch.setattr(SynthCP, "rendering", lambda *_: pytest.fail("the gate needs no rendering"))
    found = set()
    for seed in range(2):
        torch.manual_seed(seed)
        detector = SynthCP.of(generator, gate="fit", pixels=50).fit(segmenter, iter(made_frames()))
        assert detector.fitted_on["gate"]["pixels"] == 4 * 50
        found.add(detector.threshold)
    assert len(found) == 1


def test_over_scales_it_is_the_mean_softmax(segmenter, generator):
    frames = made_frames(2, size=(48, 64))
    detector = SynthCP.of(generator, gate="fit", share=1.0, pixels=10**6, scales="0.5+1").fit(segmenter, frames)
    scenes = [make_scene([frame.image()], [frame.id], segmenter, features=("stem",)) for frame in frames]
    highest = max(float(detector.compared(scene).confidence.max()) for scene in scenes)
    assert detector.threshold == pytest.approx(highest, abs=1e-6)


def test_before_a_fit_it_does_not_score_and_afterwards_it_is_saved(segmenter, generator, tmp_path):
    detector = SynthCP.of(generator, gate="fit")
    assert detector.needs_fit
    assert not detector.is_fitted
    assert detector.card()["gate"] is None
    for attempt in (
        lambda: detector.score(scene_of(segmenter)),
        lambda: anomaly_maps(detector, scene_of(segmenter)),
        lambda: save_detector(detector, tmp_path / "unfitted"),
    ):
        with pytest.raises(CompatibilityError, match="synthcp has not been fitted"):
            attempt()
    detector.fit(segmenter, made_frames())
    save_detector(detector, tmp_path / "fitted", segmenter)
    loaded = load_detector(tmp_path / "fitted")
    assert loaded.threshold == detector.threshold == loaded.card()["gate"]
    scene = scene_of(segmenter)
    assert torch.equal(anomaly_maps(loaded, scene)[0], anomaly_maps(detector, scene_of(segmenter))[0])


def test_the_record_is_of_the_frames_of_gate_and_generator(segmenter, generator):
    detector = SynthCP.of(generator, gate="fit").fit(segmenter, made_frames())
    record = detector.fitted_on
    assert record["frames"] == len(record["fingerprints"]) == 5
    assert "a" in seen_frames(detector)
    assert record["sha256"] == digest_of(record["fingerprints"])
    assert record["segmenter"]["sha256"] == segmenter.fingerprint()
    assert detector.segmenter_identity == record["segmenter"]


def test_what_cannot_be_fitted(segmenter, generator):
    with pytest.raises(CompatibilityError, match=r"needs no fitting with gate=0\.999"):
        SynthCP.of(generator).fit(segmenter, made_frames())
    with pytest.raises(CompatibilityError, match="give a segmenter"):
        SynthCP.of(generator, gate="fit").fit(None, made_frames())
    with pytest.raises(DataError, match="no frames"):
        SynthCP.of(generator, gate="fit").fit(segmenter, [])
    with pytest.raises(ConfigError, match="no generator"):
        SynthCP(gate="fit").fit(segmenter, made_frames())
