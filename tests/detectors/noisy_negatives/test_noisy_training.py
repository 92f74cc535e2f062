"""Training on negatives: what learns from what, what is frozen, the recipe end to end, resuming, and bad input."""

import copy
import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny import CLASSES, made_image
from torch.nn import functional as F
from torch.utils.data import Dataset

from anomseg.cli.main import run
from anomseg.detectors import anomaly_maps, create_detector, load_detector
from anomseg.detectors.noisy_negatives.module import NoisyNegativesModule
from anomseg.detectors.noisy_negatives.options import NoisyNegativesConfig
from anomseg.detectors.noisy_negatives.start import with_outlier_outputs
from anomseg.errors import AnomsegError, CompatibilityError, ConfigError
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import load_segmenter, make_scene, save_segmenter
from anomseg.segmenters.outlier_head import HeadOutputs
from anomseg.training import train
from anomseg.training.loop import run_training
from anomseg.training.module import SegmentationModule
from anomseg.training.optimisers import parameter_groups
from anomseg.training.options import OptimiserConfig

sys.path.append(str(Path(__file__).parents[2] / "training"))
from tiny_camvid import write_split

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
]
SETS = torch.cat([torch.zeros(1, len(CLASSES), dtype=torch.bool), torch.eye(len(CLASSES), dtype=torch.bool)])
"""Row 0 of the label table is void, row k + 1 class k."""
WEIGHTS = torch.ones(len(SETS))
VARIANTS = ("two_head", "extra_class", "sigmoid", "outlier_exposure")
OPTIMISER = OptimiserConfig(
    steps=40, validate_every=40, learning_rate=1e-2, precision="32-true", accelerator="cpu", warmup=0.1
)
SMALL = {
    "erfnet_pyramid": {"bottleneck": 8, "outlier_layers": ["stage1", "bottleneck"]},
    "pyramid": {"widths": (4, 6, 8, 8), "bottleneck": 6, "outlier_layers": ["decoder4"]},
    "pspnet": {"width": 4, "bottleneck": 8, "backbone": "resnet18", "outlier_layers": ["bottleneck"]},
    "ladder_densenet": {"growth": 2, "ladder": (8, 6, 6, 4), "outlier_layers": ["ladder4"]},
}
every_variant = pytest.mark.parametrize("variant", VARIANTS)


class Pasted(Dataset):
    """Crops with a bright patch that is an outlier, beside it a strip that counts for nothing."""

    def __init__(self, count=3, size=(32, 64)):
        generator = torch.Generator().manual_seed(1)
        coarse = torch.randint(0, len(CLASSES) + 1, (count, 1, 4, 8), generator=generator).float()
        self.rows = F.interpolate(coarse, size, mode="nearest")[:, 0].long()
        self.outlier = torch.where(self.rows == 0, 255, 0)
        self.images = torch.stack([torch.from_numpy(made_image(n, size)).permute(2, 0, 1) / 255 for n in range(count)])
        for index in range(count):
            top, left = 4 + 3 * index, 8 + 5 * index
            self.outlier[index, top : top + 16, left + 16 : left + 20] = 255
            self.outlier[index, top : top + 16, left : left + 16] = 1
            self.images[index, :, top : top + 16, left : left + 16] = torch.rand(3, 16, 16, generator=generator)
        self.rows[self.outlier > 0] = 0

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, number):
        index = number % len(self.rows)
        rows = self.rows[index]
        return {
            "image": self.images[index],
            "rows": rows,
            "outlier": self.outlier[index],
            "classes": torch.where(rows > 0, rows - 1, 255),
        }

    def batch(self, *numbers):
        samples = [self[number] for number in numbers]
        return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def config_of(variant="two_head", freeze="nothing", network="erfnet_pyramid", **options):
    options = {"size": (32, 64), **SMALL[network], **options}
    return NoisyNegativesConfig(
        network=network, options=options, variant=variant, freeze=freeze, balance=False, half=False
    )


def module_of(config, optimiser=OPTIMISER):
    torch.manual_seed(0)
    network = SEGMENTERS.create(config.network, classes=CLASSES, **config.options)
    frozen = config.freeze_encoder
    return NoisyNegativesModule(network, SETS, WEIGHTS, config, optimiser, seed=0, frozen=frozen)


