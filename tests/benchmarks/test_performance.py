"""benchmarks/performance.py: engines agree on small maps, the command goes on where it stopped, and its document."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SYSTEM = {"python": "3", "torch": "2"}


@pytest.fixture(scope="module")
def scripts():
    sys.path.insert(0, str(BENCHMARKS))
    import performance
    import performance_engines
    import performance_maps
    import performance_measures
    import performance_page

    yield {
        "command": performance, "engines": performance_engines, "maps": performance_maps,
        "measures": performance_measures, "page": performance_page,
    }  # fmt: skip
    sys.path.remove(str(BENCHMARKS))


def test_engines_give_the_same_figures(scripts):
    made = [*scripts["maps"].maps(20_000, seed=3)]
    assert sum(label.size for _, label in made) == pytest.approx(20_000, rel=0.1)
    score, label = (np.concatenate([one[part].ravel() for one in made]) for part in (0, 1))
    assert 0 < label.mean() < 0.01
    found = {}
    for name, engine in scripts["engines"].ENGINES.items():
        watch = scripts["measures"].Watch()
        found[name] = engine(iter(made), watch)
        assert watch.seconds > 0
    assert found["anomseg"][0] == pytest.approx(average_precision_score(label, score), abs=1e-12)
    assert found["anomseg"] == pytest.approx(found["scikit-learn"], abs=1e-12)
    assert found["torchmetrics"] == pytest.approx(found["scikit-learn"], abs=1e-3)


def test_the_component_metric_agrees_with_the_loop(scripts, monkeypatch):
    small = scripts["maps"].speckled(96, 128, 30)
    monkeypatch.setattr(scripts["measures"], "speckled", lambda: small)
    found = scripts["measures"].components()
    assert found["components"][0] > 5
    assert 0 < found["siou"] < 1
    monkeypatch.setattr(scripts["measures"], "component_loop", lambda *_: found["siou"] + 0.01)
    with pytest.raises(SystemExit, match="sIoU differs"):
        scripts["measures"].components()


def measured(**more):
    return {"system": SYSTEM, **more}


def pixels(engine, seconds, figures=(0.5, 0.9, 0.1), count=2e7, peak=1 << 29):
    return measured(engine=engine, pixels=count, seconds=seconds, peak=peak, grown=peak // 2, figures=list(figures))


def test_marks_are_told_met_or_missed(scripts):
    results = {
        "pixels-anomseg": pixels("anomseg", 1.0),
        "pixels-scikit-learn": pixels("scikit-learn", 19.0),
        "pixels-torchmetrics": pixels("torchmetrics", 30.0, (0.5001, 0.9, 0.1)),
        "pixels-large": pixels("anomseg", 12.0, count=2e8, peak=1 << 29),
        "components": measured(seconds=0.1, loop=11.0, components=[600, 40], siou=0.4, size=[1024, 2048]),
    }
    text = scripts["page"].page(results, None)
    assert "| scikit-learn | 2e+07 | 19.00 | 19.0 | 0.50 | 0.25 | equal |" in text
    assert "within 1e-04" in text
    assert "- 19.00 times scikit-learn's speed; mark: at least 20, **missed**." in text
    assert "- 0.50 GiB at the large set; mark: at most 1, met." in text
    assert "- 110.00 times the loop's speed; mark: at least 100, met." in text
    assert "pytorch-ood" not in text
    assert "AP against time" not in text


def test_a_stopped_command_goes_on(scripts, tmp_path, monkeypatch, capsys):
    command, asked = scripts["command"], []
    monkeypatch.setattr(command, "MEASURES", {"components": None, "pytorch-ood": None, "pixels-anomseg": None})
    found = {
        "components": measured(seconds=0.1, loop=11.0, components=[600, 40], siou=0.4, size=[1024, 2048]),
        "pytorch-ood": {"missing": "pytorch-ood cannot be imported"},
    }
    monkeypatch.setattr(command, "measured", lambda name, options: asked.append(name) or found.get(name))
    words = ["--work", str(tmp_path / "work"), "--doc", str(tmp_path / "docs" / "performance.md")]
    assert command.main(words) == 1
    told = capsys.readouterr().out
    assert "pytorch-ood cannot be imported" in told
    assert "not measured: pixels-anomseg" in told
    assert "600 predicted components" in (tmp_path / "docs" / "performance.md").read_text()
    found["pixels-anomseg"] = pixels("anomseg", 1.0)
    assert command.main(words) == 0
    assert asked == ["components", "pytorch-ood", "pixels-anomseg", "pytorch-ood", "pixels-anomseg"]
    assert "AUROC and FPR95" in (tmp_path / "docs" / "performance.md").read_text()


def test_the_picture_shows_detectors_of_road_anomaly(scripts, tmp_path):
    card = {"benchmark": "road_anomaly", "frames": 2, "pixel": {"ap": 0.3}, "seconds": {"forward": 0.2, "score": 0.02}}
    assert not scripts["page"].picture(tmp_path, tmp_path / "one.png")
    for name, more in (("msp", {}), ("camvid", {"benchmark": "camvid"})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps({**card, **more}))
    assert scripts["page"].picture(tmp_path, tmp_path / "pictures" / "one.png")
    assert (tmp_path / "pictures" / "one.png").stat().st_size > 1000
