"""Each preset against a plain recomputation by its own rules, on random maps with ties, void and clean images."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from small_run import BENCHMARK, COUNT, TinySegmenter, write_tree

from anomseg.benchmarks import PROTOCOLS, get_benchmark
from anomseg.cli.main import run
from anomseg.errors import ConfigError, FrameError
from anomseg.evaluation import evaluate, evaluate_protocols, make_plan
from anomseg.metrics import percentile_bins, stored_counts
from anomseg.metrics.counts import count_scores, scores_of_keys
from anomseg.report.protocols import protocols_text, ranks, spreads

CLEAN = [2, 5]


@pytest.fixture
def maps(tmp_path):
    """Labels, and coarse random maps of them with many ties, better than chance."""
    tree, rng = write_tree(tmp_path / "data", clean=CLEAN), np.random.default_rng(7)
    frames = BENCHMARK.load_frames(tree)
    (tmp_path / "maps").mkdir()
    pairs = []
    for frame in frames:
        label = frame.label
        score = rng.normal(size=label.shape) + 1.2 * (label == 1) + 0.8 * (label == 255) + rng.normal() * 0.5
        score = (np.round(score * 8) / 8 * 1.001).astype(np.float32)  # ties, and values that float16 rounds
        np.save(tmp_path / "maps" / f"{frame.id}.npy", score)
        pairs.append((score, label))
    return tree, tmp_path / "maps", pairs


def rates(label, score):
    fpr, tpr, _ = roc_curve(label, score, drop_intermediate=False)
    return fpr[1:], tpr[1:]


def first(label, score, *, strictly=False):
    fpr, tpr = rates(label, score)
    return fpr[np.argmax(tpr > 0.95 if strictly else tpr >= 0.95)]


def nearest(label, score):
    """The curve ends where recall is first complete; of thresholds with one recall the lowest counts."""
    fpr, tpr = rates(label, score)
    end = np.argmax(tpr == 1.0) + 1
    fpr, tpr = fpr[:end], tpr[:end]
    distance = np.abs(tpr - 0.95)
    return fpr[np.flatnonzero(distance == distance.min())[-1]]


def pooled(pairs, keep=lambda label: label != 255):
    label = np.concatenate([label[keep(label)] == 1 for _, label in pairs])
    return label, np.concatenate([score[keep(label)] for score, label in pairs])


def binned(score, label):
    """A map as float16, each score lowered to the greatest edge that it reaches, by plain NumPy."""
    half = score.astype(np.float16).astype(np.float32)
    edges = []
    for part in (half[label == 0], half[label == 1]):
        if part.size:
            edges.append(
                np.quantile(part.astype(np.float64), np.linspace(0, 1, min(384, part.size))).astype(np.float32)
            )
    edges = np.unique(np.concatenate(edges))
    return edges[np.maximum(np.digitize(half, edges) - 1, 0)]


def expected(name, pairs):
    if name == "caos":
        shown = [(score, label) for score, label in pairs if (label == 1).any()]
        each = [(label.ravel() == 1, score.ravel()) for score, label in shown]
        return {
            "ap": np.mean([average_precision_score(*one) for one in each]),
            "auroc": np.mean([roc_auc_score(*one) for one in each]),
            "fpr95": np.mean([nearest(*one) for one in each]),
        }
    if name == "smiyc":
        pairs = [(binned(score, label), label) for score, label in pairs]
    label, score = pooled(pairs)
    rule = {
        "densehybrid": lambda: first(label, score, strictly=True),
        "pebal": lambda: nearest(label, score),
    }.get(name, lambda: first(label, score))
    return {"ap": average_precision_score(label, score), "auroc": roc_auc_score(label, score), "fpr95": rule()}


@pytest.mark.parametrize("name", PROTOCOLS.names())
def test_every_preset_is_the_plain_recomputation(name, maps, tmp_path):
    tree, scores, pairs = maps
    card = evaluate(BENCHMARK, tree, scores=scores, out=tmp_path / "out", protocol=name)[0]
    truth = expected(name, pairs)
    for figure, value in truth.items():
        assert card["pixel"][figure] == pytest.approx(value, abs=1e-9), figure
    assert card["frames"] == (COUNT - len(CLEAN) if name == "caos" else COUNT)
    assert card["protocol"]["name"] == name


def test_the_presets_differ_on_these_maps(maps):
    """Else the test above could not tell one rule from another."""
    _, _, pairs = maps
    names = ["smiyc", "fishyscapes", "caos", "pebal"]
    found = {name: tuple(round(value, 9) for value in expected(name, pairs).values()) for name in names}
    assert len(set(found.values())) == len(names)
    # 19 of 20 anomalous pixels are 95 % exactly, which is enough for one rule and not for the other.
    score, label = np.r_[np.linspace(2, 3, 19), 0.1, np.linspace(0, 1, 40)], np.r_[np.ones(20), np.zeros(40)]
    assert expected("fishyscapes", [(score, label)])["fpr95"] == 0.0
    assert expected("densehybrid", [(score, label)])["fpr95"] == 0.9


def test_one_table_of_all_protocols_from_one_pass(tmp_path):
    tree, network = write_tree(tmp_path / "data", clean=CLEAN), TinySegmenter()
    plan = make_plan(BENCHMARK, tree, network, ["msp", "energy"])
    cards = evaluate_protocols(plan, tmp_path / "out")
    assert network.calls == COUNT
    assert list(cards) == PROTOCOLS.names()
    for name in ("smiyc", "caos"):
        alone = evaluate(BENCHMARK, tree, TinySegmenter(), ["msp", "energy"], protocol=name)
        for one, other in zip(cards[name], alone, strict=True):
            assert one["pixel"] == other["pixel"]
            assert one["component"] == other["component"]
            assert one["false_alarms"] == other["false_alarms"]
    assert not (tmp_path / "out" / "default" / "msp" / "maps").exists()
    table = json.loads((tmp_path / "out" / "protocols.json").read_text())
    assert len(table["rows"]) == 12
    by_name = {(row["detector"], row["protocol"]): row for row in table["rows"]}
    assert by_name["energy", "caos"]["ap"] == cards["caos"][1]["pixel"]["ap"]
    assert by_name["energy", "caos"]["dropped_clean_frames"] == 2
    text = protocols_text(table)
    assert "| energy | densehybrid |" in text
    assert "nothing: void counts as inlier" in text
    assert {row["figure"] for row in spreads(table)} == {"ap", "auroc", "fpr95"}
    assert set(ranks(table)["caos"]) == {"msp", "energy"}
    # A second time nothing is scored, and the result is the same.
    again = evaluate_protocols(make_plan(BENCHMARK, tree, network, ["msp", "energy"]), tmp_path / "out")
    assert network.calls == COUNT
    assert [card["pixel"] for card in again["caos"]] == [card["pixel"] for card in cards["caos"]]


def test_frames_that_the_own_rules_drop_count_under_the_other_protocols(tmp_path):
    """StreetHazards' own rules leave clean images out; those that keep them need their maps all the same."""
    tree, network = write_tree(tmp_path / "data", clean=CLEAN), TinySegmenter()
    own = replace(BENCHMARK, protocol=replace(BENCHMARK.protocol, clean_images="drop", aggregation="per_image"))
    plan = make_plan(own, tree, network, ["msp"])
    cards = evaluate_protocols(plan, tmp_path / "out", names=["caos", "fishyscapes"], keep_maps=True)
    assert {name: cards[name][0]["frames"] for name in cards} == {"default": 5, "caos": 5, "fishyscapes": 7}
    alone = evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], protocol="fishyscapes")
    assert cards["fishyscapes"][0]["pixel"] == alone[0]["pixel"]
    assert cards["default"][0]["dropped_clean_frames"] == len(CLEAN)
    assert network.calls == COUNT
    evaluate_protocols(plan, tmp_path / "out", names=["pebal"], keep_maps=True)
    assert network.calls == COUNT