@every_variant
@pytest.mark.parametrize("network", SMALL)
def test_every_parameter_gets_a_gradient_and_is_in_the_optimiser(network, variant):
    """The reference code leaves the outlier head and the auxiliary ones out of its optimiser."""
    module = module_of(config_of(variant, network=network))
    module.loss_of(Pasted().batch(0, 1)).backward()
    given = {id(value) for group in parameter_groups(module.trained, OPTIMISER) for value in group["params"]}
    for name, value in module.segmenter.named_parameters():
        assert id(value) in given, name
        assert value.grad is not None, name
    heads = ("outlier", "auxiliary", "classifier", "head.")
    moved = [value for name, value in module.segmenter.named_parameters() if name.startswith(heads) and value.ndim > 1]
    assert moved
    assert all(value.grad.abs().sum() > 0 for value in moved)


def full_size_heads(variant, size=(16, 16)):
    """Heads that speak at every pixel, as leaves, so that gradients tell what teaches what."""
    torch.manual_seed(0)
    outputs = len(CLASSES) + (variant == "extra_class")
    pair = variant == "two_head"
    leaves = [torch.randn(1, outputs, *size), torch.randn(1, outputs, 4, 4)]
    leaves += [torch.randn(1, 2, *size), torch.randn(1, 2, 4, 4)] if pair else []
    leaves = [leaf.requires_grad_() for leaf in leaves]
    return leaves, HeadOutputs(leaves[0], (leaves[1],), leaves[2] if pair else None, (leaves[3],) if pair else ())


def labels(size=(16, 16)):
    rows = torch.randint(1, len(SETS), (1, *size), generator=torch.Generator().manual_seed(2))
    outlier = torch.zeros_like(rows)
    outlier[:, 4:12, 4:8] = 1
    outlier[:, :, 12:] = 255
    return rows, outlier


def test_pasted_pixels_teach_the_classes_nothing_and_ignored_ones_no_head():
    module = module_of(config_of())
    leaves, heads = full_size_heads("two_head")
    rows, outlier = labels()
    rows[:, :, 12:] = 0
    loss = module.loss_of_heads(heads, rows, outlier)
    loss.backward()
    classes, early, pair, early_pair = (leaf.grad.abs().sum(1)[0] for leaf in leaves)
    assert classes[outlier[0] > 0].max() == 0
    assert classes[outlier[0] == 0].min() > 0
    assert early[1:3, 1].max() == early[:, 3].max() == 0
    assert pair[outlier[0] < 2].min() > 0
    assert pair[outlier[0] == 255].max() == 0
    assert early_pair[:, 3].max() == 0
    assert early_pair[:, :3].min() > 0
    # Whatever the label table says beneath a paste, nothing changes.
    other = rows.clone()
    other[outlier == 1] = 3
    assert torch.equal(module.loss_of_heads(heads, other, outlier), loss)


def test_the_two_head_loss_is_the_published_sum():
    module = module_of(config_of())
    _, heads = full_size_heads("two_head")
    rows, outlier = labels()
    target = torch.where(outlier == 1, 0, rows) - 1
    share = F.avg_pool2d(F.one_hot(rows - 1, len(CLASSES)).movedim(-1, 1).float() * (outlier != 1)[:, None], 4)
    kept = share.sum(1) > 0.5
    share = share / share.sum(1, keepdim=True).clamp_min(1e-9)
    aux = -(share * heads.auxiliary[0].log_softmax(1)).sum(1)[kept].mean()
    pair = F.one_hot(outlier.clamp(max=2), 3)[..., :2].movedim(-1, 1).float()
    valid = F.avg_pool2d(pair, 4).sum(1) > 0.5
    aux_pair = -(F.avg_pool2d(pair, 4) * heads.outlier_auxiliary[0].log_softmax(1)).sum(1)[valid].mean()
    expected = (
        0.6 * F.cross_entropy(heads.logits, target, ignore_index=-1)
        + 0.4 * aux
        + 0.2 * (0.6 * F.cross_entropy(heads.outlier, outlier, ignore_index=255) + 0.4 * aux_pair)
    )
    torch.testing.assert_close(module.loss_of_heads(heads, rows, outlier), expected)


