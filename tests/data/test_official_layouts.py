"""Every data set is read from a tree in exactly its published layout."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import trees
from trees import encode, pixels

from anomseg.data import decode_image, frame_fingerprint, load_frames
from anomseg.errors import DataError, FrameError
from anomseg.types import Frame


def ids(frames) -> list[str]:
    return [frame.id for frame in frames]


def test_anomaly_track_validation_without_coloured_twins(tmp_path):
    frames = load_frames("road_anomaly_21", trees.anomaly_track(tmp_path))
    assert ids(frames) == ["validation0000", "validation0001", "validation0002"]
    assert frames[0].label[:, 0].tolist() == [0, 1, 255, 0, 1, 255, 0, 1]
    assert frames[0].image().shape == (8, 12, 3)
    assert frames[0].meta["layout"] == "official"
    assert frames[0].meta["path"].endswith("images/validation0000.jpg")


def test_hidden_test_frames_have_no_label_never_zeros(tmp_path):
    frames = load_frames("road_anomaly_21", trees.anomaly_track(tmp_path), split="test")
    assert ids(frames) == ["boat_trailer0001", "cow0003"]
    assert all(frame.label is None and not frame.has_label and frame.classes is None for frame in frames)
    assert frames[0].image().shape == (8, 12, 3)


def test_test_images_alone_are_enough_for_the_hidden_split(tmp_path):
    root = trees.anomaly_track(tmp_path, validation=0)
    assert ids(load_frames("road_anomaly_21", root, split="test")) == ["boat_trailer0001", "cow0003"]
    with pytest.raises(DataError, match="no labels that pair"):
        load_frames("road_anomaly_21", root)


@pytest.mark.parametrize("archive", ["dataset_AnomalyTrack", ""])
def test_the_folder_above_the_archive_will_do(tmp_path, archive):
    trees.anomaly_track(tmp_path / archive)
    assert len(load_frames("road_anomaly_21", tmp_path)) == 3


def test_obstacle_track_splits_dots_and_scenes(tmp_path):
    root = trees.obstacle_track(tmp_path)
    validation = load_frames("road_obstacle_21", root)
    assert ids(validation) == ["validation_1", "validation_2", "validation_10"]
    assert validation[2].label[:, 0].tolist() == [0, 255, 255, 1] * 2
    np.testing.assert_array_equal(validation[2].image(), pixels(10))
    assert {frame.cluster for frame in validation} == set(ids(validation))
    test = load_frames("road_obstacle_21", root, split="test")
    assert set(ids(test)) == set(trees.OBSTACLE_TEST)
    assert {frame.id: frame.group for frame in test}["darkasphalt2_cat_1.5"] == "darkasphalt2"
    assert ids(load_frames("road_obstacle_21", root, split="snowstorm")) == list(trees.OBSTACLE_SNOW)
    assert ids(load_frames("road_obstacle_21", root, split="night")) == list(trees.OBSTACLE_NIGHT)
    assert all(frame.label is None for frame in test)


def test_road_anomaly_label_folders(tmp_path):
    frames = load_frames("road_anomaly", trees.road_anomaly(tmp_path))
    assert ids(frames) == ["animals01", "rhino.crossing_2", "tractor10"]
    assert frames[1].label[:, 0].tolist() == [0, 1, 0, 1] * 2


def test_fishyscapes_lost_and_found_takes_images_from_the_other_tree(tmp_path):
    frames = load_frames("fishyscapes_lost_and_found", trees.fishyscapes_lost_and_found(tmp_path))
    assert ids(frames) == [f"{i:04d}_{name}" for i, (_, _, name) in enumerate(trees.LAF_FRAMES)]
    assert [frame.group for frame in frames] == [scene for _, scene, _ in trees.LAF_FRAMES]
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image(), pixels(index))
    assert sorted(set(frames[1].label.ravel().tolist())) == [0, 255]


def test_fishyscapes_labels_without_the_images_say_so(tmp_path):
    trees.fishyscapes_lost_and_found(tmp_path)
    (tmp_path / "leftImg8bit").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"3 labels .* not the images they belong to; looked for .*leftImg8bit"):
        load_frames("fishyscapes_lost_and_found", tmp_path)


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_fishyscapes_static_adds_a_signed_overlay_without_wrapping(tmp_path, version):
    frames = load_frames("fishyscapes_static", trees.fishyscapes_static(tmp_path, version))
    assert ids(frames) == ["0000_frankfurt_000000_000294", "0001_munster_000007_000019"]
    assert [frame.group for frame in frames] == ["frankfurt", "munster"]
    assert frames[0].meta["layout"] == version
    for index, frame in enumerate(frames):
        expected = np.clip(pixels(index).astype(float) + trees.static_overlay(index), 0, 255).astype(np.uint8)
        np.testing.assert_array_equal(frame.image(), expected)
        assert {0, 255} == set(expected.ravel().tolist()) & {0, 255}
    assert 1 not in frames[1].label


def test_fishyscapes_static_version_is_chosen_by_layout(tmp_path):
    trees.fishyscapes_static(tmp_path, "v1")
    trees.fishyscapes_static(tmp_path, "v2", shift=5)
    with pytest.raises(DataError, match="holds v1, v2 of fishyscapes_static"):
        load_frames("fishyscapes_static", tmp_path)
    first, second = (load_frames("fishyscapes_static", tmp_path, layout=name)[0] for name in ("v1", "v2"))
    assert not np.array_equal(first.image(), second.image())
    assert frame_fingerprint(first) != frame_fingerprint(second)


def bad_overlay(path, **arrays) -> None:
    with path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"rgb": np.zeros((3, 3, 3), np.int16)}, "has shape"),
        ({"other": np.zeros((8, 12, 3), np.int16)}, "no array 'rgb'"),
        ({"rgb": np.full((8, 12, 3), np.nan)}, "not finite"),
        ({"rgb": np.array([{"a": 1}], dtype=object)}, "overlay"),
        ({"rgb": np.zeros((1000, 1000, 3), np.int16)}, "unpacks to more"),
    ],
)
def test_bad_overlays_are_frame_errors_and_nothing_is_unpickled(tmp_path, arrays, said):
    root = trees.fishyscapes_static(tmp_path)
    bad_overlay(root / "fs_val_v1" / "0000_frankfurt_000000_000294_rgb.npz", **arrays)
    frame = load_frames("fishyscapes_static", root)[0]
    with pytest.raises(FrameError, match=said) as error:
        frame.image()
    assert "\n" not in str(error.value)


def test_a_missing_or_damaged_overlay_is_a_frame_error(tmp_path):
    root = trees.fishyscapes_static(tmp_path)
    overlay = root / "fs_val_v1" / "0000_frankfurt_000000_000294_rgb.npz"
    overlay.write_bytes(overlay.read_bytes()[:100])
    with pytest.raises(FrameError, match="damaged"):
        load_frames("fishyscapes_static", root)[0].image()
    overlay.unlink()
    with pytest.raises(FrameError, match="missing"):
        load_frames("fishyscapes_static", root)[0].image()


def test_camvid_of_segnet(tmp_path):
    root = trees.camvid_segnet(tmp_path)
    frames = load_frames("camvid", root, split="train")
    assert ids(frames) == ["0001TP_006690", "0006R0_f00930"]
    assert [frame.group for frame in frames] == ["0001TP", "0006R0"]
    assert frames[0].classes[:, 0].tolist() == [0, 3, 10, 255] * 2
    assert frames[0].label is None
    assert ids(load_frames("camvid", root)) == ["Seq05VD_f00000"]


def test_idd_lite_as_published(tmp_path):
    root = trees.idd_lite_official(tmp_path / "idd20k_lite").parent
    frames = load_frames("idd_lite", root, split="train")
    assert ids(frames) == ["0_024541", "100_206998"]
    assert [frame.group for frame in frames] == ["0", "100"]
    assert frames[0].classes[:, 0].tolist() == [0, 2, 6, 255] * 2
    hidden = load_frames("idd_lite", root, split="test")
    assert ids(hidden) == ["7_000001"]
    assert hidden[0].classes is None


def test_own_folder(tmp_path):
    frames = load_frames("folder:images=photos;masks=gt;values=0:0,255:1", trees.folder(tmp_path))
    assert ids(frames) == ["a.1", "b", "c"]
    assert frames[0].label[:, 0].tolist() == [0, 1] * 4
    assert frames[2].label is None


def test_own_folder_of_images_only(tmp_path):
    trees.folder(tmp_path)
    frames = load_frames("folder", tmp_path / "photos")
    assert ids(frames) == ["a.1", "b", "c"]
    assert all(frame.label is None for frame in frames)


def test_own_folder_with_other_mask_values_is_refused_frame_by_frame(tmp_path):
    root = trees.folder(tmp_path)
    for path in (root / "gt").iterdir():
        trees.put(path, trees.mask(0, 7))
    frames = load_frames("folder:images=photos;masks=gt", root)
    with pytest.raises(FrameError, match="values 7 outside"):
        _ = frames[0].label
    assert load_frames("folder:images=photos;masks=gt", root, label_values="0:0,7:1")[0].label.max() == 1


@pytest.mark.parametrize("name", ["images", "masks"])
def test_own_folders_that_are_named_must_exist(tmp_path, name):
    trees.folder(tmp_path)
    options = {"images": "photos", "masks": "gt", name: "typo"}
    with pytest.raises(DataError, match="typo"):
        load_frames(f"folder:images={options['images']};masks={options['masks']}", tmp_path)


def test_own_masks_that_pair_with_nothing_are_not_taken_for_unlabelled_images(tmp_path):
    for name in ("a", "b"):
        trees.put(tmp_path / "images" / f"{name}.png", pixels())
        trees.put(tmp_path / "masks" / f"{name}_mask.png", trees.mask(0, 1))
    with pytest.raises(DataError, match="no labels that pair"):
        load_frames("folder", tmp_path)


def test_frames_travel_to_worker_processes(tmp_path):
    frames = load_frames("fishyscapes_static", trees.fishyscapes_static(tmp_path))
    again = pickle.loads(pickle.dumps(frames))
    np.testing.assert_array_equal(again[0].image(), frames[0].image())
    np.testing.assert_array_equal(again[0].label, frames[0].label)


def test_litter_of_archives_is_passed_over(tmp_path):
    root = trees.obstacle_track(tmp_path)
    for name in ("._validation_1.webp", ".DS_Store"):
        trees.put(root / "images" / name, b"litter")
    trees.put(root / "images" / "readme.txt", b"litter")
    trees.put(root / "labels_masks" / "._validation_1_labels_semantic.png", b"litter")
    assert len(load_frames("road_obstacle_21", root)) == 3


def test_fingerprints_follow_the_bytes(tmp_path):
    frame = load_frames("road_anomaly_21", trees.anomaly_track(tmp_path))[0]
    assert frame_fingerprint(frame) == hashlib.sha256(Path(frame.meta["path"]).read_bytes()).hexdigest()[:16]
    made = Frame("a", image=lambda: decode_image(encode(pixels())))
    other = Frame("b", image=lambda: decode_image(encode(pixels(1))))
    assert frame_fingerprint(made) == frame_fingerprint(Frame("z", image=made.image))
    assert frame_fingerprint(made) != frame_fingerprint(other)
    assert len(frame_fingerprint(made)) == 16
