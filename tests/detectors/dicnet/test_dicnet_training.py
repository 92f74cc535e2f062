"""The training of a student: its loss, its optimiser, its teacher that stays as it is, and the stage end to end."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from dicnet_networks import FEATURE, tiny_student, tiny_teacher
from safetensors.torch import save_file
from torch.nn import functional as F

from anomseg.detectors import load_detector
from anomseg.detectors.dicnet import target_from_norm
from anomseg.detectors.dicnet.module import StudentModule
from anomseg.errors import ConfigError
from anomseg.files import read_json
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import save_segmenter
from anomseg.segmenters.scene import make_scene
from anomseg.training.options import OptimiserConfig
from anomseg.training.runner import train

sys.path.insert(0, str(Path(__file__).parents[2] / "training"))
from tiny_camvid import write_split


def made_module(teacher, steps: int = 20, cached: bool = False, **trainer) -> StudentModule:
    optimiser = OptimiserConfig(
        steps=steps,
        validate_every=steps,
        **{"optimiser": "adam", "schedule": "constant", "learning_rate": 1e-3, "weight_decay": 1e-5, **trainer},
    )
    target = target_from_norm(teacher.feature_norm(FEATURE), "standardized")
    return StudentModule(tiny_student().train(), None if cached else teacher, FEATURE, target, "mse", optimiser, 0)


def standardized(teacher, images):
    with torch.no_grad():
        y = teacher.feature_maps(images, [FEATURE])[FEATURE]
    norm = teacher.feature_norm(FEATURE)
    return (y - norm.bias.detach().view(-1, 1, 1)) / norm.weight.detach().view(-1, 1, 1)


def test_the_loss_is_the_mean_squared_difference_over_everything():
    teacher, images = tiny_teacher(), torch.rand(2, 3, 32, 48)
    module = made_module(teacher)
    expected = F.mse_loss(module.student.distil(images), standardized(teacher, images))
    torch.testing.assert_close(module.loss_of({"image": images}), expected, rtol=1e-4, atol=1e-5)
    cached = made_module(teacher, cached=True)
    sample = {"image": images, f"features.{FEATURE}": teacher.feature_maps(images, [FEATURE])[FEATURE].detach()}
    torch.testing.assert_close(cached.loss_of(sample), expected, rtol=1e-4, atol=1e-5)


def test_it_falls_below_half_within_200_steps_of_adam_and_the_teacher_stays():
    teacher = tiny_teacher()
    before = copy.deepcopy(teacher.state_dict())
    module = made_module(teacher, learning_rate=1e-3)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    optimiser = module.configure_optimizers()["optimizer"]
    assert isinstance(optimiser, torch.optim.Adam)
    losses = []
    module.train()
    for _ in range(200):
        optimiser.zero_grad()
        loss = module.loss_of({"image": images})
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if loss.item() < 0.4 * losses[0]:
            break
    assert losses[-1] < 0.5 * losses[0]
    assert not teacher.training
    assert all(parameter.grad is None for parameter in teacher.parameters())
    for name, tensor in teacher.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert not any(name.startswith(("teacher", "_teacher")) for name in module.state_dict())
    optimised = {id(one) for group in optimiser.param_groups for one in group["params"]}
    assert optimised == {id(one) for one in module.student.parameters()}


def test_twenty_steps_equal_a_plain_loop():
    teacher = tiny_teacher()
    module = made_module(teacher, channels_last=False)
    plain = copy.deepcopy(module.student)
    generator = torch.Generator().manual_seed(1)
    batches = [torch.rand(2, 3, 32, 48, generator=generator) for _ in range(20)]
    configured = module.configure_optimizers()
    ours, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    kernels = [one for one in plain.parameters() if one.ndim > 1]
    rest = [one for one in plain.parameters() if one.ndim <= 1]
    theirs = torch.optim.Adam([{"params": kernels, "weight_decay": 1e-5}, {"params": rest, "weight_decay": 0}], lr=1e-3)
    for images in batches:
        ours.zero_grad()
        module.loss_of({"image": images}).backward()
        ours.step()
        schedule.step()
        theirs.zero_grad()
        guess = plain.head(plain.encoder((images - plain.mean) / plain.deviation))
        # Adam makes a whole step of a rounding error, so the same target, which other tests check, to the last bit.
        target = module.target.of(teacher.feature_maps(images, [FEATURE])[FEATURE].detach())
        ((guess - target) ** 2).mean().backward()
        theirs.step()
    for (name, one), other in zip(module.student.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=name)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Made data, and a teacher that was saved."""
    root = tmp_path_factory.mktemp("dicnet")
    write_split(root / "camvid", "train", 4, [3, 5, 8])
    write_split(root / "camvid", "val", 1, [3, 5])
    torch.manual_seed(0)
    from anomseg.data import label_space

    teacher = SEGMENTERS.create("erfnet_pyramid", classes=label_space("camvid").names, size=(48, 64), bottleneck=12)
    save_segmenter(teacher.eval(), root / "teacher")
    return root


