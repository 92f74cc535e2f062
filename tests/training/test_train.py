"""The training floor end to end on a tiny network and tiny pictures."""

import csv
import json

import numpy as np
import pytest
import torch
from tiny_camvid import write_split

from anomseg.data import load_frames
from anomseg.errors import AnomsegError, ConfigError
from anomseg.metrics import SegmentationIoU
from anomseg.segmenters import load_segmenter, make_scene
from anomseg.training import load_recipe, train
from anomseg.training.module import SegmentationModule

RECIPE = """
recipe: tiny
seed: 3
roots: {{camvid: "{camvid}", idd_lite: "{idd}"}}
stages:
  - name: net
    stage: segmentation
    module: {{network: pyramid, options: {{size: [48, 64], widths: [8, 12, 16, 24], bottleneck: 16}}, half: false}}
    data:
      space: camvid
      sources: [{{benchmark: camvid, split: train, share: 3}}, {{benchmark: idd_lite, split: train, share: 1}}]
      validation: {{benchmark: camvid, split: val}}
      batch_size: 2
      augment: {{crop: [32, 48]}}
    trainer: {{steps: 12, validate_every: 4, learning_rate: 0.01, precision: "32-true", accelerator: cpu}}
"""


pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
]


@pytest.fixture
def recipe(tmp_path):
    write_split(tmp_path / "camvid", "train", 4, [3, 8])
    write_split(tmp_path / "camvid", "val", 2, [3, 8])
    write_split(tmp_path / "idd", "train", 3, [0, 3])
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE.format(camvid=tmp_path / "camvid", idd=tmp_path / "idd"))
    return path


def _weights(directory):
    return load_segmenter(directory).state_dict()


def test_trains_logs_and_gives_a_segmenter(recipe, tmp_path):
    out = tmp_path / "out"
    summary = train(recipe, out, {"stages.net.trainer.steps": "40"}, quiet=True)
    assert summary["steps"] == 40
    assert summary["images_seen"] == 80
    rows = list(csv.DictReader((out / "stages" / "net" / "log" / "start-1" / "metrics.csv").open()))
    losses = [float(row["val_loss"]) for row in rows if row.get("val_loss")]
    assert losses[-1] < losses[0]
    segmenter = load_segmenter(out)
    assert segmenter.classes[3] == "road"
    road = np.full((48, 64, 3), 70, np.uint8)
    assert make_scene([road], ["x"], segmenter).prediction().shape == (1, 48, 64)
    assert json.loads((out / "segmenter.json").read_text())["meta"]["images_seen"] == 80


