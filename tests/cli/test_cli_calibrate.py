"""``anomseg calibrate`` and ``anomseg submit`` through the command line, and what evaluate makes of the former."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomseg.cli.main import run

sys.path.insert(0, str(Path(__file__).parent.parent / "data"))
from trees import anomaly_track


@pytest.fixture
def camvid(tmp_path):
    root = tmp_path / "CamVid"
    rng = np.random.default_rng(1)
    for split in ("train", "val"):
        for index in range(2):
            for kind, array in (
                ("images", rng.integers(60, 120, (60, 80, 3), np.uint8)),
                ("labels", rng.choice([0, 3, 10, 255], (60, 80)).astype(np.uint8)),
            ):
                (root / kind / split).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(root / kind / split / f"{split}{index}.png")
    return root


def test_calibrate_then_evaluate_and_predict(network, dataset, camvid, tmp_path, capsys):
    saved, out = tmp_path / "energy-cal", tmp_path / "out"
    base = ["calibrate", "--detector", "energy", "--segmenter", str(network), "--data", f"camvid={camvid}"]
    assert run([*base, "--decades", "3", "--out", str(saved)]) == 0
    told = capsys.readouterr()
    assert "pixels of 2 frames" in told.out
    content = json.loads((saved / "detector.json").read_text())["calibration"]
    assert content["data"] == "camvid@val (2)"
    assert content["pixels"] < 2 * 60 * 80  # void is left out
    command = ["--segmenter", str(network), "--detector", f"{saved},msp", "--quiet"]
    assert run(["evaluate", "--benchmark", "road_anomaly_21", "--root", str(dataset), *command, "--out", str(out)]) == 0
    card = json.loads((out / "energy-cal" / "metrics.json").read_text())
    assert card["mdm"] is None
    assert card["mdm_calibrated"]["calibration"]["data"] == "camvid@val (2)"
    assert (out / "margin_curve.png").is_file()
    assert (out / "margin_calibrated_curve.png").is_file()
    page = (out / "report.html").read_text()
    assert "Detection margin, calibrated" in page
    assert "MDM calibrated" in page
    picture = str(dataset / "images" / "0.png")
    where = tmp_path / "maps"
    options = ["--segmenter", str(network), "--detector", str(saved), "--format", "npy", "--out", str(where)]
    assert run(["predict", picture, *options, "--calibrated", "--quiet"]) == 0
    scores = np.load(where / "0.npy")
    assert scores.min() >= 0
    assert scores.max() < 1
    stored = [*options[:-1], str(tmp_path / "stored"), "--format", "npy,png", "--false-alarms", "0.25"]
    assert run(["predict", picture, *stored, "--quiet"]) == 0
    sidecar = json.loads((tmp_path / "stored" / "0.json").read_text())
    labels = np.asarray(Image.open(tmp_path / "stored" / "0_open_set_labels.png"))
    odd = np.load(tmp_path / "stored" / "0.npy") >= sidecar["output"]["threshold"]
    assert np.array_equal(labels == sidecar["anomaly_class"], odd)
    assert run(["predict", picture, *stored, "--threshold", "1"]) == 2
    assert "--threshold and --false-alarms both" in capsys.readouterr().err


def test_calibrate_complains_in_one_line(network, camvid, tmp_path, capsys):
    base = ["calibrate", "--segmenter", str(network), "--data", f"camvid={camvid}", "--out", str(tmp_path / "x")]
    for more, message in (
        (["--detector", "sml"], "has not been fitted"),
        (["--detector", "energy", "--decades", "0"], "decades"),
        (["--detector", "energy,msp"], "one detector at a time"),
    ):
        assert run([*base, *more]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_a_stored_threshold_and_its_promise(network, dataset, camvid, tmp_path, capsys):
    base = ["calibrate", "--detector", "energy", "--segmenter", str(network), "--decades", "3"]
    ours = [*base, "--data", f"camvid={camvid}@train", f"camvid={camvid}@val"]
    saved = tmp_path / "cal"
    assert run([*ours, "--rule", "conformal", "--risk", "0.1", "--out", str(saved)]) == 2
    error = capsys.readouterr().err
    assert "4 frames of calibration cannot vouch for a risk of 0.1, which takes at least 9" in error
    assert error.count("\n") == 1
    assert not saved.exists()
    assert run([*ours, "--rule", "conformal", "--risk", "0.3", "--loss", "frames", "--out", str(saved)]) == 0
    assert "by conformal: the chance of any false alarm in a new frame is at most 0.3" in " ".join(
        capsys.readouterr().out.split()
    )
    stored = json.loads((saved / "detector.json").read_text())["calibration"]["threshold"]
    assert (stored["rule"], stored["units"], stored["loss"]) == ("conformal", 4, "frames")
    options = ["--segmenter", str(network), "--detector", str(saved), "--format", "npy,coco"]
    picture = str(dataset / "images" / "0.png")
    assert run(["predict", picture, *options, "--out", str(tmp_path / "a")]) == 0
    assert "stored threshold" in capsys.readouterr().out
    output = json.loads((tmp_path / "a" / "0.json").read_text())["output"]
    assert (output["threshold"], output["threshold_rule"]) == (stored["value"], "conformal")
    assert (tmp_path / "a" / "all.coco.json").is_file()
    assert run(["predict", picture, *options, "--threshold", "-3", "--out", str(tmp_path / "b"), "--quiet"]) == 0
    assert json.loads((tmp_path / "b" / "0.json").read_text())["output"]["threshold"] == -3
    oracle = [*base, "--data", f"road_anomaly_21={dataset}", "--rule", "best_f1", "--out", str(tmp_path / "o")]
    assert run(oracle) == 0
    told = capsys.readouterr()
    assert "best_f1 (oracle)" in told.out
    assert "oracle" in told.err
    for more, message in (
        (["--risk", "0.1"], "go with a --rule"),
        (["--rule", "quantile"], "needs a risk"),
        (["--rule", "conformal", "--risk", "0.3", "--block", "0"], "block of 0"),
    ):
        assert run([*ours, *more, "--out", str(tmp_path / "x")]) == 2
        assert message in capsys.readouterr().err


def test_submit(network, tmp_path, capsys):
    root = anomaly_track(tmp_path / "dataset_AnomalyTrack")
    options = [
        "--root",
        str(root),
        "--segmenter",
        str(network),
        "--detector",
        "max_logit",
        "--out",
        str(tmp_path / "o"),
    ]
    base = ["submit", "--benchmark", "road_anomaly_21", *options]
    assert run(base) == 2
    assert "a submission needs every frame" in capsys.readouterr().err
    assert run([*base, "--allow-missing", "--method", "mine", "--zip"]) == 0
    told = capsys.readouterr()
    assert "no whole submission: split validation of road_anomaly_21 has 10 frames, 3 are in" in told.err
    assert "rounding to float16" in told.out
    assert (tmp_path / "o" / "mine-AnomalyTrack-all.zip").is_file()
    assert len(list((tmp_path / "o" / "anomaly_p" / "mine" / "AnomalyTrack-all").iterdir())) == 5
