"""`verify` names everything that is missing, extra, unreadable or wrong, and nothing else."""

import dataclasses
import json

import pytest
import trees
from trees import encode, mask, pixels, put

from anomseg.data import Split, dataset_spec, verify
from anomseg.errors import DataError


def sized(name: str, **counts: int):
    """The declaration of a data set, with the frame counts of a small tree."""
    spec = dataset_spec(name)
    splits = tuple(dataclasses.replace(split, expected=counts.get(split.name)) for split in spec.splits)
    return dataclasses.replace(spec, splits=splits)


GOOD = {
    "road_anomaly_21": (trees.anomaly_track, {"validation": 3, "test": 2}),
    "road_obstacle_21": (trees.obstacle_track, {"validation": 3, "test": 3, "snowstorm": 2, "night": 1}),
    "road_anomaly": (trees.road_anomaly, {"test": 3}),
    "fishyscapes_lost_and_found": (trees.fishyscapes_lost_and_found, {"validation": 3}),
    "fishyscapes_static": (trees.fishyscapes_static, {"validation": 2}),
    "idd_lite": (trees.idd_lite_official, {"train": 2, "val": 1, "test": 1}),
}


@pytest.mark.parametrize("name", GOOD)
def test_published_trees_are_in_order(tmp_path, name):
    write, counts = GOOD[name]
    report = verify(sized(name, **counts), write(tmp_path))
    assert report.ok, report.lines()
    assert {count.split: count.found for count in report.counts} == counts
    assert report.lines()[-1] == "everything is in order"


def test_counts_against_expected(tmp_path):
    report = verify("road_anomaly_21", trees.anomaly_track(tmp_path))
    assert set(report.of("count")) == {"validation: 3 frames instead of 10", "test: 2 frames instead of 100"}
    assert not report.ok


def test_every_ailment_is_named_once_and_by_its_kind(tmp_path):
    root = trees.repackaged(tmp_path, count=9)
    put(root / "images" / "1.jpg", (root / "images" / "1.jpg").read_bytes()[:200])
    put(root / "labels_masks" / "2.png", mask(0, 1, size=(9, 12)))
    put(root / "labels_masks" / "3.png", mask(0, 1, 7))
    put(root / "labels_masks" / "4.png", pixels())
    (root / "labels_masks" / "5.png").unlink()
    (root / "images" / "6.jpg").unlink()
    put(root / "images" / "notes.txt", b"hello")
    put(root / "labels_masks" / "old.bak", b"hello")
    report = verify(sized("road_anomaly_21", validation=8), root)
    assert report.of("missing") == (f"label of {root}/images/5.png",)
    assert {text.removeprefix(str(root)) for text in report.of("extra")} == {
        "/labels_masks/6.png", "/images/notes.txt", "/labels_masks/old.bak",
    }  # fmt: skip
    assert len(report.of("unreadable")) == 2
    assert "2.png is 12x9" in report.of("size")[0]
    assert "values 7" in report.of("value")[0]
    assert [len(report.of(kind)) for kind in ("size", "value", "count")] == [1, 1, 0]
    assert report.lines()[-1] == "8 problems"
    assert any("and 2 more" in line for line in report.lines(limit=1))


def test_missing_overlays_and_images_of_fishyscapes(tmp_path):
    root = trees.fishyscapes_static(tmp_path)
    next((root / "fs_val_v1").glob("0000_*_rgb.npz")).unlink()
    next((root / "leftImg8bit" / "val" / "munster").iterdir()).unlink()
    report = verify(sized("fishyscapes_static", validation=1), root)
    overlay, image = report.of("missing")
    assert "no *_rgb.npz" in overlay
    assert "image that" in image
    assert "0001_munster" in image


def test_frames_that_the_sets_own_list_names_are_missed(tmp_path):
    root = trees.road_anomaly(tmp_path)
    names = json.loads((root / "frame_list.json").read_text())
    put(root / "frame_list.json", json.dumps([*names, "gone.jpg"]).encode())
    report = verify(sized("road_anomaly"), root)
    assert report.of("missing") == ("image gone.jpg, listed in frame_list.json",)


def test_hidden_splits_need_not_be_here_but_public_ones_must(tmp_path):
    report = verify(sized("road_anomaly_21", validation=3), trees.anomaly_track(tmp_path / "a", test=()))
    assert report.ok
    assert report.absent == ("test",)
    report = verify(sized("camvid"), trees.camvid_segnet(tmp_path / "b"))
    assert [text.split(":")[0] for text in report.of("missing")] == ["split val"]


def test_own_folder_may_lack_masks_unless_they_are_named(tmp_path):
    root = trees.folder(tmp_path)
    assert verify("folder", root / "photos").ok
    report = verify("folder:images=photos;masks=gt;values=0:0,255:1", root)
    assert report.of("missing") == (f"label of {root}/photos/c.png",)


def test_users_table_is_used(tmp_path):
    root = trees.repackaged(tmp_path, 1, void=False)
    assert verify(sized("road_anomaly"), root).of("value")
    assert verify(sized("road_anomaly"), root, label_values="0:0,1:1").ok


def test_nothing_at_all_raises(tmp_path):
    put(tmp_path / "x.txt", b"x")
    with pytest.raises(DataError, match="looked for"):
        verify("camvid", tmp_path)


def test_one_split_alone(tmp_path):
    root = trees.anomaly_track(tmp_path)
    put(root / "images" / "cow0003.jpg", encode(pixels(), "JPEG")[:50])
    assert verify(sized("road_anomaly_21"), root, split="validation").ok
    assert len(verify(sized("road_anomaly_21"), root, split="test").of("unreadable")) == 1


def test_declared_counts_are_the_published_ones():
    counts = {name: {split.name: split.expected for split in dataset_spec(name).splits} for name in GOOD}
    assert counts == {
        "road_anomaly": {"test": 60},
        "road_anomaly_21": {"validation": 10, "test": 100},
        "road_obstacle_21": {"validation": 30, "test": 327, "night": 30, "snowstorm": 55},
        "fishyscapes_lost_and_found": {"validation": 100},
        "fishyscapes_static": {"validation": 30},
        "idd_lite": {"train": 1403, "val": 204, "test": None},
    }
    assert Split("validation", 10).keys == ".*"


def test_an_overlay_without_label_is_extra(tmp_path):
    root = trees.fishyscapes_static(tmp_path)
    lone = put(root / "fs_val_v1" / "0009_munster_000007_000019_rgb.npz", b"x")
    assert verify(sized("fishyscapes_static"), root).of("extra") == (str(lone),)
