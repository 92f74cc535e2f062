"""Known objects cut out of labelled frames."""

import numpy as np
import pytest
from negative_trees import picture
from scipy.ndimage import label

from anomseg.data import dataset_spec, load_frames
from anomseg.data.negatives import PasteConfig, Paster, inlier_regions
from anomseg.errors import ConfigError, DataError
from anomseg.types import Frame

NAMES = ("road", "car", "pedestrian")


def frame(name: str, classes: np.ndarray | None) -> Frame:
    return Frame(name, lambda: picture(0, 40, 60), classes)


def test_components_of_the_wanted_classes_above_the_least_size():
    classes = np.zeros((40, 60), np.uint8)
    classes[2:12, 3:13] = 1
    classes[12:20, 13:25] = 1
    classes[30:36, 50:60] = 1
    classes[30:33, 0:3] = 2
    empty = np.zeros((40, 60), np.uint8)
    (found,) = inlier_regions([frame("a", classes), frame("b", empty), frame("c", None)], NAMES, min_pixels=50)
    assert (found.id, found.source, found.categories) == ("a", "inlier", {"car"})
    # The first two touch by a corner and are one object.
    assert [(one.category, one.box, int(one.mask.sum())) for one in found.regions()] == [
        ("car", (2, 3, 20, 25), 196),
        ("car", (30, 50, 36, 60), 60),
    ]
    everything = inlier_regions([frame("a", classes)], NAMES, ["pedestrian"], min_pixels=9)[0].regions()
    assert [one.box for one in everything] == [(30, 0, 33, 3)]


def test_clear_errors():
    empty = np.zeros((40, 60), np.uint8)
    with pytest.raises(ConfigError, match="did you mean 'car'"):
        inlier_regions([frame("a", empty)], NAMES, ["cars"])
    with pytest.raises(DataError, match="no labelled frame shows car or pedestrian of at least 200"):
        inlier_regions([frame("a", empty)], NAMES)


def test_real_cars_and_pedestrians_can_be_pasted(shared_data):
    frames = load_frames("camvid", shared_data / "camvid", "val", limit=8)
    names = dataset_spec("camvid").label_space.names
    found = inlier_regions(frames, names, limit=4)
    assert 0 < len(found) <= 4
    by_id = {one.id: one for one in frames}
    for negative in found:
        classes = by_id[negative.id].classes
        for region in negative.regions():
            assert region.mask.sum() >= 200
            assert set(classes[region.mask].tolist()) == {names.index(region.category)}
            assert label(region.mask, np.ones((3, 3)))[1] == 1
    pasted = Paster(found, PasteConfig(share=1, shape="mask")).paste(frames[0].image(), np.random.default_rng(0))
    assert pasted.patches[0].category in ("car", "pedestrian")
    assert (pasted.outlier == 1).any()
