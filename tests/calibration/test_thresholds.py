"""Stored thresholds: found by each rule, kept with the detector, used by predict unless another is given."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "evaluation"))
from small_run import BENCHMARK, write_tree
from test_calibrated_detectors import Colours, frames, image, scores_of

from anomseg.calibration import (
    ScoreStatistics,
    ThresholdRule,
    calibrate_detector,
    notes_on,
    quantile_threshold,
    stored_threshold,
)
from anomseg.detectors import SavedCalibration, create_detector, load_detector, save_detector
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.evaluation import evaluate
from anomseg.inference import predict, predict_to_directory, threshold_of
from anomseg.types import Frame


def labelled(count: int = 4) -> list[Frame]:
    made = []
    for index in range(count):
        label = np.zeros((24, 32), np.uint8)
        label[5:12, 6 : 14 + index] = 1
        label[0] = 255
        picture = image(200 + index)
        picture[label == 1] = 20 + index
        made.append(Frame(f"odd{index}", lambda picture=picture: picture, None, label, "drive", {"dataset": "odd"}))
    return made


@pytest.fixture
def network() -> Colours:
    return Colours()


def test_quantile_is_the_least_threshold_that_few_enough_pixels_reach(network):
    detector, chosen = create_detector("energy"), frames(5)
    made = calibrate_detector(detector, network, chosen, rule=ThresholdRule("quantile", 0.01))
    scores = np.sort(scores_of(create_detector("energy"), network, chosen).ravel())
    stored = stored_threshold(made)
    alarms = int((scores >= stored.value).sum())
    assert (alarms + 1) / (scores.size + 1) <= 0.01
    lower = scores[scores < stored.value].max()
    assert ((scores >= lower).sum() + 1) / (scores.size + 1) > 0.01
    assert stored.content["measured"] == alarms / scores.size
    assert not stored.oracle
    assert "not bounded" in stored.told


def test_quantile_refuses_what_its_pixels_cannot_vouch_for():
    statistics = ScoreStatistics()
    statistics.update(np.arange(50.0))
    with pytest.raises(DataError, match=r"^50 calibration pixels cannot vouch for a share of 0\.001, .* 999"):
        quantile_threshold(statistics, 0.001)
    statistics.update(np.full(50, np.finfo(np.float32).max))
    with pytest.raises(DataError, match="largest float32"):
        quantile_threshold(statistics, 0.1)


def test_conformal_threshold_bounds_the_mean_loss_of_the_frames(network):
    detector, chosen = create_detector("energy"), frames(9)
    made = calibrate_detector(detector, network, chosen, rule=ThresholdRule("conformal", 0.15))
    content = stored_threshold(made).content
    shares = (scores_of(create_detector("energy"), network, chosen) >= content["value"]).mean(axis=(1, 2))
    assert content["measured"] == pytest.approx(shares.mean(), abs=1e-12)
    assert (shares.sum() + 1) / 10 <= 0.15 + 1e-12
    assert (content["units"], content["block"], content["loss"]) == (9, 1, "pixels")
    assert notes_on(made) == [note for note in notes_on(made) if "calibrate on more frames" in note]


def test_a_calibration_set_that_is_too_small_is_refused_before_any_work(network):
    detector = create_detector("energy")
    calls = []
    network.register_forward_hook(lambda *_: calls.append(1))
    with pytest.raises(
        DataError, match=r"^5 frames of calibration cannot vouch for a risk of 0\.1, which takes at least 9"
    ):
        calibrate_detector(detector, network, frames(5), rule=ThresholdRule("conformal", 0.1))
    assert not calls
    with pytest.raises(DataError, match="cannot vouch"):
        calibrate_detector(detector, network, iter(frames(5)), rule=ThresholdRule("conformal", 0.1))
    assert detector.calibration is None


def test_units_of_one_sequence_are_remarked_on(network):
    made = calibrate_detector(create_detector("energy"), network, labelled(4), rule=ThresholdRule("conformal", 0.3))
    assert any("4 units of the calibration come from 1 sequence" in note for note in notes_on(made))
    with pytest.raises(DataError, match="1 blocks of 3 frames"):
        calibrate_detector(create_detector("energy"), network, labelled(4),
                           rule=ThresholdRule("conformal", 0.3, block=3))  # fmt: skip


def test_sequences_of_one_name_in_two_sets_are_two(network):
    made = [replace(frame, id=f"{index}", group="0001", meta={"dataset": f"set{index // 2}"})
            for index, frame in enumerate(frames(4))]  # fmt: skip
    rule = ThresholdRule("conformal", 0.4, block=3)
    content = calibrate_detector(create_detector("energy"), network, made, rule=rule).content["threshold"]
    assert (content["units"], content["sequences"]) == (2, 2)


def test_best_f1_is_an_oracle_and_says_so_everywhere(network, tmp_path):
    detector, chosen = create_detector("energy"), labelled()
    made = calibrate_detector(detector, network, chosen, rule=ThresholdRule("best_f1"))
    stored = stored_threshold(made)
    scores = scores_of(create_detector("energy"), network, chosen)
    label = np.stack([frame.label for frame in chosen])
    scores, label = scores[label != 255], label[label != 255]

    def f1(threshold: float) -> float:
        found = scores >= threshold
        return 2 * (found & (label == 1)).sum() / (found.sum() + (label == 1).sum())

    assert f1(stored.value) == pytest.approx(max(f1(value) for value in np.unique(scores)), abs=1e-12)
    assert stored.oracle
    assert stored.title == "best_f1 (oracle)"
    assert "oracle" in stored.told
    assert any("oracle" in note for note in notes_on(made))
    assert detector.card()["calibration"]["threshold"]["oracle"] is True
    summary = predict_to_directory([image(1)], network, detector, tmp_path / "out", ["npy"])
    sidecar = json.loads((tmp_path / "out" / f"{summary.done[0]}.json").read_text())
    assert sidecar["output"]["threshold_rule"] == "best_f1 (oracle)"
    with pytest.raises(DataError, match="no anomaly is labelled"):
        calibrate_detector(create_detector("energy"), network, frames(3), rule=ThresholdRule("best_f1"))


def test_stored_with_the_detector_and_overridden_at_run_time(network, tmp_path):
    detector = create_detector("energy")
    calibrate_detector(detector, network, frames(9), decades=3, rule=ThresholdRule("conformal", 0.2))
    save_detector(detector, tmp_path / "saved", network)
    loaded = load_detector(tmp_path / "saved")
    assert stored_threshold(loaded.calibration) == stored_threshold(detector.calibration)
    value = stored_threshold(loaded.calibration).value
    prediction = predict(image(2), network, loaded)
    assert np.array_equal(prediction.mask(), prediction.anomaly_map >= value)
    assert predict(image(2), network, loaded, threshold=value + 1).threshold == value + 1
    told, stored = threshold_of(loaded, calibrated=True)
    assert stored.rule == "conformal"
    calibrated = predict_to_directory([image(2)], network, loaded, tmp_path / "c", ["npy"], calibrated=True)
    name = calibrated.done[0]
    assert json.loads((tmp_path / "c" / f"{name}.json").read_text())["output"]["threshold"] == told
    found = np.load(tmp_path / "c" / f"{name}.npy") >= told
    assert found[prediction.mask()].all()
    assert found.sum() <= prediction.mask().sum() + 3  # ties where float32 runs out
    given = predict_to_directory([image(2)], network, loaded, tmp_path / "g", ["npy"], threshold=1.5)
    output = json.loads((tmp_path / "g" / f"{given.done[0]}.json").read_text())["output"]
    assert output["threshold"] == 1.5
    assert "threshold_rule" not in output
    loaded.calibration.content["detector"]["options"] = json.dumps({"temperature": 9.0})
    with pytest.raises(CompatibilityError, match="calibrate' again"):
        threshold_of(loaded)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "quantil", "risk": 0.1}, "did you mean 'quantile'"),
        ({"rule": "quantile"}, "needs a risk"),
        ({"rule": "best_f1", "risk": 0.1}, "leave the risk out"),
        ({"rule": "quantile", "risk": 0.1, "block": 4}, "belong to the rule conformal"),
        ({"rule": "conformal", "risk": 0.1, "loss": "pixel"}, "did you mean 'pixels'"),
        ({"rule": "conformal", "risk": 0.1, "block": 0}, "block of 0"),
        ({"rule": "conformal", "risk": 1.5}, "between 0 and 1"),
    ],
)
def test_rules_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        ThresholdRule(**options)


def test_a_damaged_threshold_is_named():
    with pytest.raises(DataError, match="stored threshold is damaged"):
        stored_threshold(SavedCalibration({"threshold": {"value": "x", "rule": "quantile"}}, {}))
    assert stored_threshold(SavedCalibration({}, {})) is None


def test_what_becomes_of_it_on_a_benchmark(network, tmp_path):
    root = write_tree(tmp_path / "data", count=3)
    detector = create_detector("energy")
    calibrate_detector(detector, network, frames(9), rule=ThresholdRule("conformal", 0.2))
    card = evaluate(BENCHMARK, root, network, [detector, "msp"])[0]
    told, value = card["stored_threshold"], stored_threshold(detector.calibration).value
    chosen = BENCHMARK.load_frames(root)
    scores = scores_of(create_detector("energy"), network, chosen)
    label = np.stack([frame.label for frame in chosen])
    found = scores >= value
    assert told["tpr"] == found[label == 1].mean()
    assert told["fpr"] == found[label == 0].mean()
    assert told["precision"] == (found & (label == 1)).sum() / found[label != 255].sum()
    assert (told["rule"], told["oracle"], told["risk"]) == ("conformal", False, 0.2)