def test_a_finished_stage_is_skipped_and_another_configuration_refused(recipe, tmp_path):
    out = tmp_path / "out"
    first = train(recipe, out, quiet=True)
    stamp = (out / "model.safetensors").stat().st_mtime_ns
    assert train(recipe, out, quiet=True) == first
    assert (out / "model.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(ConfigError, match="another configuration"):
        train(recipe, out, {"seed": "4"}, quiet=True)


def test_a_resumed_run_ends_where_the_straight_one_ends(recipe, tmp_path, monkeypatch):
    train(recipe, tmp_path / "straight", quiet=True)
    calls = []
    step = SegmentationModule.training_step

    def stopping(self, batch, index):
        calls.append(index)
        if len(calls) == 7:  # the second of three epochs
            raise KeyboardInterrupt
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationModule, "training_step", stopping)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(recipe, tmp_path / "resumed", quiet=True)
    assert not (tmp_path / "resumed" / "model.safetensors").exists()
    redone = []
    with monkeypatch.context() as patch:
        patch.setattr(SegmentationModule, "training_step", lambda *a: redone.append(1) or step(*a))
        summary = train(recipe, tmp_path / "resumed", quiet=True)
    assert len(redone) == 8  # the first epoch was not trained again
    logs = tmp_path / "resumed" / "stages" / "net" / "log"
    assert all((logs / name / "metrics.csv").stat().st_size for name in ("start-1", "start-2"))
    assert summary["steps"] == 12
    straight, resumed = _weights(tmp_path / "straight"), _weights(tmp_path / "resumed")
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_a_stage_that_broke_off_goes_on_with_lower_settings_and_no_others(recipe, tmp_path, monkeypatch):
    out = tmp_path / "out"
    step = SegmentationModule.loss_of
    calls = []

    def failing(self, batch):
        calls.append(self.global_step)
        return step(self, batch) * (float("nan") if self.global_step == 6 else 1)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationModule, "loss_of", failing)
        with pytest.raises(
            AnomsegError, match=r"lower --stages\.net\.trainer\.learning_rate .* from the last checkpoint"
        ):
            train(recipe, out, quiet=True)
    for key, value in (("seed", "4"), ("stages.net.trainer.steps", "24"), ("stages.net.data.augment.flip", "0")):
        with pytest.raises(ConfigError, match="another configuration"):
            train(recipe, out, {key: value}, quiet=True)
    lower = {
        "stages.net.trainer.learning_rate": "0.001", "stages.net.trainer.clip": "1",
        "stages.net.data.batch_size": "1", "stages.net.data.augment.crop": "[32, 32]",
    }  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(SegmentationModule, "loss_of", lambda *a: calls.append("again") or step(*a))
        summary = train(recipe, out, lower, quiet=True)
    assert calls == [*range(7), *["again"] * 8]
    assert summary["images_seen"] == 4 * 2 + 8 * 1
    assert [settings["learning_rate"] for _, settings in summary["settings"]] == [0.01, 0.001]
    # Once it is finished, another rate is another training.
    with pytest.raises(ConfigError, match="another configuration"):
        train(recipe, out, quiet=True)
    assert train(recipe, out, lower, quiet=True) == json.loads(json.dumps(summary))


def test_whole_images_that_do_not_fit_are_taken_smaller_as_the_message_says(recipe, tmp_path, monkeypatch):
    def full(self, batch, index):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationModule, "validation_step", full)
        with pytest.raises(AnomsegError, match=r"with a lower --stages\.net\.module\.options\.size"):
            train(recipe, tmp_path / "out", quiet=True)
    lower = {"stages.net.module.options.size": "[32, 48]", "stages.net.trainer.steps": "12"}
    train(recipe, tmp_path / "out", lower, quiet=True)
    assert load_segmenter(tmp_path / "out").size == (32, 48)


@pytest.mark.slow
def test_two_devices_train_a_network_and_write_it_once(recipe, tmp_path):
    two = {"stages.net.trainer.devices": "2", "stages.net.data.batch_size": "4"}
    summary = train(recipe, tmp_path / "out", two, quiet=True)
    assert (summary["steps"], summary["images_seen"]) == (12, 48)
    segmenter, seen = load_segmenter(tmp_path / "out"), SegmentationIoU(11)
    for frame in load_frames("camvid", tmp_path / "camvid", "val"):
        seen.update(make_scene([frame.image()], [frame.id], segmenter).prediction()[0], frame.classes)
    assert summary["validation"]["val_miou"] == pytest.approx(seen.compute().miou, abs=1e-4)
    assert summary["validation"]["val_loss"] < summary["validation_start"]["val_loss"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "model.safetensors", "segmenter.json", "stages",
    ]  # fmt: skip


def test_stages_take_only_what_came_before(recipe):
    text = recipe.read_text() + "    takes: [later]\n"
    recipe.write_text(text)
    with pytest.raises(ConfigError, match="no earlier stage gives"):
        load_recipe(recipe)


def test_validation_figures_are_those_of_the_network_as_it_is_used(recipe, tmp_path):
    size = {"stages.net.module.options.size": "[40, 64]", "stages.net.trainer.steps": "40"}  # padded to 48 rows
    summary = train(recipe, tmp_path / "out", size, quiet=True)
    segmenter, seen = load_segmenter(tmp_path / "out"), SegmentationIoU(11)
    for frame in load_frames("camvid", tmp_path / "camvid", "val"):
        seen.update(make_scene([frame.image()], [frame.id], segmenter).prediction()[0], frame.classes)
    assert summary["validation"]["val_miou"] == pytest.approx(seen.compute().miou, abs=1e-4)
