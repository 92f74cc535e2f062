"""Training a mask transformer on an encoder of ours."""

import csv

import pytest
import torch
from tiny_camvid import write_split
from torch.nn import functional as F

from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import load_segmenter, make_scene
from anomseg.segmenters import save_segmenter as save
from anomseg.segmenters.catalog import BUNDLED
from anomseg.segmenters.checkpoint import load_checkpoint
from anomseg.segmenters.trainable import MaskAnswer
from anomseg.training import load_recipe, segmentation, train
from anomseg.training.mask_module import MaskModule
from anomseg.training.segmentation import SegmentationStage

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory.*"),
]
ENCODER = {"model_type": "anomseg_encoder", "kind": "pyramid", "widths": [8, 8, 16, 16], "bottleneck": 16}
ARCHITECTURE = {
    "model_type": "mask2former", "num_queries": 6, "feature_size": 32, "mask_feature_size": 16, "hidden_dim": 32,
    "encoder_layers": 1, "encoder_feedforward_dim": 32, "decoder_layers": 3, "dim_feedforward": 32,
    "num_attention_heads": 2, "feature_strides": [4, 8, 16, 16], "train_num_points": 64, "backbone_config": ENCODER,
}  # fmt: skip
MASKFORMER = {
    "model_type": "maskformer",
    "fpn_feature_size": 32,
    "mask_feature_size": 16,
    "backbone_config": ENCODER,
    "decoder_config": {
        "model_type": "detr", "d_model": 16, "num_queries": 6, "decoder_layers": 2, "decoder_attention_heads": 2,
        "decoder_ffn_dim": 32, "dropout": 0.0,
    },
}  # fmt: skip
SMALL = {
    "stages.segmenter.module.options": {
        "random_weights": True, "size": [48, 64], "mean": [0.45] * 3, "std": [0.27] * 3, "architecture": ARCHITECTURE,
    },
    "stages.segmenter.module.encoder_start": None,
    "stages.segmenter.module.freeze_encoder": False,
    "stages.segmenter.module.half": False,
    "stages.segmenter.data.sources": [{"benchmark": "camvid", "split": "train"}],
    "stages.segmenter.data.augment.crop": [32, 48],
    "stages.segmenter.data.batch_size": 2,
    "stages.segmenter.trainer.steps": 6,
    "stages.segmenter.trainer.validate_every": 2,
    "stages.segmenter.trainer.precision": "32-true",
    "stages.segmenter.trainer.accelerator": "cpu",
}  # fmt: skip


@pytest.fixture
def settings(tmp_path):
    write_split(tmp_path / "camvid", "train", 6, [3, 8, 10])
    write_split(tmp_path / "camvid", "val", 2, [3, 8])
    return {**SMALL, "roots.camvid": str(tmp_path / "camvid")}


@pytest.fixture(params=[ARCHITECTURE, MASKFORMER], ids=["mask2former", "maskformer"])
def network(request):
    torch.manual_seed(0)
    return SEGMENTERS.create(
        "hf", classes=["road", "sky", "car"], random_weights=True, size=(32, 48), architecture=request.param
    )


def test_the_loss_is_the_library_s_own(network):
    """Against the loss that transformers computes itself when it is given labels, every decoder layer supervised."""
    generator = torch.Generator().manual_seed(3)
    batch = torch.rand(2, 3, 32, 48, generator=generator)
    masks = [(torch.rand(2, 32, 48, generator=generator) > 0.5).float(), torch.ones(1, 32, 48)]
    classes = [torch.tensor([0, 2]), torch.tensor([1])]
    network.train()
    network.network.config.use_auxiliary_loss = False
    torch.manual_seed(7)  # points of the masks are drawn
    ours = network.mask_loss(network.training_masks(batch), masks, classes)
    assert not network.network.config.use_auxiliary_loss
    network.network.config.use_auxiliary_loss = True
    torch.manual_seed(7)
    theirs = network.network(
        pixel_values=network.preprocessing.apply(batch),
        mask_labels=masks,
        class_labels=classes,
        output_hidden_states=True,
    ).loss
    torch.testing.assert_close(ours, theirs.reshape(()))
    last = network.mask_loss(network.training_masks(batch)[-1:], masks, classes)
    assert last < ours


