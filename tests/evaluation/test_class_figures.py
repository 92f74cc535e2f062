"""Figures on classes in the cards: against plain counting, for shards and resumed runs, null where there are none."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import brier_score_loss, roc_curve
from small_run import BENCHMARK, COUNT, TinySegmenter, write_tree

from anomseg.data import label_space
from anomseg.detectors import Detector, create_detector
from anomseg.errors import CompatibilityError
from anomseg.evaluation import DetectorState, evaluate, merge
from anomseg.evaluation.class_table import class_table
from anomseg.evaluation.judging import Judge, known_classes
from anomseg.metrics import OpenSetIoU, conditional_fpr
from anomseg.segmenters import make_scene
from anomseg.types import Flags, Needs

NAMES = [f"0001TP_{index:06d}" for index in range(3)] + [f"Seq05VD_f{index:05d}" for index in range(3)]
# Tiny's classes in CamVid's numbers: road 3, building 1, car 8, sky 0.
NUMBERS = np.array([3, 1, 8, 0], np.uint8)
PEDESTRIAN = 9
APART = ("seconds", "frames_per_second", "shards")


class Owner(Detector):
    """Carries a network of its own, and names classes apart from it."""

    registry_name = "owner"
    flags = replace(Flags(), owns_network=True, bounded=True)
    segments = True
    shape: tuple[int, ...] = ()

    def __init__(self):
        super().__init__()
        self.segmenter = TinySegmenter(3)

    def needs(self, segmenter):
        return self.ask(segmenter, Needs(logits=False))

    def networks(self):
        return {"network": self.segmenter}

    def score(self, scene):
        return 1 - scene.logits().softmax(1).amax(1)

    def segment(self, scene):
        return torch.flip(scene.prediction(), (2,))[..., : self.shape[0] if self.shape else None]


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    root = tmp_path_factory.mktemp("CamVid")
    generator = np.random.default_rng(0)
    for folder in ("images/test", "labels/test"):
        (root / folder).mkdir(parents=True)
    for name in NAMES:
        image = generator.integers(0, 255, (16, 20, 3), dtype=np.uint8)
        # Tree (5) is a class that the network does not have.
        label = generator.choice(np.array([0, 1, 3, 5, 8, PEDESTRIAN, 255], np.uint8), (16, 20))
        Image.fromarray(image).save(root / "images" / "test" / f"{name}.png")
        Image.fromarray(label).save(root / "labels" / "test" / f"{name}.png")
    return root


def detectors():
    return {"msp": create_detector("msp"), "energy": create_detector("energy"), "owner": Owner()}


def run(root, out=None, **options):
    return evaluate("camvid", root, TinySegmenter(), detectors(), out, held_out=["pedestrian"], **options)


@pytest.fixture(scope="module")
def whole(camvid, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    return out, run(camvid, out)


def comparable(cards):
    return [{key: value for key, value in card.items() if key not in APART} for card in cards]


def pixels(root, network, detector, segment=None):
    """Scores, predictions in CamVid's numbers and targets of all pixels."""
    scores, guesses, targets = [], [], []
    for name in NAMES:
        image = np.asarray(Image.open(root / "images" / "test" / f"{name}.png"))
        scene = make_scene([image], [name], network)
        with torch.inference_mode():
            scores.append(detector.score(scene)[0].numpy())
            classes = (segment or (lambda scene: scene.prediction()))(scene)[0].numpy()
        guesses.append(NUMBERS[classes])
        targets.append(np.asarray(Image.open(root / "labels" / "test" / f"{name}.png")))
    return tuple(np.concatenate(part, axis=None) for part in (scores, guesses, targets))


