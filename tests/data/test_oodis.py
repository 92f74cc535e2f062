"""OoDIS: 16-bit instance maps become anomaly labels and numbered instances."""

import numpy as np
import pytest
import road_trees
import trees
from trees import encode, mask, pixels, put

from anomseg.data import dataset_spec, instance_map, load_frames, verify
from anomseg.data.decoding import decode_numbers
from anomseg.errors import ConfigError, FrameError
from anomseg.metrics import InstanceAP, predicted_instances


def test_labels_and_instances_of_fishyscapes_frames(tmp_path):
    root = road_trees.oodis(tmp_path)
    frames = load_frames("oodis", root)
    assert [frame.id for frame in frames] == ["02_Hanns_Klemm_Str_44_000005_000120", "04_Maurener_Weg_8_000000_000030"]
    assert [frame.group for frame in frames] == ["02_Hanns_Klemm_Str_44", "04_Maurener_Weg_8"]
    np.testing.assert_array_equal(frames[1].image(), pixels(0))
    label, instances = frames[1].label, instance_map(frames[1])
    assert set(label[0].tolist()) == {255}
    np.testing.assert_array_equal(label == 1, instances > 0)
    np.testing.assert_array_equal(label == 255, instances == -1)
    # Numbered in the order of what is stored: 26001 before 26002.
    assert (instances[5, 5], instances[2, 0]) == (1, 2)
    assert instance_map(frames[0]).max() == 0
    assert verify("oodis", root).of("count") == ("validation: 2 frames instead of 100",)


def test_tracks_have_their_own_splits_and_hidden_frames(tmp_path):
    trees.anomaly_track(tmp_path / "dataset_AnomalyTrack")
    values = np.where(mask(0, 1, 255) == 1, 26001, mask(0, 1, 255).astype(int))
    for index in range(3):
        name = f"validation{index:04d}_instanceIds.png"
        put(tmp_path / "oodis" / "roadanomaly" / name, road_trees.grey16(values))
    frames = load_frames("oodis:part=road_anomaly", tmp_path)
    assert [frame.id for frame in frames] == ["validation0000", "validation0001", "validation0002"]
    np.testing.assert_array_equal(frames[0].label, mask(0, 1, 255))
    hidden = load_frames("oodis:part=road_anomaly", tmp_path, "test")
    assert all(frame.label is None and instance_map(frame) is None for frame in hidden)
    with pytest.raises(ConfigError, match="got road_anomly"):
        dataset_spec("oodis:part=road_anomly")


def test_average_precision_from_map_to_components(tmp_path):
    """A map that is the truth finds every instance; one that joins two of them finds neither."""
    frames = load_frames("oodis", road_trees.oodis(tmp_path))
    exact, joined = InstanceAP(min_region=3), InstanceAP(min_region=3)
    for frame in frames:
        label, truth = frame.label, instance_map(frame)
        ids, sure = predicted_instances((label == 1) * 2.0, 1.0, void=label == 255, min_size=3)
        exact.update(ids, sure, truth, frame.id)
        ids, sure = predicted_instances((truth >= 0) * 2.0, 1.0, void=label == 255, min_size=3)
        joined.update(ids, sure, truth, frame.id)
    assert (exact.compute().ap, exact.compute().instances, exact.compute().predictions) == (1.0, 2, 2)
    assert (joined.compute().ap, joined.compute().predictions) == (0.0, 2)


def test_other_frames_have_no_instances(tmp_path):
    frame = load_frames("road_anomaly_21", trees.anomaly_track(tmp_path))[0]
    with pytest.raises(FrameError, match="no frame of oodis"):
        instance_map(frame)


def test_numbers_of_sixteen_and_of_eight_bits():
    values = np.array([[0, 26001], [255, 65535]])
    np.testing.assert_array_equal(decode_numbers(road_trees.grey16(values)), values)
    np.testing.assert_array_equal(decode_numbers(encode(mask(0, 7))), mask(0, 7))
    with pytest.raises(FrameError, match="stored as RGB colours"):
        decode_numbers(encode(pixels()))
    with pytest.raises(FrameError):
        decode_numbers(road_trees.grey16(values)[:50])
