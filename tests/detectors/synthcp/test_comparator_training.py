"""Training a comparator: it learns what it is shown, resumes to the same weights, and what it writes can be used."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cp_networks import made_generator
from fold_trees import CAMVID, write_folds

from anomseg.data import load_frames
from anomseg.detectors import load_detector
from anomseg.detectors.synthcp import DirectPrediction, SynthCP, load_comparator, save_comparator, save_generator
from anomseg.detectors.synthcp.comparator import Comparator
from anomseg.detectors.synthcp.comparator_data import (
    ComparatorSamples,
    Renderer,
    SampleStream,
    at_centres,
    last_part,
)
from anomseg.detectors.synthcp.comparator_losses import confidence_loss, quality_loss
from anomseg.detectors.synthcp.comparator_stage import ComparatorStage
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.registry import SEGMENTERS
from anomseg.segmenters.scene import make_scene
from anomseg.training import load_recipe, train
from anomseg.training.folds import Folds
from anomseg.training.folds_frames import predicted_frames

sys.path.append(str(Path(__file__).parents[2] / "training"))
from tiny_camvid import write_split

RECIPE = """
recipe: tiny-comparator
seed: 3
roots: {{camvid: "{root}"}}
stages:
  - name: comparator
    stage: comparator
    gives: detector
    module:
      folds: {folds}
      generator: {generator}
      size: [24, 32]
      widths: [4, 4, 8, 8]
      blocks: [1, 1, 1, 1]
      hidden: 4
    data: {{batch_size: 2}}
    trainer: {{steps: 4, validate_every: 2, optimiser: adam, schedule: constant, learning_rate: 0.01, weight_decay: 0,
               precision: "32-true", accelerator: cpu}}
"""
FOLDS = """
  - name: folds
    stage: folds
    gives: folds
    module: {network: pyramid, options: {widths: [4, 4, 4, 4], bottleneck: 4, size: [24, 32]}, folds: 2}
    data:
      space: camvid
      sources: [{benchmark: camvid, split: train}]
      validation: {benchmark: camvid, split: train}
      limit: 10
      batch_size: 2
      augment: {crop: [32, 48]}
    trainer: {steps: 1, validate_every: 1, precision: "32-true", accelerator: cpu}
