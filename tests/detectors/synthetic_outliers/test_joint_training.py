"""The stage joint_outliers: a step against a plain loop, the recipe end to end, resuming, and bad input."""

import copy
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from joint_toys import QUICK, module_of, small_flow, small_network, toy_batch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import CLASSES, scene_of
from torch.utils.data import Dataset

from anomseg.data.label_space import CAMVID, CIFAR10
from anomseg.detectors import load_detector, overlapping_frames
from anomseg.detectors.synthetic_outliers import SyntheticOutliers
from anomseg.detectors.synthetic_outliers.flow import load_flow, save_flow
from anomseg.detectors.synthetic_outliers.joint_options import FlowTrainerConfig
from anomseg.errors import AnomsegError, CompatibilityError, ConfigError
from anomseg.evaluation import evaluate
from anomseg.registry import STAGES
from anomseg.segmenters import save_segmenter
from anomseg.segmenters.erfnet import ERFNet
from anomseg.training import load_recipe, train
from anomseg.training.loop import run_training

sys.path.append(str(Path(__file__).parents[2] / "training"))
from tiny_camvid import write_split

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval.*"),
]
RECIPE = """
recipe: joint
seed: 0
roots: {{camvid: {root}}}
stages:
  - name: flow
    stage: flow
    gives: flow
    module: {{sizes: [8, 16], scales: 2, width: 4, blocks: 1, checkerboards: 1, channelwise: 1, last: 1, patches: 1}}
    data: &data
      space: camvid
      sources: [{{benchmark: camvid, split: train}}]
      validation: {{benchmark: camvid, split: val}}
      batch_size: 2
      augment: {{crop: [32, 48]}}
    trainer: {{steps: 2, validate_every: 2, precision: "32-true", accelerator: cpu}}
  - name: network
    stage: segmentation
    gives: segmenter
    module: {{network: pyramid, options: {{widths: [4, 6, 8, 8], bottleneck: 8, size: [48, 64]}}, half: false}}
    data: *data
    trainer: {{steps: 2, validate_every: 2, precision: "32-true", accelerator: cpu}}
  - name: joint
    stage: joint_outliers
    takes: [network, flow]
    gives: detector
    module: {{network: pyramid, sizes: [16, 24], half: false}}
    data: *data
    trainer: {{steps: 4, validate_every: 2, precision: "32-true", accelerator: cpu}}
"""


class Batches(Dataset):
    """The same crops again and again."""

    def __init__(self, count=4):
        self.batch = toy_batch(count)

    def __len__(self):
        return len(self.batch["image"])

    def __getitem__(self, number):
        sample = {name: values[number % len(self)] for name, values in self.batch.items()}
        return {**sample, "classes": torch.where(sample["rows"] > 0, sample["rows"] - 1, 255)}


@pytest.fixture
def camvid(tmp_path):
    write_split(tmp_path / "camvid", "train", 4, (3, 8))
    write_split(tmp_path / "camvid", "val", 2, (3, 8))
    return tmp_path / "camvid"


@pytest.fixture
def recipe(camvid, tmp_path):
    path = tmp_path / "joint.yaml"
    path.write_text(RECIPE.format(root=camvid))
    return path


