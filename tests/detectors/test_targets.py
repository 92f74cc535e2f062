"""Class targets at the cells of a feature map: alignment, label spaces, void, padding."""

import numpy as np
import pytest
import torch
from tiny import CLASSES, TinySegmenter, made_frames, made_image
from torch.nn import functional as F

from anomseg.data import label_space
from anomseg.detectors.targets import ClassTargets, cells_inside
from anomseg.errors import CompatibilityError, ConfigError, FrameError
from anomseg.segmenters.base import SegmentationOutput, Segmenter
from anomseg.segmenters.scene import make_scene
from anomseg.types import FeatureInfo, Frame


class Pooled(Segmenter):
    """Its feature at stride 8 is the mean colour of a cell; its logits, at stride 4, are always those of class 1."""

    registry_name = "pooled"

    def __init__(self, size=None):
        super().__init__(CLASSES, size=size, divisor=16)

    @property
    def feature_info(self):
        return {"mean": FeatureInfo(3, 8)}

    def segment(self, batch, features):
        size = (batch.shape[-2], batch.shape[-1])
        logits = torch.zeros(len(batch), len(self.classes), size[0] // 4, size[1] // 4)
        logits[:, 1] = 1.0
        return SegmentationOutput(logits, size, size, {"mean": F.avg_pool2d(batch, 8)})


def coloured(classes: np.ndarray, **meta) -> Frame:
    """An image whose red says its class."""
    image = np.zeros((*classes.shape, 3), np.uint8)
    image[..., 0] = np.minimum(classes.astype(int) * 20, 255)
    return Frame("coloured", lambda: image, classes, meta=meta)


def blocks(shape: tuple[int, int], seed: int = 0, classes: int = 11) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, classes, (3, 4))
    rows, columns = (np.arange(length) * count // length for length, count in zip(shape, coarse.shape, strict=True))
    return coarse[np.ix_(rows, columns)].astype(np.uint8)


@pytest.mark.parametrize("size", [None, (200, 300), (97, 211)])
def test_targets_lie_where_the_features_lie(size):
    """Resized, padded, odd: wherever a cell is of one colour, its target is the class of that colour."""
    segmenter = Pooled(size)
    segmenter.classes = label_space("camvid").names
    frame = coloured(blocks((123, 187)), dataset="camvid")
    scene = make_scene([frame.image()], [frame.id], segmenter, features=("mean",))
    vectors, targets = ClassTargets(segmenter, "dataset").samples(frame, scene, scene.output.features["mean"])
    height, width = scene.input_size
    assert len(vectors) == len(targets) == (height // 8) * (width // 8)
    red = vectors[:, 0] * 255
    pure = (red / 20 - (red / 20).round()).abs() < 0.01
    assert pure.float().mean() > 0.5
    agree = (red[pure] / 20).round().long() == targets[pure]
    assert agree.float().mean() > 0.97  # a mixture of two colours may look like a third


def test_the_class_is_that_of_the_pixel_at_the_centre():
    segmenter = TinySegmenter(classes=label_space("camvid").names)
    labels = np.random.default_rng(0).integers(0, 11, (48, 64)).astype(np.uint8)
    frame = Frame("a", lambda: made_image(0, (48, 64)), labels, meta={"label_space": "camvid"})
    scene = make_scene([frame.image()], [frame.id], segmenter)
    targets = ClassTargets(segmenter)
    assert torch.equal(targets.at(frame, scene, (24, 32)), torch.from_numpy(labels[1::2, 1::2]).long())
    assert torch.equal(targets.at(frame, scene, (48, 64)), torch.from_numpy(labels).long())
    assert targets.used == {"dataset": 2}


def test_cells_that_reach_into_the_padding_are_left_out():
    segmenter = TinySegmenter()
    scene = make_scene([made_image(0, (45, 61))], ["a"], segmenter, features=("stem",))
    assert cells_inside(scene.output, (24, 32)) == (22, 30)
    frame = Frame("a", lambda: made_image(0, (45, 61)))
    vectors, classes = ClassTargets(segmenter).samples(frame, scene, scene.output.features["stem"])
    assert len(vectors) == len(classes) == 22 * 30
    assert torch.equal(vectors[31], scene.output.features["stem"][0, :, 1, 1])
    assert torch.equal(classes.view(22, 30), scene.output.logits[0, :, :22, :30].argmax(0))
    tiny = make_scene([made_image(0, (1, 1))], ["b"], segmenter)
    assert ClassTargets(segmenter).at(frame, tiny, (4, 4)).shape == (1, 1)


def test_label_spaces_are_mapped_and_what_may_be_several_classes_is_void():
    names = label_space("cityscapes").names
    segmenter = TinySegmenter(classes=names)
    labels = np.full((16, 16), 255, np.uint8)
    camvid = label_space("camvid").names
    labels[:4], labels[4:8], labels[8:12] = camvid.index("road"), camvid.index("bicyclist"), camvid.index("tree")
    frame = Frame("a", lambda: made_image(0, (16, 16)), labels, meta={"dataset": "camvid"})
    scene = make_scene([frame.image()], [frame.id], segmenter)
    targets = ClassTargets(segmenter)
    rows = targets.at(frame, scene, (8, 8))[:, 0].tolist()
    assert rows == [names.index("road")] * 2 + [255] * 2 + [names.index("vegetation")] * 2 + [255] * 2
    record = targets.record()
    assert record["labels"] == {"dataset": 1}
    assert "bicyclist -> rider or bicycle" in record["coverage"][0]
    assert len(record["coverage"]) == 1


def test_auto_predicts_where_no_class_maps_and_void_stays_void():
    segmenter = TinySegmenter()
    labels = np.zeros((48, 64), np.uint8)
    labels[:, 32:] = 255
    for meta in ({}, {"dataset": "unknown"}, {"dataset": "camvid"}):
        frame = Frame("a", lambda: made_image(0, (48, 64)), labels, meta=meta)
        network = TinySegmenter(classes=["one", "two", "three"]) if meta.get("dataset") == "camvid" else segmenter
        scene = make_scene([frame.image()], [frame.id], network)
        targets = ClassTargets(network)
        found = targets.at(frame, scene, (24, 32))
        assert (found[:, 16:] == 255).all()
        assert torch.equal(found[:, :16], scene.output.logits[0, :, :, :16].argmax(0))
        assert targets.record() == {"labels": {"predicted": 1}}
        with pytest.raises(CompatibilityError, match="labels=auto"):
            ClassTargets(network, "dataset", "mahalanobis").at(frame, scene, (24, 32))


def test_predictions_are_taken_where_asked_for_though_labels_are_there():
    segmenter = TinySegmenter()
    frame = made_frames(1, classes=True)[0]
    scene = make_scene([frame.image()], [frame.id], segmenter)
    targets = ClassTargets(segmenter, "predicted")
    found = targets.at(frame, scene, (24, 32))
    assert targets.used == {"predicted": 1}
    expected = scene.output.logits[0, :, :22, :30].argmax(0)
    assert torch.equal(found[:21], expected[:21])  # the frame's lowest row of pixels is void


def test_values_that_are_not_finite_and_unknown_options():
    segmenter = TinySegmenter()
    frame = made_frames(1)[0]
    scene = make_scene([frame.image()], [frame.id], segmenter)
    with pytest.raises(FrameError, match="finite"):
        ClassTargets(segmenter).samples(frame, scene, torch.full((1, 2, 4, 4), float("nan")))
    with pytest.raises(ConfigError, match="labels"):
        ClassTargets(segmenter, "guessed")
