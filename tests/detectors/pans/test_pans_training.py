"""Training of PAnS: the equations against a plain loop, the recipe end to end, resuming, and bad input."""

import copy
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny import CLASSES, made_image
from torch.nn import functional as F
from torch.utils.data import Dataset

from anomseg.cli.main import run
from anomseg.data import load_frames
from anomseg.detectors import anomaly_maps, create_detector, load_detector, overlapping_frames
from anomseg.detectors.pans import PAnS
from anomseg.errors import ConfigError
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import load_segmenter, make_scene
from anomseg.training import load_recipe, train
from anomseg.training.loop import run_training
from anomseg.training.module import SegmentationModule
from anomseg.training.options import NetworkConfig, OptimiserConfig

sys.path.append(str(Path(__file__).parents[2] / "training"))
from tiny_camvid import write_split

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
]
PUBLISHED = OptimiserConfig(
    steps=20,
    optimiser="sgd",
    schedule="poly",
    learning_rate=0.007,
    momentum=0.9,
    weight_decay=1e-4,
    decay_all=True,
    clip=0.0,
    validate_every=20,
    precision="32-true",
    channels_last=False,
    accelerator="cpu",
)
SETS = torch.cat([torch.zeros(1, len(CLASSES), dtype=torch.bool), torch.eye(len(CLASSES), dtype=torch.bool)])
"""Row 0 of the label table is void, row k + 1 class k."""


def network_of(dropout=0.0):
    torch.manual_seed(0)
    options = {"classes": CLASSES, "size": (32, 48), "bottleneck": 8, "classifier": "cosine"}
    network = SEGMENTERS.create("erfnet_pyramid", **options)
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout2d):
            module.p = dropout
    return network


class Batches(Dataset):
    """The same crops again and again."""

    def __init__(self, count=5, size=(32, 48)):
        self.images = [torch.from_numpy(made_image(n, size)).permute(2, 0, 1) / 255 for n in range(count)]
        generator = torch.Generator().manual_seed(1)
        coarse = torch.randint(0, len(CLASSES) + 1, (count, 1, 4, 6), generator=generator).float()
        self.rows = F.interpolate(coarse, size, mode="nearest")[:, 0].long()

    def __len__(self):
        return len(self.images)

    def __getitem__(self, number):
        index = number % len(self.images)
        rows = self.rows[index]
        return {"image": self.images[index], "rows": rows, "classes": torch.where(rows > 0, rows - 1, 255)}


def module_of(network, optimiser=PUBLISHED):
    config = NetworkConfig(network="erfnet_pyramid", balance=False)
    return SegmentationModule(network, SETS, torch.ones(len(SETS)), config, optimiser, seed=0, frozen=True)


def plain_loss(network, images, rows):
    """CE(up(z), y) + 0.4 CE(up(z_aux), y), z ten times the cosine, void left out; of features and weights alone."""
    maps = network.encode(images)
    loss = 0.0
    for features, rows_of_w, share in (
        (maps["bottleneck"], network.classifier.weight, 1.0),
        (maps["stage2"], network.auxiliary.weight, 0.4),
    ):
        cosine = torch.einsum("bdhw,kd->bkhw", F.normalize(features, dim=1, eps=1e-12), F.normalize(rows_of_w, dim=1))
        whole = F.interpolate(10 * cosine, rows.shape[-2:], mode="bilinear", align_corners=False)
        loss = loss + share * F.cross_entropy(whole, rows - 1, ignore_index=-1)
    return loss