def test_steps_equal_a_plain_loop_with_two_optimisers(tmp_path):
    """AdamW and Adamax, each with a schedule and a bound of its own, written out."""
    trainer = FlowTrainerConfig(schedule="poly", learning_rate=2e-3, clip=0.01)
    options = {"steps": 4, "validate_every": 4, "optimiser": "adamw", "schedule": "poly", "clip": 0.05}
    optimiser = type(QUICK)(**{**vars(QUICK), **options, "weight_decay": 0.01, "decay_all": True})
    module = module_of(optimiser=optimiser, flow_trainer=trainer, weight=0.5)
    plain, data = copy.deepcopy(module), Batches()
    run_training(module, data, Batches(1), folder=tmp_path, batch_size=2, quiet=True)
    plain.train()
    first = torch.optim.AdamW(plain.segmenter.parameters(), lr=QUICK.learning_rate, weight_decay=0.01)
    second = torch.optim.Adamax(plain.flow.parameters(), lr=2e-3)
    for step in range(4):
        torch.manual_seed(step)  # the seed of the run is 0
        samples = [data[2 * step + one] for one in range(2)]
        terms = plain.terms({key: torch.stack([one[key] for one in samples]) for key in ("image", "rows")})
        plain.zero_grad()
        (terms.classes + 0.5 * terms.divergence + terms.bits).backward()
        for part, one, rate, bound in ((plain.segmenter, first, 1e-3, 0.05), (plain.flow, second, 2e-3, 0.01)):
            gradients = [value.grad for value in part.parameters() if value.grad is not None]
            norm = torch.sqrt(sum(value.square().sum() for value in gradients))
            assert norm > bound
            for value in gradients:
                value.mul_(bound / (norm + 1e-6))
            one.param_groups[0]["lr"] = rate * (1 - step / 4) ** 0.9
            one.step()
    fresh = module_of()
    for part in ("segmenter", "flow"):
        before = dict(getattr(fresh, part).named_parameters())
        for name, value in getattr(plain, part).named_parameters():
            torch.testing.assert_close(
                dict(getattr(module, part).named_parameters())[name], value, rtol=1e-4, atol=1e-6, msg=f"{part} {name}"
            )
        assert max((value - before[name]).abs().max() for name, value in getattr(plain, part).named_parameters()) > 1e-3


def test_doubt_on_samples_is_learned(tmp_path):
    """Where doubting is all that counts, samples are doubted more and the images no less known than at the start."""
    optimiser = type(QUICK)(**{**vars(QUICK), "steps": 30, "validate_every": 30, "learning_rate": 1e-2})
    module = module_of(optimiser=optimiser, weight=3.0, auxiliary=0.0)
    data = Batches()
    summary = run_training(module, data, data, folder=tmp_path, batch_size=4, quiet=True)
    before, after = summary["validation_start"], summary["validation"]
    assert after["val_sample_confidence"] < 0.9 * before["val_sample_confidence"]
    assert after["val_loss"] < before["val_loss"]
    assert after["val_loss"] == pytest.approx(after["val_classes"] + 3.0 * after["val_divergence"], abs=2e-4)
    assert after["val_bits"] < before["val_bits"] + 0.05
    assert {"val_confidence", "val_sample_bits", "val_miou"} <= set(after)


def test_three_phases_and_the_detector_they_leave(recipe, tmp_path):
    out = tmp_path / "out"
    record = train(recipe, out, quiet=True)
    detector = load_detector(out)
    assert isinstance(detector, SyntheticOutliers)
    assert detector.segmenter.classes == CAMVID.names
    assert record["joint"]["divergence"] == "js"
    assert record["start"]["name"] == "network"
    assert {"val_sample_confidence", "val_bits", "val_miou"} <= set(record["validation"])
    # Nothing of the flow is carried; it lies in the stage's folder, and has learned on.
    assert [path.name for path in (out / "networks").iterdir()] == ["network"]
    assert not (out / "state.safetensors").exists()
    stages = out / "stages"
    before, after = load_flow(stages / "flow" / "result"), load_flow(stages / "joint" / "flow")
    assert any(not torch.equal(one, two) for one, two in zip(before.parameters(), after.parameters(), strict=True))
    assert len(list((stages / "joint" / "samples").glob("patches-*.png"))) == 3
    logged = (stages / "joint" / "log" / "start-1" / "metrics.csv").read_text()
    assert all(name in logged.splitlines()[0] for name in ("sample_confidence", "divergence", "bits", "val_miou"))
    from anomseg.data import load_frames

    frames = load_frames("camvid", tmp_path / "camvid", "train")
    assert len(overlapping_frames(detector, frames)) == len(frames)


