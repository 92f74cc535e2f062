"""The stage ``flow``: its data, the recipe end to end, resuming, bad input; and the detector of its result."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anomseg.cli.main import run
from anomseg.data import load_frames
from anomseg.detectors import create_detector, overlapping_frames
from anomseg.detectors.synthetic_outliers.flow import load_flow
from anomseg.detectors.synthetic_outliers.flow_data import FixedPatches, SizedCrops
from anomseg.errors import ConfigError
from anomseg.training import load_recipe, train
from anomseg.training.labelled import FrameStore
from anomseg.types import Frame

sys.path.append(str(Path(__file__).parents[2] / "training"))
from tiny_camvid import write_split

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval.*"),
]


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    root = tmp_path_factory.mktemp("camvid")
    write_split(root, "train", 4, (3, 8))
    write_split(root, "val", 2, (3, 8))
    return root


def small(root, **more):
    """The recipe with a small flow and few steps."""
    settings = {
        "module.sizes": [8, 16],
        "module.width": 4,
        "module.blocks": 1,
        "data.batch_size": 4,
        "data.augment.crop": [16, 16],
        "trainer.steps": 4,
        "trainer.validate_every": 2,
        "trainer.accelerator": "cpu",
        "trainer.precision": "32-true",
        **more,
    }
    return {"roots.camvid": str(root), **{f"stages.flow.{key}": value for key, value in settings.items()}}


@pytest.fixture(scope="module")
def trained(camvid, tmp_path_factory):
    out = tmp_path_factory.mktemp("flow") / "out"
    return out, train("camvid-flow", out, small(camvid), quiet=True)


class Numbered(torch.utils.data.Dataset):
    def __getitem__(self, number):
        return {"image": torch.arange(3 * 24 * 24.0).view(3, 24, 24) + number, "rows": torch.zeros(24, 24)}


def test_crops_of_a_step_share_one_size_and_steps_differ():
    crops = SizedCrops(Numbered(), (8, 12, 24), 5, seed=3)
    sides = [{tuple(crops[5 * step + one]["image"].shape) for one in range(5)} for step in range(12)]
    assert all(len(side) == 1 for side in sides)
    assert set.union(*sides) == {(3, side, side) for side in (8, 12, 24)}
    again = SizedCrops(Numbered(), (8, 12, 24), 5, seed=3)
    assert all(torch.equal(crops[number]["image"], again[number]["image"]) for number in range(15))
    other = SizedCrops(Numbered(), (8, 12, 24), 5, seed=4)
    assert [other.size_of(step) for step in range(12)] != [crops.size_of(step) for step in range(12)]
    assert set(crops[0]) == {"image"}


def test_crops_are_squares_of_the_image_at_different_places():
    crops = SizedCrops(Numbered(), (8,), 4, seed=0)
    corners = set()
    for number in range(30):
        image = crops[number]["image"] - number
        assert torch.equal(image - image[0, 0, 0], Numbered()[0]["image"][:, :8, :8])
        corners.add(image[0, 0, 0].item())
    assert len(corners) > 15


def test_validation_patches_stay_the_same_and_small_images_repeat_their_edges():
    pixels = np.random.default_rng(0).integers(0, 256, (10, 20, 3), dtype=np.uint8)
    store = FrameStore([Frame("a", lambda: pixels, np.zeros((10, 20), np.uint8))])
    patches = FixedPatches(store, (8, 16), 3, seed=0)
    one, two = patches[0], patches[0]
    assert one["patches.8"].shape == (3, 3, 8, 8)
    assert one["patches.16"].shape == (3, 3, 16, 16)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.equal(one["patches.16"][0, :, 9], one["patches.16"][0, :, 15])
    levels = one["patches.8"] * 255
    torch.testing.assert_close(levels, levels.round())


def test_the_recipe_end_to_end(trained, camvid):
    out, summary = trained
    assert summary["steps"] == 4
    assert summary["images_seen"] == 16
    assert summary["data"] == {"camvid/train": 4, "camvid/val": 2}
    found, start = summary["validation"], summary["validation_start"]
    assert set(found) == {"val_loss", "val_bits_8", "val_bits_16"}
    assert found["val_loss"] == pytest.approx((found["val_bits_8"] + found["val_bits_16"]) / 2, abs=2e-4)
    assert found["val_loss"] < start["val_loss"]
    assert summary["baselines"]["uniform"] == 8.0
    assert 0 < summary["baselines"]["histogram"] < 8
    flow = load_flow(out)
    assert flow.sample(1, (24, 8)).shape == (1, 3, 24, 8)
    assert (flow.width, flow.blocks) == (4, 1)


def test_pictures_of_samples_while_training(trained):
    out, _ = trained
    pictures = sorted(path.name for path in (out / "stages/flow/samples").iterdir())
    assert pictures == ["step-0000000.png", "step-0000002.png", "step-0000004.png"]
    first, last = (np.asarray(Image.open(out / "stages/flow/samples" / name)) for name in (pictures[0], pictures[-1]))
    assert first.shape == last.shape
    # The data's rows (the first of each three) are the same patches, the samples' rows are not.
    assert np.array_equal(first[:8], last[:8])
    assert not np.array_equal(first[12:20], last[12:20])


def test_figures_are_those_of_the_written_flow(trained, camvid):
    out, summary = trained
    flow = load_flow(out)
    frames = load_frames("camvid", root=str(camvid), split="val")
    patches = FixedPatches(FrameStore(frames), (8, 16), 2, 0)
    bits = []
    for index in range(len(patches)):
        one = patches[index]
        for side in (8, 16):
            noise = torch.Generator().manual_seed(index)
            with torch.no_grad():
                bits.append(flow.bits_per_dimension(one[f"patches.{side}"], noise).mean().item())
    assert summary["validation"]["val_loss"] == pytest.approx(np.mean(bits), abs=1e-4)


def test_resumed_training_ends_where_the_straight_run_ends(trained, camvid, tmp_path, monkeypatch):
    from anomseg.detectors.synthetic_outliers import flow_module

    straight, _ = trained
    loss_of, calls = flow_module.FlowModule.loss_of, []

    def stopping(self, batch):
        calls.append(1)
        if len(calls) == 4:  # in the second epoch: the first one's checkpoint is there
            raise KeyboardInterrupt
        return loss_of(self, batch)

    monkeypatch.setattr(flow_module.FlowModule, "loss_of", stopping)
    with pytest.raises(KeyboardInterrupt):
        train("camvid-flow", tmp_path / "out", small(camvid), quiet=True)
    assert (tmp_path / "out/stages/flow/last.ckpt").is_file()
    assert not (tmp_path / "out/flow.json").exists()
    monkeypatch.undo()
    train("camvid-flow", tmp_path / "out", small(camvid), quiet=True)
    name = "model.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (straight / name).read_bytes()


def test_a_training_that_diverges_says_what_to_lower(camvid, tmp_path):
    hot = {"trainer.learning_rate": 1e30, "trainer.schedule": "constant", "trainer.clip": 0}
    with pytest.raises(Exception, match="diverged") as caught:
        train("camvid-flow", tmp_path / "out", small(camvid, **hot), quiet=True)
    assert "learning_rate" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"module.sizes": [8, 18]}, "multiples of 8, got 18x18"),
        ({"module.sizes": []}, "sizes is empty"),
        ({"module.sizes": [64]}, r"augment.crop to \[64, 64\]"),
        ({"module.width": 0}, "width"),
        ({"module.depth": 2}, "unknown key of flow.module 'depth'"),
        ({"gives": "detector"}, "gives: flow"),
        ({"module.patches": 0}, "patches"),
    ],
)
def test_bad_recipes_are_refused_in_one_line(camvid, tmp_path, more, words):
    with pytest.raises(ConfigError, match=words) as caught:
        train("camvid-flow", tmp_path / "out", small(camvid, **more), quiet=True)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_told_before_training(tmp_path):
    with pytest.raises(ConfigError, match=r"--roots\.camvid"):
        train("camvid-flow", tmp_path / "out", quiet=True)


def test_held_out_images_are_not_learned(camvid, tmp_path):
    more = {"data.held_out": ["car"], "trainer.steps": 0, "trainer.validate_every": 1}
    summary = train("camvid-flow", tmp_path / "out", small(camvid, **more), quiet=True)
    assert summary["data"]["camvid/train"] == 2
    assert summary["held_out"]["classes"] == ["car"]


def test_the_shipped_recipe_changes_no_pixel():
    """A density is one of images as they are: resized or recoloured crops would be easier to code."""
    stage = load_recipe("camvid-flow").stages[0]
    crops = stage.data["augment"]
    assert (crops["scale"], crops["colour"], crops["gamma"]) == ([1.0, 1.0], 0, 0)
    assert stage.trainer["optimiser"] == "adamax"
    assert stage.trainer["weight_decay"] == 0


def test_its_detector_knows_the_frames_it_was_trained_on(trained, camvid):
    detector = create_detector(f"flow_likelihood:flow={trained[0]};patch=8")
    detector.needs(None)
    train_frames, val_frames = (load_frames("camvid", root=str(camvid), split=split) for split in ("train", "val"))
    assert len(overlapping_frames(detector, train_frames)) == 4
    assert overlapping_frames(detector, val_frames) == []
    assert detector.fitted_on["training"]["recipe"] == "camvid-flow"


def test_predicting_from_the_command_line(trained, tmp_path, capsys):
    picture = tmp_path / "street.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8)).save(picture)
    spec = f"flow_likelihood:flow={trained[0]};patch=8;stride=8"
    assert run(["predict", str(picture), "--detector", spec, "--out", str(tmp_path / "out"), "--format", "npy"]) == 0
    found = next((tmp_path / "out").rglob("*.npy"))
    assert np.load(found).shape == (30, 41)
    assert run(["predict", str(picture), "--detector", "flow_likelihood", "--out", str(tmp_path / "no")]) == 2
    assert "flow_likelihood:flow=DIR" in capsys.readouterr().err


def test_the_summary_is_json(trained):
    record = json.loads((trained[0] / "stages/flow/stage.json").read_text())
    assert record["summary"]["baselines"]["gaussian"] > 0
