"""StreetHazards and BDD-Anomaly: classes to train on and anomalies to test on, from one tree."""

import dataclasses

import numpy as np
import pytest
import trees

from anomseg.benchmarks import get_benchmark, resolve_protocol
from anomseg.data import dataset_spec, decode_image, label_space, load_frames, verify
from anomseg.errors import ConfigError, DataError, FrameError


def rows(array) -> list[int]:
    """The values of a label map that is constant along rows."""
    assert (array == array[:, :1]).all()
    return array[:, 0].tolist()


def ids(frames) -> list[str]:
    return [frame.id for frame in frames]


def sized(name: str, *counts: int):
    spec = dataset_spec(name)
    splits = tuple(dataclasses.replace(split, expected=n) for split, n in zip(spec.splits, counts, strict=True))
    return dataclasses.replace(spec, splits=splits)


# ---------------------------------------------------------------------------------------------- StreetHazards


def test_street_hazards_train_is_thirteen_classes_from_zero(tmp_path):
    frames = load_frames("street_hazards", trees.street_hazards(tmp_path), "train")
    assert ids(frames) == ["t1_1", "t1_2", "t3_1"]
    assert [frame.group for frame in frames] == ["t1", "t1", "t3"]
    assert rows(frames[0].classes) == [0, 7] * 4
    assert rows(frames[2].classes) == [0, 12] * 4
    assert len(label_space("street_hazards")) == 13
    # No anomaly in training towns: the label says so, and is not absent.
    assert not frames[0].label.any()


def test_street_hazards_test_has_the_fourteenth_value_as_anomaly_and_not_as_class(tmp_path):
    frames = load_frames("street_hazards", trees.street_hazards(tmp_path))
    assert ids(frames) == ["t5_2", "t5_10", "t6_3"]
    assert rows(frames[0].classes) == [7, 255] * 4
    assert rows(frames[0].label) == [0, 1] * 4
    # A stored 0 wraps to the ignored label in the reference: void in both maps.
    assert rows(frames[1].classes) == [3, 7, 255] * 2 + [3, 7]
    assert rows(frames[1].label) == [0, 0, 255] * 2 + [0, 0]
    assert rows(frames[2].label) == [1] * 8


def test_street_hazards_drops_the_fourth_channel_without_mixing(tmp_path):
    frame = load_frames("street_hazards", trees.street_hazards(tmp_path), "train")[0]
    np.testing.assert_array_equal(frame.image(), trees.pixels(0))


def test_street_hazards_under_a_root_named_after_a_part_and_with_merged_towns(tmp_path):
    root = tmp_path / "images" / "annotations"
    trees.street_hazards(root, ("t5-6", "t5-6"))
    frames = load_frames("street_hazards", root)
    assert ids(frames) == ["t5-6_2", "t5-6_3", "t5-6_10"]
    assert {frame.group for frame in frames} == {"t5-6"}
    # Each archive unpacked in a folder of its own.
    other = tmp_path / "two"
    trees.street_hazards(other / "streethazards_train")
    (other / "streethazards_test").mkdir()
    (other / "streethazards_train" / "test").rename(other / "streethazards_test" / "test")
    assert len(load_frames("street_hazards", other)) == len(load_frames("street_hazards", other, "train")) == 3


def test_street_hazards_of_twelve_classes(tmp_path):
    root = trees.street_hazards(tmp_path)
    frame = load_frames("street_hazards:void=other", root)[1]
    assert rows(frame.label) == [255, 0, 255] * 2 + [255, 0]
    assert rows(frame.classes) == [255, 7, 255] * 2 + [255, 7]
    both = load_frames("street_hazards:void=unlabeled,other", root, "val")[0]
    assert rows(both.classes) == [255, 7] * 4
    with pytest.raises(ConfigError, match="did you mean 'other'"):
        load_frames("street_hazards:void=othr", root)
    assert "less other" in get_benchmark("street_hazards:void=other").protocol.label_table


