"""The real data sets: counts, sizes, prevalence and what held-out classes leave."""

import numpy as np
import pytest

from anomseg.data import load_frames, verify


@pytest.mark.parametrize(
    ("name", "folder", "count", "prevalence"),
    [("road_anomaly", "RoadAnomaly", 60, 0.099), ("road_anomaly_21", "RoadAnomaly21", 10, 0.148)],
)
def test_anomaly_sets(shared_data, name, folder, count, prevalence):
    frames = load_frames(name, shared_data / "anomaly" / folder)
    assert [frame.id for frame in frames] == [str(index) for index in range(count)]
    totals = sum(np.bincount(frame.label.ravel(), minlength=256) for frame in frames)
    assert totals[[0, 1, 255]].sum() == totals.sum()
    assert totals[1] / (totals[0] + totals[1]) == pytest.approx(prevalence, abs=6e-4)
    assert (totals[255] == 0) == (name == "road_anomaly")
    assert frames[0].image().shape == (720, 1280, 3)


@pytest.mark.parametrize(("split", "count"), [("train", 367), ("val", 101), ("test", 233)])
def test_camvid(shared_data, split, count):
    frames = load_frames("camvid", shared_data / "camvid", split=split)
    assert len(frames) == count
    assert frames[0].image().shape == (360, 480, 3)
    groups = [frame.group for frame in frames]
    assert {group: groups.count(group) for group in sorted(set(groups))} == {
        "train": {"0001TP": 62, "0006R0": 101, "0016E5": 204},
        "val": {"0016E5": 101},
        "test": {"0001TP": 62, "Seq05VD": 171},
    }[split]


@pytest.mark.parametrize(("split", "count"), [("train", 1403), ("val", 204)])
def test_idd_lite(shared_data, split, count):
    frames = load_frames("idd_lite", shared_data / "idd_lite", split=split)
    assert len(frames) == len({frame.id for frame in frames}) == count
    assert frames[0].image().shape == (227, 320, 3)
    assert frames[0].classes.shape == (227, 320)


@pytest.mark.parametrize(
    ("held_out", "left"),
    [(["bicyclist"], 166), (["fence"], 194), (["pedestrian"], 50), (["pedestrian", "bicyclist"], 43), (["sign"], 16)],
)
def test_camvid_training_frames_left_when_a_class_is_dropped(shared_data, held_out, left):
    frames = load_frames("camvid", shared_data / "camvid", "train", held_out=held_out, held_out_images="drop")
    assert len(frames) == left


@pytest.mark.parametrize(
    ("name", "folder"), [("road_anomaly", "anomaly/RoadAnomaly"), ("road_anomaly_21", "anomaly/RoadAnomaly21")]
)
def test_real_sets_verify(shared_data, name, folder):
    report = verify(name, shared_data / folder)
    assert report.ok, report.lines()
    assert report.layout == "repackaged"


def test_a_set_given_as_another_is_found_out(shared_data):
    report = verify("road_anomaly_21", shared_data / "anomaly" / "RoadAnomaly")
    assert len(report.of("value")) == 60
    assert report.of("count") == ("validation: 60 frames instead of 10",)