@pytest.mark.parametrize("row", [0, 1, 2])
def test_efpr_and_cfpr_by_the_network_that_the_detector_scores(camvid, whole, row):
    detector = list(detectors().values())[row]
    score, guess, target = pixels(camvid, detector.segmenter or TinySegmenter(), detector)
    part = whole[1][row]["misclassified"]
    anomaly = target == PEDESTRIAN
    judged = np.isin(target, NUMBERS)
    for wrong, key in ((False, "cfpr95"), (True, "efpr95")):
        subset = anomaly | (judged & ((guess != target) == wrong))
        fpr, tpr, _ = roc_curve(anomaly[subset], score[subset], drop_intermediate=False)
        assert part[key] == pytest.approx(fpr[np.argmax(tpr >= 0.95)], abs=1e-12)
    inlier = ~anomaly & (target != 255)
    assert part["pixels"] == {
        "right": int((judged & (guess == target)).sum()),
        "wrong": int((judged & (guess != target)).sum()),
        "unjudged": int((inlier & ~judged).sum()),
    }
    equal = part["share_of_false_positives"]
    flagged = score[judged] >= equal["threshold"]
    cfpr, efpr = conditional_fpr(flagged, (guess != target)[judged])
    assert (equal["cfpr"], equal["efpr"]) == (cfpr, efpr)
    assert equal["misclassified"] == pytest.approx((guess != target)[judged][flagged].mean())
    assert equal["base"] == pytest.approx((guess != target)[judged].mean())
    assert equal["fpr_reached"] == pytest.approx((score[inlier] >= equal["threshold"]).mean())
    assert equal["fpr_reached"] <= equal["fpr"] == 0.05
    low, high = part["ci95"]["efpr95"]
    assert low <= part["efpr95"] + 0.01
    assert part["efpr95"] <= high + 0.01
    assert part["ci95"]["groups"] == 2


@pytest.mark.parametrize("own", [False, True])
def test_open_and_closed_miou(camvid, whole, own):
    detector = Owner()
    score, guess, target = pixels(camvid, detector.segmenter, detector, detector.segment if own else None)
    part = whole[1][2]["own_segmentation" if own else "open_set"]
    mapped = np.where(target == PEDESTRIAN, 11, np.where(np.isin(target, NUMBERS), target, 255)).astype(np.uint8)
    for key in ("at_tpr95", "at_best_f1"):
        threshold = float(np.nextafter(np.float32(part[key]["threshold"]), np.float32(-np.inf)))
        state = OpenSetIoU(11, threshold)
        state.update(guess, score, mapped)
        expected = state.compute()
        assert part[key]["miou"] == pytest.approx(expected.iou[np.sort(NUMBERS)].mean(), abs=1e-12)
        assert part["closed_miou"] == pytest.approx(expected.closed_miou, abs=1e-12)
    assert 0.95 <= part["at_tpr95"]["tpr"] < 0.97
    assert set(part["iou"]) == {label_space("camvid").names[number] for number in NUMBERS}
    assert part["closed_accuracy"] == pytest.approx((guess == target)[np.isin(target, NUMBERS)].mean())


def test_closed_miou_is_that_of_the_segmentation(whole):
    card = whole[1][0]
    assert card["open_set"]["closed_miou"] == pytest.approx(card["segmentation"]["miou"], abs=1e-12)
    assert card["own_segmentation"] is None
    assert card["classes_reason"] is None


def test_brier_score_where_the_score_is_bounded(camvid, whole):
    score, _, target = pixels(camvid, TinySegmenter(), create_detector("msp"))
    valid = target != 255
    msp, energy, owner = whole[1]
    assert msp["probability"]["brier"] == pytest.approx(
        brier_score_loss(target[valid] == PEDESTRIAN, score[valid]), abs=1e-9
    )
    assert sum(part["pixels"] for part in msp["probability"]["bins"]) == valid.sum()
    assert energy["probability"] is None
    assert "does not lie in [0, 1]" in energy["probability_reason"]
    assert owner["probability"] is not None


def test_parameters_are_counted(whole):
    msp, _, owner = whole[1]
    assert msp["parameter_counts"] == {"network": 12, "carried": {}, "total": 12, "state": 0}
    assert owner["parameter_counts"] == {"network": 12, "carried": {"network": 12}, "total": 12, "state": 0}


def test_merged_shards_equal_one_run(camvid, whole, tmp_path):
    folders = [tmp_path / str(index) for index in range(3)]
    for index, folder in enumerate(folders):
        run(camvid, folder, shard=(index, 3))
    merged = merge([folders[2], folders[0], folders[1]], tmp_path / "merged")
    assert comparable(merged) == comparable(whole[1])


@pytest.mark.parametrize("stop_at", [1, 4])
def test_a_run_resumed_in_the_middle_equals_one_run(camvid, whole, tmp_path, stop_at):
    def interrupt(done, total, text):
        if done == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(camvid, tmp_path, on_progress=interrupt)
    assert len(DetectorState.load(tmp_path / "owner").classes.open_set.frames) == stop_at
    assert comparable(run(camvid, tmp_path)) == comparable(whole[1])