def test_variants_learn_from_pasted_pixels_what_they_say():
    rows, outlier = labels()
    there = outlier[0] == 1
    for variant in VARIANTS[1:]:
        module = module_of(config_of(variant))
        leaves, heads = full_size_heads(variant)
        module.loss_of_heads(heads, rows, outlier).backward()
        down = -leaves[0].grad[0]  # the way that a step goes
        if variant == "extra_class":
            assert down[-1][there].min() > 0
            assert down[:-1, there].max() < 0
        elif variant == "sigmoid":
            assert down[:, there].max() < 0
        else:
            flat = leaves[0][0].softmax(0)
            assert ((down[:, there] > 0) == (flat[:, there] < 1 / len(CLASSES))).all()


@every_variant
def test_the_loss_falls_and_the_patch_is_found_on_one_image(variant, tmp_path):
    module, data = module_of(config_of(variant, network="pyramid", dropout=0.0)), Pasted(1)
    summary = run_training(module, data, data, folder=tmp_path, batch_size=2, quiet=True)
    begun, ended = summary["validation_start"], summary["validation"]
    assert ended["val_loss"] < 0.8 * begun["val_loss"]
    assert ended["val_outlier_ap"] > begun["val_outlier_ap"]
    assert 0 <= ended["val_miou"] <= 1


def test_a_frozen_segmentation_gives_the_same_logits_to_the_bit(tmp_path):
    torch.manual_seed(0)
    options = {name: value for name, value in SMALL["erfnet_pyramid"].items() if name != "outlier_layers"}
    trained = SEGMENTERS.create("erfnet_pyramid", classes=CLASSES, size=(32, 64), **options).eval()
    config = config_of(freeze="segmentation")  # its encoder is deep: a batch norm that counted would show
    grown = with_outlier_outputs(trained, config.options, seed=0)
    module = NoisyNegativesModule(grown, SETS, WEIGHTS, config, OPTIMISER, seed=0)
    before = copy.deepcopy(grown.state_dict())
    groups = parameter_groups(module.trained, OPTIMISER)
    assert {id(v) for group in groups for v in group["params"]} == {id(v) for v in grown.outlier.parameters()}
    data = Pasted()
    summary = run_training(module, data, data, folder=tmp_path, batch_size=2, quiet=True)
    assert summary["validation"]["val_loss"] < summary["validation_start"]["val_loss"]
    assert summary["validation"]["val_miou"] == summary["validation_start"]["val_miou"]
    changed = {name for name, value in grown.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("outlier.") for name in changed)
    x = torch.rand(1, 3, 32, 64)
    grown.to(memory_format=torch.contiguous_format).eval()
    assert torch.equal(grown(x).logits, trained(x).logits)


def test_a_class_more_keeps_the_weights_of_the_others():
    torch.manual_seed(0)
    trained = SEGMENTERS.create("pyramid", classes=CLASSES, size=None, widths=(4, 6, 8, 8), bottleneck=6).eval()
    grown, x = with_outlier_outputs(trained, {"extra_class": True}, seed=0).eval(), torch.rand(1, 3, 32, 64)
    torch.testing.assert_close(grown(x).logits, trained(x).logits)
    assert grown(x).void_logits is not None
    with pytest.raises(ConfigError, match=r"options.bottleneck .* is 6, not 8; leave it out"):
        with_outlier_outputs(trained, {"bottleneck": 8, "outlier_layers": ["decoder4"]}, seed=0)
    with pytest.raises(CompatibilityError, match="cannot be given an outlier head"):
        with_outlier_outputs(load_segmenter("bundled-mask"), {"outlier_layers": ["x"]}, seed=0)


@pytest.fixture
def settings(tmp_path):
    write_split(tmp_path / "camvid", "train", 6, [3, 8, 10])
    write_split(tmp_path / "camvid", "val", 2, [3, 8])
    encoder = SEGMENTERS.create("erfnet_pyramid", classes=CLASSES).encoder
    save_file({name: value.contiguous() for name, value in encoder.state_dict().items()}, tmp_path / "e.safetensors")
    return {
        "roots.camvid": str(tmp_path / "camvid"),
        "stages.features.module.encoder_start": str(tmp_path / "e.safetensors"),
        "stages.features.module.options.size": [48, 64],
        "stages.features.module.crops": 8,
        "stages.features.data.augment.crop": [32, 48],
        "stages.features.data.negatives.sources": [{"negatives": "synthetic:count=30;side=32"}],
        "stages.features.data.negatives.regime": "all",
        "stages.heads.module.options.size": [48, 64],
        "stages.heads.module.options.bottleneck": 8,
        "stages.heads.module.options.outlier_width": 4,
        "stages.heads.data.batch_size": 2,
        "stages.heads.trainer.steps": 4,
        "stages.heads.trainer.validate_every": 2,
    }


