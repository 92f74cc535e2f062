"""Comparisons of failure detection: the same table over AUPR-Error, and what cannot be compared."""

from pathlib import Path

import pytest
from compare_parts import write_camvid, write_config, write_network

from anomseg.compare import compare, read_config
from anomseg.compare.measure import profile
from anomseg.compare.measures import FAILURE, load_failures
from anomseg.compare.paired import Pairs
from anomseg.detectors.posthoc import MSP
from anomseg.evaluation import evaluate
from anomseg.metrics import failure_intervals
from anomseg.types import FailurePrediction


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("failures")
    write_network(folder / "network")
    write_camvid(folder / "camvid")
    return folder


def test_failure_detection_is_compared_by_aupr_error(place, tmp_path):
    bench = {"name": "camvid", "root": "camvid", "split": "test"}
    other = write_network(tmp_path / "other", seed=1)
    rows = ["msp", "entropy", {"detector": "energy", "title": "elsewhere", "segmenter": str(other)}, "chance"]
    config = read_config(write_config(place, task="failure", benchmark=bench, detectors=rows, reference="entropy"))
    found = compare(config, tmp_path / "out", pictures=False)
    assert found.code == 0
    states = {one["title"]: one for one in found.tables[0].records}
    names = ["msp", "entropy", "chance"]
    cards = evaluate(
        "camvid", place / "camvid", str(place / "network"), names, tmp_path / "one", split="test", task="failure"
    )
    for card in cards:
        row = states[card["folder"]]
        assert row["headline"] == "AUPR-Error"
        assert row["figures"]["AUPR-Error"] == card["failure"]["aupr_error"]
        assert row["prevalence"] == card["prevalence"]
    known = cards[0]["comparison"]["chance"]
    assert states["msp"]["differences"]["chance"]["value"] == pytest.approx(known["ap"], abs=1e-12)
    assert states["msp"]["to_reference"]["value"] == pytest.approx(
        cards[0]["failure"]["aupr_error"] - cards[1]["failure"]["aupr_error"], abs=2e-3
    )
    # Of another network the segmentation is another one, so that nothing follows from the difference.
    assert states["elsewhere"]["differences"]["chance"]["value"] is None
    assert "another network" in states["elsewhere"]["differences"]["chance"]["reason"]
    assert states["elsewhere"]["beats_controls"] == "undecided"
    assert "AUPR-Error" in (tmp_path / "out" / "compare.md").read_text()


def test_a_set_without_classes_says_why(place, tmp_path):
    from compare_parts import write_frames

    write_frames(place / "frames", count=2)
    found = compare(read_config(write_config(place, task="failure", detectors=["msp"])), tmp_path, pictures=False)
    assert found.code == 2
    assert "class map" in found.tables[0].records[0]["reason"]


def test_videos_are_resampled_in_blocks(place, tmp_path):
    root = write_camvid(tmp_path / "camvid", count=8)
    bench = {"name": "camvid", "root": str(root), "split": "test"}
    whole = write_config(place, task="failure", benchmark=bench, detectors=["msp", "chance"])
    first = compare(read_config(whole), tmp_path / "out", pictures=False).tables[0]
    parts = write_config(place, task="failure", benchmark={**bench, "blocks": 2}, detectors=["msp", "chance"])
    second = compare(read_config(parts), tmp_path / "out", pictures=False).tables[0]
    folder = Path(second.records[0]["results"])
    state = load_failures(folder, 2)
    groups = {row.frame: row.group for row in state.pixels.images.figures()}
    assert groups == {frame: f"{frame.split('_')[0]}/{place // 2}" for place, frame in enumerate(sorted(groups))}
    assert len(set(groups.values())) == 4
    expected = failure_intervals(state.pixels, seed=0).figures
    assert second.records[0]["ci95"]["AUPR-Error"] == list(expected["aupr_error"])
    assert first.records[0]["ci95"]["AUPR-Error"] != second.records[0]["ci95"]["AUPR-Error"]
    assert first.records[0]["figures"] == second.records[0]["figures"]
    ends = [one.records[0]["differences"]["chance"]["ci95"] for one in (first, second)]
    assert ends[0] != ends[1]
    assert "intervals: over blocks of 2 neighbouring frames" in second.conditions


@pytest.fixture
def assessing(monkeypatch):
    """MSP as a method that assesses in another way than it scores; the latter fails."""

    def score(self, scene):
        raise RuntimeError("it was asked for a score")

    monkeypatch.setattr(MSP, "score", score)
    monkeypatch.setattr(MSP, "assess", lambda self, scene: FailurePrediction(scene.images.amax(1)))
    monkeypatch.setattr(MSP, "assess_passes", 7)


def test_a_detector_is_tried_on_what_it_will_be_asked(place, tmp_path, assessing):
    bench = {"name": "camvid", "root": "camvid", "split": "test"}
    config = read_config(write_config(place, task="failure", benchmark=bench, detectors=["msp", "chance"]))
    found = compare(config, tmp_path, pictures=False)
    assert {one["title"]: one["status"] for one in found.tables[0].records} == {"msp": "done", "chance": "done"}


def test_time_is_of_what_was_asked(place, assessing):
    job = {"detector": "msp", "segmenter": str(place / "network"), "size": [32, 48], "repeats": 1, "warmup": 0}
    job |= {"device": "cpu", "seed": 0}
    asked = profile({**job, "task": "failure"})["rows"][1]
    assert (asked["error"], asked["passes"]) == (None, 7)
    assert "asked for a score" in profile(job)["rows"][1]["error"]


def test_a_difference_that_could_not_be_made_is_made_the_next_time(tmp_path):
    pairs = Pairs(FAILURE, 0, tmp_path / "paired.json")
    assert "no finished evaluation" in pairs.of(("a", tmp_path / "a"), ("b", tmp_path / "b"))["reason"]
    pairs.save()
    assert (tmp_path / "paired.json").read_text().strip() == "{}"