def module_of(settings, network, semantic=1.0):
    recipe = load_recipe("bundled-mask", {**settings, "stages.segmenter.module.semantic": semantic})
    stage = SegmentationStage(recipe, recipe.stages[0])
    # Rows: void, the three classes, and one that may be road or car.
    sets = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1]]).bool()
    return MaskModule(network, sets, torch.ones(5), stage.network, stage.optimiser, 0)


def test_labels_of_several_classes_teach_the_class_map_alone(settings, network):
    """An image whose masks are not known adds nothing to the matched losses of the others."""
    batch = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    exact = torch.ones(32, 48, dtype=torch.int64)
    exact[:16] = 2
    coarse = torch.full((32, 48), 4)
    module = module_of(settings, network.eval(), semantic=0.0)
    torch.manual_seed(7)
    both, _ = module.eval().losses({"image": batch, "rows": torch.stack([exact, coarse])})
    torch.manual_seed(7)
    alone, _ = module.losses({"image": batch[:1], "rows": exact[None]})
    torch.testing.assert_close(both, alone)
    none, logits = module.losses({"image": batch[1:], "rows": coarse[None]})
    assert none.item() == 0
    with_map, _ = module_of(settings, network, semantic=2.0).eval().losses({"image": batch[1:], "rows": coarse[None]})
    p = torch.softmax(F.interpolate(logits, (32, 48), mode="bilinear")[..., ::2, ::2], 1)
    torch.testing.assert_close(with_map, 2 * -(p[:, 0] + p[:, 2]).log().mean(), rtol=1e-3, atol=1e-4)
    with_map.backward()
    assert all(torch.isfinite(one.grad).all() for one in network.parameters() if one.grad is not None)


