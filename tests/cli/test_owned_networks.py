"""Detectors that carry their own networks, through the commands."""

import json

import numpy as np
import pytest
import torch

from anomseg.cli.main import run
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import load_saved_segmenter, save_segmenter


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
