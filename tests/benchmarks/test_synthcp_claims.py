"""Verdicts on S1, P2 and P3: from made-up figures, and measured on tiny networks."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from anomseg.detectors import save_detector
from anomseg.detectors.pans import PAnS
from anomseg.detectors.synthcp import Comparator, SPADEGenerator, SynthCP
from anomseg.errors import CompatibilityError
from anomseg.files import read_json
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import save_segmenter
from anomseg.types import Frame

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CLASSES = ("road", "sky", "car")


@pytest.fixture
def claims(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.syspath_prepend(str(BENCHMARKS / "claims"))
    before = set(sys.modules)
    import synthcp_verdicts

    yield synthcp_verdicts
    for name in set(sys.modules) - before:
        if name.startswith(("learned", "knn", "claim_record", "synthcp", "mask_families")):
            del sys.modules[name]


def flagged(title, synthcp, pans, msp, frames=12):
    """Shares of 1000 pixels a frame, each a little different, in as many groups."""
    rows = []
    for number in range(frames):
        shares = {"synthcp": synthcp, "pans": pans, "msp": msp}
        counts = {name: {"recall": value + number, "passed": 50} for name, value in shares.items()}
        rows.append({"frame": f"f{number}", "group": f"g{number}", "pixels": 1000, "flagged": counts})
    return {"title": title, "frames": rows}


def figures():
    one = {"network": 2e6, "own": 0, "flops": 5e9, "seconds": 0.25, "passes": 1}
    return {
        "tasks": {
            "frame": "a", "parameters": 3e6, "comparator": True, "anomaly": True, "alone": True,
            "other_anomaly": True, "failure": True, "other_failure": True,
        },
        "costs": {
            "size": [360, 480], "threads": 1,
            "detectors": {
                "synthcp": {**one, "own": 1e6, "flops": 15e9, "seconds": 0.5, "passes": 2}, "msp": one, "pans": one,
            },
        },
        "clean": {
            "thresholds": {name: {"recall": 0.1, "passed": 0.2} for name in ("synthcp", "msp", "pans")},
            "sets": {"one": flagged("CamVid test", 500, 300, 500), "two": flagged("IDD val", 600, 400, 550)},
        },
    }  # fmt: skip


def words(parts):
    return [(one.claim, one.word) for one in parts]


def test_what_is_not_measured_is_undecided(claims):
    assert words(claims.parts({}, [])) == [(claim, claims.UNMEASURED) for claim in ("S1", "S2", "P2", "P3", "P3")]


def test_both_tasks_need_one_generator(claims):
    found = figures()["tasks"]
    assert claims.s1(found, []).word == "supported"
    for name in ("anomaly", "failure", "alone", "other_anomaly", "other_failure"):
        assert claims.s1({**found, name: False}, []).word == "not supported"
    assert claims.s1({**found, "comparator": False}, []).word.startswith("undecided")
    run = {"task": "failure", "benchmark": "camvid", "row": "synthcp", "ap": 0.5, "prevalence": 0.1, "frames": 9}
    assert "failure, camvid (synthcp): AUPR-Error 0.500 at prevalence 0.100" in claims.s1(found, [run]).why


def judged(lows, names=("msp", "entropy", "mc_dropout", "tcp", "direct_prediction")):
    row = {"aupr_error": 0.5, "auroc": 0.9, "fpr95": 0.3, "ci95": [0.4, 0.6]}
    return {
        "title": "run-0, synthcp", "row": "synthcp", "benchmark": "camvid", "frames": 233, "prevalence": 0.1,
        "rows": {name: {**row, "detector": name} for name in ("synthcp", *names)},
        "less": {name: {"value": low + 0.02, "ci95": [low, low + 0.04]} for name, low in zip(names, lows, strict=True)},
    }  # fmt: skip


def test_failures_are_found_better_than_by_every_baseline(claims):
    assert claims.s2([judged([0.01] * 5), judged([0.02] * 5)]).word == "supported"
    assert claims.s2([judged([0.01] * 4 + [-0.01])]).word == "undecided"
    worse = claims.s2([judged([0.01] * 4 + [-0.1])])
    assert worse.word == "not supported"
    assert "4 of 5 differences lie above 0, 1 below" in worse.why
    assert claims.s2([judged([0.01], ["msp"])]).word == (
        "undecided: not compared with entropy, mc_dropout, tcp, direct_prediction"
    )
    entry = claims.entries([worse], {}, [judged([0.01] * 4 + [-0.1])])[0]
    assert entry.figure == "run-0, synthcp less direct_prediction: difference in AUPR-Error"
    assert entry.value == pytest.approx(-0.08)
    assert entry.frames == {"run-0, synthcp": 233}


def test_differences_come_from_the_states_of_one_run(claims, tmp_path):
    """Made states: synthcp knows every wrong pixel, MSP guesses, and an anomaly run beside them is passed over."""
    import synthcp_failures

    from anomseg.evaluation.failure.state import FailureState, FrameRow
    from anomseg.metrics import FailureDetection

    rng = np.random.default_rng(0)
    wrong = [rng.random((8, 10)) < 0.2 for _ in range(6)]
    for name, noise in (("synthcp", 0.1), ("msp", 3.0)):
        state = FailureState(CLASSES, FailureDetection())
        for number, one in enumerate(wrong):
            state.pixels.update(one + noise * rng.random(one.shape).astype(np.float32), one, f"f{number}", f"g{number}")
            counts = int((~one).sum()), int(one.sum())
            state.rows[f"f{number}"] = FrameRow(f"g{number}", *counts, 0, 0.5)
        state.save(tmp_path / "run" / name)
        result = state.pixels.compute()
        figures = {key: getattr(result, key) for key in ("aupr_error", "auroc", "fpr95")}
        card = {"task": "failure", "benchmark": "camvid", "frames": 6, "prevalence": 0.2, "failure": figures,
                "detector": {"name": name}}  # fmt: skip
        (tmp_path / "run" / name / "metrics.json").write_text(json.dumps(card))
    (found,) = synthcp_failures.failures([tmp_path / "run", tmp_path])
    assert found["title"] == "run, synthcp"
    assert set(found["less"]) == {"msp"}
    gap = found["less"]["msp"]
    assert gap["value"] == pytest.approx(found["rows"]["synthcp"]["aupr_error"] - found["rows"]["msp"]["aupr_error"])
    assert gap["ci95"][0] > 0
    from synthcp_page import page

    text = page({}, claims.parts({}, [], [found]), [], [found])
    assert "## Finding wrong pixels (S2)" in text
    assert "| synthcp | 1.000 [" in text


def test_cheaper_means_in_everything(claims):
    found = figures()["costs"]
    assert claims.p2(found).word == "supported"
    assert "parameters of SynthCP over those of PAnS: 1.50; FLOPs of SynthCP over those of PAnS: 3.00" in (
        claims.p2(found).why
    )
    found["detectors"]["pans"] = {**found["detectors"]["pans"], "seconds": 0.6}
    assert claims.p2(found).word == "undecided: in parameters and FLOPs alone"
    found["detectors"]["pans"] = {"network": 9e6, "own": 0, "flops": 9e10, "seconds": 9.0, "passes": 1}
    assert claims.p2(found).word == "not supported"


def test_false_alarms_by_the_interval_of_every_set(claims):
    made = claims.p3(figures()["clean"])
    assert [one.word for one in made] == ["supported", "not supported"]  # as many as MSP on CamVid is not more
    gap = made[0].differences["CamVid test"]
    assert gap["value"] == pytest.approx(0.2)
    assert gap["ci95"] == pytest.approx([0.2, 0.2])
    mixed = figures()["clean"]
    for place, row in enumerate(mixed["sets"]["one"]["frames"]):
        row["flagged"]["synthcp"]["recall"] = 100 if place % 2 else 500
    assert claims.p3(mixed)[0].word == "undecided"


def test_the_page_and_its_record(claims, tmp_path, capsys):
    import synthcp

    for name, content in figures().items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    run = tmp_path / "run" / "synthcp-2"
    run.mkdir(parents=True)
    card = {"task": "anomaly", "benchmark": "road_anomaly", "frames": 60, "prevalence": 0.1,
            "pixel": {"ap": 0.25, "auroc": 0.75}, "detector": {"name": "synthcp"}}  # fmt: skip
    (run / "metrics.json").write_text(json.dumps(card))
    (tmp_path / "run" / "msp").mkdir()
    (tmp_path / "run" / "msp" / "metrics.json").write_text(json.dumps({**card, "detector": {"name": "msp"}}))
    doc = tmp_path / "claims-synthcp.md"
    words = ["--work", str(tmp_path), "--doc", str(doc), "--runs", str(tmp_path / "run"), "--page"]
    assert synthcp.main(words) == 0
    text = doc.read_text()
    assert "| S1 | one framework, two modules, both tasks, from one trained generator | **supported** |" in text
    assert "| anomaly: road_anomaly, synthcp-2 | 60 | 0.100 | 0.250 | 0.750 |" in text
    assert "| synthcp | 2 | 3.00 | 1.00 | 15.00 | 0.50 |" in text
    assert "| synthcp | .505 [" in text
    assert "P3 and more than MSP" in capsys.readouterr().out
    record = json.loads(doc.with_suffix(".json").read_text())["entries"]
    assert [one["claim"] for one in record] == ["S1", "S2", "P2", "P3", "P3"]
    assert record[4]["value"] == pytest.approx(0.0)
    assert record[3]["frames"] == {"CamVid test": 12, "IDD val": 12}
    with pytest.raises(SystemExit, match="give --data"):
        synthcp.main(["--work", str(tmp_path)])


@pytest.fixture
def rivals(claims, tmp_path, monkeypatch):
    """Tiny networks, a frame of which every set is made, and what they are called."""
    import synthcp_measure

    torch.manual_seed(0)
    network = SEGMENTERS.create("pyramid", classes=CLASSES, widths=(4, 6, 8, 8), bottleneck=6).eval()
    cosine = SEGMENTERS.create("erfnet_pyramid", classes=CLASSES, size=None, bottleneck=8, classifier="cosine").eval()
    save_segmenter(network, tmp_path / "network")
    save_detector(PAnS.of(cosine), tmp_path / "pans")
    generator = SPADEGenerator(3, size=(16, 32), width=2, hidden=4)
    comparator = Comparator(3, size=(16, 32), widths=(4, 4, 8, 8), blocks=(1, 1, 1, 1), hidden=4)
    generator.meta = comparator.meta = {"classes": list(CLASSES)}
    save_detector(SynthCP.of(generator, comparator), tmp_path / "synthcp", network)
    rng = np.random.default_rng(0)

    def frames(count):
        label, classes = np.zeros((32, 48), np.uint8), np.zeros((32, 48), np.uint8)
        label[:8], classes[-1] = 1, 255
        images = [rng.integers(0, 256, (32, 48, 3), np.uint8) for _ in range(count)]
        return [Frame(f"f{i}", lambda image=image: image, classes, label) for i, image in enumerate(images)]

    made = frames(3)
    monkeypatch.setattr(synthcp_measure, "load_frames", lambda *_: made)
    monkeypatch.setattr("learned_clean.load_frames", lambda *_: made)
    names = [str(tmp_path / name) for name in ("network", "synthcp", "pans")]
    return synthcp_measure, synthcp_measure.Rivals(tmp_path, *names), tmp_path


def test_what_is_measured_on_tiny_networks(rivals, claims):
    measure, pair, folder = rivals
    measure.tasks(pair, folder / "tasks.json")
    found = read_json(folder / "tasks.json")
    assert claims.s1(found, []).word == "supported", found
    measure.costs(pair, folder / "costs.json")
    rows = read_json(folder / "costs.json")["detectors"]
    assert rows["synthcp"]["own"] > 0
    assert rows["synthcp"]["flops"] > 2 * rows["msp"]["flops"]
    assert [rows[name]["passes"] for name in ("synthcp", "msp", "pans")] == [2, 1, 1]
    measure.clean(pair, folder / "clean.json")
    clean = read_json(folder / "clean.json")
    assert set(clean["sets"]) == {"camvid-test", "idd-val"}
    row = clean["sets"]["camvid-test"]["frames"][0]
    assert row["pixels"] == 31 * 48
    assert set(row["flagged"]) == set(clean["thresholds"]) == {"synthcp", "msp", "pans"}
    assert len(claims.parts({"clean": clean, "tasks": found}, [])) == 5


def test_another_detector_is_refused(rivals):
    other = replace(rivals[1], synthcp=rivals[1].pans)
    with pytest.raises(CompatibilityError, match="pans detector; give one of synthcp"):
        other.detector()


def test_the_threshold_of_a_recall(rivals):
    lowest = rivals[0].lowest_found
    scores = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    for recall in (0.5, 0.95, 1.0):
        bar = lowest(scores, recall)
        assert (scores >= bar).mean() >= recall
        assert (scores > bar).mean() < recall