def test_street_hazards_can_hold_out_a_class_beside_its_anomalies(tmp_path):
    root = trees.street_hazards(tmp_path)
    frame = load_frames("street_hazards", root, held_out="other")[1]
    assert rows(frame.label) == [1, 0, 255] * 2 + [1, 0]
    taught = load_frames("street_hazards", root, "train", held_out=["other"], held_out_images="drop")
    assert ids(taught) == ["t1_1", "t3_1"]
    voided = load_frames("street_hazards", root, "train", held_out=["other"], held_out_images="void")
    assert rows(voided[1].classes) == [7, 255] * 4


def test_street_hazards_verifies(tmp_path):
    root = trees.street_hazards(tmp_path)
    report = verify(sized("street_hazards", 3, 1, 3), root)
    assert report.ok, report.lines()
    assert set(verify("street_hazards", root).of("count")) == {
        "train: 3 frames instead of 5125", "val: 1 frames instead of 1031", "test: 3 frames instead of 1500",
    }  # fmt: skip
    trees.put(root / "test/annotations/test/t5/2.png", trees.mask(8, 15))
    (root / "train/annotations/training/t1/1.png").unlink()
    trees.put(root / "train/images/training/t1/notes.txt", b"x")
    report = verify(sized("street_hazards", 3, 1, 3), root)
    assert [len(report.of(kind)) for kind in ("value", "missing", "extra")] == [1, 1, 1]
    assert "values 15" in report.of("value")[0]


# ------------------------------------------------------------------------------------------------ BDD-Anomaly


@pytest.mark.parametrize("layout", ["official", "shifted", "bdd100k"])
def test_bdd_anomaly_moves_every_image_with_an_anomaly_to_test(tmp_path, layout):
    root = trees.bdd_anomaly(tmp_path, layout)
    split = {name: ids(load_frames("bdd_anomaly", root, name)) for name in ("train", "val", "test")}
    assert split == {
        "train": ["train_00a395fe-d60c0b47", "train_00ab1f2c-11111111", "train_0004a4c0-d4dff0ad"],
        "val": ["val_7d128593-0ccfea4c"],
        "test": ["train_00a1176f-0652080e", "val_7d06fefd-f7be05a6"],
    }
    frame = load_frames("bdd_anomaly", root)[0]
    assert frame.meta["layout"] == layout
    assert rows(frame.label) == [0, 1, 255] * 2 + [0, 1]
    assert rows(frame.classes) == [0, 17, 255] * 2 + [0, 17]
    trained = load_frames("bdd_anomaly", root, "train")
    assert rows(trained[2].classes) == [0, 13, 255] * 2 + [0, 13]
    assert all(not (one.label == 1).any() for one in trained)


def test_bdd_anomaly_with_bicycles(tmp_path):
    root = trees.bdd_anomaly(tmp_path)
    wide = "bdd_anomaly:anomalous=train,motorcycle,bicycle"
    assert ids(load_frames(wide, root, "train")) == ["train_00ab1f2c-11111111", "train_0004a4c0-d4dff0ad"]
    assert len(load_frames(wide, root)) == 3
    # Named at the call, they take the place of the data set's own.
    assert ids(load_frames("bdd_anomaly", root, held_out="bicycle")) == ["train_00a395fe-d60c0b47"]


def test_bdd_anomaly_counts_of_both_definitions():
    def counts(name):
        return [split.expected for split in dataset_spec(name).splits]

    assert counts("bdd_anomaly") == [6688, 951, 361]
    assert counts("bdd_anomaly:anomalous=motorcycle,train,bicycle") == [6280, 910, 810]
    assert counts("bdd_anomaly:anomalous=bus") == [None] * 3
    # Each image is in one split whatever is anomalous.
    assert sum(counts("bdd_anomaly")) == sum(counts("bdd_anomaly:anomalous=train,motorcycle,bicycle")) == 8000


@pytest.mark.parametrize("layout", ["official", "shifted"])
def test_bdd_anomaly_unlabelled_pixels_may_count_as_inliers(tmp_path, layout):
    root = trees.bdd_anomaly(tmp_path, layout)
    frame = load_frames("bdd_anomaly:other=inlier", root)[0]
    assert rows(frame.label) == [0, 1, 0] * 2 + [0, 1]
    assert rows(frame.classes) == [0, 17, 255] * 2 + [0, 17]


