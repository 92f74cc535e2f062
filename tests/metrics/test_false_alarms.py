"""Objects found and false alarms on clean frames: against plain loops, additive, and through a whole run."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from anomseg.errors import CompatibilityError, ConfigError, DataError, FrameError
from anomseg.metrics import CleanAlarms, ObjectRecall

sys.path.insert(0, str(Path(__file__).parent.parent / "evaluation"))
from small_run import BENCHMARK, TinySegmenter, write_tree

from anomseg.detectors import anomaly_maps, create_detector
from anomseg.evaluation import evaluate, merge
from anomseg.segmenters import make_scene

EIGHT = np.ones((3, 3), int)


def maps(seed: int, count: int = 3):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        label = (rng.random((8, 10)) < 0.35).astype(np.uint8)
        label[rng.random((8, 10)) < 0.1] = 255
        score = np.round(rng.normal(size=(8, 10)), 1) + 0.5 * (label == 1)
        yield score.astype(np.float32), label


def plain_recall(pairs, threshold, smallest, coverage):
    found = []
    for score, label in pairs:
        objects, count = ndimage.label(label == 1, structure=EIGHT)
        for number in range(1, count + 1):
            inside = objects == number
            if inside.sum() >= smallest:
                found.append((score[inside] >= threshold).mean() >= coverage - 1e-12)
    return found


@given(st.integers(0, 200), st.sampled_from([0.3, 0.5, 0.8, 1.0]), st.sampled_from([1, 3]),
       st.sampled_from([0.1, 0.5, 1.0]))  # fmt: skip
def test_threshold_is_the_highest_that_finds_enough_objects(seed, recall, smallest, coverage):
    pairs = list(maps(seed))
    state = ObjectRecall(smallest, coverage)
    for index, (score, label) in enumerate(pairs):
        state.update(score, label, str(index))
    threshold = state.threshold(recall)
    assert np.mean(plain_recall(pairs, threshold, smallest, coverage)) >= recall - 1e-12
    higher = [value for value in np.unique([score for score, _ in pairs]) if value > threshold]
    if higher:
        assert np.mean(plain_recall(pairs, min(higher), smallest, coverage)) < recall - 1e-12
    assert state.recall_at(threshold) == np.mean(plain_recall(pairs, threshold, smallest, coverage))
    assert state.objects == len(plain_recall(pairs, 0, smallest, coverage))


def test_alarms_are_components_of_enough_pixels_outside_void():
    pairs = [(score, np.where(label == 1, 0, label)) for score, label in maps(3, 5)]
    for threshold, smallest in ((0.5, 1), (0.0, 3), (-0.5, 10)):
        state, expected, alarmed = CleanAlarms(threshold, smallest), 0, 0
        for index, (score, label) in enumerate(pairs):
            state.update(score, label, str(index))
            regions, count = ndimage.label((score >= threshold) & (label != 255), structure=EIGHT)
            large = sum((regions == number).sum() >= smallest for number in range(1, count + 1))
            expected, alarmed = expected + large, alarmed + (large > 0)
        result = state.compute()
        assert (result.components, result.frames) == (expected, 5)
        assert result.per_hundred == pytest.approx(100 * expected / 5)
        assert result.alarmed == alarmed / 5


def test_states_merge_and_come_back(tmp_path):
    pairs = list(maps(5, 4))
    whole, halves = ObjectRecall(1), [ObjectRecall(1), ObjectRecall(1)]
    for index, (score, label) in enumerate(pairs):
        whole.update(score, label, str(index))
        halves[index % 2].update(score, label, str(index))
    whole.save(tmp_path / "a.npz")
    halves[1].merge(halves[0]).save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    back = ObjectRecall.load(tmp_path / "a.npz")
    assert (back.threshold(), back.objects, back.frames) == (whole.threshold(), whole.objects, whole.frames)
    clean = [CleanAlarms(0.5, 1), CleanAlarms(0.5, 1)]
    for index, (score, label) in enumerate(pairs):
        clean[index % 2].update(score, np.zeros_like(label), str(index))
    merged = clean[0].merge(clean[1])
    merged.save(tmp_path / "c.npz")
    assert CleanAlarms.load(tmp_path / "c.npz").compute() == merged.compute()
    with pytest.raises(DataError, match="twice"):
        merged.merge(clean[0])
    with pytest.raises(CompatibilityError, match="do not merge"):
        merged.merge(CleanAlarms(0.4, 1))
    with pytest.raises(CompatibilityError, match="do not merge"):
        whole.merge(ObjectRecall(2))


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(DataError, match="no anomalous object is large enough"):
        ObjectRecall().threshold()
    assert math.isnan(ObjectRecall().recall_at(0.0))
    assert math.isnan(CleanAlarms(0.5).compute().per_hundred)
    with pytest.raises(ConfigError, match="coverage of 0"):
        ObjectRecall(coverage=0.0)
    with pytest.raises(ConfigError, match=r"object recall of 1\.5"):
        ObjectRecall().threshold(1.5)
    with pytest.raises(FrameError, match="no clean frame"):
        CleanAlarms(0.5).update([[0.1]], [[1]], "a")
    with pytest.raises(FrameError, match="one map"):
        CleanAlarms(0.5).update([0.1], [0], "a")


def test_a_run_with_clean_frames_says_it_and_one_without_says_why(tmp_path):
    tree = write_tree(tmp_path / "data", clean=[1, 4])
    card = evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], tmp_path / "out")[0]
    told, protocol = card["false_alarms"], BENCHMARK.protocol
    frames, detector, network = BENCHMARK.load_frames(tree), create_detector("msp"), TinySegmenter()
    scored = [
        (anomaly_maps(detector, make_scene([f.image()], [f.id], network, size=None))[0].numpy(), f.label)
        for f in frames
    ]
    shown = [(score, label) for score, label in scored if (label == 1).any()]
    found = plain_recall(shown, told["threshold"], protocol.min_anomaly, 0.5)
    assert (told["objects"], told["object_recall_reached"]) == (len(found), np.mean(found))
    assert np.mean(found) >= 0.8
    expected = 0
    for score, label in scored:
        if not (label == 1).any():
            regions, count = ndimage.label((score >= told["threshold"]) & (label != 255), structure=EIGHT)
            expected += sum((regions == number).sum() >= protocol.min_prediction for number in range(1, count + 1))
    assert (told["components"], told["clean_frames"]) == (expected, 2)
    assert told["per_100_clean_frames"] == 50 * expected
    # Shards carry their maps, and the merged run has the same figure.
    for index in range(2):
        evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], tmp_path / f"s{index}", shard=(index, 2))
    assert merge([tmp_path / "s0", tmp_path / "s1"], tmp_path / "merged")[0]["false_alarms"] == told
    again = evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], tmp_path / "out")[0]
    assert again["false_alarms"] == told
    every = write_tree(tmp_path / "odd", count=3)
    none = evaluate(BENCHMARK, every, TinySegmenter(), ["msp"])[0]
    assert none["false_alarms"] is None
    assert none["false_alarms_reason"] == "no frame without an anomaly counts"
