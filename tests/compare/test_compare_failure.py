"""Comparisons of failure detection: the same table over AUPR-Error, and what cannot be compared."""

import pytest
from compare_parts import write_camvid, write_config, write_network

from anomseg.compare import compare, read_config
from anomseg.evaluation import evaluate


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
