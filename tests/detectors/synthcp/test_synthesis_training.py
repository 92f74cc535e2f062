"""The stage ``synthesis``: its data, the recipe end to end, resuming, pictures, and bad input."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anomseg.data import load_frames
from anomseg.data.fingerprint import frame_fingerprint
from anomseg.detectors.synthcp import generator_meta, load_generator, one_hot_layout
from anomseg.detectors.synthcp import synthesis_module as module_file
from anomseg.detectors.synthcp.synthesis_data import LayoutImages, LayoutStream, evenly
from anomseg.detectors.synthcp.synthesis_pictures import SynthesisPictures, layout_colours
from anomseg.errors import ConfigError, DataError
from anomseg.segmenters import save_segmenter
from anomseg.segmenters.pyramid import PyramidNet
from anomseg.training import load_recipe, recipe_names, train
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
    """The recipe with small networks and few steps."""
    settings = {
        "module.size": [16, 32],
        "module.width": 2,
        "module.hidden": 4,
        "module.discriminator_width": 4,
        "module.layers": 2,
        "data.batch_size": 2,
        "trainer.steps": 4,
        "trainer.validate_every": 2,
        "trainer.accelerator": "cpu",
        "trainer.precision": "32-true",
        **more,
    }
    return {"roots.camvid": str(root), **{f"stages.synthesis.{key}": value for key, value in settings.items()}}


@pytest.fixture(scope="module")
def trained(camvid, tmp_path_factory):
    out = tmp_path_factory.mktemp("synthesis") / "out"
    return out, train("camvid-synthesis", out, small(camvid), quiet=True)


def test_the_recipe_end_to_end(trained, camvid):
    out, summary = trained
    assert (summary["steps"], summary["images_seen"]) == (4, 8)
    assert summary["data"] == {"camvid/train": 4, "camvid/val": 2}
    assert summary["seconds"] > 0
    named = {"val_loss", "val_features", "val_adversarial", "val_real", "val_fake"}
    assert set(summary["validation"]) == set(summary["validation_start"]) == named
    generator = load_generator(out)
    assert generator.options["size"] == [16, 32]
    meta = generator_meta(out)
    assert meta["classes"][-1] == "bicyclist"
    assert len(meta["classes"]) == generator.classes == 11
    assert meta["intensity"] == "RGB in [-1, 1]"
    frames = load_frames("camvid", root=str(camvid), split="train")
    assert meta["fitted_on"]["fingerprints"] == sorted(frame_fingerprint(frame) for frame in frames)
    training = meta["fitted_on"]["training"]
    assert (training["recipe"], training["steps"], training["images_seen"]) == ("camvid-synthesis", 4, 8)


def test_it_learns(camvid, tmp_path):
    more = {"trainer.steps": 60, "trainer.validate_every": 60, "trainer.learning_rate": 2e-3, "module.pixels": 10.0}
    summary = train("camvid-synthesis", tmp_path / "out", small(camvid, **more), quiet=True)
    assert summary["validation"]["val_loss"] < 0.6 * summary["validation_start"]["val_loss"]


def test_figures_are_those_of_the_written_generator(trained, camvid):
    out, summary = trained
    generator = load_generator(out)
    lookup = np.arange(256, dtype=np.uint8)
    frames = LayoutImages(FrameStore(load_frames("camvid", root=str(camvid), split="val")), lookup, (16, 32))
    with torch.no_grad():
        found = [
            (generator(one_hot_layout(one["classes"][None], 11)) - one["image"]).abs().mean().item()
            for one in (frames[index] for index in range(2))
        ]
    assert summary["validation"]["val_loss"] == pytest.approx(np.mean(found), abs=1e-4)


def test_pictures_while_training(trained):
    out, _ = trained
    folder = out / "stages/synthesis/samples"
    assert sorted(path.name for path in folder.iterdir()) == [f"step-000000{step}.png" for step in (0, 2, 4)]
    first, last = (np.asarray(Image.open(folder / f"step-000000{step}.png")) for step in (0, 4))
    assert first.shape == (2 * 16 + 4, 3 * 32 + 8, 3)
    # Layout and image stay, renderings do not.
    assert np.array_equal(first[:, :68], last[:, :68])
    assert not np.array_equal(first[:, 72:], last[:, 72:])


def test_a_picture_shows_layout_image_and_rendering(tmp_path):
    pictures = SynthesisPictures(tmp_path, [(10, 20, 30), (40, 50, 60)])
    classes = torch.tensor([[0, 1, 255]])
    pictures.keep(classes, torch.full((3, 1, 3), -1.0), torch.ones(3, 1, 3))
    pictures.write(7)
    pictures.write(8)
    shown = np.asarray(Image.open(tmp_path / "samples/step-0000007.png"))
    assert shown[0, :3].tolist() == [[10, 20, 30], [40, 50, 60], [0, 0, 0]]
    assert (shown[0, 7:10] == 0).all()
    assert (shown[0, 14:17] == 255).all()
    assert not (tmp_path / "samples/step-0000008.png").exists()
    assert len(np.unique(layout_colours(np.arange(11, dtype=np.uint8)[None])[0], axis=0)) == 11


@pytest.mark.parametrize("moment", ["generator", "discriminator"])
def test_resumed_training_ends_where_the_straight_run_ends(trained, camvid, tmp_path, monkeypatch, moment):
    straight, _ = trained
    step, calls = module_file.adversarial_step, []

    def stopping(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4 and moment == "generator":  # in the second epoch: the first one's checkpoint is there
            raise KeyboardInterrupt
        told = step(*args, **kwargs)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return told

    monkeypatch.setattr(module_file, "adversarial_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        train("camvid-synthesis", tmp_path / "out", small(camvid), quiet=True)
    assert not (tmp_path / "out/generator.json").exists()
    monkeypatch.undo()
    train("camvid-synthesis", tmp_path / "out", small(camvid), quiet=True)
    name = "model.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (straight / name).read_bytes()
    # The discriminator is not written, but goes on where it was as well.
    kept = [torch.load(out / "stages/synthesis/last.ckpt", weights_only=True) for out in (straight, tmp_path / "out")]
    for key, value in kept[0]["state_dict"].items():
        assert torch.equal(value, kept[1]["state_dict"][key]), key
    rates = [[group["lr"] for group in state["param_groups"]] for state in kept[0]["optimizer_states"]]
    assert len(rates) == 2


def store_of(sizes=((20, 30),), classes=3):
    rng = np.random.default_rng(0)
    frames = []
    for number, size in enumerate(sizes):
        pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        frames.append(Frame(str(number), lambda pixels=pixels: pixels, rng.integers(0, classes, size, dtype=np.uint8)))
    return FrameStore(frames)


def test_frames_are_stretched_whole_and_labels_never_mixed():
    lookup = np.full(256, 255, np.uint8)
    lookup[:2] = [7, 3]
    frames = LayoutImages(store_of(((20, 30), (8, 64))), lookup, (16, 32))
    for index in range(2):
        one = frames[index]
        assert one["classes"].shape == (16, 32)
        assert one["classes"].dtype == torch.int64
        assert set(one["classes"].unique().tolist()) == {3, 7, 255}
        assert one["image"].shape == (3, 16, 32)
        assert -1 <= one["image"].min() < -0.3
        assert 0.3 < one["image"].max() <= 1
    same = LayoutImages(store_of(((16, 32),)), lookup, (16, 32))[0]["image"]
    pixels = store_of(((16, 32),))[0][0]
    torch.testing.assert_close((same + 1) / 2 * 255, torch.from_numpy(pixels).permute(2, 0, 1).float())


def test_the_stream_is_seeded_and_flips_image_and_layout_together():
    lookup = np.arange(256, dtype=np.uint8)
    frames = LayoutImages(store_of(((16, 32),) * 3), lookup, (16, 32))
    one, two = (LayoutStream([frames], [1.0], 0.5, 3) for _ in range(2))
    plain = {tuple(frames[i]["classes"].flatten().tolist()): frames[i] for i in range(3)}
    flipped = 0
    for number in range(24):
        sample, again = one[number], two[number]
        assert all(torch.equal(sample[key], again[key]) for key in sample)
        key = tuple(sample["classes"].flatten().tolist())
        if key in plain:
            assert torch.equal(sample["image"], plain[key]["image"])
        else:
            flipped += 1
            mirrored = plain[tuple(sample["classes"].flip(1).flatten().tolist())]
            assert torch.equal(sample["image"], mirrored["image"].flip(2))
    assert 4 < flipped < 20
    other = LayoutStream([frames], [1.0], 0.5, 4)
    assert any(not torch.equal(one[number]["image"], other[number]["image"]) for number in range(4))


def test_sources_are_drawn_by_their_shares():
    lookup = np.arange(256, dtype=np.uint8)
    rare, often = LayoutImages(store_of(), lookup, (16, 32)), LayoutImages(store_of(((8, 8),)), lookup, (16, 32))
    stream = LayoutStream([rare, often], [0.0, 1.0], 0.0, 0)
    assert all(torch.equal(stream[number]["image"], often[0]["image"]) for number in range(5))


def test_validation_renders_frames_from_the_first_to_the_last():
    store = store_of(((8, 8),) * 11)
    assert [frame.id for frame in evenly(store, 3).frames] == ["0", "5", "10"]
    assert evenly(store, 0) is evenly(store, 11) is evenly(store, 99) is store


@pytest.mark.parametrize(("how", "frames"), [("drop", 2), ("void", 4)])
def test_held_out_classes_are_not_rendered(camvid, tmp_path, how, frames):
    more = {"data.held_out": ["car"], "data.held_out_images": how, "trainer.steps": 0, "trainer.validate_every": 1}
    summary = train("camvid-synthesis", tmp_path / "out", small(camvid, **more), quiet=True)
    assert summary["data"]["camvid/train"] == frames
    assert summary["held_out"]["classes"] == ["car"]
    assert "car" not in generator_meta(tmp_path / "out")["classes"]
    assert load_generator(tmp_path / "out").classes == 10


def test_a_saved_segmenter_gives_a_perceptual_loss(camvid, tmp_path):
    save_segmenter(PyramidNet([f"c{i}" for i in range(11)], size=(48, 64)), tmp_path / "net")
    names = list(PyramidNet(["a", "b"]).feature_info)[:1]
    more = {"module.perceptual": str(tmp_path / "net"), "module.perceptual_features": names}
    summary = train("camvid-synthesis", tmp_path / "out", small(camvid, **more), quiet=True)
    assert summary["validation"]["val_perceptual"] > 0
    assert summary["perceptual"]["features"] == names
    assert len(summary["perceptual"]["sha256"]) == 64
    wrong = small(camvid, **{**more, "module.perceptual_features": ["no"]})
    with pytest.raises(ConfigError, match=r"synthesis\.module\.perceptual: unknown feature"):
        train("camvid-synthesis", tmp_path / "no", wrong, quiet=True)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"module.size": [15, 32]}, r"synthesis\.module: size 15 x 32 .* multiples of 2"),
        ({"module.size": [16, 30], "module.ups": 3}, "multiples of 8; choose 16 x 32"),
        ({"module.width": 0}, "width"),
        ({"module.depth": 2}, "unknown key of synthesis.module 'depth'"),
        ({"module.norm": "layer"}, "norm"),
        ({"module.features": -1}, "features must be 0 or more"),
        ({"module.perceptual_features": ["encoder"]}, "name it as perceptual"),
        ({"gives": "detector"}, "gives: generator"),
        ({"data.augment": {"crop": [8, 8]}}, "give flip alone"),
        ({"trainer.precision": "16-mixed"}, "precision"),
        ({"trainer.betas": [0.5, 1.0]}, "betas"),
        ({"trainer.steps": 5}, "multiple of validate_every"),
        ({"trainer.optimiser": "sgd"}, "unknown key of synthesis.trainer 'optimiser'"),
    ],
)
def test_bad_recipes_are_refused_in_one_line(camvid, tmp_path, more, words):
    with pytest.raises(ConfigError, match=words) as caught:
        train("camvid-synthesis", tmp_path / "out", small(camvid, **more), quiet=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_missing_network_for_the_perceptual_loss_is_told_before_training(camvid, tmp_path):
    more = {"module.perceptual": str(tmp_path / "no"), "module.perceptual_features": ["encoder"]}
    with pytest.raises((ConfigError, DataError)) as caught:
        train("camvid-synthesis", tmp_path / "out", small(camvid, **more), quiet=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_training_that_diverges_says_what_to_lower(camvid, tmp_path):
    hot = {"trainer.learning_rate": 1e30}
    with pytest.raises(Exception, match="diverged") as caught:
        train("camvid-synthesis", tmp_path / "out", small(camvid, **hot), quiet=True)
    assert "learning_rate" in str(caught.value)


@pytest.mark.parametrize("name", [name for name in recipe_names() if name.endswith("-synthesis")])
def test_shipped_recipes_have_the_published_rates(name):
    stage = load_recipe(name).stages[0]
    assert stage.gives == "generator"
    assert stage.trainer["learning_rate"] == 1e-4 or name == "camvid-synthesis"
    if name == "street-hazards-synthesis":
        assert (stage.module["size"], stage.module["width"]) == ([256, 512], 64)