def test_a_few_steps_teach_it_and_what_is_saved_gives_the_same_maps(settings, tmp_path, monkeypatch):
    settings |= {"stages.segmenter.trainer.steps": 60, "stages.segmenter.trainer.validate_every": 20}
    kept = []
    monkeypatch.setattr(
        segmentation, "save_segmenter", lambda *given, **options: (kept.append(given[0]), save(*given, **options))
    )
    summary = train("bundled-mask", tmp_path / "out", settings, quiet=True)
    log = tmp_path / "out/stages/segmenter/log/start-1/metrics.csv"
    with log.open() as lines:
        losses = [float(row["val_loss"]) for row in csv.DictReader(lines) if row.get("val_loss")]
    assert losses[-1] < losses[0]
    assert summary["steps"] == 60
    saved = load_segmenter(tmp_path / "out")
    assert "masks" in saved.provides
    image = torch.randint(0, 256, (50, 70, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).numpy()
    first, second = (make_scene([image], ["a"], one).output for one in (saved, kept[0].eval()))
    # The one that was trained has another memory layout, hence other rounding.
    torch.testing.assert_close(first.mask_logits, second.mask_logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(first.class_logits, second.class_logits, rtol=1e-4, atol=1e-4)


def test_a_stopped_run_ends_where_the_straight_one_ends(settings, tmp_path):
    train("bundled-mask", tmp_path / "straight", settings, quiet=True)
    recipe = load_recipe("bundled-mask", settings)
    stage = SegmentationStage(recipe, recipe.stages[0])
    seen = []

    class Stopped(Exception):
        pass

    validate = MaskModule.on_train_batch_start

    def stop(self, batch, index):
        seen.append(self.global_step)
        if self.global_step == 3 and len(seen) < 5:
            raise Stopped
        validate(self, batch, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MaskModule, "on_train_batch_start", stop)
        with pytest.raises(Stopped):
            stage.run(tmp_path / "broken" / "stages" / "segmenter", tmp_path / "broken", taken={}, quiet=True)
    stage.run(tmp_path / "broken" / "stages" / "segmenter", tmp_path / "broken", taken={}, quiet=True)
    straight, broken = (load_checkpoint(tmp_path / name / "model.safetensors") for name in ("straight", "broken"))
    assert straight.keys() == broken.keys()
    assert all(torch.equal(straight[name], broken[name]) for name in straight)


def test_a_frozen_encoder_started_from_the_bundled_network_stays_as_it_is(settings, tmp_path):
    options = dict(SMALL["stages.segmenter.module.options"])
    options["architecture"] = {
        **ARCHITECTURE,
        "backbone_config": {"model_type": "anomseg_encoder", "kind": "pyramid"},
    }
    settings |= {
        "stages.segmenter.module.options": options,
        "stages.segmenter.module.encoder_start": "bundled",
        "stages.segmenter.module.freeze_encoder": True,
        "stages.segmenter.trainer.steps": 2,
    }
    summary = train("bundled-mask", tmp_path / "out", settings, quiet=True)
    assert summary["encoder"]["frozen"]
    bundled = load_checkpoint(BUNDLED / "model.safetensors")
    trunk = load_segmenter(tmp_path / "out").encoder.trunk.state_dict()
    for name, value in trunk.items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, bundled[name].float())


def test_what_cannot_start_an_encoder_is_refused_before_training(settings, tmp_path):
    start = "stages.segmenter.module.encoder_start"
    with pytest.raises(DataError, match="no checkpoint at nowhere"):
        train("bundled-mask", tmp_path / "a", {**settings, start: "nowhere.safetensors"}, quiet=True)
    with pytest.raises(CompatibilityError):
        train("bundled-mask", tmp_path / "b", {**settings, start: "bundled"}, quiet=True)  # other widths
    options = dict(SMALL["stages.segmenter.module.options"])
    options["architecture"] = {
        **ARCHITECTURE,
        "backbone_config": {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 8], "depths": [1, 1]},
    }
    swapped = {**settings, "stages.segmenter.module.options": options, start: "bundled"}
    with pytest.raises(CompatibilityError, match="encoder is a resnet"):
        train("bundled-mask", tmp_path / "c", swapped, quiet=True)
    other = {**settings, "stages.segmenter.module.network": "pyramid", start: "bundled"}
    other["stages.segmenter.module.options"] = {}
    with pytest.raises(ConfigError, match="pyramid"):
        train("bundled-mask", tmp_path / "d", other, quiet=True)


def test_answers_come_layer_by_layer_and_using_it_costs_the_last_alone(network):
    batch = torch.rand(1, 3, 32, 48)
    answers = network.eval().training_masks(batch)
    assert len(answers) == 3  # two layers, and before the first
    assert all(isinstance(one, MaskAnswer) for one in answers)
    output = network(batch)
    torch.testing.assert_close(output.mask_logits, answers[-1].mask_logits)
    torch.testing.assert_close(output.class_logits, answers[-1].class_logits)


@pytest.mark.parametrize("short", [torch.bfloat16, torch.float16])
def test_mixed_precision_shortens_the_network_and_not_its_losses(settings, network, short, monkeypatch):
    """Sums over queries, the floor of a claim and the matching stay in float32."""
    batch = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    rows = torch.ones(1, 32, 48, dtype=torch.int64)
    rows[:, :16] = 2
    module = module_of(settings, network.eval()).eval()
    answers = [MaskAnswer(one.class_logits.detach(), one.mask_logits.detach()) for one in network.training_masks(batch)]
    nobody = answers[-1].mask_logits.clone()
    nobody[..., :4] = -40.0  # no query claims these pixels: float16 has no number that small
    answers[-1] = MaskAnswer(answers[-1].class_logits, nobody)
    monkeypatch.setattr(type(network), "training_masks", lambda *_: answers)
    torch.manual_seed(7)
    wanted, logits = module.losses({"image": batch, "rows": rows})
    torch.manual_seed(7)
    with torch.autocast("cpu", dtype=short):
        loss, map_ = module.losses({"image": batch, "rows": rows})
    assert torch.equal(map_, logits)
    assert torch.equal(loss, wanted)
    assert torch.isfinite(loss)
