"""Every command run for real on small things."""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from anomseg.cli.main import COMMANDS, run
from anomseg.registry import STAGES
from anomseg.training import recipe_names


def _card(out, detector):
    return json.loads((out / detector / "metrics.json").read_text())


def test_help_of_every_command(capsys):
    for command in ([], *[[name] for name in COMMANDS]):
        with pytest.raises(SystemExit) as ended:
            run([*command, "--help"])
        assert ended.value.code == 0
        assert "usage: anomseg" in capsys.readouterr().out


def test_help_of_train_lists_recipes_and_kinds_of_stages(capsys):
    with pytest.raises(SystemExit):
        run(["train", "--help"])
    told = capsys.readouterr().out
    recipes, _, kinds = told.partition("recipes:")[2].partition("kinds of stages:")
    listed = [re.match(r"  (\S+)", line)[1] for line in recipes.splitlines() if re.match(r"  \S", line)]
    assert listed == recipe_names()
    assert {entry.name for entry in STAGES} == set(re.findall(r"^  (\S+)", kinds, re.MULTILINE))
    assert {"segmentation", "features", "pans", "pgan", "student"} <= {entry.name for entry in STAGES}


@pytest.mark.parametrize("kind", ["segmenters", "detectors", "benchmarks", "protocols", "recipes", "volumes"])
def test_list(kind, capsys):
    assert run(["list", kind]) == 0
    expected = {
        "segmenters": "erfnet",
        "detectors": "energy",
        "benchmarks": "road_obstacle_21",
        "protocols": "default",
        "recipes": "bundled-segmenter",
        "volumes": "shape_vae",
    }
    assert expected[kind] in capsys.readouterr().out


def test_predict_a_folder(network, dataset, tmp_path, capsys):
    out = tmp_path / "out"
    argv = [
        "predict",
        str(dataset / "images"),
        "--segmenter",
        str(network),
        "--out",
        str(out),
        "--threshold",
        "-3",
        "--format",
        "png,npy,hdf5",
    ]
    assert run(argv) == 0
    scores = np.load(out / "0.npy")
    assert scores.shape == (60, 80)
    mask = np.asarray(Image.open(out / "0_mask.png"))
    assert np.array_equal(mask > 0, scores >= -3)
    sidecar = json.loads((out / "0.json").read_text())
    assert sidecar["output"]["threshold"] == -3
    assert "6 done" in capsys.readouterr().out
    assert run(argv) == 0
    assert "6 kept" in capsys.readouterr().out


