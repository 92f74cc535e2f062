"""Bad input: one line that says what is wrong and how to mend it, exit code not 0, nothing half-written."""

import errno
import os

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from anomseg.cli.main import run
from anomseg.segmenters.catalog import SEGMENTERS


def _told(capsys, argv, code=2):
    assert run([str(item) for item in argv]) == code
    told = capsys.readouterr().err.strip()
    last = told.splitlines()[-1]
    assert "Traceback" not in told
    assert last.startswith("anomseg: ")
    return told


@pytest.fixture
def evaluate(network, dataset, tmp_path):
    return [
        "evaluate",
        "--benchmark",
        "road_anomaly_21",
        "--root",
        dataset,
        "--segmenter",
        network,
        "--out",
        tmp_path / "o",
        "--quiet",
    ]


def _replace(argv, option, value):
    argv = list(argv)
    argv[argv.index(option) + 1] = value
    return argv


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--benchmark", "road_anomly_21", "did you mean 'road_anomaly_21'"),
        ("--segmenter", "erfnt", "did you mean 'erfnet'"),
        ("--root", "nowhere", "nowhere"),
    ],
)
def test_unknown_names_and_missing_folders(evaluate, capsys, option, value, message):
    assert message in _told(capsys, _replace(evaluate, option, value))


def test_unknown_detector_and_option(evaluate, capsys):
    assert "did you mean 'energy'" in _told(capsys, [*evaluate, "--detector", "enrgy"])
    assert "did you mean 'temperature'" in _told(capsys, [*evaluate, "--detector", "energy:temperatur=2"])
    assert "expected a number, got hot" in _told(capsys, [*evaluate, "--detector", "energy:temperature=hot"])
    assert "did you mean 'default'" in _told(capsys, [*evaluate, "--protocol", "defualt"])


def test_empty_folder(evaluate, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    _told(capsys, _replace(evaluate, "--root", tmp_path / "empty"))
    told = _told(capsys, ["predict", tmp_path / "empty", "--segmenter", evaluate[6], "--out", tmp_path / "o"])
    assert "no images" in told
    assert not (tmp_path / "o").exists()


def test_an_unfitted_detector_says_what_to_do(evaluate, capsys):
    assert "anomseg fit" in _told(capsys, [*evaluate, "--detector", "sml"])


def test_a_checkpoint_of_another_network(evaluate, capsys, tmp_path):
    import torch

    save_file({"a.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    assert "another network" in _told(
        capsys, _replace(evaluate, "--segmenter", f"erfnet:{tmp_path / 'other.safetensors'}")
    ) or "no ERFNet" in _told(capsys, _replace(evaluate, "--segmenter", f"erfnet:{tmp_path / 'other.safetensors'}"))


def test_a_detector_that_needs_what_the_segmenter_lacks(dataset, tmp_path, capsys):
    from anomseg.registry import SEGMENTERS
    from anomseg.segmenters import save_segmenter

    save_segmenter(
        SEGMENTERS.create("pyramid", classes=["lawn", "pond"], size=(48, 64), widths=(8, 8, 8, 8), bottleneck=8),
        tmp_path / "net",
    )
    argv = [
        "evaluate",
        "--benchmark",
        "road_anomaly_21",
        "--root",
        dataset,
        "--segmenter",
        tmp_path / "net",
        "--out",
        tmp_path / "o",
        "--detector",
        "not_road",
    ]
    assert "road" in _told(capsys, argv)


def _label(dataset, index, array):
    Image.fromarray(array).save(dataset / "labels_masks" / f"{index}.png")


def test_single_frames_that_cannot_be_used_are_skipped_and_named(evaluate, dataset, capsys):
    _label(dataset, 0, np.zeros((30, 40), np.uint8))
    _label(dataset, 1, np.full((60, 80), 9, np.uint8))
    _label(dataset, 2, np.full((60, 80), 255, np.uint8))
    (dataset / "images" / "3.png").write_bytes(b"")
    told = _told(capsys, evaluate, code=1)
    for index in range(4):
        assert f"skipped {index}:" in told


def test_no_anomaly_anywhere(evaluate, dataset, capsys):
    for index in range(6):
        _label(dataset, index, np.zeros((60, 80), np.uint8))
    assert "no anomaly" in _told(capsys, evaluate)


def test_nan_scores(dataset, tmp_path, capsys):
    maps = tmp_path / "maps"
    maps.mkdir()
    for index in range(6):
        values = np.random.default_rng(index).random((60, 80)).astype(np.float32)
        if index == 4:
            values[0, 0] = np.nan
        np.save(maps / f"{index}.npy", values)
    argv = [
        "evaluate",
        "--benchmark",
        "road_anomaly_21",
        "--root",
        dataset,
        "--scores",
        maps,
        "--out",
        tmp_path / "o",
        "--quiet",
    ]
    assert "skipped 4" in _told(capsys, argv, code=1)


def test_another_runs_folder_is_not_overwritten(evaluate, capsys, tmp_path):
    assert run([str(item) for item in [*evaluate, "--detector", "msp"]]) == 0
    before = (tmp_path / "o" / "msp" / "metrics.json").read_bytes()
    assert "--overwrite" in _told(capsys, [*evaluate, "--detector", "energy"])
    assert (tmp_path / "o" / "msp" / "metrics.json").read_bytes() == before


@pytest.mark.parametrize(
    "argv",
    [
        ["evaluate", "--shard", "3/3"],
        ["evaluate", "--size", "512"],
        ["evaluate", "--size", "99999x99999"],
        ["evaluate", "--scores", "x", "--detector", "msp"],
        ["evaluate", "--device", "cuda:77"],
    ],
)
def test_impossible_options(evaluate, capsys, argv):
    _told(capsys, [*evaluate, *argv[1:]])


def test_a_full_disk(network, dataset, tmp_path, capsys, monkeypatch):
    real, calls = os.replace, []

    def full(source, target):
        calls.append(target)
        if len(calls) > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(source, target)

    monkeypatch.setattr(os, "replace", full)
    out = tmp_path / "o"
    told = _told(capsys, ["predict", dataset / "images", "--segmenter", network, "--out", out, "--quiet"])
    assert "free some space" in told
    assert not list(out.glob("**/*.part"))


def test_an_absurd_image_is_refused_before_decoding(network, tmp_path, capsys):
    folder = tmp_path / "big"
    folder.mkdir()
    Image.new("1", (40_000, 40_000)).save(folder / "bomb.png")
    told = _told(capsys, ["predict", folder, "--segmenter", network, "--out", tmp_path / "o", "--quiet"])
    assert "skipped bomb" in told


def test_debug_shows_the_traceback(evaluate, capsys):
    assert run([str(item) for item in [*evaluate, "--detector", "sml", "--debug"]]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["evalute"], "unknown command 'evalute': did you mean 'evaluate'?"),
        (["evaluate", "--benchmark", "folder"], "missing: --out; see 'anomseg evaluate --help'"),
        (["predict"], "missing: INPUTS; see 'anomseg predict --help'"),
        (["predict", "x.png", "--treshold", "1"], "unknown options: --treshold 1 (did you mean --threshold?)"),
        (["predict", "x.png", "--threshold", "much"], "threshold: expected a number, got much"),
        (["predict", "x.png", "--range", "nan", "1"], "range (element 1): expected a number, got nan"),
    ],
)
def test_wrong_arguments_are_one_line_too(capsys, argv, message):
    try:
        code = run(argv)
    except SystemExit as stopped:
        code = stopped.code
    told = capsys.readouterr().err
    assert code == 2
    assert told.count("\n") == 1
    assert told.startswith(f"anomseg: {message}")


