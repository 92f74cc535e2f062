"""Training heads on encoders that were trained elsewhere, and without classes that are held out for testing."""

import csv
import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_camvid import write_split

from anomseg.data import load_frames
from anomseg.errors import AnomsegError, CompatibilityError, ConfigError, DataError
from anomseg.metrics import SegmentationIoU
from anomseg.segmenters import load_segmenter, make_scene, run_as, save_segmenter
from anomseg.segmenters.erfnet import ERFNet
from anomseg.training import load_recipe, train
from anomseg.training.label_table import TaughtClasses
from anomseg.training.labelled import CropDataset
from anomseg.training.module import SegmentationModule
from anomseg.training.segmentation import SegmentationStage

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory.*"),
    pytest.mark.filterwarnings("error:Found.*eval mode"),
    pytest.mark.filterwarnings("error:The given NumPy array is not writable"),
]
SMALL = {
    "stages.segmenter.module.options": "{size: [48, 64], bottleneck: 16}",
    "stages.segmenter.module.half": "false",
    "stages.segmenter.data.augment.crop": "[32, 48]",
    "stages.segmenter.data.batch_size": "2",
    "stages.segmenter.trainer.steps": "6",
    "stages.segmenter.trainer.validate_every": "2",
    "stages.segmenter.trainer.precision": "32-true",
    "stages.segmenter.trainer.accelerator": "cpu",
}
ENCODER_START = "stages.segmenter.module.encoder_start"
BICYCLIST = 10


@pytest.fixture
def camvid(tmp_path):
    write_split(tmp_path / "camvid", "train", 6, [3, 8, BICYCLIST])
    write_split(tmp_path / "camvid", "val", 3, [3, 8, BICYCLIST])
    return tmp_path / "camvid"


@pytest.fixture
def encoder(tmp_path):
    torch.manual_seed(5)
    path = tmp_path / "cityscapes.safetensors"
    save_file(ERFNet().state_dict(), path)
    return path


@pytest.fixture
def settings(camvid, encoder):
    return {**SMALL, "roots.camvid": str(camvid), ENCODER_START: str(encoder)}


def _meta(out):
    return json.loads((out / "segmenter.json").read_text())["meta"]


def test_a_frozen_encoder_leaves_as_it_came_and_the_head_learns(settings, encoder, tmp_path):
    summary = train("camvid-erfnet-pyramid", tmp_path / "out", {**settings, "stages.segmenter.trainer.steps": "16",
                    "stages.segmenter.trainer.validate_every": "8"}, quiet=True)  # fmt: skip
    given, got = load_file(encoder), load_segmenter(tmp_path / "out")
    for name, tensor in got.encoder.state_dict().items():  # running statistics of batch norms among them
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, given[f"encoder.{name}"]), name
    rows = csv.DictReader((tmp_path / "out" / "stages" / "segmenter" / "log" / "start-1" / "metrics.csv").open())
    losses = [float(row["val_loss"]) for row in rows if row.get("val_loss")]
    assert losses[-1] < losses[0]
    assert summary["encoder"] == {
        "file": "cityscapes.safetensors",
        "sha256": hashlib.sha256(encoder.read_bytes()).hexdigest(),
        "frozen": True,
    }
    assert _meta(tmp_path / "out") == summary


def test_an_encoder_that_is_not_frozen_moves(settings, encoder, tmp_path):
    free = {**settings, "stages.segmenter.module.freeze_encoder": "false"}
    train("camvid-erfnet-pyramid", tmp_path / "out", free, quiet=True)
    given, got = load_file(encoder), load_segmenter(tmp_path / "out").encoder.state_dict()
    moved = [name for name, tensor in got.items() if not torch.equal(tensor, given[f"encoder.{name}"])]
    assert any(name.endswith("conv3x1_1.weight") for name in moved)
    assert any(name.endswith("running_mean") for name in moved)
    assert _meta(tmp_path / "out")["encoder"]["frozen"] is False


