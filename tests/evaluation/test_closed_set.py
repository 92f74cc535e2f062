"""Closed-set figures: alone where there are no anomalies, beside the others where classes are held out."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from small_run import TinySegmenter

from anomseg.data import LabelSpace, label_space
from anomseg.errors import ConfigError, DataError
from anomseg.evaluation import evaluate, merge
from anomseg.evaluation.class_table import ClassTable, class_table
from anomseg.evaluation.segmentation import SegmentationState
from anomseg.types import Frame

NAMES = [f"0001TP_{index:06d}" for index in range(3)] + [f"Seq05VD_f{index:05d}" for index in range(2)]
# Tiny's classes in CamVid's numbers: road 3, building 1, car 8, sky 0.
NUMBERS = np.array([3, 1, 8, 0], np.uint8)


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    root = tmp_path_factory.mktemp("CamVid")
    generator = np.random.default_rng(0)
    for folder in ("images/test", "labels/test"):
        (root / folder).mkdir(parents=True)
    for name in NAMES:
        image = generator.integers(0, 255, (16, 20, 3), dtype=np.uint8)
        label = generator.choice(np.array([0, 1, 3, 8, 9, 255], np.uint8), (16, 20))
        Image.fromarray(image).save(root / "images" / "test" / f"{name}.png")
        Image.fromarray(label).save(root / "labels" / "test" / f"{name}.png")
    return root


def brute_force(root, names):
    """IoU of the classes that the network can name, counted pixel by pixel."""
    from anomseg.segmenters import make_scene

    hits, union = dict.fromkeys(NUMBERS.tolist(), 0), dict.fromkeys(NUMBERS.tolist(), 0)
    for name in names:
        image = np.asarray(Image.open(root / "images" / "test" / f"{name}.png"))
        label = np.asarray(Image.open(root / "labels" / "test" / f"{name}.png"))
        guess = NUMBERS[make_scene([image], [name], TinySegmenter()).prediction()[0].numpy()]
        for target, found in zip(label.ravel().tolist(), guess.ravel().tolist(), strict=True):
            if target in hits:
                hits[target] += target == found
                union[target] += 1
                union[found] += target != found
    return {number: hits[number] / union[number] for number in hits}


def test_segmentation_alone(camvid, tmp_path):
    (card,) = evaluate("camvid", camvid, TinySegmenter(), out=tmp_path / "out")
    assert card["task"] == "segmentation"
    expected = brute_force(camvid, NAMES)
    figures = card["segmentation"]
    assert figures["miou"] == pytest.approx(np.mean(list(expected.values())), abs=1e-12)
    names = label_space("camvid").names
    for number, value in expected.items():
        assert figures["iou"][names[number]] == pytest.approx(value, abs=1e-12)
    assert figures["iou"]["tree"] is None
    assert "nothing maps to" in figures["coverage"]
    for group, members in (("0001TP", NAMES[:3]), ("Seq05VD", NAMES[3:])):
        assert figures["by_group"][group]["frames"] == len(members)
        expected = np.mean(list(brute_force(camvid, members).values()))
        assert figures["by_group"][group]["miou"] == pytest.approx(expected, abs=1e-12)
    assert (tmp_path / "out" / "segmentation" / "metrics.json").is_file()


def test_shards_of_closed_set_figures(camvid, tmp_path):
    (whole,) = evaluate("camvid", camvid, TinySegmenter())
    folders = [tmp_path / str(index) for index in range(2)]
    for index, folder in enumerate(folders):
        evaluate("camvid", camvid, TinySegmenter(), out=folder, shard=(index, 2))
    (merged,) = merge(folders, tmp_path / "merged")
    assert {**merged, "shards": 1} == whole
    with pytest.raises(DataError, match="2 of 5 frames are in no shard"):
        merge(folders[:1], tmp_path / "half")


def test_held_out_class_is_the_anomaly_and_closed_set_stands_beside(camvid, tmp_path):
    network = TinySegmenter()
    (card,) = evaluate("camvid", camvid, network, ["msp"], tmp_path / "out", held_out=["pedestrian"])
    assert card["task"] == "anomaly"
    assert card["component"] is None
    assert network.calls == len(NAMES)
    labels = [np.asarray(Image.open(camvid / "labels" / "test" / f"{name}.png")) for name in NAMES]
    assert card["pixels"]["anomaly"] == sum(int((label == 9).sum()) for label in labels)
    assert card["pixels"]["void"] == sum(int((label == 255).sum()) for label in labels)
    assert card["segmentation"]["frames"] == len(NAMES)
    assert card["held_out"] == ["pedestrian"]


def test_classes_without_network_or_anomaly(camvid):
    with pytest.raises(ConfigError, match="--held-out"):
        evaluate("camvid", camvid, None, ["chance"])


def test_every_frame_broken(camvid, tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder / "test").mkdir(parents=True)
        for path in (camvid / folder / "test").iterdir():
            (tmp_path / folder / "test" / path.name).write_bytes(
                path.read_bytes()[: 60 if folder == "images" else None]
            )
    with pytest.raises(DataError, match="none of 5 frames could be evaluated"):
        evaluate("camvid", tmp_path, TinySegmenter())


def test_set_valued_classes_count_where_they_may_be_meant():
    network = LabelSpace("net", ("building", "animal"))
    table = ClassTable(network, label_space("idd_lite"))
    roadside, far = (label_space("idd_lite").names.index(name) for name in ("roadside objects", "far objects"))
    lookup = table.lookup()
    assert lookup[0, roadside] == roadside
    assert lookup[0, far] == far
    assert set(lookup[1].tolist()) == {len(label_space("idd_lite"))}


def test_networks_of_other_worlds_are_not_compared():
    assert class_table(("liver", "kidney"), "ct", label_space("camvid")) is None


def test_prediction_without_counterpart_is_wrong_and_unreachable_classes_are_void():
    table = class_table(("road", "helicopter"), "net", label_space("camvid"))
    state = SegmentationState(table)
    classes = np.array([[3, 3, 3, 5, 255]], np.uint8)
    state.update(Frame("a", lambda: None), np.array([[0, 0, 1, 0, 0]], np.uint8), classes)
    card = state.card()
    assert card["iou"]["road"] == pytest.approx(2 / 3)
    assert card["miou"] == pytest.approx(2 / 3)
    assert card["iou"]["tree"] is None
    assert card["by_group"] == {}