@every_variant
def test_the_recipe_gives_a_detector_of_each_variant(variant, settings, tmp_path):
    out = tmp_path / "out"
    summary = train("camvid-noisy-negatives", out, {**settings, "stages.heads.module.variant": variant}, quiet=True)
    assert (summary["variant"], summary["freeze"], summary["steps"]) == (variant, "encoder", 4)
    assert {"val_loss", "val_miou", "val_outlier_ap"} == set(summary["validation"])
    assert summary["negatives"]["images"]
    detector, again = load_detector(out), load_detector(out)
    told = {"two_head": "outlier", "outlier_exposure": "msp"}.get(variant, variant)
    assert detector.measure == told
    assert create_detector(f"noisy_negatives:network={out}").chosen == told
    assert detector.card()["uses_negatives"]
    assert (detector.segmenter.outlier is not None) == (variant == "two_head")
    assert detector.segmenter.void == (variant == "extra_class")
    assert detector.fitted_on["training"]["negatives"] == summary["negatives"]
    image = made_image(1, (48, 64))
    maps = [anomaly_maps(one, make_scene([image], ["a"], one.segmenter))[0] for one in (detector, again)]
    assert torch.equal(*maps)
    started = load_segmenter(out / "stages" / "features" / "result" / "network").encoder.state_dict()
    for name, value in detector.segmenter.encoder.state_dict().items():
        assert torch.equal(value, started[name])
    picture = tmp_path / "camvid" / "images" / "val" / "0001TP_0000.png"
    assert run(["predict", str(picture), "--detector", str(out), "--out", str(tmp_path / "maps"), "--quiet"]) == 0


def test_a_resumed_run_ends_where_the_straight_one_ends(settings, tmp_path, monkeypatch):
    settings = {**settings, "stages.heads.trainer.steps": 6}
    train("camvid-noisy-negatives", tmp_path / "straight", settings, quiet=True)
    step, calls = SegmentationModule.training_step, []

    def stopping(self, batch, index):
        calls.append(index)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationModule, "training_step", stopping)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train("camvid-noisy-negatives", tmp_path / "resumed", settings, quiet=True)
    assert not (tmp_path / "resumed" / "detector.json").exists()
    train("camvid-noisy-negatives", tmp_path / "resumed", settings, quiet=True)
    one, other = (tmp_path / name / "networks" / "network" / "model.safetensors" for name in ("straight", "resumed"))
    assert one.read_bytes() == other.read_bytes()
    told = [json.loads((tmp_path / name / "detector.json").read_text()) for name in ("straight", "resumed")]
    for content in told:
        del content["fitted_on"]["training"]["seconds"]
    assert told[0] == told[1]


def test_only_a_head_is_put_on_the_host_of_the_features(settings, tmp_path):
    """Of a network whose layers are all kept, as it has no frozen encoder; half precision rounds the new head alone."""
    torch.manual_seed(0)
    names = load_segmenter("bundled").classes
    host = SEGMENTERS.create("pyramid", classes=names, size=(48, 64), widths=(4, 6, 8, 8), bottleneck=6).eval()
    save_segmenter(host, tmp_path / "host")
    dropped = ("encoder_start", "options.size", "options.bottleneck")
    options = {key: value for key, value in settings.items() if not key.endswith(dropped)}
    options |= {
        "stages.features.module": {"start": str(tmp_path / "host"), "layers": ["stage4", "decoder4"], "crops": 8},
        "stages.heads.module": {
            "network": "pyramid",
            "options": {"outlier_layers": ["stage4", "decoder4"], "outlier_width": 4},
            "freeze": "segmentation",
        },
    }
    options = {key: value for key, value in options.items() if ".module." not in key}
    summary = train("camvid-noisy-negatives", tmp_path / "out", options, quiet=True)
    assert summary["validation"]["val_miou"] == summary["validation_start"]["val_miou"]
    detector, x = load_detector(tmp_path / "out"), torch.rand(1, 3, 48, 64)
    assert torch.equal(detector.segmenter(x).logits, host(x).logits)
    assert detector.segmenter.origin["start"]["sha256"] == host.fingerprint()
    head = detector.segmenter.outlier.body[0].weight
    assert torch.equal(head, head.half().float())


