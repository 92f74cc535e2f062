"""A mask transformer built from a configuration, scored on a benchmark by every score that applies, end to end."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score

from anomseg.cli.main import run

CLASSES = ("road", "sky", "car", "tree", "negative")
SCORES = ("rba", "eam", "uno", "msp")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A directory that transformers wrote, and its network."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    backbone = SwinConfig(
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    sizes = {"feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32, "dim_feedforward": 16}
    config = Mask2FormerConfig(
        backbone_config=backbone,
        num_queries=9,
        num_attention_heads=2,
        encoder_layers=1,
        decoder_layers=2,
        encoder_feedforward_dim=16,
        id2label=dict(enumerate(CLASSES)),
        **sizes,
    )
    torch.manual_seed(0)
    model = Mask2FormerForUniversalSegmentation(config).eval()
    folder = tmp_path_factory.mktemp("mask2former")
    model.save_pretrained(folder)
    return folder, model


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three frames whose sides are multiples of 32, so that nothing is resized or padded."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for folder in ("images", "labels_masks"):
        (root / folder).mkdir()
    for index in range(3):
        image = rng.integers(60, 140, (64, 96, 3), dtype=np.uint8)
        label = np.zeros((64, 96), np.uint8)
        image[20:40, 10 * index : 10 * index + 30] = rng.integers(0, 255, 3)
        label[20:40, 10 * index : 10 * index + 30] = 1
        label[:4] = 255
        Image.fromarray(image).save(root / "images" / f"{index}.png")
        Image.fromarray(label).save(root / "labels_masks" / f"{index}.png")
    return root


def by_hand(model, root):
    """Scores and labels of all valid pixels, straight from the formulas and the library's own network."""
    scores, labels = {name: [] for name in SCORES}, []
    for index in range(3):
        image = np.asarray(Image.open(root / "images" / f"{index}.png"), np.float64) / 255
        label = np.asarray(Image.open(root / "labels_masks" / f"{index}.png"))
        pixels = torch.tensor((image - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            output = model(pixels)
        masks = torch.nn.functional.interpolate(
            output.masks_queries_logits, (64, 96), mode="bilinear", align_corners=False
        )[0].sigmoid()
        claimed = output.class_queries_logits[0].softmax(-1)  # four classes, the negative, no object
        valid = label != 255
        semantic = torch.einsum("qc,qhw->chw", claimed[:, :4], masks)
        scores["rba"].append(-semantic.tanh().sum(0)[valid])
        scores["eam"].append(1 - torch.einsum("q,qhw->hw", claimed[:, :5].amax(1), masks)[valid])
        scores["msp"].append(1 - (semantic / semantic.sum(0)).amax(0)[valid])
        margin = claimed[:, :4].amax(1) - claimed[:, 4]
        scores["uno"].append(-torch.einsum("q,qhw->hw", margin, masks)[valid])
        labels.append(label[valid])
    return {name: torch.cat(maps).numpy() for name, maps in scores.items()}, np.concatenate(labels)


def test_scores_of_a_mask_transformer_end_to_end(network, data, tmp_path, capsys):
    folder, model = network
    segmenter = f"hf:{folder};negative=negative"
    arguments = ["evaluate", "--benchmark", "road_anomaly_21", "--root", str(data), "--segmenter", segmenter]
    code = run([*arguments, "--detector", ",".join([*SCORES, "not_road"]), "--out", str(tmp_path), "--quiet"])
    assert code == 0, capsys.readouterr()
    expected, labels = by_hand(model, data)
    found = {name: json.loads((tmp_path / name / "metrics.json").read_text()) for name in SCORES}
    for name, scores in expected.items():
        assert found[name]["pixel"]["ap"] == pytest.approx(average_precision_score(labels, scores), abs=1e-4), name
        assert found[name]["detector"]["forward_passes"] == 1
    assert found["msp"]["segmenter"]["classes"] == list(CLASSES[:4])
    assert 0 < found["msp"]["pixel"]["ap"] < 1


def test_a_score_that_the_network_cannot_give_is_refused(network, data, tmp_path, capsys):
    arguments = ["evaluate", "--benchmark", "road_anomaly_21", "--root", str(data), "--out", str(tmp_path / "out")]
    assert run([*arguments, "--segmenter", f"hf:{network[0]}", "--detector", "uno"]) == 2
    assert "negative=CLASS" in capsys.readouterr().err
    assert run([*arguments, "--segmenter", "bundled", "--detector", "rba"]) == 2
    assert "use bundled-mask" in capsys.readouterr().err