def overrides(place, **more):
    return {
        "roots.camvid": str(place / "camvid"),
        "stages.features.module.start": str(place / "teacher"),
        "stages.features.module.crops": 4,
        "stages.features.module.cache": str(place / "cache"),
        "stages.features.data.augment.crop": [32, 48],
        "stages.student.data.batch_size": 2,
        "stages.student.module.width": 4,
        "stages.student.module.branch": 8,
        "stages.student.trainer.steps": 4,
        "stages.student.trainer.validate_every": 2,
        "stages.student.trainer.precision": "32-true",
        **more,
    }


@pytest.fixture(scope="module")
def trained(place):
    summary = train("camvid-dicnet", place / "straight", overrides(place), quiet=True)
    return place / "straight", summary


def maps_of(folder):
    from tiny import made_image

    detector = load_detector(folder)
    scene = make_scene([made_image(0, (48, 64))], ["a"], detector.segmenter)
    with torch.inference_mode():
        return detector.score(scene)


def test_the_recipe_gives_a_detector(place, trained):
    folder, summary = trained
    assert summary["steps"] == 4
    assert summary["validation_start"]["val_loss"] > 0
    assert "running statistics" in summary["target"]
    detector = load_detector(folder)
    assert detector.feature == FEATURE
    assert detector.fitted_on["frames"] == 4
    assert detector.fitted_on["training"]["parameters"] == sum(one.numel() for one in detector.student.parameters())
    teacher = read_json(place / "teacher" / "segmenter.json")["options"]["classes"]
    assert list(detector.segmenter.classes) == teacher
    assert maps_of(folder).isfinite().all()
    with_it = load_detector(folder).segmenter.fingerprint()
    from anomseg.segmenters import load_segmenter

    assert with_it == load_segmenter(place / "teacher").fingerprint()


