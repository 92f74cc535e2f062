"""Failure detection from the command line: evaluate, shards and merge, predict."""

import json

import numpy as np
import pytest
from PIL import Image

from anomseg.cli.main import run

NAMES = ("0001TP_000001", "0001TP_000002", "Seq05VD_f00001")


@pytest.fixture
def camvid(tmp_path):
    root = tmp_path / "CamVid"
    rng = np.random.default_rng(0)
    for name in NAMES:
        for folder, array in (
            ("images", rng.integers(0, 255, (48, 64, 3), np.uint8)),
            ("labels", rng.choice(np.array([*range(11), 255], np.uint8), (48, 64))),
        ):
            (root / folder / "test").mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / "test" / f"{name}.png")
    return root


def test_evaluate_in_shards_and_merge(network, camvid, tmp_path, capsys):
    common = ["--task", "failure", "--benchmark", "camvid", "--root", str(camvid), "--segmenter", str(network)]
    common += ["--detector", "msp,entropy,chance", "--no-report"]
    assert run(["evaluate", *common, "--out", str(tmp_path / "whole")]) == 0
    told = capsys.readouterr().out
    assert "AUPR-Error" in told
    assert "FPR95, mean over images" in told
    for index in range(2):
        assert run(["evaluate", *common, "--out", str(tmp_path / str(index)), "--shard", f"{index}/2"]) == 0
    shards = [str(tmp_path / str(index)) for index in range(2)]
    assert run(["merge", *shards, "--out", str(tmp_path / "merged")]) == 0
    cards = [json.loads((tmp_path / out / "entropy" / "metrics.json").read_text()) for out in ("whole", "merged")]
    assert cards[0]["task"] == "failure"
    assert cards[0]["failure"] == cards[1]["failure"]
    assert cards[0]["failure_ci95"] == cards[1]["failure_ci95"]
    assert cards[0]["segmentation"] == cards[1]["segmentation"]
    assert (tmp_path / "merged" / "report.html").is_file()
    assert not list((tmp_path / "merged").glob("*/contact_sheet.png"))


def test_predict_says_what_to_expect(network, camvid, tmp_path, capsys):
    images, out = str(camvid / "images" / "test"), tmp_path / "out"
    arguments = ["predict", images, "--task", "failure", "--segmenter", str(network), "--detector", "msp"]
    assert run([*arguments, "--out", str(out)]) == 0
    assert "msp judges pixels and says nothing of single classes" in capsys.readouterr().out
    assert {path.name[len(NAMES[0]) :] for path in out.glob(f"{NAMES[0]}*")} == {
        ".json", "_error.npy", "_error.png", "_error_overlay.png", "_segmentation.png",
    }  # fmt: skip
    assert run([*arguments, "--out", str(out), "--false-alarms", "0.01"]) == 2
    assert "--false-alarms is a threshold of anomalies" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "failures"], "did you mean 'failure'"),
        (["--unknown", "wrong"], "--unknown goes with --task failure"),
        (["--task", "failure", "--band", "3"], "--band is about anomalies"),
    ],
)
def test_bad_requests(network, camvid, tmp_path, capsys, options, message):
    arguments = ["--benchmark", "camvid", "--root", str(camvid), "--segmenter", str(network), "--detector", "msp"]
    assert run(["evaluate", *arguments, "--out", str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err


def test_no_class_map_no_failure(network, dataset, tmp_path, capsys):
    arguments = ["--task", "failure", "--benchmark", "road_anomaly_21", "--root", str(dataset)]
    arguments += ["--segmenter", str(network), "--detector", "msp", "--out", str(tmp_path / "out")]
    assert run(["evaluate", *arguments]) == 2
    assert "has a class map" in capsys.readouterr().err