def test_an_interrupted_table_goes_on(tmp_path):
    tree, network = write_tree(tmp_path / "data"), TinySegmenter()
    plan = make_plan(BENCHMARK, tree, network, ["msp"])

    def stop(done, total, text):
        if "default" not in text and (tmp_path / "out" / "caos" / "run.json").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_protocols(plan, tmp_path / "out", on_progress=stop)
    calls = network.calls
    cards = evaluate_protocols(plan, tmp_path / "out")
    assert network.calls == calls  # the maps were still there
    assert len(cards) == len(PROTOCOLS.names())


def test_protocols_of_what_is_no_anomaly_run_are_refused(tmp_path):
    tree = write_tree(tmp_path / "data")
    plan = make_plan(BENCHMARK, tree, TinySegmenter(), ["msp"], shard=(0, 2))
    with pytest.raises(ConfigError, match="a shard goes with one protocol"):
        evaluate_protocols(plan, tmp_path / "out")
    plan = make_plan(BENCHMARK, tree, TinySegmenter(), ["msp"])
    with pytest.raises(ConfigError, match="did you mean 'caos'"):
        evaluate_protocols(plan, tmp_path / "out", names=["coas"])


def test_command_line_prints_the_table(maps, tmp_path, capsys):
    tree, scores, pairs = maps
    command = ["evaluate", "--benchmark", "road_anomaly_21", "--root", str(tree), "--scores", str(scores)]
    assert run([*command, "--protocol", "all", "--out", str(tmp_path / "out"), "--no-report"]) == 0
    told = capsys.readouterr().out
    assert "| maps | pebal |" in told
    card = json.loads((tmp_path / "out" / "pebal" / "maps" / "metrics.json").read_text())
    assert card["pixel"]["fpr95"] == pytest.approx(expected("pebal", pairs)["fpr95"], abs=1e-12)


