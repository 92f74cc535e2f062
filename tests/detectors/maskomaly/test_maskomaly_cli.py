"""Maskomaly from the command line: fit on both kinds of frames, what is refused, and what a card says."""

import json

import numpy as np
import pytest
import torch
from hf_networks import saved_model, tiny_model
from PIL import Image

from anomseg.cli.main import run


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return f"hf:{saved_model(tmp_path_factory.mktemp('hub') / 'mask2former', 'mask2former')}"


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (64, 96, 3), np.uint8)


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    """Three frames as SegNet's copy of CamVid keeps them: sky above road."""
    root = tmp_path_factory.mktemp("data") / "CamVid"
    for index in range(3):
        classes = np.full((64, 96), 3, np.uint8)
        classes[:20] = 0
        for folder, array in (("train", picture(index)), ("trainannot", classes)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / f"0001TP_00{index}.png")
    return root


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Four frames with a box that is the anomaly."""
    root = tmp_path_factory.mktemp("data") / "RoadAnomaly21"
    for index in range(4):
        label = np.zeros((64, 96), np.uint8)
        label[20:50, 10 + index : 60] = 1
        for folder, array in (("images", picture(20 + index)), ("labels_masks", label)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / f"{index}.png")
    return root


def fit(network, detector, out, *more):
    return ["fit", "--detector", detector, "--segmenter", network, "--out", str(out), "--quiet", *map(str, more)]


LOOSE = ";mask_threshold=0.3;min_iou=0.05"


@pytest.fixture(scope="module")
def fitted(network, camvid, odd, tmp_path_factory):
    out = tmp_path_factory.mktemp("fitted") / "maskomaly"
    detector = f"maskomaly:profile=+anomaly{LOOSE}"
    assert run(fit(network, detector, out, "--data", f"camvid={camvid}@train", "--anomalies", f"folder={odd}")) == 0
    return out


def evaluate(network, odd, detector, out, *more):
    argv = ["evaluate", "--benchmark", "road_anomaly_21", "--root", str(odd), "--segmenter", network, "--no-report"]
    return run([*argv, "--detector", str(detector), "--out", str(out), "--quiet", *more])


def test_what_is_saved(fitted):
    content = json.loads((fitted / "detector.json").read_text())
    assert content["flags"]["uses_anomaly_labels"] is True
    assert content["flags"]["needs_fit"] is True
    assert content["fitted_on"]["frames"] == 7
    assert content["fitted_on"]["ground"]["frames"] == 3
    assert content["fitted_on"]["anomaly"]["frames"] == 4
    assert len(content["fitted_on"]["fingerprints"]) == 7


def test_figures_on_frames_it_was_fitted_on_are_refused_or_marked(network, odd, fitted, tmp_path, capsys):
    assert evaluate(network, odd, fitted, tmp_path / "no") == 2
    assert "fitted on 4 of these 4 frames" in capsys.readouterr().err
    assert evaluate(network, odd, fitted, tmp_path / "yes", "--allow-overlap") == 0
    card = json.loads((tmp_path / "yes" / "maskomaly" / "metrics.json").read_text())["detector"]
    assert len(card["overlap"]) == 4
    assert card["uses_anomaly_labels"] is True
    assert card["profile"] == "+anomaly"
    assert card["fitted_on"]["anomaly"]["best"]["iou"] > 0.05


def test_the_default_needs_no_fit_and_has_a_margin(network, odd, tmp_path, capsys):
    assert evaluate(network, odd, "maskomaly", tmp_path) == 0, capsys.readouterr()
    card = json.loads((tmp_path / "maskomaly" / "metrics.json").read_text())
    assert card["detector"]["profile"] == "zero_shot"
    assert card["detector"]["uses_anomaly_labels"] is False
    assert card["mdm"] is not None


def test_lists_on_the_command_line(network, odd, tmp_path, capsys):
    """Commas separate detectors, but not within brackets."""
    spec = "maskomaly:ground=[1,2];anomaly=[3,4],rba"
    assert evaluate(network, odd, spec, tmp_path) == 0, capsys.readouterr()
    card = json.loads((tmp_path / "maskomaly" / "metrics.json").read_text())["detector"]
    assert card["queries"] == {"ground": [1, 2], "anomaly": [3, 4]}
    assert (tmp_path / "rba" / "metrics.json").is_file()
    assert evaluate(network, odd, "maskomaly:anomaly=[49]", tmp_path / "x") == 2
    assert "anomaly query 49 does not exist: this network has 7 queries" in capsys.readouterr().err


def test_another_checkpoint_is_refused(odd, fitted, tmp_path, capsys):
    tiny_model("mask2former", seed=5).save_pretrained(tmp_path / "other")
    capsys.readouterr()
    assert evaluate(f"hf:{tmp_path / 'other'}", odd, fitted, tmp_path / "o", "--allow-overlap") == 2
    error = capsys.readouterr().err.strip()
    assert "another checkpoint" in error
    assert error.count("\n") == 0


def test_a_fit_that_finds_nothing_says_so(network, camvid, odd, tmp_path, capsys):
    detector = "maskomaly:profile=+anomaly;min_iou=0.99"
    data = ("--data", f"camvid={camvid}", "--anomalies", f"folder={odd}")
    assert run(fit(network, detector, tmp_path / "d", *data)) == 0
    told = capsys.readouterr().err
    assert "no query reaches an IoU of 0.99 with anomalies (the best, query" in told
    assert "without ground queries" in told
    assert evaluate(network, odd, tmp_path / "d", tmp_path / "o", "--allow-overlap") == 0
    card = json.loads((tmp_path / "o" / "d" / "metrics.json").read_text())["detector"]
    assert any("no query reaches" in text for text in card["warnings"])
    assert card["queries"] == {"ground": [], "anomaly": []}


@pytest.mark.parametrize(
    ("detector", "data", "reason"),
    [
        ("sml", ("--anomalies", "folder=x"), "sml as asked for picks nothing on labelled anomalies; leave --anomalies"),
        ("maskomaly:profile=+ground", ("--anomalies", "folder=x"), "leave --anomalies out"),
        ("maskomaly:profile=+anomaly", (), "give --anomalies NAME=ROOT"),
        ("maskomaly:profile=+anomaly", ("--anomalies", "folder=x"), "anomseg fit needs frames"),
        ("maskomaly:profile=+anomaly", ("--anomalies", "x"), "anomseg fit needs frames"),
        ("maskomaly:profile=+anomaly;ground=[]", ("--anomalies", "x"), "--anomalies 'x' is not NAME=ROOT"),
        ("maskomaly", (), "needs no fitting with profile=zero_shot"),
        ("maskomaly:profile=ground", (), "zero_shot"),
    ],
)
def test_what_fit_refuses(network, camvid, detector, data, reason, tmp_path, capsys):
    given = data if "needs frames" in reason or "ground=[]" in detector else ("--data", f"camvid={camvid}", *data)
    assert run(fit(network, detector, tmp_path / "d", *given)) == 2
    error = capsys.readouterr().err.strip()
    assert reason in error
    assert error.count("\n") == 0
    assert not (tmp_path / "d").exists()


def test_anomalies_alone_where_the_ground_is_given(network, camvid, odd, tmp_path, capsys):
    detector = f"maskomaly:profile=+anomaly;ground=[1]{LOOSE}"
    assert run(fit(network, detector, tmp_path / "d", "--anomalies", f"folder={odd}", "--limit", 2)) == 0
    content = json.loads((tmp_path / "d" / "detector.json").read_text())
    assert content["fitted_on"]["frames"] == 2
    assert "ground" not in content["fitted_on"]
    both = ("--anomalies", f"folder={odd}", "--data", f"camvid={camvid}")
    assert run(fit(network, detector, tmp_path / "e", *both)) == 2
    assert "leave --data out" in capsys.readouterr().err


def test_predict(network, odd, fitted, tmp_path):
    argv = ["predict", str(odd / "images"), "--segmenter", network, "--detector", str(fitted), "--format", "npy"]
    assert run([*argv, "--out", str(tmp_path), "--quiet"]) == 0
    found = [np.load(path) for path in tmp_path.rglob("*.npy")]
    assert len(found) == 4
    assert all(score.min() >= 0 and score.max() <= 1 and score.shape == (64, 96) for score in found)
    assert torch.from_numpy(found[0]).isfinite().all()