@pytest.mark.parametrize(
    ("segmenter", "message"),
    [
        ("erfnet", "erfnet needs a network: write erfnet:WEIGHTS"),
        ("erfnet:size=[48,64]", "erfnet needs a network"),
        ("hf", "hf needs a network: write hf:DIRECTORY or hf:HUB_ID"),
        ("onnx", "onnx needs a network: write onnx:NETWORK.onnx"),
        ("pyramid", "pyramid has no weights of its own"),
    ],
)
def test_a_network_of_random_weights_is_not_used_unasked(evaluate, capsys, segmenter, message):
    assert message in _told(capsys, _replace(evaluate, "--segmenter", segmenter))


@pytest.mark.parametrize("below", ["", "sub"])
def test_a_file_where_results_should_go(network, dataset, tmp_path, capsys, below):
    (tmp_path / "taken").write_text("mine")
    out = tmp_path / "taken" / below
    for argv in (
        ["predict", dataset / "images" / "0.png", "--segmenter", network, "--out", out, "--quiet"],
        ["evaluate", "--benchmark", "road_anomaly_21", "--root", dataset, "--segmenter", network, "--out", out],
    ):
        assert "a file lies where a folder is needed, choose another --out" in _told(capsys, argv)
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_link_to_itself_is_skipped_and_named(network, dataset, tmp_path, capsys):
    (dataset / "images" / "loop.png").symlink_to("loop.png")
    argv = ["predict", dataset / "images", "--segmenter", network, "--out", tmp_path / "o", "--quiet"]
    assert "skipped loop: " in _told(capsys, argv, code=1)
    assert len(list((tmp_path / "o").glob("*.json"))) == 6


def test_every_network_with_a_file_says_how_it_is_written():
    for entry in SEGMENTERS:
        if entry.path_option:
            assert entry.summary.rpartition(": ")[2].startswith(f"{entry.name}:")
