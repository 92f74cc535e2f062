"""``anomseg profile`` and the flags that say how a network is run, as a user calls them."""

import json

import pytest

from anomseg.cli import profile as command
from anomseg.cli.main import run
from anomseg.report.profile import profile_markdown, profile_text


def _profile(network, *more):
    return run(["profile", "--segmenter", str(network), "--repeats", "2", "--warmup", "0", *more])


def test_profile_writes_json_markdown_and_a_table(network, tmp_path, capsys):
    arguments = ["--size", "40x56,48x64", "64x64", "--batch", "1,2", "--detector", "msp,entropy"]
    assert _profile(network, *arguments, "--out", str(tmp_path / "out")) == 0
    shown = capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "profile.json").read_text())
    rows = content["rows"]
    assert [(row["size"], row["batch"]) for row in rows[::3]] == [
        (size, batch) for size in ([40, 56], [48, 64], [64, 64]) for batch in (1, 2)
    ]
    assert [row["name"] for row in rows[:3]] == ["network", "msp", "entropy"]
    assert all(row["error"] is None and row["repeats"] == 2 and row["batch_ms"]["p50"] > 0 for row in rows)
    assert content["execution"] == {"precision": "float32", "compile": False, "tile": None}
    assert content["segmenter"]["name"] == "pyramid"
    assert "+ entropy" in shown
    assert "torch 2" in shown
    assert (tmp_path / "out" / "profile.md").read_text() == profile_markdown(content)
    assert shown.startswith(profile_text(content))


def test_profile_with_tiles_and_precision_says_so(network, tmp_path, capsys):
    flags = ["--tile", "32x32", "--overlap", "16", "--precision", "bfloat16"]
    assert _profile(network, "--size", "64x64", "--batch", "1", *flags, "--out", str(tmp_path)) == 0
    assert json.loads((tmp_path / "profile.json").read_text())["execution"] == {
        "precision": "bfloat16",
        "compile": False,
        "tile": [32, 32],
        "overlap": 16,
    }
    assert "run: bfloat16, not compiled, tiles 32x32, overlap 16" in capsys.readouterr().out


def test_quiet_prints_nothing(network, capsys):
    assert _profile(network, "--size", "32x32", "--batch", "1", "--quiet") == 0
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_a_step_that_fails_is_a_row_and_exit_code_1(network, tmp_path, capsys, monkeypatch):
    from anomseg.detectors.posthoc import MSP

    def score(self, scene):
        raise MemoryError

    monkeypatch.setattr(MSP, "score", score)
    assert _profile(network, "--size", "32x32", "--batch", "1", "--detector", "msp,energy", "--out", str(tmp_path)) == 1
    rows = json.loads((tmp_path / "profile.json").read_text())["rows"]
    assert [row["error"] for row in rows] == [None, "out of memory", None]
    captured = capsys.readouterr()
    assert "msp at 32x32, batch 1: out of memory" in captured.err
    assert "out of memory" in (tmp_path / "profile.md").read_text()


def test_ctrl_c_keeps_what_was_measured(network, tmp_path, capsys, monkeypatch):
    from anomseg.inference import costs

    original = costs.measure

    def stops(steps, found, **options):
        original(steps, found, **options)
        if stops.groups:
            raise KeyboardInterrupt
        stops.groups = True

    stops.groups = False
    monkeypatch.setattr(costs, "measure", stops)
    assert _profile(network, "--size", "32x32", "--batch", "1,2,3", "--out", str(tmp_path)) == 130
    content = json.loads((tmp_path / "profile.json").read_text())
    assert content["interrupted"] is True
    assert [row["batch"] for row in content["rows"]] == [1, 1, 2, 2]
    assert "interrupted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--detector", "sml"], "has not been fitted"),
        (["--size", "64"], "--size '64' is not HEIGHTxWIDTH"),
        (["--batch", "one"], "--batch 'one'"),
        (["--repeats", "0"], "1 or more"),
        (["--tile", "64"], "--tile '64' is not HEIGHTxWIDTH"),
        (["--overlap", "8"], "--overlap goes with --tile"),
        (["--tile", "32x64", "--overlap", "32"], "smaller than both sides of the tile, 32x64"),
        (["--precision", "float61"], "did you mean 'float16'"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(network, capsys, flags, message):
    assert _profile(network, *flags) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert message in told[0]


def test_batches():
    assert command.parse_batches(" 1, 8,") == [1, 8]


def test_predict_takes_the_flags_and_the_sidecar_names_them(network, dataset, tmp_path):
    common = ["predict", str(dataset / "images" / "0.png"), "--segmenter", str(network), "--format", "npy", "--quiet"]
    flags = ["--tile", "32x32", "--overlap", "16", "--precision", "bfloat16"]
    out = tmp_path / "out"
    assert run([*common, "--out", str(out), *flags]) == 0
    tiled = json.loads((out / "0.json").read_text())
    assert tiled["segmenter"]["execution"]["tile"] == [32, 32]
    assert tiled["segmenter"]["execution"]["precision"] == "bfloat16"
    assert tiled["image"]["working_size"] == [60, 80]
    assert run([*common, "--out", str(out)]) == 0  # other settings, so it is done anew
    whole = json.loads((out / "0.json").read_text())
    assert "execution" not in whole["segmenter"]
    assert whole["fingerprint"] != tiled["fingerprint"]


def test_evaluate_does_not_go_on_with_a_run_of_other_tiles(network, dataset, tmp_path, capsys):
    common = ["evaluate", "--benchmark", "road_anomaly_21", "--root", str(dataset), "--segmenter", str(network)]
    common += ["--detector", "msp", "--out", str(tmp_path / "out"), "--quiet", "--no-report", "--limit", "2"]
    assert run([*common, "--tile", "32x32", "--overlap", "16"]) == 0
    card = json.loads((tmp_path / "out" / "msp" / "metrics.json").read_text())
    assert card["segmenter"]["execution"] == {"tile": [32, 32], "overlap": 16}
    capsys.readouterr()
    assert run([*common, "--tile", "32x32", "--overlap", "8"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run([*common, "--tile", "32x32", "--overlap", "16"]) == 0