def test_bdd_anomaly_bad_options_and_empty_splits(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'motorcycle'"):
        dataset_spec("bdd_anomaly:anomalous=motorcicle")
    with pytest.raises(ConfigError, match="names no class"):
        dataset_spec("bdd_anomaly:anomalous=,")
    with pytest.raises(ConfigError, match="other"):
        dataset_spec("bdd_anomaly:other=inliers")
    root = trees.bdd_anomaly(tmp_path)
    with pytest.raises(DataError, match="no frame of bdd_anomaly here shows bus"):
        load_frames("bdd_anomaly", root, held_out="bus")
    trees.put(root / "seg/labels/train/00a1176f-0652080e_train_id.png", b"damaged")
    with pytest.raises(FrameError, match="00a1176f"):
        load_frames("bdd_anomaly", root)


@pytest.mark.parametrize("layout", ["official", "shifted", "bdd100k"])
def test_bdd_anomaly_verifies(tmp_path, layout):
    root = trees.bdd_anomaly(tmp_path, layout)
    report = verify(sized("bdd_anomaly", 3, 1, 2), root)
    assert report.ok, report.lines()
    assert [(count.split, count.found) for count in report.counts] == [("train", 3), ("val", 1), ("test", 2)]
    assert "test: 2 frames instead of 361" in verify("bdd_anomaly", root).of("count")


def test_bdd_anomaly_ailments_are_named_once(tmp_path):
    root = trees.bdd_anomaly(tmp_path)
    trees.put(root / "seg/labels/train/00a1176f-0652080e_train_id.png", b"damaged")
    trees.put(root / "seg/labels/val/7d06fefd-f7be05a6_train_id.png", trees.mask(16, 19))
    (root / "bdd100k/seg/images/val/7d128593-0ccfea4c.jpg").unlink()
    report = verify(sized("bdd_anomaly", 4, 0, 1), root)
    assert [len(report.of(kind)) for kind in ("unreadable", "value", "extra", "count")] == [1, 1, 1, 0]


# ------------------------------------------------------------------------------------------------- protocols


@pytest.mark.parametrize("name", ["street_hazards", "bdd_anomaly"])
def test_their_own_protocol_is_a_mean_over_images(name):
    own = get_benchmark(name).protocol
    assert (own.name, own.split) == ("default", "test")
    assert (own.aggregation, own.clean_images, own.fpr_rule) == ("per_image", "drop", "nearest")
    preset = resolve_protocol(get_benchmark(name), "caos")
    assert preset.void == ()  # the published evaluation counts every pixel
    assert dataclasses.replace(preset, name="default", void=own.void) == own
    assert resolve_protocol(get_benchmark(name), "densehybrid").aggregation == "pooled"


def test_what_their_labels_mean_is_told():
    assert get_benchmark("street_hazards").protocol.label_table == "StreetHazards classes, anomalies 1, other ones 0"
    assert "held-out ones (train, motorcycle) 1" in get_benchmark("bdd_anomaly").protocol.label_table


def test_street_hazards_in_cityscapes():
    mapping = label_space("street_hazards").to(label_space("cityscapes"))
    names = label_space("cityscapes").names
    known = {mapping.source.names[i]: [names[j] for j in allowed] for i, allowed in enumerate(mapping.sets)}
    assert known["unlabeled"] == known["other"] == []
    assert known["road line"] == known["road"] == ["road"]
    assert known["pedestrian"] == ["person"]
    assert all(len(allowed) == 1 for name, allowed in known.items() if name not in ("unlabeled", "other"))


def test_decoding_agrees_with_the_files(tmp_path):
    root = trees.bdd_anomaly(tmp_path)
    frame = load_frames("bdd_anomaly", root)[1]
    np.testing.assert_array_equal(frame.image(), decode_image(frame.meta["path"]))
    assert frame.meta["path"].endswith("val/7d06fefd-f7be05a6.jpg")