def test_resumed_ends_where_the_straight_run_ends(recipe, tmp_path):
    straight = train(recipe, tmp_path / "straight", quiet=True)
    stages = {"stages.joint.trainer.steps": 4}

    class Stop(Exception):
        pass

    from anomseg.detectors.synthetic_outliers.joint_module import JointModule

    kept, seen = JointModule.training_step, []

    def step(self, batch, index):
        seen.append(self.global_step)
        if self.global_step == 3:
            raise Stop
        return kept(self, batch, index)

    JointModule.training_step = step
    try:
        with pytest.raises(Stop):
            train(recipe, tmp_path / "resumed", stages, quiet=True)
    finally:
        JointModule.training_step = kept
    assert seen == [0, 1, 2, 3]
    resumed = train(recipe, tmp_path / "resumed", stages, quiet=True)
    assert resumed["steps"] == straight["steps"] == 4
    assert resumed["images_seen"] == straight["images_seen"] == 8
    one, two = (load_detector(tmp_path / name) for name in ("straight", "resumed"))
    assert one.segmenter.fingerprint() == two.segmenter.fingerprint()
    flows = [load_flow(tmp_path / name / "stages" / "joint" / "flow") for name in ("straight", "resumed")]
    for name, value in flows[0].state_dict().items():
        assert torch.equal(value, flows[1].state_dict()[name]), name
    assert resumed["validation"] == straight["validation"]


def test_a_lower_rate_of_the_flow_goes_on_from_a_checkpoint(tmp_path):
    data = Batches()
    run_training(module_of(), data, data, folder=tmp_path, batch_size=2, quiet=True)
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    states = checkpoint["optimizer_states"]
    before = [copy.deepcopy(state["param_groups"][0]) for state in states]
    module_of(flow_trainer=FlowTrainerConfig(learning_rate=1e-5)).on_load_checkpoint(checkpoint)
    after = [state["param_groups"][0] for state in states]
    assert after[0]["initial_lr"] == before[0]["initial_lr"]
    assert after[1]["initial_lr"] == pytest.approx(before[1]["initial_lr"] / 10)
    assert after[1]["max_lr"] == pytest.approx(1e-5)


def test_a_flow_that_diverges_in_training_is_told_in_one_line(tmp_path):
    module = module_of(flow_trainer=FlowTrainerConfig(learning_rate=1e6, schedule="constant", clip=0.0))
    with pytest.raises(AnomsegError, match=r"flow.*(diverged|infinite)") as caught:
        run_training(module, Batches(), Batches(1), folder=tmp_path / "joint", batch_size=2, quiet=True)
    assert "\n" not in str(caught.value)
    assert "--stages.joint.module.flow_trainer.learning_rate" in str(caught.value)


def trained_parts(tmp_path):
    save_segmenter(small_network(classes=CAMVID.names), tmp_path / "network")
    save_flow(small_flow(), tmp_path / "flow")
    return {
        "stages.joint.takes": [],
        "stages.joint.module.start": str(tmp_path / "network"),
        "stages.joint.module.flow": str(tmp_path / "flow"),
    }


def test_parts_that_are_trained_already(camvid, recipe, tmp_path):
    given = trained_parts(tmp_path)
    loaded = load_recipe(recipe, given)
    stage = STAGES.get("joint_outliers").factory(loaded, loaded.stages[-1])
    stage.check()
    record = stage.run(tmp_path / "folder", tmp_path / "out", taken={}, quiet=True)
    assert record["start"]["name"] == "network"


