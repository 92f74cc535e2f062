"""Heads trained on features that were computed once."""

import json

import pytest
import torch
from tiny_camvid import write_split
from torch.utils.data import DataLoader

from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.segmenters import load_segmenter, save_segmenter
from anomseg.segmenters.erfnet_pyramid import ERFNetPyramid
from anomseg.segmenters.pspnet import PSPNet
from anomseg.training import load_recipe, train
from anomseg.training.data_of_stage import StageData
from anomseg.training.feature_cache import CachedCrops, FeatureCache
from anomseg.training.samplers import StreamSampler

RECIPE = """
recipe: tiny-cached
seed: 3
roots: {{camvid: "{root}"}}
stages:
  - name: features
    stage: features
    module:
      network: erfnet_pyramid
      options: {{size: [48, 64], bottleneck: 8}}
      encoder_start: {encoder}
      layers: [stage2, encoder]
      crops: 6
    data:
      space: camvid
      sources: [{{benchmark: camvid, split: train}}]
      validation: {{benchmark: camvid, split: val}}
      augment: {{crop: [32, 48]}}
  - name: head
    stage: segmentation
    takes: [features]
    module: {{network: erfnet_pyramid, options: {{size: [48, 64], bottleneck: 8, classifier: cosine}}, half: false}}
    data: {{batch_size: 2}}
    trainer: {{steps: 12, validate_every: 4, learning_rate: 0.01, precision: "32-true", accelerator: cpu}}
"""

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
]


@pytest.fixture
def recipe(tmp_path):
    write_split(tmp_path / "camvid", "train", 4, [3, 8])
    write_split(tmp_path / "camvid", "val", 2, [3, 8], size=(40, 64))
    torch.manual_seed(0)
    save_segmenter(ERFNetPyramid(["a"], bottleneck=8), tmp_path / "donor")
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE.format(root=tmp_path / "camvid", encoder=tmp_path / "donor" / "model.safetensors"))
    return path


def _stage(out, name):
    return json.loads((out / "stages" / name / "stage.json").read_text())


def test_a_head_learns_from_features_and_the_encoder_stays(recipe, tmp_path):
    out = tmp_path / "out"
    summary = train(recipe, out, {"stages.head.trainer.steps": "40"}, quiet=True)
    assert summary["validation"]["val_loss"] < summary["validation_start"]["val_loss"]
    assert summary["images_seen"] == 80
    assert summary["data"] == {"camvid/train": 4, "camvid/val": 2}
    assert summary["encoder"]["file"] == "model.safetensors"
    trained, donor = load_segmenter(out), load_segmenter(tmp_path / "donor")
    for name, value in donor.encoder.state_dict().items():
        assert torch.equal(value, trained.encoder.state_dict()[name])
    assert "prototypes" in trained.provides
    assert trained.classes[3] == "road"


