"""Cityscapes, WildDash 2, Vistas-NP, MUAD, CamVid-OOD, ISSU, ADE-OoD: small trees in the layouts relied on."""

import dataclasses
import json

import numpy as np
import pytest
import road_trees
import trees
from road_trees import VISTAS_EXTRA
from trees import mask, put

from anomseg.benchmarks import get_benchmark
from anomseg.data import dataset_spec, label_space, load_frames, verify
from anomseg.errors import ConfigError, DataError, FrameError

CLASSES = label_space("cityscapes").names


def ids(frames) -> list[str]:
    return [frame.id for frame in frames]


def rows(array) -> list[int]:
    return array[:, 0].tolist()


def sized(name: str, *counts: int):
    spec = dataset_spec(name)
    splits = tuple(dataclasses.replace(split, expected=n) for split, n in zip(spec.splits, counts, strict=True))
    return dataclasses.replace(spec, splits=splits)


GOOD = {
    "cityscapes": (road_trees.cityscapes, (2, 1, 1)),
    "wilddash_2": (road_trees.wilddash_2, (2, 1)),
    "vistas_np": (road_trees.vistas, (1, 1, 2)),
    "muad": (road_trees.muad, (2, 2, 2, 2)),
    "camvid_ood": (road_trees.camvid_ood, (1, 1, 1)),
    "issu": (road_trees.issu, (7, 4, 2, 2, 3, 2, 1)),
    "ade_ood": (road_trees.ade_ood, (2,)),
}


@pytest.mark.parametrize("name", GOOD)
def test_their_trees_are_in_order_and_values_outside_the_table_are_not(tmp_path, name):
    write, counts = GOOD[name]
    root = write(tmp_path)
    report = verify(sized(name, *counts), root)
    assert report.ok, report.lines()
    assert tuple(count.found for count in report.counts) == counts
    frame = next(frame for frame in load_frames(name, root) if "label_path" in frame.meta)
    put(tmp_path / frame.meta["label_path"], mask(0, 77, 200))
    problems = set(verify(name, root).of("value"))
    assert len(problems) == 1
    assert "outside the table" in min(problems)
    assert frame.meta["label_path"] in min(problems)


# ------------------------------------------------------------------------------------------------- Cityscapes


@pytest.mark.parametrize("train_ids", [True, False])
def test_cityscapes_label_numbers_are_mapped_here(tmp_path, train_ids):
    root = road_trees.cityscapes(tmp_path, train_ids)
    frames = load_frames("cityscapes", root, "train")
    assert ids(frames) == ["aachen_000000_000019", "bremen_000002_000019"]
    assert [frame.group for frame in frames] == ["aachen", "bremen"]
    assert rows(frames[0].classes)[:5] == [0, 18, 255, 255, 16]
    assert frames[0].label is None
    assert frames[0].meta["layout"] == "official"


def test_cityscapes_numbers_of_training_are_read_where_there_are_no_others(tmp_path):
    root = road_trees.cityscapes(tmp_path / "cityscapes", label_ids=False).parent
    frame = load_frames("cityscapes", root)[0]
    assert (frame.meta["layout"], rows(frame.classes)[:5]) == ("train_ids", [0, 18, 255, 255, 16])


def test_the_dummy_labels_of_cityscapes_test_are_no_ground_truth(tmp_path):
    (frame,) = load_frames("cityscapes", road_trees.cityscapes(tmp_path), "test")
    assert frame.classes is frame.label is None
    held = load_frames("cityscapes", tmp_path, "test", held_out="train")[0]
    assert held.label is None
    assert rows(load_frames("cityscapes", tmp_path, held_out="train")[0].label)[:5] == [0, 0, 255, 255, 1]


# ------------------------------------------------------------------------------------------------- WildDash 2


