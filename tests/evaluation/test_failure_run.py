"""Failure detection as a run: figures by brute force, shards, interruptions, and what it refuses."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from failure_parts import NAMES, NUMBERS, Doubt, read, write_camvid
from scipy import stats
from sklearn import metrics as sk
from small_run import BENCHMARK, TinySegmenter, write_tree

from anomseg.data import frame_fingerprint, load_frames
from anomseg.detectors import create_detector
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.evaluation import evaluate, make_plan, merge
from anomseg.report import write_run_report
from anomseg.segmenters import make_scene

APART = ("seconds", "frames_per_second", "shards")


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    return write_camvid(tmp_path_factory.mktemp("CamVid"))


def detectors():
    return {
        "msp": create_detector("msp"),
        "doubt": Doubt(),
        "classes": Doubt(maps=False),
        "chance": create_detector("chance"),
    }


@pytest.fixture(scope="module")
def whole(camvid, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    return out, evaluate("camvid", camvid, TinySegmenter(), detectors(), out, task="failure")


def comparable(cards):
    return [{key: value for key, value in card.items() if key not in APART} for card in cards]


def brute_force(root):
    """By frame: which pixels are wrong, the score of MSP, and the IoU of each class that is shown."""
    for name in NAMES:
        image, label = read(root, name)
        scene = make_scene([image], [name], TinySegmenter())
        guess = NUMBERS[scene.prediction()[0].numpy()]
        known = np.isin(label, NUMBERS)
        score = 1 - scene.logits().softmax(1).max(1).values[0].numpy()
        iou = []
        for number in NUMBERS:
            own, other = (guess == number) & known, label == number
            iou.append((own & other).sum() / (own | other).sum() if other.any() else np.nan)
        yield name, (guess != label)[known], score[known], np.array(iou), image


def test_figures_are_those_of_brute_force(camvid, whole):
    msp, doubt = whole[1][:2]
    frames = list(brute_force(camvid))
    wrong = np.concatenate([wrong for _, wrong, *_ in frames])
    score = np.concatenate([score for _, _, score, *_ in frames])
    assert msp["task"] == "failure"
    assert msp["pixels"] == {"right": (~wrong).sum(), "wrong": wrong.sum(), "void": 5 * 320 - wrong.size}
    assert msp["prevalence"] == pytest.approx(wrong.mean(), abs=1e-15)
    figures = msp["failure"]
    assert figures["aupr_error"] == pytest.approx(sk.average_precision_score(wrong, score), abs=1e-12)
    assert figures["aupr_success"] == pytest.approx(sk.average_precision_score(~wrong, -score), abs=1e-12)
    assert figures["auroc"] == pytest.approx(sk.roc_auc_score(wrong, score), abs=1e-12)
    assert msp["failure_ci95"]["groups"] == 2
    assert (msp["class_quality"], msp["class_quality_reason"]) == (None, "the detector judges pixels, not classes")
    assert msp["segmentation"]["accuracy"] == pytest.approx((~wrong).mean(), abs=1e-12)
    quality = doubt["class_quality"]
    means = np.array([image.mean((0, 1)) / 255 for *_, image in frames])
    truths = np.array([iou for *_, iou, _ in frames])
    for index, name in enumerate(("road", "building", "car")):
        part = quality["classes"][name]
        assert part["frames"] == 5
        assert part["mae"] == pytest.approx(np.abs(means[:, index] - truths[:, index]).mean(), abs=1e-6)
        if np.ptp(truths[:, index]) == 0:
            assert (part["pearson"], part["reason"]) == (None, "the true overlap is the same in all images")
            continue
        assert part["pearson"] == pytest.approx(stats.pearsonr(means[:, index], truths[:, index]).statistic, abs=1e-4)
    assert quality["classes"]["sky"]["frames"] == 0
    assert quality["classes_counted"]["mae"] == 3
    assert quality["image"]["mae"] == pytest.approx(np.abs(means.mean(1) - truths[:, :3].mean(1)).mean(), abs=1e-6)


def test_a_detector_of_classes_alone_has_no_pixel_figures(whole):
    card = whole[1][2]
    assert (card["failure"], card["failure_reason"]) == (None, "the detector judges classes, not pixels")
    assert card["pixels"] == whole[1][0]["pixels"]
    assert card["class_quality"] == whole[1][1]["class_quality"]
    assert card["comparison"]["chance"]["reason"] == "the detector judges classes, not pixels"
    assert not (whole[0] / "classes" / "curve.npz").exists()


def test_controls_stand_beside_the_detectors(whole):
    msp, *_, chance = whole[1]
    apart = msp["failure"]["aupr_error"] - chance["failure"]["aupr_error"]
    assert msp["comparison"]["chance"]["ap"] == pytest.approx(apart, abs=2e-3)
    assert chance["comparison"] == {}


def test_rows_of_frames(camvid, whole):
    rows = list(csv.DictReader((whole[0] / "doubt" / "per_image.csv").open()))
    assert [row["frame"] for row in rows] == NAMES
    for row, (_, wrong, _, iou, image) in zip(rows, brute_force(camvid), strict=True):
        assert float(row["error_rate"]) == pytest.approx(wrong.mean(), abs=1e-12)
        assert float(row["true_quality"]) == pytest.approx(np.nanmean(iou), abs=1e-12)
        assert float(row["predicted_quality"]) == pytest.approx(image.mean() / 255, abs=1e-6)
        assert row["ap"]
    (first, *_) = csv.DictReader((whole[0] / "classes" / "per_image.csv").open())
    assert (first["ap"], first["fpr95"]) == ("", "")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_merged_shards_equal_one_run(camvid, whole, tmp_path, order):
    folders = [tmp_path / str(index) for index in range(3)]
    for index, folder in enumerate(folders):
        assert evaluate("camvid", camvid, TinySegmenter(), detectors(), folder, task="failure", shard=(index, 3)) == []
    cards = merge([folders[index] for index in order], tmp_path / "merged")
    assert comparable(cards) == comparable(whole[1])
    for name in detectors():
        merged, one = (folder / name / "per_image.csv" for folder in (tmp_path / "merged", whole[0]))
        assert merged.read_bytes() == one.read_bytes()
    with pytest.raises(DataError, match="are in no shard"):
        merge(folders[:2], tmp_path / "half")


@pytest.mark.parametrize("stop_at", [1, 3])
def test_an_interrupted_run_goes_on(camvid, whole, tmp_path, stop_at):
    def stop(done, total, text):
        if done == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate("camvid", camvid, TinySegmenter(), detectors(), tmp_path, task="failure", on_progress=stop)
    network = TinySegmenter()
    cards = evaluate("camvid", camvid, network, detectors(), tmp_path, task="failure")
    assert comparable(cards) == comparable(whole[1])
    assert network.calls == len(NAMES) - stop_at
    with pytest.raises(ConfigError, match=r"holds another run .*task"):
        evaluate("camvid", camvid, TinySegmenter(), detectors(), tmp_path, held_out=["car"])


def test_maps_are_kept_where_there_are_any(camvid, tmp_path):
    evaluate("camvid", camvid, TinySegmenter(), detectors(), tmp_path, task="failure", keep_maps=True)
    assert len(list((tmp_path / "doubt" / "maps").iterdir())) == len(NAMES)
    assert not (tmp_path / "classes" / "maps").exists()


def test_unknown_pixels_may_count_as_wrong(camvid):
    (void,) = evaluate("camvid", camvid, TinySegmenter(), ["msp"], task="failure")
    (wrong,) = evaluate("camvid", camvid, TinySegmenter(), ["msp"], task="failure", unknown="wrong")
    pedestrians = sum(int((read(camvid, name)[1] == 9).sum()) for name in NAMES)
    assert wrong["pixels"]["wrong"] == void["pixels"]["wrong"] + pedestrians
    assert wrong["pixels"]["right"] == void["pixels"]["right"]
    assert "are wrong" in wrong["protocol"]["label_table"]
    assert wrong["identity"] != void["identity"]
    (held,) = evaluate("camvid", camvid, TinySegmenter(), ["msp"], task="failure", held_out=["car"])
    cars = sum(int((read(camvid, name)[1] == 8).sum()) for name in NAMES)
    assert held["pixels"]["void"] == void["pixels"]["void"] + cars


def test_a_dice_detector_is_measured_in_dice(camvid):
    (dice,) = evaluate("camvid", camvid, TinySegmenter(), {"d": Doubt(measure="dice")}, task="failure")
    (iou,) = evaluate("camvid", camvid, TinySegmenter(), {"d": Doubt()}, task="failure")
    assert dice["class_quality"]["measure"] == "dice"
    assert dice["class_quality"]["mae"] != iou["class_quality"]["mae"]


def test_frames_that_were_fitted_on_are_refused(camvid):
    frame = load_frames("camvid", camvid, "test")[1]
    doubt = Doubt()
    doubt.fitted_on = {"frames": 1, "fingerprints": [frame_fingerprint(frame)]}
    with pytest.raises(CompatibilityError, match=r"fitted on 1 of these 5 frames \(0001TP_000001\)"):
        evaluate("camvid", camvid, TinySegmenter(), {"doubt": doubt}, task="failure")
    (card,) = evaluate("camvid", camvid, TinySegmenter(), {"doubt": doubt}, task="failure", allow_overlap=True)
    assert card["detector"]["overlap"] == [frame.id]


def test_a_broken_frame_is_skipped_and_named(tmp_path):
    root = write_camvid(tmp_path / "CamVid")
    (root / "labels" / "test" / f"{NAMES[0]}.png").write_bytes(b"no picture")
    (card,) = evaluate("camvid", root, TinySegmenter(), ["msp"], task="failure")
    assert card["frames"] == 4
    assert [item["frame"] for item in card["skipped"]] == [NAMES[0]]


def test_bad_requests(camvid, tmp_path):
    def failing(match, error, *arguments, **options):
        with pytest.raises(error, match=match):
            evaluate(*arguments, task="failure", **options)

    tree = write_tree(tmp_path / "tree", 2)
    failing("no frame of road_anomaly_21 .* has a class map", DataError, BENCHMARK, tree, TinySegmenter(), ["msp"])
    failing("give --segmenter", CompatibilityError, "camvid", camvid, None, ["chance"])
    failing("maps alone do not do", ConfigError, "camvid", camvid, scores=tree / "images")
    failing("--band is about anomalies", ConfigError, "camvid", camvid, TinySegmenter(), ["msp"], bands=[2])
    failing("did you mean 'wrong'", ConfigError, "camvid", camvid, TinySegmenter(), ["msp"], unknown="wrnog")
    strange = TinySegmenter()
    strange.classes = ("cat", "dog", "bird", "ship")
    failing("none of the classes of tiny", CompatibilityError, "camvid", camvid, strange, ["msp"])
    failing(
        "neither an error map nor", CompatibilityError, "camvid", camvid, TinySegmenter(),
        {"nothing": Doubt(maps=False, classes=False)},
    )  # fmt: skip
    with pytest.raises(ConfigError, match="did you mean 'failure'"):
        evaluate("camvid", camvid, TinySegmenter(), ["msp"], task="failures")


def test_a_network_that_is_never_wrong(tmp_path):
    root = write_camvid(tmp_path / "CamVid", shown=(255, 3))

    class Road(TinySegmenter):
        def segment(self, batch, features):
            output = super().segment(batch, features)
            output.logits[:, 0] += 1e4
            return output

    (card,) = evaluate("camvid", root, Road(), {"doubt": Doubt()}, task="failure")
    assert (card["failure"], card["failure_reason"]) == (None, "no pixel of any frame is wrong")
    assert card["prevalence"] == 0
    assert card["class_quality"]["classes"]["road"]["reason"] == "the true overlap is the same in all images"


def test_the_report_has_tables_curves_and_panels(camvid, tmp_path):
    shown = {"doubt": Doubt(), "classes": Doubt(maps=False)}
    options = {"task": "failure", "limit": 2}
    cards = evaluate("camvid", camvid, TinySegmenter(), shown, tmp_path, **options)
    plan = make_plan("camvid", camvid, TinySegmenter(), shown, **options)
    page = write_run_report(tmp_path, cards, plan=plan).read_text("utf-8")
    for text in ("camvid: failure detection", "AUPR-Error", "AUPR-Success", "Foretold quality of each class"):
        assert text in page
    for name in ("pr_curve", "roc_curve", "quality", "doubt/contact_sheet", "classes/contact_sheet"):
        assert (tmp_path / f"{name}.png").stat().st_size > 1000
    assert json.loads((tmp_path / "doubt" / "metrics.json").read_text()) == cards[0]


def test_another_network_is_another_truth(camvid):
    class Owner(Doubt):
        registry_name = "owner"
        flags = replace(Doubt.flags, owns_network=True)

        def __init__(self):
            super().__init__()
            self.segmenter = TinySegmenter(seed=1)

    cards = evaluate(
        "camvid", camvid, TinySegmenter(), {"owner": Owner(), "chance": create_detector("chance")}, task="failure"
    )
    assert cards[0]["pixels"] != cards[1]["pixels"]
    assert "the segmentation of another network" in cards[0]["comparison"]["chance"]["reason"]