def test_a_trained_network_is_started_from_without_cached_features(settings, tmp_path):
    torch.manual_seed(0)
    host = SEGMENTERS.create(
        "erfnet_pyramid", classes=load_segmenter("bundled").classes, size=(48, 64), bottleneck=8
    ).eval()
    save_segmenter(host, tmp_path / "host")
    recipe = {
        "recipe": "mine",
        "roots": {"camvid": settings["roots.camvid"]},
        "stages": [
            {
                "name": "heads",
                "stage": "noisy_negatives",
                "gives": "detector",
                "module": {
                    "network": "erfnet_pyramid",
                    "start": str(tmp_path / "host"),
                    "options": {"outlier_layers": ["bottleneck"]},
                    "freeze": "segmentation",
                },
                "data": {
                    "space": "camvid",
                    "sources": [{"benchmark": "camvid", "split": "train"}],
                    "validation": {"benchmark": "camvid", "split": "val"},
                    "augment": {"crop": [32, 48]},
                    "batch_size": 2,
                    "negatives": {"sources": [{"negatives": "synthetic:count=30;side=32"}], "regime": "all"},
                },
                "trainer": {"steps": 2, "validate_every": 2},
            }
        ],
    }
    (tmp_path / "mine.yaml").write_text(json.dumps(recipe))
    summary = train(str(tmp_path / "mine.yaml"), tmp_path / "out", {}, quiet=True)
    assert summary["start"]["sha256"] == host.fingerprint()
    detector, x = load_detector(tmp_path / "out"), torch.rand(1, 3, 48, 64)
    assert torch.equal(detector.segmenter(x).logits, host(x).logits)


def test_bad_input_is_refused_before_anything_starts(settings, tmp_path):
    def refused(match, **changes):
        options = {**settings, **{key.replace("__", "."): value for key, value in changes.items()}}
        with pytest.raises(AnomsegError, match=match) as caught:
            train("camvid-noisy-negatives", tmp_path / "out", options, quiet=True)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out" / "detector.json").exists()

    heads = "stages__heads__"
    refused("variant.*did you mean 'two_head'|two_head", **{f"{heads}module__variant": "two_heads"})
    refused("name feature maps in options.outlier_layers", **{f"{heads}module__options__outlier_layers": []})
    refused("freeze: segmentation trains an outlier head alone", **{
        f"{heads}module__variant": "sigmoid", f"{heads}module__freeze": "segmentation"
    })  # fmt: skip
    refused("choose freeze: encoder or segmentation", **{f"{heads}module__freeze": "nothing"})
    refused("write freeze: encoder", **{f"{heads}module__freeze_encoder": True})
    refused("write gives: detector", **{f"{heads}gives": "segmenter"})
    refused("add stage1 to features.module.layers", **{f"{heads}module__options__outlier_layers": ["stage1"]})
    refused(r"name some in features\.data\.negatives", stages__features__data__negatives=None)
    refused("pyramid has no encoder to freeze", **{f"{heads}module__network": "pyramid"})
    refused("smp has no outputs for outliers.*ladder_densenet", **{
        f"{heads}module__network": "smp", f"{heads}module__freeze": "segmentation"
    })  # fmt: skip
    refused("auxiliary", **{f"{heads}module__auxiliary": 1.5})


def test_a_plain_segmentation_stage_refuses_outputs_that_it_would_not_teach(settings, tmp_path):
    options = {
        "roots.camvid": settings["roots.camvid"],
        "stages.segmenter.module.options.outlier_layers": ["bottleneck"],
    }
    with pytest.raises(ConfigError, match="teaches no outliers"):
        train("camvid-erfnet-pyramid", tmp_path / "out", options, quiet=True)