def test_a_resumed_run_ends_where_the_straight_one_does(place, trained, monkeypatch):
    folder, _ = trained
    real, seen = StudentModule.loss_of, []

    def stop(self, batch):
        if self.training:
            seen.append(1)
        if len(seen) == 4:
            raise RuntimeError("pulled the plug")
        return real(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(StudentModule, "loss_of", stop)
        with pytest.raises(RuntimeError, match="plug"):
            train("camvid-dicnet", place / "resumed", overrides(place), quiet=True)
    assert not (place / "resumed" / "detector.json").exists()
    train("camvid-dicnet", place / "resumed", overrides(place), quiet=True)
    assert torch.equal(maps_of(place / "resumed"), maps_of(folder))


def test_live_with_a_teacher_of_another_kind_and_its_own_scale(place):
    """Images instead of cached features; a teacher whose feature is no batch norm's output; attached."""
    source = tiny_student(seed=9).encoder.state_dict()
    save_file({f"encoder.{name}": tensor for name, tensor in source.items()}, place / "start.safetensors")
    recipe = place / "live.yaml"
    recipe.write_text(
        f"""
recipe: live
seed: 1
roots: {{camvid: {place / "camvid"}}}
stages:
  - name: student
    stage: student
    gives: detector
    module:
      teacher: {place / "teacher"}
      feature: encoder
      encoder: pyramid
      width: 4
      branch: 8
      encoder_start: {place / "start.safetensors"}
      attached: true
    data:
      space: camvid
      sources: [{{benchmark: camvid, split: train}}]
      validation: {{benchmark: camvid, split: val}}
      batch_size: 2
      augment: {{crop: [32, 48], scale: [1, 1], flip: 0.5, colour: 0, gamma: 0}}
    trainer: {{steps: 0, validate_every: 1, precision: 32-true, optimiser: adam, schedule: constant}}
"""
    )
    summary = train(recipe, place / "live", quiet=True)
    assert summary["steps"] == 0
    assert "200 training crops" in summary["target"]
    detector = load_detector(place / "live")
    assert detector.attached
    assert set(detector.networks()) == {"student"}
    assert summary["encoder"]["file"] == "start.safetensors"
    for name, tensor in detector.student.encoder.state_dict().items():
        assert torch.equal(tensor, source[name]), name
    # Standardized features have a variance near 1, and an untrained student guesses about 0.
    assert 0.3 < summary["validation"]["val_loss"] < 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages.features.module.images": False}, "module.images: true"),
        ({"stages.features.module.layers": ["encoder"]}, "add bottleneck_linear to features.module.layers"),
        (
            {
                "stages.features.module.layers": ["bottleneck_liner"],
                "stages.student.module.feature": "bottleneck_liner",
            },
            "did you mean 'bottleneck_linear'",
        ),
        ({"stages.student.module.encoder": "resnet18", "stages.student.data.batch_size": 1}, "at least 2"),
        ({"stages.student.module.teacher": "somewhere"}, "comes from features"),
        ({"stages.student.module.widht": 3}, "did you mean 'width'"),
        ({"stages.student.module.teacher_norm": "batch"}, "teacher_norm"),
        ({"stages.student.module.smooth": 2}, "smooth is an odd number"),
        ({"stages.student.module.by_place": -8}, "by_place must be a number"),
        ({"stages.student.module.encoder": "resnet18", "stages.student.module.hidden": 8}, "hidden is 0 or"),
        ({"stages.student.gives": "segmenter"}, "gives: detector"),
        ({"stages.features.module.start": None}, "features.module.start"),
    ],
)
def test_bad_recipes_are_told_before_anything_starts(place, change, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        train("camvid-dicnet", tmp_path / "out", overrides(place, **change), quiet=True)
    assert not (tmp_path / "out" / "stages").exists()


def test_it_may_score_by_another_distance_than_it_learned(trained, place):
    more = {"stages.student.module.score": "max"}
    train("camvid-dicnet", place / "max", overrides(place, **more), quiet=True)
    learned, other = load_detector(trained[0]), load_detector(place / "max")
    assert (learned.distance, other.distance) == ("mse", "max")
    assert learned.student.fingerprint() == other.student.fingerprint()


def test_the_recipe_with_the_score_of_ours_learns_by_the_published_loss(trained, place, monkeypatch):
    asked = []
    real = StudentModule.__init__

    def noted(self, student, teacher, feature, target, distance, *rest):
        asked.append(distance)
        real(self, student, teacher, feature, target, distance, *rest)

    monkeypatch.setattr(StudentModule, "__init__", noted)
    train("camvid-dicnet-activated", place / "activated", overrides(place), quiet=True)
    published, ours = load_detector(trained[0]), load_detector(place / "activated")
    assert asked == ["mse"]
    assert (published.distance, published.activated, published.smooth, published.student.hidden) == ("mse", False, 1, 0)
    assert (ours.distance, ours.activated, ours.smooth, ours.student.hidden) == ("max", True, 3, 256)
    assert maps_of(place / "activated").isfinite().all()


def test_the_stage_learns_what_is_usual_by_place_of_its_own_images(trained, place):
    summary = train(
        "camvid-dicnet", place / "placed", overrides(place, **{"stages.student.module.by_place": 4}), quiet=True
    )
    plain, placed = load_detector(trained[0]), load_detector(place / "placed")
    assert placed.student.fingerprint() == plain.student.fingerprint()
    assert placed.fitted_on["fingerprints"] == plain.fitted_on["fingerprints"]
    assert placed.fitted_on["by_place"]["frames"] == 4
    assert placed.fitted_on["training"]["steps"] == summary["steps"]
    assert placed.by_place == 4
    scenes = [make_scene([frame.image()], [frame.id], plain.segmenter) for frame in training_frames(place)]
    with torch.inference_mode():
        logs = torch.cat([plain.discrepancy(scene) for scene in scenes]).clamp(min=1e-6).log()
    torch.testing.assert_close(placed.state()["place_mean"].mean(), logs.mean(), rtol=0.1, atol=0.05)
    assert not torch.equal(maps_of(place / "placed"), maps_of(trained[0]))


def training_frames(place):
    from anomseg.data import load_frames

    return load_frames("camvid", root=place / "camvid", split="train")


def test_places_are_fitted_anew_from_the_command_line(place, trained):
    from anomseg.cli.main import run
    from anomseg.detectors import save_detector

    detector = load_detector(trained[0])
    detector.by_place = 2.0
    detector.fit(None, training_frames(place)[:2])
    save_detector(detector, place / "two")
    words = ("fit", "--detector", str(place / "two"), "--segmenter", str(place / "teacher"))
    data = ("--data", f"camvid={place / 'camvid'}@train", "--out", str(place / "four"), "--quiet")
    assert run((*words, *data)) == 0
    again = load_detector(place / "four")
    assert again.fitted_on["by_place"]["frames"] == 4
    assert again.student.fingerprint() == detector.student.fingerprint()
    assert not torch.equal(again.state()["place_mean"], detector.state()["place_mean"])
