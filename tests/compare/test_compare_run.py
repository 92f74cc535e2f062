"""Comparisons of small frames: the figures of single evaluations, what is kept, what fails, what is written."""

import csv
import json
from dataclasses import replace

import pytest
from compare_parts import write_config, write_frames, write_network

from anomseg.compare import compare, read_config, read_tables
from anomseg.compare import runs as runs_module
from anomseg.compare.loading import Loader
from anomseg.detectors.controls import LocalContrast
from anomseg.detectors.posthoc import MSP
from anomseg.evaluation import evaluate


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    write_network(folder / "network")
    write_frames(folder / "frames")
    return folder


def records(found):
    return {one["title"]: one for one in found.tables[0].records}


@pytest.fixture(scope="module")
def finished(place):
    config = read_config(write_config(place, reference="energy"))
    return compare(config, place / "out"), config


def test_figures_and_differences_are_those_of_one_evaluation(place, finished, tmp_path):
    found, _ = finished
    names = ["energy", "msp", "chance", "position_prior"]
    cards = evaluate("road_anomaly_21", place / "frames", str(place / "network"), names, tmp_path)
    rows = records(found)
    assert found.code == 0
    for card in cards:
        row = rows[card["folder"]]
        assert row["figures"]["AP"] == card["pixel"]["ap"]
        assert row["ci95"]["AUROC"] == card["pixel_ci95"]["auroc"]
        for control, difference in card["comparison"].items():
            if row["kind"] != "control":
                assert row["differences"][control]["value"] == pytest.approx(difference["ap"], abs=1e-12)
                assert row["differences"][control]["ci95"] == pytest.approx(difference["ci95"], abs=1e-12)
    assert rows["msp"]["to_reference"]["value"] == pytest.approx(
        cards[1]["pixel"]["ap"] - cards[0]["pixel"]["ap"], abs=2e-3
    )
    assert rows["energy"]["to_reference"] is None


def test_the_verdict_follows_from_the_intervals(finished):
    for row in records(finished[0]).values():
        if row["kind"] == "control":
            assert row["works"] is None
            continue
        limits = [row["differences"][name]["ci95"] for name in ("chance", "position_prior")]
        if all(low > 0 for low, _ in limits):
            expected = "yes"
        else:
            expected = "no" if any(high <= 0 for _, high in limits) else "undecided"
        assert (row["beats_controls"], row["works"]) == (expected, expected == "yes")


def test_files_hold_the_same(place, finished):
    out = place / "out"
    content = json.loads((out / "compare.json").read_text())
    rows = {one["title"]: one for one in content["benchmarks"][0]["rows"]}
    with (out / "table.csv").open() as stream:
        flat = {row["detector"]: row for row in csv.DictReader(stream)}
    assert list(rows) == list(flat) == ["energy", "msp", "chance", "position_prior"]
    for title, row in rows.items():
        assert float(flat[title]["AP"]) == row["figures"]["AP"]
        assert flat[title]["kind"] == row["kind"]
    text = (out / "compare.md").read_text()
    assert f"{rows['msp']['figures']['AP']:.3f}" in text
    assert "does not work yet" in text
    page = (out / "report.html").read_text()
    assert 'class="sortable"' in page
    assert "data:image/" in page
    assert "script-src 'sha256-" in page
    table = read_tables(out)[0]
    assert [one["title"] for one in table.records] == list(rows)


def test_what_is_finished_is_not_done_again_and_rows_are_added(place, finished, monkeypatch):
    _, config = finished
    ran = []
    original = runs_module.run_plan

    def counted(plan, *arguments, **options):
        ran.append(plan.folders)
        return original(plan, *arguments, **options)

    monkeypatch.setattr(runs_module, "run_plan", counted)
    before = (place / "out" / "compare.json").read_text()
    compare(config, place / "out")
    assert ran == []
    assert (place / "out" / "compare.json").read_text() == before
    more = read_config(write_config(place, detectors=["energy", "msp", "max_logit", "chance", "position_prior"]))
    again = compare(more, place / "out", pictures=False)
    assert ran == [("max_logit",)]
    assert records(again)["max_logit"]["differences"]["chance"]["ci95"]


def test_a_row_under_another_title_is_the_same_row(place, finished, monkeypatch):
    monkeypatch.setattr(runs_module, "run_plan", lambda *_, **__: pytest.fail("it is finished"))
    config = read_config(write_config(place, detectors=[{"detector": "energy", "title": "free energy"}, "chance"]))
    assert records(compare(config, place / "out", pictures=False))["free energy"]["status"] == "done"