@pytest.mark.parametrize(
    ("policy", "key"),
    [("wilddash2-meta.json", "labels"), ("wilddash_public.json", "categories"), ("panoptic.json", "categories")],
)
def test_wilddash_2_reads_its_numbers_from_the_policy(tmp_path, policy, key):
    root = road_trees.wilddash_2(tmp_path, policy, key)
    frames = load_frames("wilddash_2", root)
    assert ids(frames) == ["aa0001_100000", "zz.2_100000"]
    named = [CLASSES[value] if value != 255 else "void" for value in rows(frames[0].classes)]
    assert named == ["road", "void", "car", "truck", "train", "void", "road", "traffic light"]
    assert ids(load_frames("wilddash_2", root / "wd_public_02")) == ids(frames)
    (hidden,) = load_frames("wilddash_2", root, "bench")
    assert hidden.classes is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "names the label numbers of WildDash 2"),
        (b"{", "cannot be read as JSON"),
        (b"[]", "has no list 'labels'"),
        (b'{"labels": [{"id": "x", "name": "road"}]}', "entry 0"),
        (b'{"labels": [{"id": 3, "name": "nothing known"}]}', "names no class of Cityscapes"),
    ],
)
def test_wilddash_2_without_a_readable_policy_is_refused(tmp_path, content, said):
    root = road_trees.wilddash_2(tmp_path)
    path = root / "wd_public_02" / "wilddash2-meta.json"
    path.unlink()
    if content is not None:
        put(path, content)
    with pytest.raises(DataError, match=said) as error:
        load_frames("wilddash_2", root)
    assert "\n" not in str(error.value)


def test_wilddash_2_numbers_that_the_policy_does_not_name_are_refused_not_guessed(tmp_path):
    root = road_trees.wilddash_2(tmp_path)
    put(root / "wd_public_02" / "labels" / "aa0001_100000.png", mask(7, 26))
    with pytest.raises(
        FrameError, match=r"aa0001_100000\.png has values 26 .* wilddash2-meta\.json does not name them"
    ):
        _ = load_frames("wilddash_2", root)[0].classes


# -------------------------------------------------------------------------------------------------- Vistas-NP


@pytest.mark.parametrize("labels", ["v1.2/labels", "labels"])
def test_vistas_np_moves_every_image_with_a_person_to_test(tmp_path, labels):
    root = road_trees.vistas(tmp_path / "mapillary-vistas", labels).parent
    split = {name: ids(load_frames("vistas_np", root, name)) for name in ("train", "val", "test")}
    assert split == {"train": ["training_aaa"], "val": ["validation_ccc"], "test": ["training_bbb", "validation_ddd"]}
    test = load_frames("vistas_np", root)
    assert rows(test[0].label)[:2] == [0, 1]
    assert rows(test[1].label)[:3] == [1, 0, 255]
    assert rows(load_frames("vistas_np", root, "train")[0].classes)[:2] == [CLASSES.index("road"), 255]


def test_vistas_np_as_its_script_copies_it(tmp_path):
    root = road_trees.vistas(tmp_path, copied=True)
    split = {name: ids(load_frames("vistas_np", root, name)) for name in ("train", "val", "test")}
    assert split == {"train": ["training_aaa"], "val": ["validation_ccc"], "test": ["test_bbb", "test_ddd"]}
    assert verify("vistas_np", root).ok


def test_vistas_np_needs_the_configuration_of_its_release(tmp_path):
    root = road_trees.vistas(tmp_path)
    put(root / "config.json", json.dumps({"labels": [{"name": name} for name in VISTAS_EXTRA]}).encode())
    with pytest.raises(DataError, match=r"take that of Vistas release 1\.2"):
        load_frames("vistas_np", root)
    put(root / "config.json", b'{"labels": 66}')
    with pytest.raises(DataError, match="among its labels"):
        load_frames("vistas_np", root)
    (root / "config.json").unlink()
    with pytest.raises(DataError, match="names the label numbers"):
        load_frames("vistas_np", root)


# ------------------------------------------------------------------------------- MUAD, CamVid-OOD, ISSU, ADE-OoD