def test_a_bad_file_is_skipped_named_and_told_by_the_exit_code(network, dataset, tmp_path, capsys):
    (dataset / "images" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    argv = ["predict", str(dataset / "images"), "--segmenter", str(network), "--out", str(tmp_path / "o"), "--quiet"]
    assert run(argv) == 1
    told = capsys.readouterr()
    assert "skipped 2" in told.err
    assert told.out == ""
    assert len(list((tmp_path / "o").glob("*.npy"))) == 5


def test_evaluate_equals_scikit_learn_on_its_own_maps(network, dataset, tmp_path):
    out = tmp_path / "out"
    argv = [
        "evaluate",
        "--benchmark",
        "road_anomaly_21",
        "--root",
        str(dataset),
        "--segmenter",
        str(network),
        "--detector",
        "energy,msp",
        "--detector",
        "chance",
        "--out",
        str(out),
        "--keep-maps",
    ]
    assert run(argv) == 0
    for detector in ("energy", "msp", "chance"):
        scores, labels = [], []
        for index in range(6):
            label = np.asarray(Image.open(dataset / "labels_masks" / f"{index}.png"))
            score = np.load(out / detector / "maps" / f"{index}.npy")
            scores.append(score[label != 255])
            labels.append(label[label != 255])
        card = _card(out, detector)
        score, label = np.concatenate(scores), np.concatenate(labels)
        assert card["pixel"]["ap"] == pytest.approx(average_precision_score(label, score), abs=1e-12)
        assert card["pixel"]["auroc"] == pytest.approx(roc_auc_score(label, score), abs=1e-12)
        assert card["frames"] == 6
    page = (out / "report.html").read_text()
    assert "energy" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert (out / "energy" / "contact_sheet.png").stat().st_size > 1000
    assert len(list(csv.DictReader((out / "energy" / "per_image.csv").open()))) == 6


def test_shards_merge_to_the_figures_of_one_run(network, dataset, tmp_path):
    base = [
        "evaluate",
        "--benchmark",
        "road_anomaly_21",
        "--root",
        str(dataset),
        "--segmenter",
        str(network),
        "--detector",
        "energy",
        "--quiet",
        "--no-report",
    ]
    assert run([*base, "--out", str(tmp_path / "whole")]) == 0
    for index in range(3):
        assert run([*base, "--shard", f"{index}/3", "--out", str(tmp_path / f"s{index}")]) == 0
    parts = [str(tmp_path / f"s{index}") for index in range(3)]
    assert run(["merge", *parts, "--out", str(tmp_path / "merged"), "--quiet"]) == 0
    whole, merged = _card(tmp_path / "whole", "energy"), _card(tmp_path / "merged", "energy")
    for key in ("pixel", "pixel_ci95", "per_image_mean", "component", "fpr95_by_rule", "pixels"):
        assert whole[key] == merged[key]
    assert run(["merge", *parts[:2], "--out", str(tmp_path / "gap"), "--quiet"]) == 2


def test_scores_of_anybody(dataset, tmp_path):
    maps = tmp_path / "mine"
    maps.mkdir()
    for index in range(6):
        label = np.asarray(Image.open(dataset / "labels_masks" / f"{index}.png"))
        np.save(maps / f"{index}.npy", (label == 1).astype(np.float32) + 0.25)
    argv = [
        "evaluate",
        "--benchmark",
        "road_anomaly_21",
        "--root",
        str(dataset),
        "--scores",
        str(maps),
        "--out",
        str(tmp_path / "o"),
    ]
    assert run(argv) == 0
    card = _card(tmp_path / "o", "mine")
    assert card["pixel"]["ap"] == 1.0
    assert card["pixel"]["fpr95"] == 0.0


def test_fit_then_evaluate_with_the_saved_detector(network, dataset, tmp_path):
    saved = tmp_path / "sml-here"
    argv = [
        "fit",
        "--detector",
        "sml",
        "--segmenter",
        str(network),
        "--data",
        f"folder={dataset}",
        "--out",
        str(saved),
        "--quiet",
    ]
    assert run(argv) == 0
    base = [
        "evaluate",
        "--benchmark",
        "road_anomaly_21",
        "--root",
        str(dataset),
        "--segmenter",
        str(network),
        "--detector",
        str(saved),
        "--out",
        str(tmp_path / "o"),
        "--quiet",
    ]
    assert run(base) == 2  # fitted on these very frames
    assert run([*base, "--allow-overlap"]) == 0
    assert _card(tmp_path / "o", "sml-here")["detector"]["fitted_on"]


def test_data_verify(dataset, capsys):
    assert run(["data", "verify", "road_anomaly_21", "--root", str(dataset)]) in (0, 2)
    Image.fromarray(np.full((60, 80), 7, np.uint8)).save(dataset / "labels_masks" / "3.png")
    assert run(["data", "verify", "road_anomaly_21", "--root", str(dataset)]) == 2
    assert "3.png" in capsys.readouterr().out


def test_demo_runs_with_the_bundled_network(tmp_path):
    from anomseg.segmenters.catalog import BUNDLED

    if not BUNDLED.is_dir():
        pytest.skip("no bundled weights in this tree yet")
    out = tmp_path / "demo"
    assert run(["demo", "--out", str(out), "--scenes", "2", "--size", "120x160", "--quiet"]) == 0
    assert (out / "report.html").is_file()
    assert len(list((out / "predictions").glob("*_overlay.png"))) == 2
    assert 0 <= _card(out, "energy")["pixel"]["ap"] <= 1


def test_ctrl_c_keeps_what_was_done_and_says_so(network, dataset, tmp_path):
    code = (
        "import os, signal, sys\n"
        "from anomseg.cli import main\n"
        "import anomseg.inference.directory as d\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background starts deaf to it
        "seen = []\n"
        "class Stopping(d.Progress):\n"
        "    def __init__(self, *a, **k):\n"
        "        super().__init__(*a, **k)\n"
        "        seen.append(1)\n"
        "        if len(seen) == 3: os.kill(os.getpid(), signal.SIGINT)\n"
        "d.Progress = Stopping\n"
        f"sys.exit(main.run(['predict', {str(dataset / 'images')!r}, '--segmenter', {str(network)!r}, '--out', "
        f"{str(tmp_path / 'o')!r}]))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 130
    assert "interrupted" in ended.stderr
    assert "Traceback" not in ended.stderr
    written = list((tmp_path / "o").glob("*.npy"))
    assert 1 <= len(written) < 6
    assert not list((tmp_path / "o").glob("*.part"))


def test_what_a_reader_must_know_is_said_and_stands_on_the_card(network, dataset, tmp_path, capsys):
    argv = ["evaluate", "--benchmark", "road_anomaly_21", "--root", str(dataset), "--segmenter", str(network)]
    assert run([*argv, "--detector", "msp", "--out", str(tmp_path / "a"), "--no-report"]) == 0
    assert "6 frames are here where" in capsys.readouterr().err
    assert "of road_anomaly_21 has 10" in _card(tmp_path / "a", "msp")["warnings"][0]
    assert run([*argv, "--detector", "msp", "--out", str(tmp_path / "b"), "--no-report", "--limit", "6"]) == 0
    assert _card(tmp_path / "b", "msp")["warnings"] == []


def test_a_whole_run_is_no_shard(network, dataset, tmp_path, capsys):
    argv = ["evaluate", "--benchmark", "road_anomaly_21", "--root", str(dataset), "--segmenter", str(network)]
    assert run([*argv, "--detector", "msp", "--out", str(tmp_path / "a"), "--no-report"]) == 0
    assert run(["merge", str(tmp_path / "a"), "--out", str(tmp_path / "m")]) == 2
    assert "is a whole run, no shard" in capsys.readouterr().err


def test_a_detector_fitted_at_another_size_is_marked(network, dataset, tmp_path, capsys):
    fit = ["fit", "--detector", "sml", "--segmenter", str(network), "--data", f"folder={dataset}", "--size", "24x32"]
    assert run([*fit, "--out", str(tmp_path / "sml"), "--quiet"]) == 0
    argv = ["evaluate", "--benchmark", "road_anomaly_21", "--root", str(dataset), "--segmenter", str(network)]
    argv += ["--detector", str(tmp_path / "sml"), "--allow-overlap", "--no-report", "--out", str(tmp_path / "o")]
    assert run(argv) == 0
    assert "fitted at working size 24x32" in capsys.readouterr().err
