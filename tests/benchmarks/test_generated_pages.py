"""The scripts behind docs/calibration.md and docs/protocols.md: on made counts and on a small finished run."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "evaluation"))
from small_run import BENCHMARK, TinySegmenter, write_tree

from anomseg.calibration import FrameScores
from anomseg.errors import ConfigError, DataError
from anomseg.evaluation import evaluate_protocols, make_plan

ROOT = Path(__file__).parents[2]


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    before = set(sys.modules)
    import doc_section
    import protocols

    import calibration

    yield calibration, protocols, doc_section
    for name in set(sys.modules) - before:
        if name in ("calibration", "protocols", "doc_section"):
            del sys.modules[name]


def made(count: int, shift: float, groups, seed: int) -> FrameScores:
    rng, state = np.random.default_rng(seed), FrameScores()
    for index in range(count):
        scores = rng.normal(size=60) + shift + 0.3 * rng.normal()
        state.update(scores, None, f"{seed}-{index}", groups[index % len(groups)])
    return state


def test_the_bound_holds_for_frames_drawn_alike_and_fails_on_another_domain(scripts):
    calibration = scripts[0]
    states = {
        "camvid-val": made(40, 0.0, ["v"], 1),
        "camvid-test": made(40, 0.0, ["s", "t"], 2),
        "road-anomaly": made(20, 2.0, [""], 3),
    }
    found = calibration.on_average(states["camvid-val"].merge(states["camvid-test"]), "pixels", 0.1, 40, 20)
    assert found["mean"] <= 0.1 + 2 * found["standard_error"]
    assert 0 <= found["exceeding"] <= 1
    moved = calibration.transfer(states, "pixels", 0.1, 1)
    rows = {row["set"]: row for row in moved["rows"]}
    assert list(rows) == ["CamVid val (calibration)", "CamVid test, s", "CamVid test, t", "RoadAnomaly, inliers"]
    assert rows["RoadAnomaly, inliers"]["ci95"][0] > 0.1
    assert rows["CamVid val (calibration)"]["mean"] <= 0.1
    assert calibration.transfer(states, "pixels", 0.01, 1) is None
    text, told = calibration.tables({"energy": states}, 3)
    assert "| energy | pixels | 0.05 |" in text
    assert "| no |" in text
    assert {row["block"] for row in told["transfer"]} >= {1}


def test_a_section_is_replaced_and_the_rest_stays(scripts, tmp_path):
    page, replace = tmp_path / "page.md", scripts[2].replace_section
    page.write_text("# A\n<!-- generated: x -->\nold\n<!-- end of generated -->\nB\n")
    for text in ("new", "newer"):
        replace(page, text)
        assert page.read_text() == f"# A\n<!-- generated: x -->\n\n{text}\n\n<!-- end of generated -->\nB\n"
    page.write_text("# A\n")
    with pytest.raises(DataError, match="no part to write"):
        replace(page, "new")
    with pytest.raises(DataError, match="is missing"):
        replace(tmp_path / "none.md", "new")


@pytest.mark.parametrize("page", ["calibration.md", "protocols.md"])
def test_the_pages_have_their_marks(page):
    lines = (ROOT / "docs" / page).read_text("utf-8").splitlines()
    assert lines.count("<!-- end of generated -->") == 1
    assert f"<!-- generated: benchmarks/{page.removesuffix('.md')}.py -->" in lines


def test_the_page_of_protocols_from_a_finished_run(scripts, tmp_path):
    protocols = scripts[1]
    tree = write_tree(tmp_path / "data", count=3, clean=[1])
    evaluate_protocols(make_plan(BENCHMARK, tree, TinySegmenter(), ["msp", "energy"]), tmp_path / "out",
                       names=["smiyc", "caos"])  # fmt: skip
    text = protocols.section(tmp_path / "out")
    assert "### road_anomaly_21" in text
    assert "3 frames, 1 of them without an anomaly" in text
    for protocol in ("default", "smiyc", "caos"):
        assert f"| energy | {protocol} |" in text
    assert "Order of detectors" in text
    with pytest.raises(DataError, match="--protocol all"):
        protocols.section(tmp_path / "other")


def test_counts_of_another_network_are_not_gone_on_with(scripts, tmp_path):
    calibration = scripts[0]
    calibration.claim(tmp_path, "a")
    calibration.claim(tmp_path, "a")
    with pytest.raises(ConfigError, match="another network"):
        calibration.claim(tmp_path, "b")