def test_a_network_of_which_the_encoder_alone_is_trained_already(recipe, tmp_path):
    torch.manual_seed(5)
    save_file(ERFNet().state_dict(), tmp_path / "encoder.safetensors")
    given = {f"stages.joint.module.{key}": value for key, value in {
        "network": "erfnet_pyramid", "encoder_start": str(tmp_path / "encoder.safetensors"), "freeze_encoder": True,
        "options": {"size": [48, 64], "bottleneck": 8},
    }.items()}  # fmt: skip
    twice = load_recipe(recipe, given)
    with pytest.raises(ConfigError, match="network gives it already"):
        STAGES.get("joint_outliers").factory(twice, twice.stages[-1])
    record = train(recipe, tmp_path / "out", {**given, "stages.joint.takes": ["flow"]}, quiet=True)
    assert record["encoder"]["file"] == "encoder.safetensors"
    assert record["encoder"]["frozen"]
    got, before = load_detector(tmp_path / "out").segmenter, load_file(tmp_path / "encoder.safetensors")
    encoder = {name: value for name, value in got.encoder.state_dict().items() if "num_batches" not in name}
    assert encoder
    assert all(torch.equal(value, before[f"encoder.{name}"]) for name, value in encoder.items())


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"takes": ["flow"]}, r"add --stages\.joint\.module\.start DIR, or --stages\.joint\.module\.encoder_start"),
        ({"takes": ["network"]}, r"add --stages\.joint\.module\.flow DIR"),
        ({"gives": "segmenter"}, "gives: detector"),
        ({"module.flow": "somewhere"}, "leave one of them out"),
        ({"module.divergence": "jss"}, "divergence"),
        ({"module.sizes": [16, 40]}, "do not fit on crops"),
        ({"module.sizes": [17, 23]}, "no multiple of 8"),
        ({"module.sizes": [24, 16]}, "least and the largest"),
        ({"module.loss_stride": 20}, "loss_stride"),
        ({"module.temperature": 0}, "temperature"),
        ({"module.weight": -1}, "weight"),
        ({"module.flow_trainer": {"rate": 1}}, "flow_trainer"),
        ({"trainer.precision": "16-mixed"}, "bf16-mixed"),
        ({"module.network": "erfnet_pyramid"}, "not erfnet_pyramid"),
        ({"module.paste": False, "data.augment.crop": [30, 48]}, "multiples of 4, got 30x48"),
    ],
)
def test_what_cannot_be_trained_is_told_in_one_line(recipe, tmp_path, overrides, told):
    given = {} if {"takes", "gives"} & set(overrides) or "module.flow" in overrides else trained_parts(tmp_path)
    given = {**given, **{f"stages.joint.{key}": value for key, value in overrides.items()}}
    with pytest.raises((ConfigError, CompatibilityError), match=told) as caught:
        train(recipe, tmp_path / "out", given, quiet=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"joint.data.held_out": ["car"]}, r"holds out car.*add --stages\.flow\.data\.held_out '\[car\]'"),
        (
            {f"{stage}.data.{key}": value for stage in ("network", "joint") for key, value in
             (("held_out", ["car"]), ("held_out_images", "void"))},
            r"joint\.data\.held_out_images.*choose drop",
        ),
        (
            {"flow.data.held_out": ["car"], "flow.data.held_out_images": "void"},
            r"flow\.data\.held_out_images.*choose drop",
        ),
        ({"flow.data.negatives": {"sources": [{"negatives": "synthetic"}]}}, r"flow\.data\.negatives"),
    ],
)  # fmt: skip
def test_a_flow_is_not_shown_what_is_held_out(recipe, tmp_path, overrides, told):
    with pytest.raises(ConfigError, match=told) as caught:
        train(recipe, tmp_path / "out", {f"stages.{key}": value for key, value in overrides.items()}, quiet=True)
    assert "\n" not in str(caught.value)


def test_a_flow_that_is_there_already_was_not_shown_it_either(recipe, tmp_path):
    given = trained_parts(tmp_path)
    names = [name for name in CAMVID.names if name != "car"]
    save_segmenter(small_network(classes=names), tmp_path / "network")
    given["stages.joint.data.held_out"] = ["car"]
    for classes, held_out in (((), False), (["car", "bicyclist"], True)):
        training = {"data": {"camvid/train": 4}, **({"held_out": {"classes": classes}} if classes else {})}
        save_flow(small_flow(), tmp_path / "flow", {"fitted_on": {"training": training}})
        loaded = load_recipe(recipe, given)
        stage = STAGES.get("joint_outliers").factory(loaded, loaded.stages[-1])
        if held_out:
            stage.check()
        else:
            with pytest.raises(ConfigError, match="holds out car, which its flow learns"):
                stage.check()