def test_one_that_fails_stops_no_other(place, tmp_path, monkeypatch):
    def fails(self, scene):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(LocalContrast, "score", fails)
    rows = ["msp", "local_contrast", "chance", "rba"]
    found = compare(read_config(write_config(place, detectors=rows)), tmp_path, pictures=False)
    states = records(found)
    assert found.code == 1
    assert states["local_contrast"]["reason"] == "RuntimeError: no such luck"
    assert "mask transformer" in states["rba"]["reason"]
    assert states["msp"]["status"] == states["chance"]["status"] == "done"
    assert "- local_contrast failed: RuntimeError: no such luck" in (tmp_path / "compare.md").read_text()


def test_one_that_fails_later_costs_the_others_nothing(place, tmp_path, monkeypatch):
    original, seen = MSP.score, []

    def fails(self, scene):
        seen.append(scene.frame_ids)
        if len(seen) > 2:
            raise RuntimeError("too many frames")
        return original(self, scene)

    monkeypatch.setattr(MSP, "score", fails)
    found = compare(read_config(write_config(place, detectors=["msp", "energy", "chance"])), tmp_path, pictures=False)
    states = records(found)
    assert states["msp"]["status"] == "failed"
    assert states["energy"]["status"] == states["chance"]["status"] == "done"


def test_nothing_at_all_is_exit_code_2(place, tmp_path):
    assert compare(read_config(write_config(place, detectors=["rba"])), tmp_path, pictures=False).code == 2


def test_an_interrupted_run_goes_on(place, tmp_path):
    config = read_config(write_config(place, detectors=["msp", "chance"]))
    counted = []

    def stop(done, total, text=""):
        counted.append(text)
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(config, tmp_path, pictures=False, progress=stop)
    first = len(counted)
    more = replace(config, rows=(*config.rows, replace(config.rows[0], title="energy", detector="energy")))
    found = compare(more, tmp_path, pictures=False, progress=lambda *arguments: counted.append(arguments[2]))
    scored = [text for text in counted[first:] if text.startswith("score")]
    assert len(scored) == 3 + 5  # what was left of two rows, then the new one
    assert {one["status"] for one in records(found).values()} == {"done"}


def test_detectors_are_fitted_once(place, tmp_path, monkeypatch):
    rows = [{"detector": "knn:rows=200", "title": "k-NN"}, "chance"]
    path = write_config(place, detectors=rows, fit="road_anomaly_21=frames@validation")
    config = read_config(path)
    loader = Loader(config, tmp_path, lambda _: None)
    loaded, failed = loader.load_all()
    assert failed == {}
    assert loaded[0].detector.is_fitted
    saved = loaded[0].text
    monkeypatch.setattr(type(loaded[0].detector), "fit", lambda *_, **__: pytest.fail("it is fitted"))
    assert Loader(config, tmp_path, lambda _: None).load_all()[0][0].text == saved
    # It was fitted on the frames that it is judged on, which is refused for it alone.
    found = compare(config, tmp_path, pictures=False)
    assert "fitted on 5 of these 5 frames" in records(found)["k-NN"]["reason"]
    assert records(found)["chance"]["status"] == "done"


def test_a_network_of_ones_own_is_named(place, tmp_path):
    other = write_network(tmp_path / "other", seed=1)
    members = f"ensemble:members={place}/network+{other}"
    rows = [
        {"detector": "msp", "segmenter": str(other), "title": "other"},
        {"detector": members, "segmenter": str(other), "title": "ensemble"},
    ]
    found = compare(read_config(write_config(place, detectors=[*rows, "chance"])), tmp_path / "out", pictures=False)
    states = records(found)
    assert states["other"]["network"] == "other"
    assert "not on the network of the other rows" in states["other"]["note"]
    assert states["ensemble"]["own_network"]
    assert states["ensemble"]["note"] == ""  # it scores its own, whatever is named beside it
    assert states["chance"]["network"] == "none"
    assert states["other"]["differences"]["chance"]["ci95"]  # across runs of two networks


def test_time_and_memory(place, tmp_path):
    config = read_config(
        write_config(place, detectors=["msp", "chance"], costs={"size": "32x48", "repeats": 1, "warmup": 0})
    )
    found = compare(config, tmp_path, pictures=False)
    cost = records(found)["msp"]["cost"]
    assert cost["total_ms"] == pytest.approx(cost["own_ms"] + cost["network_ms"])
    assert cost["shares_pass"]
    assert records(found)["chance"]["cost"]["passes"] == 0
    assert (tmp_path / "figures_over_time.png").read_bytes().startswith(b"\x89PNG")
    files = sorted((tmp_path / "costs").iterdir())
    times = [path.stat().st_mtime_ns for path in files]
    compare(config, tmp_path, pictures=False)
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "costs").iterdir())] == times