def test_twenty_steps_equal_a_plain_loop(tmp_path):
    """SGD with Nesterov momentum, decay on everything and the poly schedule, written out.

    Of the head: twenty steps of a deep random network amplify the last bit of the first one to anything.
    """
    network, data = network_of(), Batches()
    plain = copy.deepcopy(network).train()
    plain.encoder.eval().requires_grad_(False)
    summary = run_training(module_of(network), data, Batches(1), folder=tmp_path, batch_size=2, quiet=True)
    assert summary["steps"] == 20
    velocity = {name: torch.zeros_like(value) for name, value in plain.named_parameters()}
    for step in range(20):
        batch = [data[number] for number in (2 * step, 2 * step + 1)]
        plain.zero_grad()
        plain_loss(plain, *(torch.stack([one[key] for one in batch]) for key in ("image", "rows"))).backward()
        rate = 0.007 * (1 - step / 20) ** 0.9
        if step == 10:
            assert rate == pytest.approx(0.003751, abs=5e-7)
        with torch.no_grad():
            for name, value in plain.named_parameters():
                if value.grad is None:  # the encoder's
                    continue
                gradient = value.grad + 1e-4 * value
                velocity[name] = 0.9 * velocity[name] + gradient
                value.sub_(rate * (gradient + 0.9 * velocity[name]))
    assert set(plain.state_dict()) == set(network.state_dict())
    moved = 0.0
    fresh = network_of().state_dict()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], value, rtol=2e-4, atol=2e-5, msg=name)
        moved = max(moved, (value.float() - fresh[name].float()).abs().max().item())
    assert moved > 0.01


def test_the_loss_is_that_of_the_equations_and_void_teaches_nothing():
    network, data = network_of().eval(), Batches(2)
    images, rows = (torch.stack([data[n][key] for n in range(2)]) for key in ("image", "rows"))
    module = module_of(network).eval()
    torch.testing.assert_close(module.loss_of({"image": images, "rows": rows}), plain_loss(network, images, rows))
    marked = images.clone().requires_grad_()
    module.loss_of({"image": marked, "rows": torch.zeros_like(rows)}).backward()
    assert marked.grad.abs().max() == 0


def test_one_image_is_learned_by_heart(tmp_path):
    network, data = network_of(), Batches(1)
    optimiser = OptimiserConfig(
        steps=25, learning_rate=2e-2, validate_every=25, precision="32-true", accelerator="cpu", warmup=0.1
    )
    summary = run_training(module_of(network, optimiser), data, data, folder=tmp_path, batch_size=2, quiet=True)
    assert summary["validation"]["val_loss"] < 0.6 * summary["validation_start"]["val_loss"]
    batch = data[0]
    with torch.no_grad():
        predicted = network.eval()(batch["image"][None]).logits
    predicted = F.interpolate(predicted, (32, 48), mode="bilinear", align_corners=False).argmax(1)[0]
    known = batch["rows"] > 0
    assert (predicted[known] == batch["rows"][known] - 1).float().mean() > 0.8
    own, other = (PAnS.of(network).score(make_scene([made_image(n, (32, 48))], ["a"], network)) for n in (0, 3))
    assert own.mean() < other.mean()  # what it has learned lies nearer to the prototypes


@pytest.fixture
def settings(tmp_path):
    write_split(tmp_path / "camvid", "train", 6, [3, 8, 10])
    write_split(tmp_path / "camvid", "val", 2, [3, 8])
    encoder = SEGMENTERS.create("erfnet_pyramid", classes=CLASSES).encoder
    save_file({name: value.contiguous() for name, value in encoder.state_dict().items()}, tmp_path / "encoder")
    (tmp_path / "encoder").rename(tmp_path / "encoder.safetensors")
    return {
        "roots.camvid": str(tmp_path / "camvid"),
        "stages.features.module.encoder_start": str(tmp_path / "encoder.safetensors"),
        "stages.features.module.options.size": [48, 64],
        "stages.features.module.crops": 10,
        "stages.features.data.augment.crop": [32, 48],
        "stages.pans.module.options.size": [48, 64],
        "stages.pans.module.options.bottleneck": 8,
        "stages.pans.data.batch_size": 2,
        "stages.pans.trainer.steps": 9,
        "stages.pans.trainer.validate_every": 3,
    }


