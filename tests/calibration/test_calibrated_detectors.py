"""A detector with its calibration: made on frames, saved, loaded, evaluated, merged, predicted with."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anomseg.benchmarks import get_benchmark
from anomseg.calibration import calibrate_detector, calibration_of, notes_on, tail_scale
from anomseg.detectors import create_detector, load_detector, overlapping_frames, save_detector, segmenter_matches
from anomseg.errors import AnomsegError, CompatibilityError, ConfigError, DataError
from anomseg.evaluation import DetectorState, evaluate, merge
from anomseg.inference import predict_to_directory
from anomseg.metrics import maximal_detection_margin
from anomseg.segmenters import SegmentationOutput, Segmenter
from anomseg.types import Frame

SIZE = (24, 32)
BENCHMARK = get_benchmark("road_anomaly_21")


class Colours(Segmenter):
    """Logits that are one matrix times the colours; seed 0 finds what is dark odd."""

    registry_name = "colours"

    def __init__(self, seed: int = 0) -> None:
        super().__init__(("road", "car", "sky"))
        generator = torch.Generator().manual_seed(seed)
        matrix = torch.randn(3, 3, generator=generator) * 6 if seed else torch.eye(3) * 20
        self.matrix = torch.nn.Parameter(matrix)

    def segment(self, batch, features):
        size = (batch.shape[-2], batch.shape[-1])
        return SegmentationOutput(torch.einsum("kc,bchw->bkhw", self.matrix, batch), size, size)


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 200, (*SIZE, 3), np.uint8)


def frames(count: int = 6, start: int = 0, classes: np.ndarray | None = None) -> list[Frame]:
    return [
        Frame(f"street{index}", lambda index=index: image(index), classes, meta={"dataset": "made", "split": "val"})
        for index in range(start, start + count)
    ]


@pytest.fixture
def network() -> Colours:
    return Colours()


@pytest.fixture
def tree(tmp_path) -> Path:
    root = tmp_path / "data"
    for index in range(4):
        picture = image(100 + index)
        label = np.zeros(SIZE, np.uint8)
        label[4:16, 3 + index : 22] = 1
        label[:2] = 255
        picture[label == 1] = np.random.default_rng(index).integers(0, 40, (int((label == 1).sum()), 3))
        for folder, array in (("images", picture), ("labels_masks", label)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / f"{index}.png")
    return root


def scores_of(detector, network, chosen) -> np.ndarray:
    from anomseg.detectors import anomaly_maps
    from anomseg.segmenters import make_scene

    maps = [anomaly_maps(detector, make_scene([f.image()], [f.id], network, size=None))[0].numpy() for f in chosen]
    return np.stack(maps)


@pytest.mark.parametrize("name", ["energy", "max_logit", "msp", "chance", "sml"])
def test_any_detector_is_calibrated_on_its_own_scores(name, network):
    detector = create_detector(name)
    if name == "sml":
        detector.fit(network, frames(3, 50))
    made = calibrate_detector(detector, network, frames(), decades=2)
    assert detector.calibration is made
    assert made.content["kind"] == "tail"
    assert made.content["data"] == "made@val (6)"
    assert made.content["pixels"] == 6 * SIZE[0] * SIZE[1]
    assert made.content["segmenter"]["sha256"] == network.fingerprint()
    assert len(made.fingerprints) == made.content["frames"] == 6
    if name != "chance":  # random numbers of a batch of one, seeded by the run
        expected = tail_scale(np.sort(scores_of(detector, network, frames()).ravel()), 2)
        scale = calibration_of(detector)
        assert scale.knots.tobytes() == expected.knots.tobytes()
        assert scale.levels.tobytes() == expected.levels.tobytes()


def test_void_and_anomalies_are_left_out(network):
    classes = np.zeros(SIZE, np.uint8)
    classes[:6] = 255
    label = np.zeros(SIZE, np.uint8)
    label[:, :8] = 1
    label[:, -4:] = 255
    plain, labelled = frames(2, classes=classes)
    labelled = Frame(labelled.id, labelled.image, None, label)
    detector = create_detector("energy")
    made = calibrate_detector(detector, network, [plain, labelled], decades=2)
    assert made.content["pixels"] == 18 * 32 + 24 * 20
    nothing = Frame("void", lambda: image(3), np.full(SIZE, 255, np.uint8))
    made = calibrate_detector(detector, network, [plain, nothing], decades=2)
    assert made.content["skipped"] == ["void"]
    with pytest.raises(DataError, match="no valid in-distribution pixel"):
        calibrate_detector(detector, network, [nothing], decades=2)


def test_nan_scores_are_skipped_by_name(network):
    detector = create_detector("energy")
    detector.score = lambda scene: torch.full((1, *SIZE), float("nan"))
    with pytest.raises(DataError, match="NaN"):
        calibrate_detector(detector, network, frames(1))


def test_saved_and_loaded_bit_equal(tmp_path, network):
    detector = create_detector("energy", temperature=2.0)
    calibrate_detector(detector, network, frames(), decades=3)
    save_detector(detector, tmp_path / "saved")
    content = json.loads((tmp_path / "saved" / "detector.json").read_text())["calibration"]
    assert content["kind"] == "tail"
    assert content["parameters"] == {"decades": 3}
    assert len(content["fingerprints"]) == 6
    assert content["segmenter"] == network.identity()
    back = load_detector(tmp_path / "saved")
    assert back.temperature == 2.0
    assert back.calibration.content == detector.calibration.content
    asked = np.linspace(-50, 50, 501).astype(np.float32)
    assert calibration_of(back)(asked).tobytes() == calibration_of(detector)(asked).tobytes()
    save_detector(back, tmp_path / "again")
    for name in ("detector.json", "calibration.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "saved" / name).read_bytes()
    save_detector(create_detector("energy"), tmp_path / "again")
    assert load_detector(tmp_path / "again").calibration is None


@pytest.mark.parametrize("part", ["kind", "parameters", "pixels", "frames", "fingerprints", "sha256", "table", "state"])
def test_damage_is_noticed(tmp_path, network, part):
    detector = create_detector("energy")
    calibrate_detector(detector, network, frames(2), decades=2)
    save_detector(detector, tmp_path / "saved")
    file = tmp_path / "saved" / "detector.json"
    content = json.loads(file.read_text())
    if part == "state":
        (tmp_path / "saved" / "calibration.safetensors").write_bytes(b"x")
    elif part == "fingerprints":
        content["calibration"]["fingerprints"].pop()
    else:
        content["calibration"].pop(part)
    file.write_text(json.dumps(content))
    with pytest.raises(AnomsegError, match="anomseg calibrate") as caught:
        load_detector(tmp_path / "saved")
    assert "\n" not in str(caught.value)


def test_a_kind_of_later_versions_is_refused(network):
    detector = create_detector("energy")
    made = calibrate_detector(detector, network, frames(2), decades=2)
    detector.calibration = type(made)({**made.content, "kind": "spline"}, made.tensors)
    with pytest.raises(DataError, match="spline"):
        calibration_of(detector)


def test_a_calibration_does_not_outlive_a_change_of_the_detector(network, tmp_path):
    detector = create_detector("sml").fit(network, frames(3))
    calibrate_detector(detector, network, frames(3, 20), decades=2)
    save_detector(detector, tmp_path / "saved")
    assert calibration_of(load_detector(tmp_path / "saved")) is not None
    detector.fit(network, frames(4, 40))
    with pytest.raises(CompatibilityError, match="fitted again"):
        calibration_of(detector)
    other = create_detector("energy")
    calibrate_detector(other, network, frames(2), decades=2)
    other.temperature = 3.0
    with pytest.raises(CompatibilityError, match="other options"):
        calibration_of(other)


def test_another_network_or_size_is_told(network):
    detector = create_detector("energy")
    calibrate_detector(detector, network, frames(2), decades=2)
    assert segmenter_matches(detector, network) is None
    assert "calibrated on another network" in segmenter_matches(detector, Colours(1))
    calibrate_detector(detector, network, frames(2), decades=2, size=(12, 16))
    assert "calibrated at working size 12x16" in segmenter_matches(detector, network, (24, 32))
    fitted = create_detector("sml").fit(network, frames(2))
    with pytest.raises(CompatibilityError, match="fitted on another network"):
        calibrate_detector(fitted, Colours(1), frames(2))
    with pytest.raises(CompatibilityError, match="has not been fitted"):
        calibrate_detector(create_detector("sml"), network, frames(2))
    with pytest.raises(ConfigError, match="decades"):
        calibrate_detector(detector, network, frames(2), decades=99)


def test_frames_that_the_fit_saw_and_too_few_pixels_are_noted(network):
    detector = create_detector("sml").fit(network, frames(3))
    notes = notes_on(calibrate_detector(detector, network, frames(4), decades=6))
    assert "3 of its 4 frames" in notes[0]
    assert "calibrate on more frames" in notes[1]
    assert notes_on(calibrate_detector(detector, network, frames(4, 10), decades=2)) == []


def test_calibration_frames_count_as_seen(tree, network, tmp_path):
    detector = create_detector("energy")
    there = BENCHMARK.load_frames(tree)
    calibrate_detector(detector, network, there[:2], decades=2)
    assert overlapping_frames(detector, there) == ["0", "1"]
    with pytest.raises(CompatibilityError, match=r"calibrated on 2 of these 4 frames \(0, 1\)"):
        evaluate(BENCHMARK, tree, network, [detector])
    card = evaluate(BENCHMARK, tree, network, [detector], allow_overlap=True)[0]
    assert card["detector"]["overlap"] == ["0", "1"]


def test_evaluation_reports_the_margin_of_calibrated_scores(tree, network, tmp_path):
    raw, calibrated = create_detector("energy"), create_detector("energy")
    calibrate_detector(calibrated, network, frames(), decades=3)
    found = {"raw": raw, "calibrated": calibrated}
    cards = {card["folder"]: card for card in evaluate(BENCHMARK, tree, network, found, tmp_path / "out")}
    assert cards["raw"]["mdm_calibrated"] is None
    assert cards["calibrated"]["mdm"] is None  # the score itself stays unbounded
    assert cards["calibrated"]["pixel"] == cards["raw"]["pixel"]  # to the last bit: raw scores are counted
    part = cards["calibrated"]["mdm_calibrated"]
    there = BENCHMARK.load_frames(tree)
    maps = calibration_of(calibrated)(scores_of(calibrated, network, there))
    assert part["value"] == maximal_detection_margin(maps, np.stack([frame.label for frame in there])) > 0.05
    assert part["interval"][1] - part["interval"][0] == pytest.approx(part["value"])
    assert part["calibration"]["name"] == "tail"
    assert part["calibration"]["data"] == "made@val (6)"
    assert part["interval_false_alarm_rate"][0] == pytest.approx(10 ** (-3 * part["interval"][0]))
    with np.load(tmp_path / "out" / "calibrated" / "curve.npz") as curve:
        good = curve["margin_f1_calibrated"] > 0.7
        assert "margin_f1" not in curve
        assert np.array_equal(
            curve["margin_threshold"][good][[0, -1]], [part["interval"][0], part["interval"][1] - 1e-3]
        )
    warned = evaluate(BENCHMARK, tree, Colours(1), [calibrated])[0]["detector"]["warnings"]
    assert any("calibrated on another network" in text for text in warned)


def test_merged_shards_need_no_detector(tree, network, tmp_path):
    detector = create_detector("energy")
    calibrate_detector(detector, network, frames(), decades=3)
    whole = evaluate(BENCHMARK, tree, network, [detector], tmp_path / "whole")[0]
    for index in (0, 1):
        evaluate(BENCHMARK, tree, network, [detector], tmp_path / str(index), shard=(index, 2))
    merged = merge([tmp_path / "1", tmp_path / "0"], tmp_path / "merged")[0]
    assert merged["mdm_calibrated"] == whole["mdm_calibrated"]
    assert merged["mdm_calibrated"]["value"] > 0
    one, two = (np.load(tmp_path / name / "energy" / "curve.npz") for name in ("whole", "merged"))
    assert all(np.array_equal(one[key], two[key]) for key in one.files)
    state = DetectorState.load(tmp_path / "merged" / "energy")
    assert state.calibration.sha256 == calibration_of(detector).sha256
    # Another calibration is another run.
    calibrate_detector(detector, network, frames(), decades=2)
    with pytest.raises(ConfigError, match="detectors differ"):
        evaluate(BENCHMARK, tree, network, [detector], tmp_path / "whole")


def test_predictions_on_the_calibrated_scale(tree, network, tmp_path):
    detector = create_detector("energy")
    inputs = [tree / "images" / "0.png"]
    with pytest.raises(CompatibilityError, match="anomseg calibrate"):
        predict_to_directory(inputs, network, detector, tmp_path / "a", ["npy"], calibrated=True)
    scale = calibration_of_made(detector, network)
    predict_to_directory(inputs, network, detector, tmp_path / "raw", ["npy"])
    predict_to_directory(inputs, network, detector, tmp_path / "scaled", ["npy"], calibrated=True)
    raw, scaled = np.load(tmp_path / "raw" / "0.npy"), np.load(tmp_path / "scaled" / "0.npy")
    assert np.array_equal(scaled, scale(raw))
    told = json.loads((tmp_path / "scaled" / "0.json").read_text())
    assert told["score"]["bounded"]
    assert told["detector"]["calibration"]["kind"] == "tail"
    # The scale decides the files, so neither stands in for the other.
    shutil.copytree(tmp_path / "raw", tmp_path / "mixed")
    summary = predict_to_directory(inputs, network, detector, tmp_path / "mixed", ["npy"], calibrated=True)
    assert summary.done == ("0",)


def calibration_of_made(detector, network):
    calibrate_detector(detector, network, frames(), decades=3)
    return calibration_of(detector)


def test_a_whole_number_given_for_an_option_is_the_same_after_loading(network, tmp_path):
    """JSON and option types make 2.0 of 2."""
    detector = create_detector("energy", temperature=2)
    calibrate_detector(detector, network, frames())
    save_detector(detector, tmp_path / "saved")
    loaded = load_detector(tmp_path / "saved")
    assert calibration_of(loaded).sha256 == calibration_of(detector).sha256
    loaded.temperature = 2.5
    with pytest.raises(CompatibilityError, match="other options"):
        calibration_of(loaded)
