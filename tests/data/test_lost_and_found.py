"""LostAndFound: SegmentMeIfYouCan's splits, labels and region."""

import dataclasses

import numpy as np
import pytest
import road_trees
import trees
from trees import mask, pixels, put

from anomseg.benchmarks import get_benchmark
from anomseg.data import dataset_spec, load_frames, verify
from anomseg.errors import ConfigError, DataError, FrameError


def ids(frames) -> list[str]:
    return [frame.id for frame in frames]


def small(without: tuple[int, ...] = (1,)):
    """The declaration, as if a test part of four frames had an empty one at a place."""
    spec = dataset_spec("lost_and_found")
    counts = {"train": 2, "trainValid": 2, "test": 4, "testValid": 3, "testNoKnown": 2}
    splits = tuple(
        dataclasses.replace(
            split,
            expected=counts[split.name],
            without=without if split.without and split.folder == "test" else (),
            out_of=4 if split.without else None,
        )
        for split in spec.splits
    )
    return dataclasses.replace(spec, splits=splits)


def test_label_numbers_become_road_obstacle_and_void(tmp_path):
    frames = load_frames("lost_and_found", road_trees.lost_and_found(tmp_path), "test")
    assert ids(frames) == list(road_trees.LAF_TEST)
    # 0 void, 1 road, every number from 2 on an obstacle, 31 (called no hazard) among them.
    assert frames[0].label[:5, 0].tolist() == [255, 0, 1, 1, 1]
    assert frames[1].label.tolist() == np.full((8, 12), 255).tolist()
    assert [frame.group for frame in frames][1:3] == ["02_Hanns_Klemm_Str_44_000001", "04_Maurener_Weg_8_000010"]


def test_the_gamma_chunk_is_ignored(tmp_path):
    frames = load_frames("lost_and_found", road_trees.lost_and_found(tmp_path), "train")
    np.testing.assert_array_equal(frames[1].image(), pixels(1))


def test_splits_by_place_and_by_name(tmp_path):
    root = road_trees.lost_and_found(tmp_path / "dataset_LostAndFound").parent
    test = list(road_trees.LAF_TEST)
    assert ids(load_frames(small(), root, "testValid")) == [test[0], *test[2:]]
    assert ids(load_frames(small(), root)) == [test[0], test[2]]
    # Places are counted before scenes are left out: the last place is that of the scene.
    assert ids(load_frames(small((3,)), root)) == test[:3]
    report = verify(small(), root)
    assert report.ok, report.lines()


def test_places_mean_nothing_in_folders_that_are_not_complete(tmp_path):
    root = road_trees.lost_and_found(tmp_path)
    for split, complete, there in (("trainValid", 1036, 2), ("testValid", 1203, 4), ("testNoKnown", 1203, 4)):
        with pytest.raises(DataError, match=f"among {complete}, but .* holds {there}") as error:
            load_frames("lost_and_found", root, split)
        assert "\n" not in str(error.value)


def test_all_counts_on_a_whole_tree_of_names(tmp_path):
    """1036 and 1203 names: the counts of all splits, and which places are left out."""
    scenes = {"train": ("01_Hanns_Klemm_Str_45", 1036, 0), "test": ("02_Hanns_Klemm_Str_44", 1060, 143)}
    for split, (scene, count, known) in scenes.items():
        names = [(scene, f"{scene}_{index // 50:06d}_{index:06d}") for index in range(count)]
        other = "15_Rechbergstr_Deckenpfronn"
        names += [(other, f"{other}_000000_{index:06d}") for index in range(known)]
        for folder in {name for name, _ in names}:
            (tmp_path / "leftImg8bit" / split / folder).mkdir(parents=True)
            (tmp_path / "gtCoarse" / split / folder).mkdir(parents=True)
        for folder, name in names:
            (tmp_path / "leftImg8bit" / split / folder / f"{name}_leftImg8bit.png").touch()
            (tmp_path / "gtCoarse" / split / folder / f"{name}_gtCoarse_labelIds.png").touch()
    frames = {
        split.name: ids(load_frames("lost_and_found", tmp_path, split.name))
        for split in dataset_spec("lost_and_found").splits
    }
    counts = {name: len(names) for name, names in frames.items()}
    assert counts == {"train": 1036, "trainValid": 1030, "test": 1203, "testValid": 1186, "testNoKnown": 1043}
    assert counts == {split.name: split.expected for split in dataset_spec("lost_and_found").splits}
    every, valid = frames["train"], set(frames["trainValid"])
    gone = [44, 67, 88, 109, 131, 614]
    assert [place for place, name in enumerate(every) if name not in valid] == gone


def test_the_anomaly_variant_counts_all_but_the_vehicle(tmp_path):
    root = road_trees.lost_and_found(tmp_path)
    frame = load_frames("lost_and_found:variant=anomaly", root)[0]
    assert frame.label[:, 0].tolist() == [0, 0, 1, 1, 1, 0, 0, 255]
    bench = get_benchmark("lost_and_found:variant=anomaly")
    assert bench.splits == ("test", "train")
    assert "LAF_roi_2048.png" in bench.protocol.describe()
    put(root / "LAF_roi_2048.png", mask(255, size=(4, 4)))
    with pytest.raises(FrameError, match=r"LAF_roi_2048\.png has shape \(4, 4\)"):
        _ = load_frames("lost_and_found:variant=anomaly", root)[0].label
    (root / "LAF_roi_2048.png").unlink()
    with pytest.raises(DataError, match=r"lacks LAF_roi_2048\.png"):
        load_frames("lost_and_found:variant=anomaly", root)
    assert "LAF_roi_2048.png" in verify("lost_and_found:variant=anomaly", root).of("missing")[0]
    with pytest.raises(ConfigError, match="'obstacle', 'anomaly', got anomly"):
        dataset_spec("lost_and_found:variant=anomly")


def test_values_that_the_table_leaves_open_are_named_with_the_file(tmp_path):
    root = road_trees.lost_and_found(tmp_path)
    path = next((root / "gtCoarse" / "test").glob("*/*_000080_gtCoarse_labelIds.png"))
    put(path, trees.mask(1, 201, 255))
    with pytest.raises(FrameError, match="values 201, 255 outside the table LostAndFound") as error:
        _ = load_frames("lost_and_found", root, "test")[0].label
    assert str(path) in str(error.value)
    assert "201" in verify("lost_and_found", root, "test").of("value")[0]
