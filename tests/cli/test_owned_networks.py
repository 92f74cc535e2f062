"""Detectors that carry their own networks, through the commands."""

import json

import numpy as np
import pytest
import torch

from anomseg.cli.main import run
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import load_saved_segmenter, save_segmenter
from anomseg.segmenters.tiling import TiledSegmenter


@pytest.fixture
def members(network, tmp_path):
    first = load_saved_segmenter(network)
    torch.manual_seed(7)
    options = {"classes": first.classes, "size": (48, 64), "widths": (8, 12, 16, 24), "bottleneck": 16}
    save_segmenter(SEGMENTERS.create("pyramid", **options).eval(), tmp_path / "second")
    return f"{network}+{tmp_path / 'second'}"


def test_an_ensemble_is_packed_and_scores_without_any_segmenter(members, network, dataset, tmp_path, capsys):
    packed = tmp_path / "packed"
    assert run(["fit", "--detector", f"ensemble:members={members}", "--out", str(packed)]) == 0
    assert "2 networks" in capsys.readouterr().out
    image = str(dataset / "images" / "0.png")
    maps = []
    for name, detector, more in (
        ("a", f"ensemble:members={members}", []),
        ("b", str(packed), []),
        ("c", str(packed), ["--segmenter", str(tmp_path / "second")]),
        ("d", str(packed), ["--size", "32x48"]),
    ):
        out = tmp_path / name
        assert run(["predict", image, "--detector", detector, *more, "--out", str(out), "--quiet"]) == 0
        maps.append(np.load(next(out.rglob("*.npy"))))
    assert np.array_equal(maps[0], maps[1])
    assert np.array_equal(maps[0], maps[2])  # its own networks score, whatever is named beside them
    assert not np.array_equal(maps[0], maps[3])

    out = tmp_path / "o"
    evaluate = ["evaluate", "--benchmark", "road_anomaly_21", "--root", str(dataset), "--limit", "2", "--out", str(out)]
    assert run([*evaluate, "--detector", str(packed), "--quiet"]) == 0
    card = json.loads((out / "packed" / "metrics.json").read_text())
    assert card["segmenter"] is None
    assert card["detector"]["owns_network"]
    assert card["detector"]["forward_passes"] == 2
    assert card["detector"]["network"]["sha256"] == load_saved_segmenter(network).fingerprint()
    assert list(card["detector"]["networks"]) == ["member0", "member1"]
    assert card["detector"]["warnings"] == []


def test_fit_says_what_it_lacks(members, network, dataset, tmp_path, capsys):
    fit = ["fit", "--segmenter", str(network), "--out", str(tmp_path / "x")]
    assert run([*fit, "--detector", "sml"]) == 2
    assert "needs frames" in capsys.readouterr().err
    assert run([*fit, "--detector", f"ensemble:members={members}", "--data", f"folder={dataset}"]) == 2
    assert "leave --data out" in capsys.readouterr().err
    assert run([*fit, "--detector", "ensemble"]) == 2
    assert "no members" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_networks_of_a_detector_are_run_as_asked(members, dataset, tmp_path, capsys):
    image = str(dataset / "images" / "0.png")
    maps = []
    for name, more in (("a", []), ("b", ["--precision", "bfloat16"]), ("c", ["--tile", "32x32", "--overlap", "8"])):
        out = tmp_path / name
        asked = ["predict", image, "--detector", f"ensemble:members={members}", *more, "--out", str(out), "--quiet"]
        assert run(asked) == 0
        maps.append(np.load(next(out.rglob("*.npy"))))
    assert not np.array_equal(maps[0], maps[1])
    assert np.abs(maps[0] - maps[1]).max() < 0.05
    assert not np.array_equal(maps[0], maps[2])
    sidecar = json.loads(next((tmp_path / "c").rglob("*.json")).read_text())
    assert sidecar["segmenter"]["execution"] == {"tile": [32, 32], "overlap": 8}
    ran = [network["execution"] for network in sidecar["detector"]["networks"].values()]
    assert ran == [{"tile": [32, 32], "overlap": 8}] * 2

    asked = ["predict", image, "--detector", f"ensemble:members={members}", "--overlap", "8", "--out", str(tmp_path)]
    assert run(asked) == 2
    assert "--overlap goes with --tile" in capsys.readouterr().err


def test_a_profile_runs_networks_of_a_detector_as_asked(members, network, tmp_path, monkeypatch):
    seen = []
    segment = TiledSegmenter.segment
    monkeypatch.setattr(
        TiledSegmenter, "segment", lambda self, *given: seen.append(self.fingerprint()) or segment(self, *given)
    )
    asked = ["profile", "--segmenter", str(network), "--detector", f"ensemble:members={members}", "--size", "48x64"]
    asked += ["--batch", "1", "--repeats", "1", "--warmup", "0", "--tile", "32x32", "--overlap", "8", "--quiet"]
    assert run(asked) == 0
    assert set(seen) == {load_saved_segmenter(path).fingerprint() for path in members.split("+")}


def test_fit_seeds_a_detector_that_samples(network, shared_data, tmp_path):
    data = f"camvid={shared_data / 'camvid'}"
    for name, detector, seed in (("a", "gmm:minimum=1;components=1", 5), ("b", "gmm:minimum=1;components=1;seed=3", 3)):
        asked = ["fit", "--detector", detector, "--segmenter", str(network), "--data", data, "--limit", "1"]
        assert run([*asked, "--seed", "5", "--out", str(tmp_path / name), "--quiet"]) == 0
        assert json.loads((tmp_path / name / "detector.json").read_text())["parameters"]["seed"] == seed