def forget_classes(out):
    """Leave what a version without these figures would have written."""
    for index in out.glob("*/state/state.json"):
        content = json.loads(index.read_text())
        if "pixel" in content["parts"]:
            kept = {name: file for name, file in content["parts"].items() if name in ("pixel", "per_image")}
            meta = {key: content["meta"][key] for key in ("skipped", "dropped", "seconds")}
            index.write_text(json.dumps({**content, "parts": kept, "meta": meta}))
    record = json.loads((out / "run.json").read_text())
    del record["run"]["parameter_counts"]
    (out / "run.json").write_text(json.dumps(record))


def test_an_older_run_is_continued_and_says_what_it_lacks(camvid, whole, tmp_path):
    def interrupt(done, total, text):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(camvid, tmp_path, on_progress=interrupt)
    forget_classes(tmp_path)
    cards = run(camvid, tmp_path)
    for card, complete in zip(cards, whole[1], strict=True):
        assert card["pixel"] == complete["pixel"]
        assert card["probability"] == complete["probability"]
        assert card["misclassified"] is card["open_set"] is card["own_segmentation"] is None
        assert "--overwrite" in card["classes_reason"]
    (card, *_) = run(camvid, tmp_path, overwrite=True)
    assert card["misclassified"] == whole[1][0]["misclassified"]


def test_older_shards_merge_without_the_figures(camvid, whole, tmp_path):
    folders = [tmp_path / str(index) for index in range(2)]
    for index, folder in enumerate(folders):
        run(camvid, folder, shard=(index, 2))
    forget_classes(folders[1])
    (card, *_) = merge(folders, tmp_path / "merged")
    assert card["pixel"] == whole[1][0]["pixel"]
    assert card["misclassified"] is None
    assert "--overwrite" in card["classes_reason"]


def test_frames_without_class_map(tmp_path):
    tree = write_tree(tmp_path / "data")
    cards = evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], tmp_path / "out", keep_maps=True)
    assert cards[0]["misclassified"] is cards[0]["open_set"] is None
    assert cards[0]["classes_reason"] == "the frames have no class map"
    (card,) = evaluate(BENCHMARK, tree, scores=tmp_path / "out" / "msp" / "maps")
    assert card["frames"] == COUNT
    assert card["classes_reason"] == "maps were given, and no network"
    assert card["probability"] is card["parameter_counts"] is None


def test_control_without_network(camvid):
    (card,) = evaluate("camvid", camvid, None, ["chance"], held_out=["pedestrian"])
    assert card["classes_reason"] == "no network was given"
    assert card["parameter_counts"]["total"] == 0


def test_an_own_class_map_of_the_wrong_size_is_refused(camvid):
    owner = Owner()
    owner.shape = (7,)
    with pytest.raises(CompatibilityError, match=r"owner gives classes .* expected 0\.\.3 of shape \(16, 20\)"):
        evaluate("camvid", camvid, None, {"owner": owner}, held_out=["pedestrian"])


class TestJudge:
    """A building may be IDD-Lite's roadside or far objects; a helicopter is none of its classes."""

    space = label_space("idd_lite")
    judge = Judge(class_table(("building", "road", "helicopter"), "net", space))

    def test_any_of_several_classes_is_right_and_no_counterpart_is_wrong(self):
        roadside, far = (self.space.names.index(name) for name in ("roadside objects", "far objects"))
        drivable, vehicles = (self.space.names.index(name) for name in ("drivable", "vehicles"))
        classes = np.array([[roadside, far, drivable, drivable, vehicles, 255, roadside]], np.uint8)
        prediction = np.array([[0, 0, 0, 2, 0, 0, 0]], np.uint8)
        label = np.array([[0, 0, 0, 0, 0, 0, 1]], np.uint8)
        judgement = self.judge.judge(prediction, classes, label)
        # No network class stands for vehicles, one pixel has no class, the last is anomalous.
        assert judgement.judged.tolist() == [[0, 0, 1, 1, 255, 255, 255]]
        assert judgement.kinds.valid.tolist() == [[True, True, True, True, False, False, True]]

    def test_held_out_classes_are_not_known(self):
        known = known_classes(self.judge.table, ["drivable"])
        assert [self.space.names[index] for index in known] == ["roadside objects", "far objects"]

    def test_without_a_class_map_nothing_is_judged(self):
        label = np.array([[0, 1]], np.uint8)
        judgement = self.judge.judge(None, None, label)
        assert judgement.judged.tolist() == [[255, 255]]
        assert not judgement.kinds.valid.any()