def test_no_graph_is_kept_through_a_frozen_encoder(settings, monkeypatch, tmp_path):
    seen = []
    step = SegmentationModule.training_step

    def watching(self, batch, index):
        seen.append((self.segmenter.encoder(batch["image"])["encoder"].requires_grad, self.segmenter.encoder.training,
                     self.segmenter.pooling.training))  # fmt: skip
        return step(self, batch, index)

    monkeypatch.setattr(SegmentationModule, "training_step", watching)
    train("camvid-erfnet-pyramid", tmp_path / "out", settings, quiet=True)
    assert set(seen) == {(False, False, True)}  # after validations, too
    assert len(seen) == 6


def test_a_resumed_frozen_run_ends_where_the_straight_one_ends(settings, monkeypatch, tmp_path):
    train("camvid-erfnet-pyramid", tmp_path / "straight", settings, quiet=True)
    step, calls = SegmentationModule.training_step, []

    def stopping(self, batch, index):
        calls.append(index)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationModule, "training_step", stopping)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train("camvid-erfnet-pyramid", tmp_path / "resumed", settings, quiet=True)
    train("camvid-erfnet-pyramid", tmp_path / "resumed", settings, quiet=True)
    one, other = (load_segmenter(tmp_path / name).state_dict() for name in ("straight", "resumed"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_network_trained_further_trains_as_networks_do(settings, monkeypatch, tmp_path):
    """Saved segmenters load in evaluation mode; without dropout and batch statistics this would be another training."""
    train("camvid-erfnet-pyramid", tmp_path / "first", settings, quiet=True)
    further = {
        **settings,
        "stages.segmenter.module.start": str(tmp_path / "first"),
        ENCODER_START: "null",
        "stages.segmenter.module.freeze_encoder": "false",
    }
    seen, identity = [], load_segmenter(tmp_path / "first").fingerprint()
    step = SegmentationModule.training_step
    monkeypatch.setattr(
        SegmentationModule,
        "training_step",
        lambda self, *a: seen.append(all(m.training for m in self.modules())) or step(self, *a),
    )
    summary = train("camvid-erfnet-pyramid", tmp_path / "second", further, quiet=True)
    assert seen == [True] * 6
    assert summary["start"] == {"name": "first", "sha256": identity, "frozen_encoder": False}


@pytest.mark.parametrize("rule", ["drop", "void"])
def test_held_out_classes_are_neither_taught_nor_shown(settings, camvid, monkeypatch, tmp_path, rule):
    stored, init = [], CropDataset.__init__
    monkeypatch.setattr(CropDataset, "__init__", lambda self, *a, **k: stored.extend(a[0]) or init(self, *a, **k))
    overrides = {**settings, "stages.segmenter.data.held_out_images": rule}
    summary = train("camvid-no-bicyclist", tmp_path / "out", overrides, quiet=True)
    segmenter = load_segmenter(tmp_path / "out")
    assert len(segmenter.classes) == 10
    assert "bicyclist" not in segmenter.classes
    shown = [frame.classes for frame in stored[0].frames]
    assert len(shown) == {"drop": 4, "void": 6}[rule]
    assert not any((classes == BICYCLIST).any() for classes in shown)
    assert summary["data"] == {"camvid/train": len(shown), "camvid/val": 3}
    assert summary["held_out"] == {"classes": ["bicyclist"], "images": rule}
    seen, lookup = SegmentationIoU(10), TaughtClasses("camvid", ["bicyclist"])
    table = lookup.lookup(lookup.space)
    for frame in load_frames("camvid", camvid, "val"):
        seen.update(make_scene([frame.image()], [frame.id], segmenter).prediction()[0], table[frame.classes])
    assert summary["validation"]["val_miou"] == pytest.approx(seen.compute().miou, abs=1e-4)


def test_evaluation_says_what_the_network_was_taught_and_what_its_encoder_may_have_been(settings, camvid, tmp_path):
    from anomseg.evaluation.plan import make_plan
    from anomseg.report.cards import segmenter_line

    plans = {}
    for name in ("camvid-erfnet-pyramid", "camvid-no-bicyclist"):
        train(name, tmp_path / name, settings, quiet=True)
        network = load_segmenter(tmp_path / name)
        plan = make_plan("camvid", camvid, network, ["msp"], split="val", held_out=["bicyclist"])
        plans[name] = " ".join(plan.content["warnings"])
    assert "was taught bicyclist" in plans["camvid-erfnet-pyramid"]
    assert "was taught" not in plans["camvid-no-bicyclist"]
    begun = "began from encoder cityscapes.safetensors, which may have been taught bicyclist"
    assert all(begun in text for text in plans.values())
    assert "encoder from cityscapes.safetensors" in segmenter_line({"segmenter": plan.content["segmenter"]})
    tiled = make_plan(
        "camvid", camvid, run_as(network, tile=(32, 32), overlap=8), ["msp"], split="val", held_out=["bicyclist"]
    )
    assert begun in " ".join(tiled.content["warnings"])
    save_segmenter(network, tmp_path / "copy")
    assert load_segmenter(tmp_path / "copy").identity() == network.identity()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"module.encoder_start": "null"}, ConfigError, r"add --stages.segmenter.module.encoder_start FILE"),
        ({"module.encoder_start": "nothing.pth"}, DataError, "no checkpoint at nothing.pth"),
        ({"module.network": "pyramid", "module.options": "{}"}, ConfigError, "networks on a published encoder"),
        ({"module.start": "net"}, ConfigError, "give start or encoder_start, not both"),
        ({"module.network": "pspnet", "module.options": "{}", "data.batch_size": "1"}, ConfigError, "at least 2"),
        ({"data.held_out": "[cyclist]"}, ConfigError, "did you mean 'bicyclist'"),
        ({"trainer.optimiser": "rmsprop"}, ConfigError, "optimiser"),
    ],
)
def test_wrong_settings_are_one_line_before_anything_starts(settings, change, error, message, tmp_path):
    overrides = {**settings, **{f"stages.segmenter.{key}": value for key, value in change.items()}}
    with pytest.raises(error, match=message) as caught:
        train("camvid-erfnet-pyramid", tmp_path / "out", overrides, quiet=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_another_networks_encoder_is_refused(settings, tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"encoder.weight": torch.zeros(3)}, path)
    with pytest.raises(CompatibilityError, match="is of another network"):
        train("camvid-erfnet-pyramid", tmp_path / "out", {**settings, ENCODER_START: str(path)}, quiet=True)


