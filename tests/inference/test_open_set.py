"""Classes and anomaly in one map: against plain look-ups, from one pass, with a threshold given or stored."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inference_parts import BrightnessSegmenter, Darkness, picture
from PIL import Image

from anomseg.calibration import tail_scale
from anomseg.detectors import create_detector
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.inference import anomaly_colour, open_set_map, predict, predict_to_directory, threshold_at_false_alarms
from anomseg.inference.open_set import ANOMALY_COLOURS


def test_one_pass_gives_classes_and_anomaly():
    segmenter = BrightnessSegmenter()
    result = predict(picture(), segmenter, Darkness())
    threshold = float(np.median(result.anomaly_map))
    found = result.open_set(threshold)
    assert segmenter.batches == [(1, 3, 40, 60)]
    assert (found.dtype, found.shape) == (np.uint8, (40, 60))
    assert result.anomaly_class == 3
    for row in range(40):
        for column in range(60):
            odd = result.anomaly_map[row, column] >= threshold
            assert found[row, column] == (3 if odd else result.segmentation[row, column])
    assert 0 < (found == 3).mean() < 1


def test_the_threshold_may_be_stored_and_one_given_goes_before_it():
    told = predict(picture(), BrightnessSegmenter(), Darkness(), threshold=1.0)
    asked = predict(picture(), BrightnessSegmenter(), Darkness())
    np.testing.assert_array_equal(told.open_set(), asked.open_set(1.0))
    np.testing.assert_array_equal(told.open_set(2.0), asked.open_set(2.0))
    assert told.provenance["settings"] == asked.provenance["settings"]
    with pytest.raises(ConfigError, match="has no threshold; give"):
        asked.open_set()


def test_nothing_is_an_anomaly_above_all_scores_and_everything_below():
    result = predict(picture(), BrightnessSegmenter(), Darkness())
    np.testing.assert_array_equal(result.open_set(float("inf")), result.segmentation)
    assert (result.open_set(float("-inf")) == 3).all()


def test_outside_the_region_of_interest_nothing_is_an_anomaly():
    roi = np.zeros((40, 60), np.uint8)
    roi[10:20] = 1
    result = predict(picture(), BrightnessSegmenter(), Darkness(), roi=roi)
    found = result.open_set(float("-inf"))
    np.testing.assert_array_equal(found == 3, roi == 1)
    np.testing.assert_array_equal(found[roi == 0], result.segmentation[roi == 0])


def test_the_picture_shows_the_anomaly_in_a_colour_of_its_own_and_names_it():
    result = predict(picture(), BrightnessSegmenter(), Darkness())
    threshold = float(np.quantile(result.anomaly_map, 0.6))
    plain = result.coloured_open_set(threshold, legend=False)
    assert plain.shape == (40, 60, 3)
    odd = result.mask(threshold)
    colour = np.array(result.open_set_palette[-1])
    np.testing.assert_array_equal((plain == colour).all(2), odd)
    wide = result.coloured_open_set(threshold)
    assert wide.shape[1] > 60
    # Without any anomaly the legend has one line less.
    assert (wide[:, 60:] == colour).all(2).any()
    assert not (result.coloured_open_set(float("inf"))[:, 60:] == colour).all(2).any()


@given(st.lists(st.tuples(*[st.integers(0, 255)] * 3), max_size=30))
def test_no_class_is_nearer_to_the_colour_than_to_another(palette):
    chosen = anomaly_colour(palette)

    def clearance(colour):
        return min((sum((a - b) ** 2 for a, b in zip(colour, known, strict=True)) for known in palette), default=0)

    assert clearance(chosen) == max(clearance(colour) for colour in ANOMALY_COLOURS)


def test_files(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(picture()).save(path)
    out = tmp_path / "out"
    predict_to_directory([path], BrightnessSegmenter(), Darkness(), out, ("png",), threshold=1.0)
    result = predict(path, BrightnessSegmenter(), Darkness(), threshold=1.0)
    labels = Image.open(out / "a_open_set_labels.png")
    np.testing.assert_array_equal(np.asarray(labels), result.open_set())
    assert tuple(labels.getpalette()[9:12]) == result.open_set_palette[-1]
    assert json.loads((out / "a.json").read_text())["anomaly_class"] == 3
    predict_to_directory([path], BrightnessSegmenter(), Darkness(), out, ("png",))
    assert not list(out.glob("*open_set*"))
    assert json.loads((out / "a.json").read_text())["anomaly_class"] is None
    saved = result.save(tmp_path / "saved", ("png",))
    assert {"a_mask.png", "a_open_set.png", "a_open_set_labels.png"} <= {path.name for path in saved}


def test_no_network_and_too_many_classes(tmp_path):
    alone = predict(picture(), None, create_detector("chance"))
    with pytest.raises(CompatibilityError, match="has no segmentation"):
        alone.open_set(0.5)
    alone.save(tmp_path, ("png",), threshold=0.5)
    assert not list(tmp_path.glob("*open_set*"))
    full = replace(
        predict(picture(), BrightnessSegmenter(), Darkness()),
        classes=tuple(map(str, range(255))),
        palette=((0, 0, 0),) * 255,
    )
    with pytest.raises(CompatibilityError, match="1 to 254 known classes"):
        full.open_set(0.5)
    full.save(tmp_path / "full", ("png",), threshold=0.5)
    assert not list((tmp_path / "full").glob("*open_set*"))
    assert open_set_map(np.array([253], np.uint8), np.array([True]), 254).tolist() == [254]


class TestStoredThreshold:
    scores = np.sort(np.random.default_rng(0).normal(size=50_000).astype(np.float32))

    @pytest.fixture
    def detector(self, monkeypatch):
        scale = tail_scale(self.scores)
        monkeypatch.setattr("anomseg.inference.thresholds.calibration_of", lambda _: scale)
        return create_detector("energy")

    @pytest.mark.parametrize("rate", [0.5, 0.1, 0.05, 0.01, 0.001])
    def test_at_most_that_share_of_calibration_pixels_is_above(self, detector, rate):
        threshold = threshold_at_false_alarms(detector, rate)
        share = (self.scores >= threshold).mean()
        assert 0.98 * rate - 2 / self.scores.size <= share <= rate
        calibrated = threshold_at_false_alarms(detector, rate, calibrated=True)
        assert 10 ** (-6 * calibrated) == pytest.approx(rate, rel=0.01)

    def test_rates_that_cannot_be_had(self, detector):
        with pytest.raises(ConfigError, match="not between 0 and 1"):
            threshold_at_false_alarms(detector, 1.0)
        with pytest.raises(ConfigError, match=r"at least 2(\.\d)?e-05 can be asked for"):
            threshold_at_false_alarms(detector, 1e-6)

    def test_no_calibration(self):
        with pytest.raises(CompatibilityError, match="anomseg calibrate"):
            threshold_at_false_alarms(create_detector("energy"), 0.1)