"""

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval.*"),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("comparator")
    write_split(root / "camvid", "train", 10, [3, 8, 5])
    write_folds(root / "camvid", root / "folds")
    generator = made_generator(CAMVID, prints=["00ff"])
    save_generator(generator, root / "generator", generator.meta)
    (root / "tiny.yaml").write_text(
        RECIPE.format(root=root / "camvid", folds=root / "folds", generator=root / "generator")
    )
    return root


@pytest.fixture(scope="module")
def samples(tree):
    folds = Folds(tree / "folds")
    frames, lookup = predicted_frames(folds, {"camvid": str(tree / "camvid")})
    renderer = Renderer(made_generator(CAMVID), range(11))
    found = ComparatorSamples(tree / "samples", folds, frames, lookup, (24, 32), renderer)
    assert found.make(quiet=True) == 10
    assert found.make(quiet=True) == 0
    return found


class TestSamples:
    def test_what_a_sample_holds(self, samples, tree):
        frame = load_frames("camvid", tree / "camvid", "train")[1]
        sample = samples.read(1)
        assert {name: tuple(tensor.shape) for name, tensor in sample.items()} == {
            "probabilities": (11, 24, 32),
            "image": (3, 24, 32),
            "rendering": (3, 24, 32),
            "truth": (24, 32),
            "overlap": (11,),
        }
        torch.testing.assert_close(sample["probabilities"].sum(0), torch.ones(24, 32), atol=5e-3, rtol=0)
        picture = frame.image().astype(np.float32).reshape(24, 2, 32, 2, 3).mean((1, 3)).transpose(2, 0, 1)
        torch.testing.assert_close(sample["image"], torch.from_numpy(picture / 127.5 - 1), atol=0.005, rtol=0)
        assert torch.equal(sample["truth"], torch.from_numpy(frame.classes[1::2, 1::2]).long())
        assert sample["rendering"].abs().max() <= 1

    def test_overlap_is_that_of_the_whole_image(self, samples, tree):
        frame = load_frames("camvid", tree / "camvid", "train")[1]
        output = samples.folds.output(frame.id)
        predicted, truth = output.logits.argmax(1)[0].numpy(), frame.classes
        for index, found in enumerate(samples.read(1)["overlap"].tolist()):
            own, said = (truth == index), (predicted == index) & (truth != 255)
            if own.any():
                assert found == pytest.approx((own & said).sum() / (own | said).sum())
            else:
                assert np.isnan(found)

    def test_the_rendering_is_of_the_prediction_and_not_of_the_truth(self, samples):
        from anomseg.detectors.synthcp.rendering import render

        frame = samples.frames[1]
        predicted = samples.folds.output(frame.id).logits.argmax(1)
        small = render(samples.renderer.generator, predicted, range(11))
        expected = torch.nn.functional.interpolate(small, (24, 32), mode="bilinear", align_corners=False)
        assert tuple(small.shape[-2:]) == (16, 32)
        torch.testing.assert_close(samples.read(1)["rendering"], expected[0], atol=0.005, rtol=0)

    def test_mirrored(self, samples):
        plain, mirrored = samples.read(1), samples.read(1, flip=True)
        for name in ("probabilities", "image", "rendering", "truth"):
            assert torch.equal(plain[name].flip(-1), mirrored[name]), name
            assert not torch.equal(plain[name], mirrored[name]), name
        assert torch.equal(plain["overlap"].nan_to_num(-1), mirrored["overlap"].nan_to_num(-1))

    def test_stream_shows_each_once_a_turn_and_never_the_held_ones(self, samples, monkeypatch):
        monkeypatch.setattr(samples, "read", lambda index, flip=False: (index, flip))
        stream = SampleStream(samples, range(7), 0.5, 5)
        turns = [[stream[number][0] for number in range(start, start + 7)] for start in (0, 7)]
        assert sorted(turns[0]) == sorted(turns[1]) == list(range(7))
        assert turns[0] != turns[1]
        flips = [stream[number][1] for number in range(700)]
        assert 0.4 < np.mean(flips) < 0.6
        assert all(not SampleStream(samples, range(7), 0, 5)[number][1] for number in range(20))

    def test_part_to_validate_on_is_the_end(self):
        assert last_part(10, 0.1) == (list(range(9)), [9])
        with pytest.raises(ConfigError, match="leave none"):
            last_part(1, 0.1)

    def test_classes_at_the_middle_of_cells(self):
        maps = torch.arange(16).view(1, 4, 4)
        assert at_centres(maps, (2, 2)).tolist() == [[[5, 7], [13, 15]]]
        assert torch.equal(at_centres(maps, (4, 4)), maps)


def test_it_overfits_ten_images(samples):
    torch.manual_seed(0)
    comparator = Comparator(11, size=(24, 32), widths=(8, 8, 16, 16), blocks=(1, 1, 1, 1), hidden=8, pool=False, stem=3)
    optimiser = torch.optim.Adam(comparator.parameters(), 5e-3)
    every = [samples.read(index) for index in range(10)]
    batch = {name: torch.stack([one[name] for one in every]) for name in every[0]}

    def losses():
        quality, confidence = comparator(batch["probabilities"], batch["image"], batch["rendering"])
        return (
            quality,
            confidence,
            quality_loss(quality, batch["overlap"])
            + confidence_loss(confidence, batch["probabilities"], batch["truth"]),
        )

    before = losses()[2].item()
    for _ in range(60):
        optimiser.zero_grad()
        losses()[2].backward()
        optimiser.step()
    quality, confidence, loss = losses()
    right, valid = batch["probabilities"].argmax(1) == batch["truth"], batch["truth"] != 255
    assert loss.item() < 0.1 * before
    assert ((confidence > 0) == right)[valid].float().mean() > 0.97
    there = ~batch["overlap"].isnan()
    assert (quality - batch["overlap"])[there].abs().mean() < 0.1


@pytest.fixture(scope="module")
def straight(tree):
    return train(tree / "tiny.yaml", tree / "out", quiet=True)


def scene_of_frame(tree):
    torch.manual_seed(0)
    segmenter = SEGMENTERS.create("pyramid", classes=CAMVID, widths=(4, 4, 4, 4), bottleneck=4).eval()
    frame = load_frames("camvid", tree / "camvid", "train")[0]
    return make_scene([frame.image()], [frame.id], segmenter)


class TestStage:
    def test_writes_a_detector_that_needs_no_paths(self, straight, tree):
        detector = load_detector(tree / "out")
        assert isinstance(detector, SynthCP)
        assert detector.get_params()["generator"] == detector.get_params()["comparator"] == ""
        found = detector.assess(scene_of_frame(tree))
        assert found.error_map.shape == (1, 48, 64)
        assert found.class_quality.shape == (1, 11)
        assert found.measure == "iou"
        assert set(straight["validation"]) >= {"val_loss", "val_mae", "val_aupr_error", "val_aupr_error_msp"}
        assert straight["data"] == {"camvid/train": 9, "validation": 1}

    def test_knows_the_frames_that_any_part_has_seen(self, straight, tree):
        record = load_detector(tree / "out").fitted_on
        frames = {entry["fingerprint"] for entry in Folds(tree / "folds").record["frames"].values()}
        assert set(record["fingerprints"]) == frames | {"00ff"}

    def test_the_comparator_lies_beside_too(self, straight, tree):
        comparator = load_comparator(tree / "out/stages/comparator/comparator")
        assert comparator.meta["classes"] == list(CAMVID)
        assert comparator.size == (24, 32)

    def test_resumed_it_is_the_same(self, straight, tree):
        from anomseg.detectors.synthcp.comparator_module import ComparatorModule

        steps = ComparatorModule.loss_of

        def stops(self, batch):
            if self.global_step == 3:
                raise KeyboardInterrupt
            return steps(self, batch)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ComparatorModule, "loss_of", stops)
            with pytest.raises(KeyboardInterrupt):
                train(tree / "tiny.yaml", tree / "again", quiet=True)
        train(tree / "tiny.yaml", tree / "again", quiet=True)
        one, other = (load_detector(tree / name).state() for name in ("out", "again"))
        for name, tensor in one.items():
            if "comparator.config" not in name:  # the record tells the seconds
                assert torch.equal(tensor, other[name]), name

    def test_without_rendering_it_is_the_baseline(self, tree):
        change = {"stages.comparator.module.branches": "image", "stages.comparator.module.generator": "null"}
        change["stages.comparator.trainer.steps"] = "2"
        train(tree / "tiny.yaml", tree / "direct", change, quiet=True)
        detector = load_detector(tree / "direct")
        assert isinstance(detector, DirectPrediction)
        scene = scene_of_frame(tree)
        found = detector.assess(scene)
        assert torch.equal(detector.score(scene), found.error_map)
        assert found.class_quality.shape == (1, 11)
        folder = tree / "direct/stages/comparator/comparator"
        named = DirectPrediction(str(folder))
        assert torch.equal(named.assess(scene).error_map, found.error_map)
        assert not (tree / "direct/stages/comparator/samples").is_dir() or "rendering" not in _first_sample(tree)

    def test_takes_the_folds_of_an_earlier_stage(self, tree, tmp_path):
        recipe = (tree / "tiny.yaml").read_text().replace("folds: " + str(tree / "folds"), "validation: 0.2")
        (tmp_path / "both.yaml").write_text(recipe.replace("stages:\n", f"stages:\n{FOLDS}").replace(
            "stage: comparator\n", "stage: comparator\n    takes: [folds]\n"
        ))  # fmt: skip
        change = {"stages.comparator.trainer.steps": "2", "roots.camvid": str(tree / "camvid")}
        summary = train(tmp_path / "both.yaml", tmp_path / "out", change, quiet=True)
        folds = Folds(tmp_path / "out/stages/folds/result")
        assert summary["folds"]["miou"] == folds.record["miou"]
        assert summary["data"] == {"camvid/train": 8, "validation": 2}
        assert isinstance(load_detector(tmp_path / "out"), SynthCP)
        twice = {"stages.comparator.module.folds": str(tree / "folds")}
        with pytest.raises(ConfigError, match="leave one out"):
            train(tmp_path / "both.yaml", tmp_path / "twice", {**change, **twice}, quiet=True)
        nowhere = {"stages.comparator.module.generator": str(tmp_path / "nowhere")}
        with pytest.raises(DataError, match=r"generator\.json"):
            train(tmp_path / "both.yaml", tmp_path / "early", {**change, **nowhere}, quiet=True)
        assert not (tmp_path / "early").exists()  # before the folds were trained

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"module.folds": "null"}, "module.folds DIR"),
            ({"module.generator": "null"}, "module.generator DIR"),
            ({"module.branches": "image"}, "leave the generator out"),
            ({"module.branches": "none"}, "branches"),
            ({"data.batch_size": "1"}, "two samples"),
            ({"gives": "segmenter"}, "gives: detector"),
            ({"module.widths": "[4, 4]"}, "widths"),
            ({"module.detector": "{gate: 7}"}, "gate"),
        ],
    )
    def test_bad_configurations(self, tree, tmp_path, change, said):
        with pytest.raises(ConfigError, match=said) as caught:
            train(tree / "tiny.yaml", tmp_path, {f"stages.comparator.{k}": v for k, v in change.items()}, quiet=True)
        assert "\n" not in str(caught.value)

    def test_a_generator_of_other_classes_is_told_before_training(self, tree, tmp_path):
        other = made_generator(["road", "dragon"])
        save_generator(other, tmp_path / "generator", other.meta)
        change = {"stages.comparator.module.generator": str(tmp_path / "generator")}
        with pytest.raises(CompatibilityError, match="has not learned"):
            train(tree / "tiny.yaml", tmp_path / "out", change, quiet=True)

    def test_no_folds_there(self, tree, tmp_path):
        with pytest.raises(DataError, match=r"folds\.json"):
            train(tree / "tiny.yaml", tmp_path / "out", {"stages.comparator.module.folds": str(tmp_path)}, quiet=True)


def _first_sample(tree):
    from safetensors.torch import load_file

    return load_file(next((tree / "direct/stages/comparator/samples").rglob("*.safetensors")))


def test_published_settings():
    recipe = load_recipe("street-hazards-synthcp")
    folds, comparator = recipe.stages
    assert folds.module["folds"] == 4
    assert folds.trainer["steps"] == 40 * (5125 * 3 // 4 // 2 + 1)
    assert (comparator.trainer["optimiser"], comparator.trainer["learning_rate"]) == ("adam", 2e-4)
    assert (comparator.trainer["steps"], comparator.data["batch_size"]) == (20000, 4)
    built = ComparatorStage(recipe, comparator).comparator.build(19)
    assert sum(parameter.numel() for parameter in built.parameters()) == pytest.approx(22.5e6, rel=0.01)
    assert built.size == (256, 512)


class TestDirectPrediction:
    def test_a_comparator_with_renderings_is_refused(self, tmp_path):
        comparator = Comparator(11, widths=(4, 4, 4, 4))
        comparator.meta = {"classes": list(CAMVID)}
        save_comparator(comparator, tmp_path, comparator.meta)
        for attempt in (lambda: DirectPrediction.of(comparator), lambda: DirectPrediction(str(tmp_path)).needs(None)):
            with pytest.raises(CompatibilityError, match="use synthcp"):
                attempt()

    def test_without_a_comparator(self):
        with pytest.raises(ConfigError, match="has no comparator"):
            DirectPrediction().needs(None)
        assert DirectPrediction().state() == {}
        json.dumps(DirectPrediction().card())

    def test_a_foreign_state(self):
        with pytest.raises(CompatibilityError, match="state"):
            DirectPrediction().load_state({"something": torch.zeros(3)})
