"""``anomseg compare`` as a user calls it."""

import json

import pytest
import yaml

from anomseg.cli.main import run
from anomseg.errors import ConfigError


@pytest.fixture
def config(network, tmp_path):
    content = {
        "segmenter": str(network),
        "benchmark": "road_anomaly_21",
        "costs": False,
        "detectors": ["msp", "chance", "rba"],
    }
    path = tmp_path / "compare.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_comparison_prints_the_table_and_names_what_failed(config, dataset, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["compare", "--config", str(config), "--root.road_anomaly_21", str(dataset), "--out", str(out)]
    assert run([*arguments, "--limit", "2", "--no-pictures"]) == 1
    captured = capsys.readouterr()
    assert "| msp |" in captured.out
    assert "*chance* (control)" in captured.out
    assert "anomseg: rba failed on road_anomaly_21: rba reads the queries of a mask transformer" in captured.err
    content = json.loads((out / "compare.json").read_text())
    assert [row["status"] for row in content["benchmarks"][0]["rows"]] == ["done", "failed", "done"]
    assert run([*arguments, "--limit", "2", "--no-pictures", "--quiet"]) == 1
    assert capsys.readouterr().out == ""


def test_what_is_wrong_is_told_in_one_line(config, dataset, tmp_path, capsys):
    out = str(tmp_path / "out")
    assert run(["compare", "--config", str(config), "--out", out]) == 2
    assert "give --root.road_anomaly_21 DIR" in capsys.readouterr().err
    assert run(["compare", "--config", str(config), "--out", out, "--roots.x", "y"]) == 2
    assert "unknown option of compare '--roots.x'" in capsys.readouterr().err
    assert run(["compare", "--config", str(config), "--out", out, "--root.road_anomaly_21"]) == 2
    assert "needs a folder" in capsys.readouterr().err
    assert run(["compare"]) == 2
    told = capsys.readouterr().err
    assert "--template" in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_template_is_printed_and_help_shows_an_example(capsys):
    assert run(["compare", "--template"]) == 0
    content = yaml.safe_load(capsys.readouterr().out)
    assert "msp" in content["detectors"]
    with pytest.raises(SystemExit) as ended:
        run(["compare", "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "knn:k=3" in shown
    assert "--config" in shown


def test_roots_are_read_in_both_forms():
    from anomseg.cli.compare import parse_roots

    assert parse_roots(["--root.a", "x", "--root.b=y"]) == {"a": "x", "b": "y"}
    with pytest.raises(ConfigError, match="unknown option"):
        parse_roots(["--rot.a", "x"])