def test_classes_must_be_those_that_are_taught(recipe, tmp_path):
    given = trained_parts(tmp_path)
    save_segmenter(small_network(), tmp_path / "other")
    with pytest.raises(CompatibilityError, match="other classes"):
        train(recipe, tmp_path / "out", {**given, "stages.joint.module.start": str(tmp_path / "other")}, quiet=True)


@pytest.mark.parametrize("measure", ["msp", "js"])
def test_the_score_is_that_of_the_tempered_softmax(measure):
    detector = SyntheticOutliers.of(small_network(size=None), measure=measure, temperature=3.0)
    scene = scene_of(detector.segmenter, [(40, 48)])
    p = (scene.logits() / 3).softmax(1)
    found = detector.score(scene)
    if measure == "msp":
        wanted = 1 - p.amax(1)
        assert detector.bounded
    else:
        m = (p + 1 / len(CLASSES)) / 2
        wanted = -((p * (p / m).log()).sum(1) + (-(m * len(CLASSES)).log()).mean(1)) / 2
        assert not detector.bounded
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-4)
    assert detector.card()["forward_passes"] == 1
    assert not detector.card()["uses_negatives"]


def test_saved_and_loaded_it_scores_bit_for_bit_the_same(tmp_path):
    from anomseg.detectors import save_detector

    detector = SyntheticOutliers.of(small_network(size=None), measure="js", temperature=4.0)
    save_detector(detector, tmp_path / "saved")
    again = load_detector(tmp_path / "saved")
    scenes = [scene_of(one.segmenter, [(40, 48)]) for one in (detector, again)]
    assert torch.equal(detector.score(scenes[0]), again.score(scenes[1]))
    assert json.loads((tmp_path / "saved" / "detector.json").read_text())["parameters"]["temperature"] == 4.0


def test_without_a_network_it_says_where_one_comes_from():
    with pytest.raises(ConfigError, match="camvid-synthetic-outliers"):
        SyntheticOutliers().needs(None)


def test_whole_images_of_cifar10_from_folders_to_figures(tmp_path):
    """The shipped recipe on a small tree: its three phases, and the figures of held-out classes."""
    root = tmp_path / "cifar10"
    rng = np.random.default_rng(0)
    for part, count in (("train", 3), ("test", 1)):
        for index, name in enumerate(CIFAR10.names):
            for number in range(count):
                path = root / part / name / f"{number:04d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = 20 * index + rng.integers(0, 40, (32, 32, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(path)
    small = {"flow.module.width": 4, "flow.module.blocks": 1, "classifier.module.options.widths": [4, 6, 8]}
    for stage in ("flow", "classifier", "joint"):
        small |= {f"{stage}.trainer.steps": 2, f"{stage}.trainer.validate_every": 2, f"{stage}.data.batch_size": 4}
        small[f"{stage}.trainer.accelerator"] = "cpu"
    overrides = {"roots.cifar10": str(root), **{f"stages.{key}": value for key, value in small.items()}}
    record = train("cifar10-synthetic-outliers", tmp_path / "out", overrides, quiet=True)
    assert record["data"] == {"cifar10/train": 12, "cifar10/val": 10}
    detector = load_detector(tmp_path / "out")
    assert detector.segmenter.classes == ("airplane", "automobile", "bird", "frog", "ship", "truck")
    held_out = ["cat", "deer", "dog", "horse"]
    (card,) = evaluate("cifar10", root, None, [detector], tmp_path / "figures", held_out=held_out)
    assert card["pixels"] == {"inlier": 6 * 1024, "anomaly": 4 * 1024, "void": 0}
    assert 0 < card["pixel"]["ap"] <= 1