def test_muad_counts_six_classes_as_unknown(tmp_path):
    root = road_trees.muad(tmp_path / "MUAD").parent
    frame = load_frames("muad", root)[0]
    assert (frame.id, frame.meta["split"]) == ("000000", "test_ood")
    assert rows(frame.label)[:6] == [0, 1, 1, 1, 255, 0]
    assert rows(frame.classes)[:6] == [0, 255, 255, 255, 255, 12]
    known = label_space("muad").names
    assert len(known) == 15
    table = dict(dataset_spec("muad").table.pairs)
    assert {CLASSES[stored]: known[meaning] for stored, meaning in table.items() if meaning < 15} == {
        n: n for n in known
    }
    assert rows(load_frames("muad", root, "train")[0].classes)[:3] == [0, 14, 255]
    assert [split.expected for split in dataset_spec("muad").splits] == [3420, 492, 551, 1668]


def test_camvid_ood(tmp_path):
    root = road_trees.camvid_ood(tmp_path)
    frame = load_frames("camvid_ood", root)[0]
    assert rows(frame.label)[:4] == [0, 1, 255, 0]
    assert rows(frame.classes)[:4] == [0, 255, 255, 10]
    assert frame.group == "Seq05VD"
    train = load_frames("camvid_ood", root, "train")[0]
    assert rows(train.classes)[:3] == [0, 3, 255]
    assert not (train.label == 1).any()


def test_issu_splits_by_part_and_light(tmp_path):
    root = road_trees.issu(tmp_path / "dataset_ISSUTrack").parent
    split = {one.name: ids(load_frames("issu", root, one.name)) for one in dataset_spec("issu").splits}
    assert len(split["all"]) == 7
    assert split["static_low_light"] == ["static_lowlight_3", "static_rain_00.5"]
    assert split["static_normal"] == ["static_0_009599", "static_100_1"]
    # 5 is a clip in poor light, 51 and 99 are not.
    assert split["temporal_low_light"] == ["temporal_5_10"]
    assert split["temporal_normal"] == ["temporal_51_3", "temporal_99_520"]
    expected = {one.name: one.expected for one in dataset_spec("issu").splits}
    assert expected["static_normal"] + expected["static_low_light"] == expected["static"] == 980
    assert expected["temporal_normal"] + expected["temporal_low_light"] == expected["temporal"] == 1138
    assert expected["all"] == 2118
    assert {frame.group for frame in load_frames("issu", root, "temporal")} == {
        "temporal_5",
        "temporal_51",
        "temporal_99",
    }


def test_issu_tracks(tmp_path):
    root = road_trees.issu(tmp_path)
    frame = load_frames("issu", root)[0]
    assert rows(frame.label)[:4] == [0, 0, 1, 255]
    assert rows(frame.classes)[:4] == [0, 18, 255, 255]
    assert rows(load_frames("issu:track=obstacle", root)[0].label)[:4] == [0, 255, 1, 255]
    assert get_benchmark("issu:track=obstacle").protocol.min_anomaly == 10
    with pytest.raises(ConfigError, match="got obstacles"):
        dataset_spec("issu:track=obstacles")


def test_ade_ood_pairs_masks_by_name(tmp_path):
    root = road_trees.ade_ood(tmp_path / "ADE-OoD").parent
    frames = load_frames("ade_ood", root)
    assert ids(frames) == ["ADE_train_00000003", "open.images.7"]
    assert rows(frames[1].label)[:3] == [0, 1, 255]
    assert frames[0].classes is None


def test_trees_are_not_taken_for_each_other(tmp_path):
    """A folder of images alone is none of them."""
    trees.put(tmp_path / "images" / "a.png", trees.pixels())
    for name in GOOD:
        with pytest.raises(DataError):
            load_frames(name, tmp_path)


def test_counts_of_both_versions_of_bdd_anomaly_are_told():
    notes = dataset_spec("bdd_anomaly").notes
    assert all(number in notes for number in ("6688, 951, 361", "6280, 910, 810"))
    assert np.sum([6688, 951, 361]) == np.sum([6280, 910, 810])
