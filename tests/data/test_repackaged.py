"""The five anomaly sets in the common repackaged layout, with each set's own value table."""

import numpy as np
import pytest
import trees
from trees import encode, mask, pixels, put

from anomseg.data import load_frames
from anomseg.errors import DataError, FrameError

SETS = {
    "road_anomaly": (2, False),
    "road_anomaly_21": (1, True),
    "road_obstacle_21": (1, True),
    "fishyscapes_lost_and_found": (1, True),
    "fishyscapes_static": (1, True),
}


@pytest.mark.parametrize("name", SETS)
def test_all_labelled_frames_in_natural_order(tmp_path, name):
    anomaly, void = SETS[name]
    frames = load_frames(name, trees.repackaged(tmp_path, anomaly, void))
    assert [frame.id for frame in frames] == [str(index) for index in range(12)]
    assert all(frame.meta["layout"] == "repackaged" for frame in frames)
    expected = [0, 1, 255] if void else [0, 1]
    for frame in frames:
        assert sorted(set(frame.label.ravel().tolist())) == expected
        assert frame.image().shape == (8, 12, 3)
    np.testing.assert_array_equal(frames[3].image(), pixels(3))


def test_value_one_in_road_anomaly_is_refused_with_the_mend(tmp_path):
    root = trees.repackaged(tmp_path, 1, void=False)
    frame = load_frames("road_anomaly", root)[0]
    with pytest.raises(FrameError, match="--label-values 0:0,1:1"):
        _ = frame.label
    assert load_frames("road_anomaly", root, label_values="0:0,1:1")[0].label[:2, 0].tolist() == [0, 1]


@pytest.mark.parametrize("name", ["road_anomaly_21", "road_obstacle_21"])
def test_there_is_no_test_split_in_it(tmp_path, name):
    with pytest.raises(DataError, match="only: validation"):
        load_frames(name, trees.repackaged(tmp_path), split="test")


def test_stems_lose_only_their_last_suffix(tmp_path):
    for name in ("snow_00.578", "snow_00.612", "snow_00"):
        put(tmp_path / "images" / f"{name}.webp", encode(pixels(), "WEBP"))
        put(tmp_path / "labels_masks" / f"{name}.png", mask(0, 1))
    frames = load_frames("road_obstacle_21", tmp_path)
    assert sorted(frame.id for frame in frames) == ["snow_00", "snow_00.578", "snow_00.612"]
    assert all(frame.meta["label_path"].endswith(f"{frame.id}.png") for frame in frames)


def test_files_of_unusual_suffix_are_images_by_content(tmp_path):
    put(tmp_path / "images" / "0.img", encode(pixels()))
    put(tmp_path / "images" / "0.txt", b"a note about 0")
    put(tmp_path / "labels_masks" / "0.png", mask(0, 1))
    frames = load_frames("road_anomaly_21", tmp_path)
    np.testing.assert_array_equal(frames[0].image(), pixels())


def test_two_images_of_one_name_are_refused(tmp_path):
    root = trees.repackaged(tmp_path, count=2)
    put(root / "images" / "0.jpg", encode(pixels(), "JPEG"))
    with pytest.raises(DataError, match=r"two images stand for '0': .*0\.jpg and .*0\.png"):
        load_frames("road_anomaly_21", root)


def test_a_frame_that_lost_its_label_has_none_never_zeros(tmp_path):
    root = trees.repackaged(tmp_path)
    (root / "labels_masks" / "4.png").unlink()
    frames = load_frames("road_anomaly_21", root)
    assert len(frames) == 12
    assert [frame.id for frame in frames if frame.label is None] == ["4"]


def test_official_and_repackaged_trees_are_told_apart(tmp_path):
    official, repackaged = trees.anomaly_track(tmp_path / "a"), trees.repackaged(tmp_path / "b")
    assert load_frames("road_anomaly_21", official)[0].meta["layout"] == "official"
    assert load_frames("road_anomaly_21", repackaged)[0].meta["layout"] == "repackaged"
