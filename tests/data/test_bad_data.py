"""What users get wrong about data: one line that says what and how to mend it; bad frames are refused one by one."""

import os

import numpy as np
import pytest
import trees
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from trees import encode, mask, pixels, put

from anomseg.data import DATASETS, load_frames
from anomseg.data.layout import natural_key
from anomseg.errors import AnomsegError, ConfigError, DataError, FrameError

NAMES = DATASETS.names()


def refused(kind: type[AnomsegError], *arguments, **options) -> str:
    with pytest.raises(kind) as error:
        load_frames(*arguments, **options)
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("name", NAMES)
def test_roots_that_are_missing_empty_files_or_of_something_else(tmp_path, name):
    assert "--root" in refused(DataError, name)
    assert "does not exist" in refused(DataError, name, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "is empty" in refused(DataError, name, tmp_path / "empty")
    assert "not a folder" in refused(DataError, name, put(tmp_path / "file.zip", b"x"))
    put(tmp_path / "other" / "notes.txt", b"x")
    assert "looked for" in refused(DataError, name, tmp_path / "other")


@pytest.mark.parametrize("name", NAMES)
def test_unknown_splits_are_answered_with_the_known_ones(tmp_path, name):
    text = refused(DataError, name, tmp_path, split="trian")
    assert "has no split 'trian'; its splits are: " in text


def test_what_was_looked_for_is_named(tmp_path):
    put(tmp_path / "readme.txt", b"x")
    text = refused(DataError, "road_anomaly", tmp_path)
    assert "frames/*.labels/labels_semantic.png" in text
    assert "labels_masks/*.png" in text


def test_empty_image_folders(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels_masks").mkdir()
    assert "holds no road_anomaly_21" in refused(DataError, "road_anomaly_21", tmp_path)


def test_unknown_names_are_answered_with_the_nearest(tmp_path):
    assert "did you mean 'road_anomaly'" in refused(ConfigError, "road_anomly", tmp_path)
    assert "did you mean 'images'" in refused(ConfigError, "folder:image=a", tmp_path)
    root = trees.repackaged(tmp_path)
    assert "'repackaged'" in refused(ConfigError, "road_anomaly_21", root, layout="repackagd")
    assert "1 or more" in refused(ConfigError, "road_anomaly_21", root, limit=0)


def test_a_layout_that_is_asked_for_is_the_only_one_tried(tmp_path):
    root = trees.repackaged(tmp_path)
    assert "official" in refused(DataError, "road_anomaly_21", root, layout="official")


@pytest.fixture
def sick(tmp_path):
    """A tree with one frame of each ailment, and two in good health."""
    root = trees.repackaged(tmp_path, count=6)
    put(root / "images" / "1.jpg", (root / "images" / "1.jpg").read_bytes()[:200])
    put(root / "labels_masks" / "2.png", mask(0, 1, size=(9, 12)))
    put(root / "labels_masks" / "3.png", mask(0, 1, 7))
    put(root / "labels_masks" / "4.png", pixels())
    return root


def test_bad_frames_are_refused_one_by_one(sick):
    frames = {frame.id: frame for frame in load_frames("road_anomaly_21", sick)}
    with pytest.raises(FrameError, match=r"1\.jpg is damaged"):
        frames["1"].image()
    with pytest.raises(FrameError, match=r"2\.png is 12x9 but the image .*2\.webp is 12x8"):
        _ = frames["2"].label
    with pytest.raises(FrameError, match=r"3\.png has values 7 outside the table SegmentMeIfYouCan"):
        _ = frames["3"].label
    with pytest.raises(FrameError, match=r"4\.png is stored as RGB colours"):
        _ = frames["4"].label
    assert frames["0"].label.shape == frames["5"].label.shape == (8, 12)


def test_label_size_is_checked_against_the_upright_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    put(tmp_path / "images" / "0.jpg", encode(pixels(), "JPEG", exif=exif))
    put(tmp_path / "labels_masks" / "0.png", mask(0, 1, size=(12, 8))[:, :8])
    frame = load_frames("road_anomaly_21", tmp_path)[0]
    assert frame.image().shape[:2] == frame.label.shape == (12, 8)


def test_all_void_and_anomaly_free_frames_are_legal(tmp_path):
    root = trees.repackaged(tmp_path, count=2)
    put(root / "labels_masks" / "0.png", mask(255))
    put(root / "labels_masks" / "1.png", mask(0))
    frames = load_frames("road_anomaly_21", root)
    assert [set(frame.label.ravel().tolist()) for frame in frames] == [{255}, {0}]


@pytest.mark.skipif(os.geteuid() == 0, reason="the super-user may list any folder")
def test_folders_that_may_not_be_listed(tmp_path):
    root = trees.repackaged(tmp_path)
    (root / "images").chmod(0)
    try:
        assert "cannot be listed" in refused(DataError, "road_anomaly_21", root)
    finally:
        (root / "images").chmod(0o755)


def test_nothing_is_decoded_before_it_is_asked_for(tmp_path):
    root = trees.repackaged(tmp_path, count=3)
    for folder in ("images", "labels_masks"):
        for path in (root / folder).iterdir():
            path.write_bytes(b"")
    frames = load_frames("road_anomaly_21", root)
    assert [frame.has_label for frame in frames] == [True] * 3


@given(st.lists(st.text(st.sampled_from("ab01-._9"), min_size=1), unique=True))
def test_natural_order_is_total_and_numeric(names):
    ordered = sorted(names, key=natural_key)
    backwards = ordered[::-1]
    assert sorted(backwards, key=natural_key) == ordered
    numbers = [int(name) for name in ordered if name.isdigit()]
    assert numbers == sorted(numbers)


@pytest.fixture
def camvid(tmp_path):
    """Four training frames, of which two show bicyclists (10) and one pedestrians (9)."""
    for index, classes in enumerate(((0, 3, 10), (0, 3, 9, 255), (0, 3, 10, 9), (0, 3, 255))):
        put(tmp_path / "images" / "train" / f"0001TP_{index}.webp", encode(pixels(index), "WEBP"))
        put(tmp_path / "labels" / "train" / f"0001TP_{index}.png", mask(*classes))
    return tmp_path


def test_held_out_classes_are_anomalies_in_test(camvid):
    frames = load_frames("camvid", camvid, "train", held_out=["bicyclist"])
    assert len(frames) == 4
    classes, label = frames[2].classes, frames[2].label
    np.testing.assert_array_equal(label == 1, classes == 10)
    assert set(frames[3].label.ravel().tolist()) == {0, 255}
    np.testing.assert_array_equal(frames[3].label == 255, frames[3].classes == 255)


def test_held_out_images_are_dropped_or_voided_in_training(camvid):
    dropped = load_frames("camvid", camvid, "train", held_out=["bicyclist"], held_out_images="drop")
    assert [frame.id for frame in dropped] == ["0001TP_1", "0001TP_3"]
    both = load_frames("camvid", camvid, "train", held_out="bicyclist,person", held_out_images="drop")
    assert [frame.id for frame in both] == ["0001TP_3"]
    void = load_frames("camvid", camvid, "train", held_out=["bicyclist"], held_out_images="void")
    assert len(void) == 4
    assert void[2].classes[:4, 0].tolist() == [0, 3, 255, 9]


def test_held_out_requests_that_make_no_sense(camvid, tmp_path):
    assert "did you mean 'bicyclist'" in refused(ConfigError, "camvid", camvid, "train", held_out=["bicyclst"])
    assert "did you mean 'drop'" in refused(
        ConfigError, "camvid", camvid, "train", held_out=["car"], held_out_images="dropp"
    )
    assert "nothing is left" in refused(DataError, "camvid", camvid, "train", held_out=["sky"], held_out_images="drop")
    root = trees.repackaged(tmp_path / "anomalies")
    assert "anomaly labels" in refused(ConfigError, "road_anomaly_21", root, held_out=["car"])


def test_limit_takes_the_first_frames_that_remain(camvid):
    frames = load_frames("camvid", camvid, "train", held_out=["bicyclist"], held_out_images="drop", limit=1)
    assert [frame.id for frame in frames] == ["0001TP_1"]
