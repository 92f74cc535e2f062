"""Networks of transformers in the stage that trains any segmenter: from a configuration, without weights."""

import csv
import json

import numpy as np
import pytest
import torch
from tiny_camvid import write_split

from anomseg.data import load_frames
from anomseg.metrics import SegmentationIoU
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import load_segmenter, make_scene
from anomseg.training import load_recipe, train

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory.*"),
]
BICYCLIST = 10
RECIPES = ("camvid-small-transformer", "camvid-small-convolution")
ARCHITECTURE = "stages.segmenter.module.options.architecture"
SMALL = {
    "stages.segmenter.module.options.size": "[48, 64]",
    f"{ARCHITECTURE}.depths": "[1, 1, 1, 1]",
    f"{ARCHITECTURE}.hidden_sizes": "[8, 16, 16, 32]",
    f"{ARCHITECTURE}.num_attention_heads": "[1, 2, 2, 4]",
    f"{ARCHITECTURE}.decoder_hidden_size": "16",
    "stages.segmenter.module.half": "false",
    "stages.segmenter.data.augment.crop": "[32, 64]",
    "stages.segmenter.data.batch_size": "2",
    "stages.segmenter.trainer.steps": "30",
    "stages.segmenter.trainer.validate_every": "10",
    "stages.segmenter.trainer.learning_rate": "0.005",
    "stages.segmenter.trainer.precision": "32-true",
    "stages.segmenter.trainer.accelerator": "cpu",
}


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    root = tmp_path_factory.mktemp("camvid")
    write_split(root, "train", 6, [3, 8, BICYCLIST])
    write_split(root, "val", 2, [3, BICYCLIST])
    return root


@pytest.fixture(scope="module")
def trained(camvid, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    return out, train("camvid-small-transformer", out, {**SMALL, "roots.camvid": str(camvid)}, quiet=True)


def test_the_loss_falls_and_what_is_saved_scores_as_validation_said(trained, camvid):
    out, summary = trained
    rows = list(csv.DictReader((out / "stages" / "segmenter" / "log" / "start-1" / "metrics.csv").open()))
    losses = [float(row["val_loss"]) for row in rows if row.get("val_loss")]
    assert losses[-1] < 0.9 * losses[0]
    segmenter, seen = load_segmenter(out), SegmentationIoU(11)
    for frame in load_frames("camvid", camvid, "val"):
        seen.update(make_scene([frame.image()], [frame.id], segmenter).prediction()[0], frame.classes)
    assert summary["validation"]["val_miou"] == pytest.approx(seen.compute().miou, abs=1e-4)


def test_a_trained_network_is_not_said_to_be_random(trained):
    out, _ = trained
    assert json.loads((out / "segmenter.json").read_text())["options"]["random_weights"] is False
    loaded = load_segmenter(out)
    assert loaded.identity()["random_weights"] is False
    assert loaded.classes[BICYCLIST] == "bicyclist"


def test_the_insides_of_its_blocks_lie_on_the_grid_that_the_recipe_says(trained):
    segmenter = load_segmenter(trained[0])
    names = [f"stage{stage}.block0.{part}" for stage in (3, 4) for part in ("query", "key", "value", "output")]
    assert {segmenter.feature_info[name].stride for name in names} == {16}
    scene = make_scene([np.full((48, 64, 3), 70, np.uint8)], ["x"], segmenter, features=tuple(names))
    shapes = {name: tuple(scene.output.features[name].shape) for name in names}
    assert set(shapes.values()) == {(1, 16, 4, 4), (1, 32, 4, 4)}  # 48 rows are padded to 64


def test_without_bicyclists_it_has_a_class_less_and_sees_fewer_images(camvid, tmp_path):
    given = {
        **SMALL,
        "roots.camvid": str(camvid),
        "stages.segmenter.data.held_out": "[bicyclist]",
        "stages.segmenter.trainer.steps": "1",
        "stages.segmenter.trainer.validate_every": "1",
    }
    summary = train("camvid-small-transformer", tmp_path, given, quiet=True)
    assert summary["data"] == {"camvid/train": 4, "camvid/val": 2}
    assert summary["held_out"] == {"classes": ["bicyclist"], "images": "drop"}
    assert "bicyclist" not in load_segmenter(tmp_path).classes


def test_the_two_recipes_differ_in_the_network_alone_and_it_has_as_many_parameters():
    plans = [load_recipe(name).stages[0] for name in RECIPES]
    assert plans[0].data == plans[1].data
    assert plans[0].trainer == plans[1].trainer
    assert load_recipe(RECIPES[0]).seed == load_recipe(RECIPES[1]).seed
    ours = ("network", "options")
    modules = [{key: value for key, value in plan.module.items() if key not in ours} for plan in plans]
    assert modules[0] == modules[1]
    assert modules[0]["auxiliary"] == 0  # SegFormer has no second classifier, so neither trains one
    counts = []
    for plan in plans:
        options = dict(plan.module["options"])
        segmenter = SEGMENTERS.create(plan.module["network"], classes=[str(n) for n in range(11)], **options)
        counts.append(sum(parameter.numel() for parameter in segmenter.parameters()))
    assert abs(counts[0] / counts[1] - 1) < 0.2
    assert 2e6 < min(counts) < max(counts) < 4e6


def test_a_configuration_that_says_nothing_of_labels_gets_the_classes():
    tiny = {
        "model_type": "segformer", "depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 8, 8],
        "num_attention_heads": [1, 1, 1, 1], "decoder_hidden_size": 8,
    }  # fmt: skip
    built = SEGMENTERS.create("hf", classes="camvid", architecture=tiny, random_weights=True)
    assert len(built.classes) == 11
    assert built(torch.zeros(1, 3, 64, 64)).logits.shape[1] == 11
    with pytest.raises(Exception, match="11 classes, and 2 names"):
        SEGMENTERS.create("hf", classes=["a", "b"], architecture={**tiny, "num_labels": 11}, random_weights=True)