def test_the_recipe_gives_a_detector(settings, tmp_path, capsys):
    out = tmp_path / "pans"
    options = {**settings, "stages.features.data.held_out": "[bicyclist]", "stages.pans.trainer.steps": 24}
    summary = train("camvid-pans", out, options, quiet=True)
    assert summary["steps"] == 24
    assert summary["validation"]["val_loss"] < summary["validation_start"]["val_loss"]
    assert summary["held_out"] == {"classes": ["bicyclist"], "images": "drop"}
    detector = load_detector(out)
    assert "bicyclist" not in detector.segmenter.classes
    assert detector.segmenter.prototypes.shape == (10, 8)
    assert detector.fitted_on["frames"] == 4  # two of six show a bicyclist
    assert detector.fitted_on["data"] == "camvid@train (4)"
    assert detector.fitted_on["training"]["steps"] == 24
    frames = load_frames("camvid", root=tmp_path / "camvid", split="train")
    assert len(overlapping_frames(detector, frames)) == 4
    scaled = create_detector(f"pans:network={out};scales=0.75+1")
    assert scaled.segmenter is not None
    assert scaled.fitted_on == detector.fitted_on  # the same training, scored otherwise
    again = load_detector(out)
    image = made_image(1, (48, 64))
    maps = [anomaly_maps(one, make_scene([image], ["a"], one.segmenter))[0] for one in (detector, again)]
    assert torch.equal(*maps)
    assert detector.segmenter.origin["encoder"]["frozen"]
    # The encoder is the one that the features are of.
    started = load_segmenter(out / "stages" / "features" / "result" / "network").encoder.state_dict()
    for name, value in detector.segmenter.encoder.state_dict().items():
        assert torch.equal(value, started[name])
    picture = tmp_path / "camvid" / "images" / "val" / "0001TP_0000.png"
    assert run(["predict", str(picture), "--detector", str(out), "--out", str(tmp_path / "maps"), "--quiet"]) == 0
    found = np.load(next((tmp_path / "maps").rglob("*.npy")))
    assert found.min() >= 0
    assert found.max() <= 1


def test_a_resumed_run_ends_where_the_straight_one_ends(settings, tmp_path, monkeypatch):
    train("camvid-pans", tmp_path / "straight", settings, quiet=True)
    step, calls = SegmentationModule.training_step, []

    def stopping(self, batch, index):
        calls.append(index)
        if len(calls) == 5:  # the second of three epochs
            raise KeyboardInterrupt
        return step(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationModule, "training_step", stopping)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train("camvid-pans", tmp_path / "resumed", settings, quiet=True)
    assert not (tmp_path / "resumed" / "detector.json").exists()
    redone = []
    with monkeypatch.context() as patch:
        patch.setattr(SegmentationModule, "training_step", lambda *a: redone.append(1) or step(*a))
        train("camvid-pans", tmp_path / "resumed", settings, quiet=True)
    assert len(redone) == 6
    one, other = (tmp_path / name / "networks" / "network" / "model.safetensors" for name in ("straight", "resumed"))
    assert one.read_bytes() == other.read_bytes()
    told = [json.loads((tmp_path / name / "detector.json").read_text()) for name in ("straight", "resumed")]
    for content in told:
        del content["fitted_on"]["training"]["seconds"]
    assert told[0] == told[1]


def test_untrained_is_the_same_pipeline_without_steps(settings, tmp_path):
    summary = train("camvid-pans", tmp_path / "out", {**settings, "stages.pans.trainer.steps": 0}, quiet=True)
    assert summary["steps"] == 0
    assert summary["validation"] == summary["validation_start"]
    assert load_detector(tmp_path / "out").segmenter.prototypes.shape == (11, 8)


def test_bad_input_is_refused_before_anything_starts(settings, tmp_path, capsys):
    def refused(match, **changes):
        options = {**settings, **{key.replace("__", "."): value for key, value in changes.items()}}
        with pytest.raises(ConfigError, match=match) as caught:
            train("camvid-pans", tmp_path / "out", options, quiet=True)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()

    refused("needs a network with prototypes.*classifier cosine", stages__pans__module__options__classifier="linear")
    refused("did you mean 'learning_rate'", stages__pans__trainer__learning_rat=0.1)
    refused("did you mean 'classifier'", stages__pans__module__options__clasifier="cosine")
    refused("add stage2 to features.module.layers", stages__features__module__layers=["encoder"])
    refused("add --stages.features.module.encoder_start FILE", stages__features__module__encoder_start=None)
    refused("write gives: detector", stages__pans__gives="segmenter")
    with pytest.raises(ConfigError, match="did you mean 'camvid-pans'"):
        load_recipe("camvid-panss")
