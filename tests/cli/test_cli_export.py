"""anomseg export: what it writes, what it says, and what it refuses in one line."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from anomseg.cli.main import run
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import save_segmenter


@pytest.fixture(scope="module")
def erfnet(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("networks") / "erfnet"
    save_segmenter(SEGMENTERS.create("erfnet", classes=["road", "sky", "car"], size=(40, 56)).eval(), folder)
    return folder


def _run(*argv):
    return run(["export", *[str(item) for item in argv]])


def test_a_file_and_its_card(erfnet, tmp_path, capsys):
    picture = tmp_path / "street.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)).save(picture)
    out = tmp_path / "deep" / "model.onnx"
    options = ["--segmenter", erfnet, "--detector", "energy:temperature=2", "--out", out, "--opset", 17]
    assert _run(*options, "--threshold", "-1.5", "--images", picture) == 0
    told = capsys.readouterr()
    assert "takes uint8 batchx3x40x56, opset 17; largest difference" in told.out
    assert "5 images" in told.out
    card = json.loads((tmp_path / "deep" / "model.onnx.json").read_text())
    assert card["threshold"] == -1.5
    assert card["detector"]["parameters"]["temperature"] == 2
    assert onnxruntime.InferenceSession(str(out)).get_inputs()[0].shape == ["batch", 3, 40, 56]
    assert _run(*options, "--quiet") == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--detector", "chance"], "reads no network"),
        (["--detector", "msp,energy"], "one detector at a time"),
        (["--detector", "sml"], "anomseg fit"),
        (["--size", "40x56", "--dynamic"], "exclude each other"),
        (["--size", "40"], "HEIGHTxWIDTH"),
        (["--images", "nowhere.png"], "nowhere.png"),
        (["--segmenter", "pyramid"], "no weights of its own"),
        (["--opset", "3"], "opset must be"),
    ],
)
def test_one_line_and_nothing_written(erfnet, tmp_path, capsys, options, message):
    assert _run("--segmenter", erfnet, "--out", tmp_path / "model.onnx", *options) == 2
    told = capsys.readouterr().err.strip()
    assert told.splitlines()[-1].startswith("anomseg: ")
    assert message in told
    assert not list(tmp_path.iterdir())


def test_a_detector_with_its_own_network_needs_no_other(erfnet, tmp_path, capsys, monkeypatch):
    def none_is_opened(text):
        raise AssertionError(f"{text} was opened for a detector that never scores it")

    monkeypatch.setattr("anomseg.cli.export.open_network", none_is_opened)
    assert _run("--detector", f"ensemble:members={erfnet}+{erfnet}", "--out", tmp_path / "model.onnx") == 2
    assert "ensemble needs 2 forward passes" in capsys.readouterr().err
