"""Labelled frames as a stream of crops: memory, other data sets than CamVid."""

import pickle

import numpy as np
import pytest
import torch
from tiny_camvid import write_split

from anomseg.data import load_frames
from anomseg.errors import ConfigError
from anomseg.training.augment import AugmentConfig
from anomseg.training.label_table import LabelTable, TaughtClasses
from anomseg.training.labelled import CropDataset, FrameStore, SourceConfig, load_source
from anomseg.training.labelled_data import LabelledData
from anomseg.training.recipe import Recipe, StageConfig


@pytest.fixture
def frames(tmp_path):
    write_split(tmp_path, "train", 4, [3, 8])
    return load_frames("camvid", tmp_path, "train")


def test_decoded_frames_are_kept_within_the_granted_memory(frames):
    one = 48 * 64 * 4
    store = FrameStore(frames, 2 * one)
    first = [store[index] for index in range(4)]
    again = [store[index] for index in range(4)]
    kept = [a[0] is b[0] for a, b in zip(first, again, strict=True)]
    assert kept == [True, True, False, False]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])
    assert FrameStore(frames, 0)[1][0].shape == (48, 64, 3)


def test_copies_for_other_processes_hold_no_pixels(frames):
    store = FrameStore(frames)
    empty = len(pickle.dumps(store))
    for index in range(4):
        _ = store[index]
    assert len(pickle.dumps(store)) == empty
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(store))[3][0], store[3][0])


def test_memory_does_not_change_the_stream(frames):
    taught = TaughtClasses("camvid")
    table = LabelTable(taught, [taught.space], [1.0])
    config = AugmentConfig(crop=(16, 24))
    streams = [CropDataset([FrameStore(frames, memory)], [1.0], table, config, 5) for memory in (0, 1e9)]
    for number in range(6):
        poor, rich = (stream[number] for stream in streams)
        assert all(torch.equal(poor[key], rich[key]) for key in poor)


def _data(benchmark: str, **more) -> LabelledData:
    values = {
        "sources": [{"benchmark": benchmark, "split": "train"}],
        "validation": {"benchmark": benchmark, "split": "val"},
        **more,
    }
    return LabelledData(Recipe("r", 0, {}, ()), StageConfig("net", "segmentation", {}, values, {}))


def test_label_spaces_are_those_of_the_data_sets():
    bdd = _data("bdd_anomaly", space="cityscapes", held_out=["train", "motorcycle"])
    assert len(bdd.taught.names) == 17
    assert bdd.exact_source() == 0
    assert not {"train", "motorcycle"} & set(bdd.taught.names)
    hazards = _data("street_hazards", space="street_hazards")
    assert len(hazards.taught.names) == 13
    # The protocol of twelve classes: one held out, its pixels void.
    assert len(_data("street_hazards", space="street_hazards", held_out=["other"]).taught.names) == 12
    with pytest.raises(ConfigError, match="road_anomaly has anomaly labels but no classes"):
        _data("road_anomaly")


def test_options_of_a_data_set_do_not_change_the_name_of_its_folder(tmp_path):
    write_split(tmp_path, "train", 2, [3])
    with pytest.raises(ConfigError, match=r"add --roots\.bdd_anomaly DIR"):
        load_source(SourceConfig("bdd_anomaly:other=inlier"), {}, None)
    assert len(load_source(SourceConfig("camvid"), {"camvid": str(tmp_path)}, None)) == 2