def test_cached_features_are_the_networks_own(recipe, tmp_path):
    out = tmp_path / "out"
    train(recipe, out, {"stages.head.trainer.steps": "0", "stages.features.module.images": "true"}, quiet=True)
    plan = load_recipe(recipe, {"stages.head.trainer.steps": "0"})
    data = StageData(plan, plan.stages[1]).bind({"features": out / "stages/features/result"})
    host, live = data.host(), data.labelled.crops()
    order = [torch.equal(live[i]["rows"], data.crops()[0]["rows"]) for i in range(6)]
    assert any(order)
    sample = data.crops()[0]
    with torch.inference_mode():
        maps = host.encoder_maps(live[order.index(True)]["image"][None])
    for name in ("stage2", "encoder"):
        torch.testing.assert_close(sample[f"features.{name}"].float(), maps[name][0], rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(sample["image"], live[order.index(True)]["image"])
    whole = data.validation(host)
    assert len(whole) == 2
    assert whole[0]["classes"].shape == (40, 64)  # as the frame is; rows are as the network sees it
    assert whole[0]["rows"].shape == (48, 64)


def test_no_steps_leave_the_network_as_it_starts(recipe, tmp_path):
    summary = train(recipe, tmp_path / "out", {"stages.head.trainer.steps": "0"}, quiet=True)
    assert summary["steps"] == summary["images_seen"] == 0
    assert summary["validation"] == summary["validation_start"]
    again = train(recipe, tmp_path / "again", {"stages.head.trainer.steps": "0"}, quiet=True)
    assert again["validation"] == summary["validation"]


def test_a_resumed_head_ends_where_the_straight_one_ends(recipe, tmp_path):
    train(recipe, tmp_path / "straight", quiet=True)
    from anomseg.training.module import SegmentationModule

    class Stopped(Exception):
        pass

    seed = SegmentationModule.on_train_batch_start

    def stop(self, batch, index):
        if self.global_step == 6:
            raise Stopped
        seed(self, batch, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SegmentationModule, "on_train_batch_start", stop)
        with pytest.raises(Stopped):
            train(recipe, tmp_path / "broken", quiet=True)
    train(recipe, tmp_path / "broken", quiet=True)
    one, other = (load_segmenter(tmp_path / name).state_dict() for name in ("straight", "broken"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_shared_cache_is_filled_once_and_only_shared_by_what_agrees(recipe, tmp_path):
    shared = {"stages.features.module.cache": str(tmp_path / "shared"), "stages.features.data.seed": "0"}
    train(recipe, tmp_path / "a", {**shared, "seed": "1"}, quiet=True)
    train(recipe, tmp_path / "b", {**shared, "seed": "2"}, quiet=True)
    assert _stage(tmp_path / "a", "features")["summary"]["images_seen"] == 8  # six crops and two images
    assert _stage(tmp_path / "b", "features")["summary"]["images_seen"] == 0
    assert len(list((tmp_path / "shared").iterdir())) == 1
    for key, value in (
        ("data.held_out", "[car]"),
        ("data.augment.flip", "0"),
        ("module.layers", "[stage1, stage2, encoder]"),
    ):
        out = tmp_path / key
        train(recipe, out, {**shared, f"stages.features.{key}": value}, quiet=True)
        assert _stage(out, "features")["summary"]["images_seen"] > 0


def test_heads_trained_apart_share_their_encoders_features(recipe, tmp_path):
    """A host's bottleneck is made of the encoder's maps when it is asked for, so only those are kept."""
    shared = {"stages.features.module.cache": str(tmp_path / "shared"), "stages.features.data.seed": "0"}
    train(recipe, tmp_path / "a", {**shared, "stages.head.trainer.steps": "0"}, quiet=True)
    torch.manual_seed(1)
    other = load_segmenter(tmp_path / "a/stages/features/result/network")
    other.pooling.fuse[0].weight.data.normal_()
    save_segmenter(other, tmp_path / "host")
    host = {
        "stages.features.module.encoder_start": "null",
        "stages.features.module.start": str(tmp_path / "host"),
        "stages.features.module.layers": "[stage2, encoder, bottleneck]",
        "stages.head.trainer.steps": "0",
    }
    train(recipe, tmp_path / "b", {**shared, **host}, quiet=True)
    assert _stage(tmp_path / "b", "features")["summary"]["images_seen"] == 0
    plan = load_recipe(recipe, {**shared, **host})
    data = StageData(plan, plan.stages[1]).bind({"features": tmp_path / "b/stages/features/result"})
    sample, chosen = data.crops()[0], data.crops([4])
    maps = {name: sample[f"features.{name}"][None].float() for name in ("stage2", "encoder")}
    with torch.no_grad():
        bottleneck = load_segmenter(tmp_path / "host").complete(maps)["bottleneck"][0]
    torch.testing.assert_close(sample["features.bottleneck"], bottleneck)
    assert bottleneck.abs().max() > 0
    assert torch.equal(chosen[0]["rows"], chosen[7]["rows"])
    assert data.validation(data.host())[0]["features.bottleneck"].shape == (8, 6, 8)


def test_an_interrupted_cache_goes_on_where_it_was(recipe, tmp_path, monkeypatch):
    write, written = FeatureCache.write, []

    def failing(self, kind, index, sample):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append((kind, index))
        write(self, kind, index, sample)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureCache, "write", failing)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "out", quiet=True)
    train(recipe, tmp_path / "out", quiet=True)
    assert _stage(tmp_path / "out", "features")["summary"]["images_seen"] == 5


def test_a_broken_cache_may_go_on_with_other_crops_and_keeps_none_of_the_first(recipe, tmp_path, monkeypatch):
    write, written = FeatureCache.write, []

    def failing(self, kind, index, sample):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(index)
        write(self, kind, index, sample)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureCache, "write", failing)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "out", quiet=True)
    other = {"stages.features.data.augment.crop": "[24, 32]", "stages.head.trainer.steps": "0"}
    plan = load_recipe(recipe, other)
    train(plan, tmp_path / "out", quiet=True)
    assert _stage(tmp_path / "out", "features")["summary"]["images_seen"] == 8  # all of them
    data = StageData(plan, plan.stages[1]).bind({"features": tmp_path / "out/stages/features/result"})
    crops = data.crops()
    assert {tuple(crops[number]["rows"].shape) for number in range(6)} == {(24, 32)}


