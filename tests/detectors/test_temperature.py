"""Temperature scaling as a detector: which labels it reads, what it says of itself, what it scores."""

import pytest
import torch
from tiny import FixedSegmenter, TinySegmenter, made_frames, scene_of

from anomseg import scores
from anomseg.detectors import anomaly_maps, create_detector
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.types import Frame


@pytest.fixture(scope="module")
def segmenter() -> TinySegmenter:
    return TinySegmenter()


@pytest.fixture(scope="module")
def fitted(segmenter):
    return create_detector("temperature_scaling").fit(segmenter, made_frames(classes=True))


def test_a_network_of_constant_logits_by_hand():
    """CamVid's road stands on known shares of the pixels, so the best p(road) is that share."""
    frames = made_frames(2, size=(46, 60), classes=True)
    segmenter = FixedSegmenter([0.0, 6.0], classes=("sky", "road"))
    detector = create_detector("temperature_scaling", pixels=10**6).fit(segmenter, frames)
    record = detector.fitted_on
    assert record["pixels"] == 2 * 45 * 60
    assert record["labels"] == {"dataset": 2}
    assert record["accuracy"] == pytest.approx(22 / 45)
    assert detector.temperature == pytest.approx(100)  # fewer than half are road, so even odds are the best it can say


def test_evidence(fitted):
    record = fitted.fitted_on
    assert record["nll_after"] <= record["nll_before"]
    assert record["temperature"] == fitted.temperature == float(fitted.state()["temperature"])
    assert 0 <= record["ece_after"] <= 1
    assert "road" in record["coverage"][0]
    assert fitted.card()["fitted_on"]["ece_before"] == record["ece_before"]


def test_it_finds_the_temperature_that_the_logits_were_multiplied_by(segmenter, fitted):
    sharper = TinySegmenter()
    with torch.no_grad():
        sharper.head.weight.mul_(4)
        sharper.head.bias.mul_(4)
    other = create_detector("temperature_scaling").fit(sharper, made_frames(classes=True))
    if fitted.temperature < 25:  # else the end of the range stands in the way
        assert other.temperature == pytest.approx(4 * fitted.temperature, rel=1e-4)
        scene = anomaly_maps(other, scene_of(sharper))[0]
        torch.testing.assert_close(scene, anomaly_maps(fitted, scene_of(segmenter))[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("score", ["msp", "entropy", "energy"])
def test_scores_at_the_temperature(score, segmenter, fitted):
    detector = create_detector("temperature_scaling", score=score)
    detector.load_state({"temperature": torch.tensor(2.5, dtype=torch.float64)})
    scene = scene_of(segmenter)
    expected = {
        "msp": lambda logits: scores.msp(logits / 2.5),
        "entropy": lambda logits: scores.entropy(logits / 2.5, normalized=True),
        "energy": lambda logits: scores.energy(logits, 2.5),
    }[score](scene.logits())
    torch.testing.assert_close(anomaly_maps(detector, scene)[0], expected[0].detach())
    assert detector.bounded == (score != "energy")
    assert detector.get_params()["score"] == score


def test_frames_without_usable_classes_are_skipped_and_the_predictions_never_taken(segmenter):
    frames = [*made_frames(2, classes=True), *made_frames(1, start=300)]
    record = create_detector("temperature_scaling").fit(segmenter, frames).fitted_on
    assert record["skipped"] == ["frame300"]
    assert record["frames"] == 2
    assert record["labels"] == {"dataset": 2}
    with pytest.raises(DataError, match="no class map"):
        create_detector("temperature_scaling").fit(segmenter, made_frames(2))


def test_frames_that_are_void_throughout(segmenter):
    void = [
        Frame(frame.id, frame.image, frame.classes * 0 + 255, None, "", frame.meta)
        for frame in made_frames(2, classes=True)
    ]
    with pytest.raises(DataError, match="no pixel"):
        create_detector("temperature_scaling").fit(segmenter, void)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_state_that_is_no_temperature(value):
    with pytest.raises(CompatibilityError, match="no temperature"):
        create_detector("temperature_scaling").load_state({"temperature": torch.tensor(value)})


def test_options():
    with pytest.raises(ConfigError, match="score must be"):
        create_detector("temperature_scaling", score="margin")
    with pytest.raises(CompatibilityError, match="give a segmenter"):
        create_detector("temperature_scaling").fit(None, [])