def test_lowered_scores_have_no_figures_that_need_exact_ones(tmp_path):
    from anomseg.calibration import ThresholdRule, calibrate_detector
    from anomseg.detectors import create_detector

    tree, network = write_tree(tmp_path / "data"), TinySegmenter()
    detector = create_detector("energy")
    calibrate_detector(detector, network, BENCHMARK.load_frames(tree), rule=ThresholdRule("quantile", 0.05))
    cards = {name: evaluate(BENCHMARK, tree, network, {"a": detector}, protocol=name, allow_overlap=True)[0]
             for name in ("pebal", "smiyc")}  # fmt: skip
    for part in ("object_sizes", "stored_threshold"):
        assert cards["pebal"][part]
        assert cards["smiyc"][part] is None


def test_percentile_bins_of_one_class_and_of_few_pixels():
    rng = np.random.default_rng(0)
    score = rng.normal(size=(40, 50)).astype(np.float32)
    label = (rng.random((40, 50)) < 0.3).astype(np.uint8)
    few = percentile_bins(count_scores(score, label), quantiles=4)
    edges = np.unique(
        np.concatenate([np.quantile(score[label == k].astype(float), np.linspace(0, 1, 4)) for k in (0, 1)])
    )
    found = np.unique(np.concatenate([scores_of_keys(few.inlier_keys), scores_of_keys(few.anomaly_keys)]))
    assert np.isin(found, edges.astype(np.float32)).all()
    assert (few.inlier, few.anomaly) == (int((label == 0).sum()), int((label == 1).sum()))
    clean = stored_counts(score, np.zeros_like(label), storage="smiyc")
    assert clean.anomaly == 0
    assert clean.inlier == score.size
    one = stored_counts([[0.5]], [[1]], storage="smiyc")
    assert (one.anomaly, one.inlier) == (1, 0)
    with pytest.raises(FrameError, match="beyond float16"):
        stored_counts([[1e6]], [[0]], "a", storage="smiyc")
    with pytest.raises(ConfigError, match="did you mean 'smiyc'"):
        stored_counts([[1.0]], [[0]], storage="smyic")


def test_void_pixels_stay_out_where_a_benchmark_has_them_by_choice():
    assert get_benchmark("bdd_anomaly").protocol.void == (255,)


def test_a_frame_that_a_detector_fails_on_has_its_own_reason_under_every_protocol(tmp_path):
    tree, network = write_tree(tmp_path / "data"), TinySegmenter()
    broken = network.segment

    def segment(batch, features):
        out = broken(batch, features)
        if network.calls == 2:
            out.logits[:] = float("nan")
        return out

    network.segment = segment
    cards = evaluate_protocols(make_plan(BENCHMARK, tree, network, ["msp"]), tmp_path / "out", names=["pebal", "caos"])
    reasons = {name: cards[name][0]["skipped"] for name in cards}
    assert reasons["pebal"] == reasons["caos"] == reasons["default"] != []
    assert "NaN" in reasons["caos"][0]["reason"]
    assert network.calls == COUNT
