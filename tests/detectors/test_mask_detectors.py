"""Detectors on queries and on outlier heads: upsampling, negative class, what they ask for."""

import pytest
import torch
from tiny import CLASSES, IdentitySegmenter, TinySegmenter, scene_of
from torch.nn import functional as F

from anomseg import scores
from anomseg.detectors import anomaly_maps, create_detector, mask_scores
from anomseg.errors import CompatibilityError
from anomseg.segmenters.base import SegmentationOutput
from anomseg.segmenters.scene import Scene

NAMES = ("rba", "eam", "uno")


class WithoutNegative(TinySegmenter):
    provides = TinySegmenter.provides - {"negative"}

    def segment(self, batch, features):
        output = super().segment(batch, features)
        return SegmentationOutput(**{**vars(output), "negative_class_logits": None})


def all_columns(output: SegmentationOutput) -> torch.Tensor:
    return torch.cat([output.class_logits[..., :-1], output.negative_class_logits, output.class_logits[..., -1:]], 2)


def expected(name: str, columns: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    if name == "rba":  # the negative class is in the softmax but is none of the known ones
        return -scores.mask_semantic(columns, masks)[:, : len(CLASSES)].tanh().sum(1)
    return {"eam": scores.eam, "uno": scores.uno}[name](columns, masks)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("piece", [2**23, 2 * 45 * 61])
def test_masks_are_upsampled_before_the_sigmoid(name, piece, monkeypatch):
    """Queries come in groups of two, the last of one, or all at once."""
    monkeypatch.setattr(mask_scores, "PIECE", piece)
    scene = scene_of(TinySegmenter(), [(45, 61), (45, 61)])
    masks = F.interpolate(scene.output.mask_logits, (48, 64), mode="bilinear", align_corners=False)[..., :45, :61]
    truth = expected(name, all_columns(scene.output), masks)
    torch.testing.assert_close(torch.stack(anomaly_maps(create_detector(name), scene)), truth, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_or_the_score_is_upsampled(name):
    scene = scene_of(TinySegmenter())
    small = expected(name, all_columns(scene.output), scene.output.mask_logits)
    found = anomaly_maps(create_detector(name, upsample="score"), scene)[0]
    torch.testing.assert_close(found, scene.resize(small[:, None])[0, 0])
    assert not torch.allclose(found, anomaly_maps(create_detector(name), scene)[0], atol=1e-3)


def test_networks_without_a_negative_class():
    scene = scene_of(WithoutNegative())
    masks = scene.resize(scene.output.mask_logits)
    for name, score in (("rba", scores.rba), ("eam", scores.eam)):
        found = anomaly_maps(create_detector(name), scene)[0]
        torch.testing.assert_close(found, score(scene.output.class_logits, masks)[0], atol=1e-5, rtol=1e-5)
    with pytest.raises(CompatibilityError, match="negative=CLASS"):
        create_detector("uno").needs(scene.segmenter)
    with pytest.raises(CompatibilityError, match="negative class"):
        create_detector("uno").score(scene)


@pytest.mark.parametrize("name", NAMES)
def test_higher_is_more_anomalous(name):
    """Each query is of one class; nobody claims the right half."""
    images = torch.full((1, len(CLASSES), 8, 16), -6.0)
    images[:, 1, :, :8] = 6.0
    scene = Scene(images, ["a"], [(8, 16)], IdentitySegmenter(CLASSES))
    score = anomaly_maps(create_detector(name), scene)[0]
    assert score[:, :8].max() + 0.5 < score[:, 8:].min()


@pytest.mark.parametrize("name", NAMES)
def test_no_map_of_all_queries_at_the_images_size_is_made(name, monkeypatch):
    monkeypatch.setattr(mask_scores, "PIECE", 1)
    scene = scene_of(TinySegmenter())
    resized = []
    plain = scene.resize
    monkeypatch.setattr(scene, "resize", lambda maps: resized.append(maps.shape[1]) or plain(maps))
    create_detector(name).score(scene)
    assert resized == [1] * 7


class PixelNetwork(TinySegmenter):
    provides = frozenset({"logits", "gradient"})


@pytest.mark.parametrize("name", [*NAMES, "dense_hybrid"])
def test_other_networks_are_refused_before_any_work(name):
    with pytest.raises(
        CompatibilityError, match="outlier head|inlier/outlier" if name == "dense_hybrid" else "Mask2Former"
    ):
        create_detector(name).needs(PixelNetwork())


def test_dense_hybrid():
    scene = scene_of(TinySegmenter())
    pair = scene.resize(scene.output.outlier_logits)
    found = anomaly_maps(create_detector("dense_hybrid"), scene)[0]
    torch.testing.assert_close(found, scores.dense_hybrid(scene.logits(), pair)[0])
    head = create_detector("dense_hybrid", head_only=True)
    torch.testing.assert_close(anomaly_maps(head, scene)[0], scores.outlier_head(pair)[0])
    assert head.bounded
    assert not create_detector("dense_hybrid").bounded
    assert head.needs(scene.segmenter).capabilities() == ("outlier_head",)
    small = create_detector("dense_hybrid", head_only=True, upsample="score")
    truth = scene.resize(scores.outlier_head(scene.output.outlier_logits)[:, None])[0, 0]
    torch.testing.assert_close(anomaly_maps(small, scene)[0], truth)


def test_dense_hybrid_with_a_head_of_another_resolution():
    scene = scene_of(TinySegmenter())
    coarse = F.avg_pool2d(scene.output.outlier_logits, 2)
    output = SegmentationOutput(**{**vars(scene.output), "outlier_logits": coarse})
    other = Scene(scene.images, ["a"], scene.image_sizes, scene.segmenter, input_size=scene.input_size, output=output)
    for upsample in ("logits", "score"):
        score = anomaly_maps(create_detector("dense_hybrid", upsample=upsample), other)[0]
        assert score.shape == (45, 61)
        assert score.isfinite().all()