def test_a_start_of_other_classes_or_kind_is_refused(settings, tmp_path):
    train("camvid-erfnet-pyramid", tmp_path / "eleven", settings, quiet=True)
    further = {**settings, ENCODER_START: "null",
               "stages.segmenter.module.start": str(tmp_path / "eleven")}  # fmt: skip
    with pytest.raises(AnomsegError, match="knows other classes"):
        train("camvid-no-bicyclist", tmp_path / "ten", further, quiet=True)
    other = {"stages.segmenter.module.network": "pspnet", "stages.segmenter.module.options": "{}"}
    with pytest.raises(AnomsegError, match="of the network erfnet_pyramid, not pspnet"):
        train("camvid-erfnet-pyramid", tmp_path / "other", {**further, **other}, quiet=True)


@pytest.mark.parametrize("name", ["camvid-pspnet", "camvid-deeplabv3plus"])
def test_published_recipes_build_their_network_and_train(name, settings, tmp_path):
    plan = load_recipe(name)
    stage = SegmentationStage(plan, plan.stages[0])
    with torch.device("meta"):
        network = stage._segmenter()
    assert len(network.classes) == 11
    assert network.feature_info["bottleneck"].channels == 512
    assert network.feature_info["bottleneck"].stride == 8
    small = "{size: [48, 64], backbone: resnet18, width: 4, bottleneck: 8}"
    overrides = {**settings, "stages.segmenter.module.options": small, ENCODER_START: "null",
                 "stages.segmenter.data.augment.crop": "[45, 61]", "stages.segmenter.data.workers": "0"}  # fmt: skip
    summary = train(name, tmp_path / "out", overrides, quiet=True)
    assert summary["steps"] == 6
    assert load_segmenter(tmp_path / "out").registry_name == network.registry_name
