"""The figures of an evaluation against independent ones, and what a card says."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score, roc_curve
from small_run import BENCHMARK, COUNT, TinySegmenter, write_tree

from anomseg.benchmarks import resolve_protocol
from anomseg.detectors import create_detector
from anomseg.evaluation import MapCache, evaluate
from anomseg.metrics import ComponentScore
from anomseg.segmenters import make_scene


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "data")


def scored(tree, name):
    """Scores and labels of each frame, computed without the evaluation."""
    detector, network = create_detector(name), TinySegmenter()
    pairs = []
    for frame in BENCHMARK.load_frames(tree):
        with torch.inference_mode():
            score = detector.score(make_scene([frame.image()], [frame.id], network))[0].numpy()
        pairs.append((score, frame.label))
    return pairs


def valid(pairs):
    scores = np.concatenate([score[label != 255] for score, label in pairs])
    labels = np.concatenate([label[label != 255] for _, label in pairs])
    return scores, labels


@pytest.mark.parametrize("name", ["msp", "max_logit", "chance"])
def test_figures_equal_scikit_learn(tree, tmp_path, name):
    card = evaluate(BENCHMARK, tree, TinySegmenter(), [name], tmp_path / "out")[0]
    pairs = scored(tree, name)
    scores, labels = valid(pairs)
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    pixel = card["pixel"]
    assert pixel["ap"] == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    assert pixel["auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert pixel["fpr95"] == pytest.approx(fpr[np.argmax(tpr >= 0.95)], abs=1e-12)
    assert pixel["best_f1"] == pytest.approx(f1_score(labels, scores >= pixel["best_f1_threshold"]), abs=1e-12)
    prevalence = labels.mean()
    assert card["prevalence"] == pytest.approx(prevalence, abs=1e-12)
    assert pixel["nap"] == pytest.approx((pixel["ap"] - prevalence) / (1 - prevalence), abs=1e-12)
    each = [average_precision_score(label[label != 255], score[label != 255]) for score, label in pairs]
    assert card["per_image_mean"]["ap"] == pytest.approx(np.mean(each), abs=1e-12)
    assert card["pixels"] == {"inlier": int((labels == 0).sum()), "anomaly": int(labels.sum()), "void": 3 * 40 * COUNT}


def test_component_pass_predicts_the_pixels_of_the_best_f1(tree, tmp_path):
    card = evaluate(BENCHMARK, tree, TinySegmenter(), ["max_logit"], tmp_path / "out")[0]
    best = card["pixel"]["best_f1_threshold"]
    expected = ComponentScore(30, 10, threshold=0.5)
    for index, (score, label) in enumerate(scored(tree, "max_logit")):
        expected.update((score >= best).astype(np.float32), label, str(index))
    result = vars(expected.compute())
    for name in ("siou", "ppv", "f1_star", "f1", "anomaly_components", "predicted_components"):
        assert card["component"][name] == result[name]
    assert card["component"]["threshold"] < best
    assert not (tmp_path / "out" / "max_logit" / "maps").exists()
    assert not (tmp_path / "out" / "labels").exists()


def test_detectors_share_one_forward_pass_per_frame(tree, tmp_path):
    network = TinySegmenter()
    cards = evaluate(BENCHMARK, tree, network, ["msp", "energy", "not_road", "chance", "msp"], tmp_path / "out")
    assert network.calls == COUNT
    assert [card["folder"] for card in cards] == ["msp", "energy", "not_road", "chance", "msp-2"]
    assert cards[0]["pixel"] == cards[4]["pixel"]


def test_controls_alone_run_no_network(tree, tmp_path):
    network = TinySegmenter()
    assert len(evaluate(BENCHMARK, tree, network, ["chance", "position_prior"], tmp_path / "out")) == 2
    assert network.calls == 0
    without = evaluate(BENCHMARK, tree, None, ["chance", "position_prior"], tmp_path / "none")
    assert without[0]["segmenter"] is None


def test_written_files_agree_with_the_returned_card(tree, tmp_path):
    out = tmp_path / "out"
    cards = evaluate(BENCHMARK, tree, TinySegmenter(), ["msp", "chance"], out, keep_maps=True)
    for card in cards:
        folder = out / card["folder"]
        assert json.loads((folder / "metrics.json").read_text()) == card
        rows = list(csv.DictReader((folder / "per_image.csv").open()))
        assert [row["frame"] for row in rows] == [str(index) for index in range(COUNT)]
        assert np.mean([float(row["ap"]) for row in rows]) == pytest.approx(card["per_image_mean"]["ap"], abs=1e-12)
        with np.load(folder / "curve.npz", allow_pickle=False) as curve:
            assert set(curve.files) == {"recall", "precision", "fpr", "threshold", "margin_threshold", "margin_f1"}
            assert curve["recall"][-1] == 1
        assert MapCache(folder).read("3").shape == (32, 40)


def test_margin_only_where_the_score_is_bounded(tree, tmp_path):
    cards = {
        card["folder"]: card
        for card in evaluate(BENCHMARK, tree, TinySegmenter(), ["msp", "max_logit"], tmp_path / "out")
    }
    assert cards["max_logit"]["mdm"] is None
    assert cards["msp"]["mdm"]["steps"] == 1000
    scores, labels = valid(scored(tree, "msp"))
    good = []
    for step in range(1000):
        found = scores > 0 if step == 0 else scores.astype(np.float64) >= step / 1000
        good.append(2 * (found & (labels == 1)).sum() / (found.sum() + labels.sum()) > 0.7)
    longest = max(len(run) for run in "".join("x" if flag else " " for flag in good).split(" "))
    assert cards["msp"]["mdm"]["value"] == longest / 1000


def test_comparison_to_each_control(tree, tmp_path):
    cards = evaluate(BENCHMARK, tree, TinySegmenter(), ["msp", "chance", "position_prior"], tmp_path / "out")
    msp, chance, prior = cards
    assert set(msp["comparison"]) == {"chance", "position_prior"}
    assert set(chance["comparison"]) == {"position_prior"}
    difference = msp["comparison"]["position_prior"]
    assert difference["ap"] == pytest.approx(msp["pixel"]["ap"] - prior["pixel"]["ap"], abs=2e-2)
    low, high = difference["ci95"]
    assert low <= difference["ap"] <= high
    assert difference["above"] == (low > 0)


def test_no_interval_from_one_group_and_the_card_says_why(tmp_path):
    tree = write_tree(tmp_path / "data", count=1)
    card = evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], tmp_path / "out")[0]
    assert card["pixel_ci95"] is None
    assert "at least 2" in card["pixel_ci95_reason"]


def test_protocol_with_means_over_images_that_drops_clean_ones(tmp_path):
    tree = write_tree(tmp_path / "data", clean=[2, 5])
    kept = evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], tmp_path / "kept")[0]
    card = evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], tmp_path / "out", protocol="caos")[0]
    pairs = [pair for pair in scored(tree, "msp") if (pair[1] == 1).any()]
    each = [average_precision_score(label.ravel() == 1, score.ravel()) for score, label in pairs]  # void counts
    assert card["pixel"]["ap"] == pytest.approx(np.mean(each), abs=1e-12)
    pooled = average_precision_score(
        np.concatenate([label.ravel() == 1 for _, label in pairs]),
        np.concatenate([score.ravel() for score, _ in pairs]),
    )
    assert card["pooled"]["ap"] == pytest.approx(pooled, abs=1e-12)
    assert card["frames"] == COUNT - 2
    assert card["dropped_clean_frames"] == 2
    assert card["skipped"] == []
    assert card["pixel"]["fpr95"] == card["per_image_mean"]["fpr95"]
    low, high = card["pixel_ci95"]["ap"]
    assert min(each) <= low < card["pixel"]["ap"] < high <= max(each)
    draws = np.random.default_rng(1).choice(each, (4000, len(each))).mean(axis=1)
    assert [low, high] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.03)
    assert kept["frames"] == COUNT
    assert kept["pixel"]["ap"] != card["pooled"]["ap"]


def test_size_of_the_caller_goes_before_the_network_own(tree, tmp_path):
    network = TinySegmenter()
    network.size = (16, 20)
    seen = []
    plain = network.segment
    network.segment = lambda batch, features: (seen.append(tuple(batch.shape[-2:])), plain(batch, features))[1]
    evaluate(BENCHMARK, tree, network, ["msp"], tmp_path / "a", limit=1)
    card = evaluate(BENCHMARK, tree, network, ["msp"], tmp_path / "b", limit=1, size=(8, 12))[0]
    assert seen == [(16, 20), (8, 12)]
    assert card["size"] == [8, 12]


def test_protocol_as_an_object(tree, tmp_path):
    card = evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], protocol=resolve_protocol(BENCHMARK, "densehybrid"))[0]
    assert card["protocol"]["fpr_rule"] == "first>"
    assert card["pixel"]["fpr95"] == card["fpr95_by_rule"]["first>"]


def test_real_frames_give_the_measured_figures_of_the_position_prior(shared_data, tmp_path):
    """Acceptance facts: the fixed prior alone reaches AP .353 and FPR95 .644 on RoadAnomaly21."""
    root = shared_data / "anomaly" / "RoadAnomaly21"
    card = evaluate("road_anomaly_21", root, None, ["position_prior"], tmp_path / "out")[0]
    assert card["pixel"]["ap"] == pytest.approx(0.353, abs=2e-3)
    assert card["pixel"]["fpr95"] == pytest.approx(0.644, abs=2e-3)
    assert card["frames"] == 10
