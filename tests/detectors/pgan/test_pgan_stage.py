"""The stage on a made CamVid tree: end to end, live and cached, resumed, with few annotated images, and bad input."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_camvid import write_split

from anomseg.data import load_frames
from anomseg.detectors import anomaly_maps, load_detector, overlapping_frames
from anomseg.detectors.pgan.annotated import covering_order
from anomseg.errors import CompatibilityError, ConfigError, FrameError
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import make_scene, save_segmenter
from anomseg.training import load_recipe, train

CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*"),
]


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    root = tmp_path_factory.mktemp("camvid")
    write_split(root, "train", 22, range(11))
    write_split(root, "val", 3, (3, 8, 1))
    return root


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """A small network with random weights."""
    torch.manual_seed(0)
    network = SEGMENTERS.create("pyramid", classes=CLASSES, size=(48, 64), widths=(6, 8, 8, 8), bottleneck=8)
    folder = tmp_path_factory.mktemp("host")
    save_segmenter(network.eval(), folder)
    return folder


def recipe(camvid, host, tmp_path, **changes):
    """A recipe that trains on images, on a host that is named."""
    module = {"host": str(host), "levels": "stage4+stage8", "dimension": 8, "prototypes": 2, "support": 11}
    trainer = {
        "steps": 4,
        "validate_every": 2,
        "precision": "32-true",
        "learning_rate": 0.01,
        "channels_last": False,
        "accelerator": "cpu",
    }
    stage = {
        "name": "pgan",
        "stage": "pgan",
        "gives": "detector",
        "module": module | changes.pop("module", {}),
        "data": {
            "space": "camvid",
            "sources": [{"benchmark": "camvid"}],
            "validation": {"benchmark": "camvid", "split": "val"},
            "batch_size": 2,
            "augment": {"crop": [32, 32]},
        },
        "trainer": trainer | changes.pop("trainer", {}),
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps({"recipe": "small", "seed": 0, "roots": {"camvid": str(camvid)}, "stages": [stage]}))
    return path


def maps_of(folder, host=None, seed=0):
    detector = load_detector(folder)
    image = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8)
    network = detector.segmenter or host
    scene = make_scene([image], ["a"], network, features=detector.needs(network).features)
    return anomaly_maps(detector, scene)[0], detector, scene


def test_a_training_on_images_writes_a_detector_that_scores(camvid, host, tmp_path):
    summary = train(recipe(camvid, host, tmp_path), tmp_path / "out", quiet=True)
    assert summary["steps"] == 4
    assert summary["levels"] == ["stage4", "stage8"]
    assert summary["support_images"] == 11
    assert summary["annotated_images"] == 22
    assert {"val_loss", "val_miou"} <= set(summary["validation"])
    score, detector, scene = maps_of(tmp_path / "out")
    assert score.shape == (48, 64)
    assert 0 <= score.min() <= score.max() <= 1
    assert detector.segment(scene).shape == (1, 48, 64)
    for one in detector.extractor.prototypes:
        torch.testing.assert_close(one.norm(dim=2), torch.ones(11, 2))
    frames = load_frames("camvid", root=camvid, split="train")
    assert len(overlapping_frames(detector, frames)) == 22
    # The curve of the probability is fitted on the validation images, so evaluate must know them again.
    assert summary["probability"]["slope"] > 0
    assert len(overlapping_frames(detector, load_frames("camvid", root=camvid, split="val"))) == 3
    card = detector.card()
    assert card["extractor"]["reconstruction"] is True
    assert card["fitted_on"]["training"]["recipe"] == "small"


def test_stopped_and_resumed_it_ends_where_the_straight_run_ends(camvid, host, tmp_path, monkeypatch):
    from anomseg.detectors.pgan.module import PGANModule

    module = {"stochastic": True, "probability": "calibrated"}
    straight = tmp_path / "straight"
    train(recipe(camvid, host, tmp_path, module=module), straight, quiet=True)
    plain, seen = PGANModule.loss_of, []

    def interrupted(self, batch):
        seen.append(1)
        if len(seen) == 4:
            raise RuntimeError("pulled the plug")
        return plain(self, batch)

    monkeypatch.setattr(PGANModule, "loss_of", interrupted)
    path = recipe(camvid, host, tmp_path, module=module)
    with pytest.raises(RuntimeError, match="plug"):
        train(path, tmp_path / "resumed", quiet=True)
    monkeypatch.setattr(PGANModule, "loss_of", plain)
    train(path, tmp_path / "resumed", quiet=True)
    first, second = (load_detector(folder).state() for folder in (straight, tmp_path / "resumed"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_attached_it_scores_the_network_beside_it_and_carries_none(camvid, host, tmp_path):
    from anomseg.segmenters import load_segmenter

    for name, attached in (("own", False), ("attached", True)):
        train(recipe(camvid, host, tmp_path, module={"attached": attached}), tmp_path / name, quiet=True)
    network = load_segmenter(host)
    owning, own, _ = maps_of(tmp_path / "own")
    beside, detector, _ = maps_of(tmp_path / "attached", network)
    assert torch.equal(owning, beside)
    assert own.flags.owns_network
    assert not detector.flags.owns_network
    assert detector.networks() == {}
    assert not (tmp_path / "attached" / "networks" / "host").exists()
    assert detector.segmenter_identity["sha256"] == network.fingerprint() == own.segmenter.fingerprint()


def test_few_annotated_images_and_masked_classes(camvid, host, tmp_path):
    module = {"annotated": 3, "absent": "mask"}
    summary = train(recipe(camvid, host, tmp_path, module=module), tmp_path / "out", quiet=True)
    assert summary["annotated_images"] == summary["support_images"] == 3
    assert len(summary["absent"]) == 11 - 4  # the sky, and one class an image
    _, detector, scene = maps_of(tmp_path / "out")
    assert detector.fitted_on["data"] == "camvid@train (3), camvid@val (3)"
    absent = [CLASSES.index(name) for name in summary["absent"]]
    assert not np.isin(detector.segment(scene).numpy(), absent).any()


def test_no_step_validates_only(camvid, host, tmp_path):
    summary = train(recipe(camvid, host, tmp_path, trainer={"steps": 0}), tmp_path / "out", quiet=True)
    assert summary["steps"] == 0
    assert maps_of(tmp_path / "out")[0].isfinite().all()


def test_on_cached_features_by_the_shipped_recipe(camvid, host, tmp_path):
    changes = {
        "roots.camvid": str(camvid),
        "stages.features.module.start": str(host),
        "stages.features.module.layers": ["stage4", "stage8"],
        "stages.features.module.crops": 30,
        "stages.features.data.augment": {"crop": [32, 32]},
        "stages.pgan.module.dimension": 8,
        "stages.pgan.module.annotated": 11,
        "stages.pgan.data.batch_size": 2,
        "stages.pgan.trainer.steps": 2,
        "stages.pgan.trainer.validate_every": 2,
    }
    summary = train("camvid-pgan", tmp_path / "out", changes, quiet=True)
    assert summary["levels"] == ["stage4", "stage8"]
    assert summary["annotated_images"] == 11
    assert maps_of(tmp_path / "out")[1].levels == "stage4+stage8"
    with pytest.raises(ConfigError, match=r"bottleneck.*features\.module\.layers"):
        train("camvid-pgan", tmp_path / "other", {**changes, "stages.pgan.module.levels": "bottleneck"}, quiet=True)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ({"support": 3}, "the support set of 3 images does not show .*, so there would be no prototype; raise"),
        ({"levels": "stage4+stage88"}, "did you mean 'stage8'"),
        ({"protoypes": 3}, "did you mean 'prototypes'"),
        ({"separation": 0.1}, "set update: learned"),
        ({"tree": "flat=raod"}, "did you mean 'road'"),
        ({"level_weights": [1.0]}, "1 weights for the 2 levels"),
        ({"annotated": 99}, "there are 22 training images"),
        ({"similarity": "cosin"}, "expected one of"),
        ({"host": None}, "reads one network"),
    ],
)
def test_what_cannot_be_is_told_in_one_line_before_anything_starts(camvid, host, tmp_path, module, message):
    with pytest.raises(ConfigError, match=message) as caught:
        train(recipe(camvid, host, tmp_path, module=module), tmp_path / "out", quiet=True)
    assert "\n" not in str(caught.value)


def test_the_absent_class_is_named(tmp_path, host):
    write_split(tmp_path / "camvid", "train", 9, range(1, 10))  # no bicyclist
    write_split(tmp_path / "camvid", "val", 1, (3,))
    with pytest.raises(ConfigError, match="does not show bicyclist, so"):
        train(recipe(tmp_path / "camvid", host, tmp_path), tmp_path / "out", quiet=True)


def test_labels_outside_of_the_class_list_are_refused(tmp_path, host):
    write_split(tmp_path / "camvid", "train", 11, range(11))
    write_split(tmp_path / "camvid", "val", 1, (3,))
    label = tmp_path / "camvid" / "labels" / "train" / "0001TP_0004.png"
    Image.fromarray(np.full((48, 64), 77, np.uint8)).save(label)
    with pytest.raises(FrameError, match="77") as caught:
        train(recipe(tmp_path / "camvid", host, tmp_path), tmp_path / "out", quiet=True)
    assert "\n" not in str(caught.value)


def test_a_host_of_other_classes_is_refused(camvid, tmp_path):
    network = SEGMENTERS.create("pyramid", classes=CLASSES[:-1], size=(48, 64), widths=(6, 8, 8, 8), bottleneck=8)
    save_segmenter(network, tmp_path / "other")
    with pytest.raises(CompatibilityError, match="knows other classes"):
        train(recipe(camvid, tmp_path / "other", tmp_path), tmp_path / "out", quiet=True)


def test_images_are_annotated_greedily_and_smaller_choices_lie_within_larger_ones():
    counts = np.zeros((6, 4), np.int64)
    counts[0, :1] = counts[1, :2] = counts[2, 2:] = counts[3, 3:] = 99
    counts[4, 1] = 5  # too few to count
    order = covering_order(counts, seed=3)
    assert set(order[:2]) == {1, 2}
    assert sorted(order) == list(range(6))
    assert order == covering_order(counts, seed=3)
    assert order != covering_order(counts, seed=4)


def test_the_recipe_is_valid():
    plan = load_recipe("camvid-pgan")
    assert [stage.stage for stage in plan.stages] == ["features", "pgan"]