def test_a_head_is_not_trained_on_features_of_images_seen_otherwise(recipe, tmp_path):
    """An encoder's strides and activations have no weights, so equal weights do not make equal features."""
    with pytest.raises(CompatibilityError, match=r"working size \(24, 32\) and \(48, 64\).*head\.module\.options"):
        train(recipe, tmp_path / "size", {"stages.head.module.options.size": "[24, 32]"}, quiet=True)
    options = "{size: [48, 64], backbone: resnet18, width: 4, bottleneck: 4, norm_activation: %s}"
    torch.manual_seed(0)
    donor = PSPNet(["a"], backbone="resnet18", width=4, bottleneck=4)
    save_segmenter(donor, tmp_path / "residual")
    residual = {
        "stages.features.module.network": "pspnet",
        "stages.features.module.encoder_start": str(tmp_path / "residual" / "model.safetensors"),
        "stages.features.module.options": options % "bn_relu",
        "stages.features.module.layers": "[stage3, encoder]",
        "stages.head.module.network": "pspnet",
        "stages.head.trainer.steps": "0",
    }
    train(recipe, tmp_path / "same", {**residual, "stages.head.module.options": options % "bn_relu"}, quiet=True)
    with pytest.raises(CompatibilityError, match="sees images otherwise"):
        train(recipe, tmp_path / "leaky", {**residual, "stages.head.module.options": options % "bn_leaky"}, quiet=True)


def test_each_turn_reads_every_crop_once_in_another_order(tmp_path):
    cache = FeatureCache(tmp_path)
    for index in range(5):
        cache.write("crops", index, {"rows": torch.full((1, 1), index)})
    crops = CachedCrops(cache, range(5), seed=1)
    turns = [[int(crops[turn * 5 + n]["rows"]) for n in range(5)] for turn in range(3)]
    assert all(sorted(turn) == list(range(5)) for turn in turns)
    assert turns[0] != turns[1]
    assert int(CachedCrops(cache, range(5), seed=1)[7]["rows"]) == turns[1][2]
    cache.path("crops", 2).write_bytes(b"no tensors")
    with pytest.raises(DataError, match="missing or damaged"):
        cache.read("crops", 2)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("features.module.layers", "[]", "layers is empty"),
        ("features.module.layers", "[encoder]", "reads stage2, encoder; add stage2 to features.module.layers"),
        ("features.module.layers", "[stage2, encoder, bottlenck]", "did you mean 'bottleneck'"),
        ("features.module.encoder_start", "null", "--stages.features.module.encoder_start FILE"),
        ("features.module.crops", "0", "crops must be 1 or more"),
        ("features.data.augment.crop", "[30, 48]", "multiples of 8"),
        ("features.trainer", "{steps: 3}", "trains nothing"),
        ("head.data", "{sources: []}", "key of head.data"),
        ("head.module.network", "pyramid", "no encoder whose features"),
        ("head.module.encoder_start", "bundled", "leave start and encoder_start out"),
        ("head.module.network", "pspnet", "reads stage3, encoder"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_starts(recipe, tmp_path, key, value, message):
    with pytest.raises(ConfigError, match=message):
        train(recipe, tmp_path / "out", {f"stages.{key}": value}, quiet=True)
    assert not (tmp_path / "out" / "stages" / "features" / "samples").exists()


def test_samples_of_a_cache_are_the_same_for_any_number_of_workers(recipe, tmp_path):
    out = tmp_path / "out"
    plan = load_recipe(recipe, {"stages.head.trainer.steps": "0"})
    train(plan, out, quiet=True)
    data = StageData(plan, plan.stages[1]).bind({"features": out / "stages/features/result"})
    sampler = StreamSampler(4, 2)
    sampler.set_epoch(1)  # numbers 8 to 15, across the end of a pass over the six crops
    alone, helped = (list(DataLoader(data.crops(), 2, sampler=sampler, num_workers=workers)) for workers in (0, 2))
    assert len(alone) == len(helped) == 4
    for one, other in zip(alone, helped, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert not torch.equal(alone[0]["rows"], alone[1]["rows"])
