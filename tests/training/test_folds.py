"""Out-of-fold predictions: no network predicts what it has seen, and what is kept is what it said."""

import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_camvid import write_split

from anomseg.data import label_space, load_frames
from anomseg.errors import ConfigError, DataError
from anomseg.files import read_json, write_json
from anomseg.segmenters import SegmentationOutput, save_segmenter
from anomseg.segmenters.erfnet_pyramid import ERFNetPyramid
from anomseg.training import load_recipe, train
from anomseg.training.feature_cache import CachedCrops
from anomseg.training.folds import Folds, frames_to_learn, plan_folds, write_prediction
from anomseg.training.folds_data import FoldData
from anomseg.training.folds_stage import FoldsStage

RECIPE = """
recipe: tiny-folds
seed: 3
roots: {{camvid: "{root}"}}
stages:
  - name: folds
    stage: folds
    gives: folds
    module: {{network: pyramid, options: {{widths: [4, 4, 4, 4], bottleneck: 4, size: [32, 48]}}, folds: 2}}
    data:
      space: camvid
      sources: [{{benchmark: camvid, split: train}}]
      validation: {{benchmark: camvid, split: val}}
      batch_size: 2
      augment: {{crop: [32, 48]}}
    trainer: {{steps: 1, validate_every: 1, learning_rate: 0.01, precision: "32-true", accelerator: cpu}}
"""
CACHED = """
recipe: tiny-cached-folds
seed: 3
roots: {{camvid: "{root}"}}
stages:
  - name: features
    stage: features
    gives: features
    module:
      options: {{size: [32, 48], bottleneck: 4}}
      encoder_start: {encoder}
      layers: [stage2, encoder]
      crops: 8
    data:
      space: camvid
      sources: [{{benchmark: camvid, split: train}}]
      validation: {{benchmark: camvid, split: val}}
      augment: {{crop: [32, 48]}}
  - name: folds
    stage: folds
    takes: [features]
    gives: folds
    module: {{network: erfnet_pyramid, options: {{size: [32, 48], bottleneck: 4}}, folds: 2}}
    data: {{batch_size: 2}}
    trainer: {{steps: 1, validate_every: 1, learning_rate: 0.01, precision: "32-true", accelerator: cpu}}
"""

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
]


class TestPlan:
    def test_blocks_follow_each_other(self):
        assert plan_folds(["a"] * 7, 3) == [0, 0, 0, 1, 1, 2, 2]

    def test_sequences_stay_together(self):
        groups = ["a"] * 4 + ["b"] * 3 + ["c"] * 2 + ["d"]
        plan = plan_folds(groups, 2, "groups")
        assert len({(group, fold) for group, fold in zip(groups, plan, strict=True)}) == 4
        assert plan.count(0) == plan.count(1) == 5

    @given(st.integers(2, 40), st.integers(2, 6), st.sampled_from(["contiguous", "random"]), st.integers(0, 9))
    def test_every_fold_has_its_share(self, frames, folds, rule, seed):
        if frames < folds:
            with pytest.raises(ConfigError, match="cannot be parted"):
                plan_folds(["a"] * frames, folds, rule, seed)
            return
        plan = plan_folds(["a"] * frames, folds, rule, seed)
        counts = np.bincount(plan, minlength=folds)
        assert counts.sum() == frames
        assert counts.max() - counts.min() <= 1

    def test_what_cannot_be(self):
        with pytest.raises(ConfigError, match="2 sequences"):
            plan_folds(["a", "a", "b"], 3, "groups")
        with pytest.raises(ConfigError, match="did you mean 'random'"):
            plan_folds(["a", "b"], 2, "randm")

    @given(st.lists(st.integers(0, 2), min_size=1, max_size=20), st.integers(0, 3))
    def test_nothing_is_learned_near_what_is_predicted(self, plan, gap):
        prints = [str(number) for number in range(len(plan))]
        held = [number for number, fold in enumerate(plan) if fold == 0]
        allowed = [n for n in range(len(plan)) if all(abs(n - other) > gap for other in held)]
        if allowed:
            assert frames_to_learn(plan, 0, gap, prints) == allowed
        else:
            with pytest.raises(ConfigError, match="no frame"):
                frames_to_learn(plan, 0, gap, prints)

    def test_copies_of_an_image_are_not_learned(self):
        assert frames_to_learn([0, 0, 1, 1], 1, 0, ["a", "b", "b", "c"]) == [0]


class TestPrediction:
    def test_what_is_kept_upsamples_to_the_same_softmax(self, tmp_path):
        torch.manual_seed(0)
        output = SegmentationOutput(torch.randn(1, 3, 4, 6) * 5 + 40, (32, 48), (30, 44))
        write_prediction(tmp_path / "a.safetensors", output, 10_000)
        kept = stored(tmp_path).output("a")
        assert (kept.padded_size, kept.input_size) == (output.padded_size, output.input_size)
        one, other = (each.upsample(each.logits, (15, 22)).softmax(1) for each in (kept, output))
        torch.testing.assert_close(one, other, atol=5e-3, rtol=0)

    def test_disk_is_bounded(self, tmp_path):
        logits = torch.arange(64.0).view(1, 1, 8, 8).repeat(1, 2, 1, 1) * torch.tensor([1.0, -1.0]).view(1, 2, 1, 1)
        write_prediction(tmp_path / "a.safetensors", SegmentationOutput(logits, (8, 8), (8, 8)), 16)
        assert stored(tmp_path).output("a").logits.shape == (1, 2, 4, 4)


def stored(folder, **more):
    entry = {"a": {"fold": 0, "file": "a.safetensors", "fingerprint": "0"}}
    write_json(
        folder / "folds.json",
        {"schema": 1, "classes": ["x", "y"], "frames": entry, "networks": [{"seen": ["b"]}], **more},
    )
    return Folds(folder)


def test_a_network_that_has_seen_what_it_predicts_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"folds\.json"):
        Folds(tmp_path)
    with pytest.raises(DataError, match="trained on it"):
        stored(tmp_path, networks=[{"seen": ["a"]}])
    with pytest.raises(DataError, match="missing or damaged"):
        stored(tmp_path).output("a")


@pytest.mark.parametrize("part", [{"networks": []}, {"networks": [{}]}, {"frames": ["a"]}, {"classes": None}])
def test_a_damaged_index_is_told(tmp_path, part):
    with pytest.raises(DataError, match=r"folds\.json is damaged"):
        stored(tmp_path, **part)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("folds")
    write_split(root / "camvid", "train", 5, [3, 8])
    write_split(root / "camvid", "val", 1, [3, 8])
    return root


@pytest.fixture(scope="module")
def recipe(tree):
    path = tree / "tiny.yaml"
    path.write_text(RECIPE.format(root=tree / "camvid"))
    return path


@pytest.fixture(scope="module")
def straight(recipe, tree):
    summary = train(recipe, tree / "out", quiet=True)
    return summary, Folds(tree / "out")


class TestStage:
    def test_no_network_predicts_what_it_has_seen(self, straight, tree):
        _, folds = straight
        ids = [frame.id for frame in load_frames("camvid", tree / "camvid", "train")]
        assert list(folds.ids) == ids
        for name in ids:
            seen = folds.record["networks"][folds.fold_of(name)]["seen"]
            assert name not in seen
            assert sorted([*seen, *(other for other in ids if folds.fold_of(other) == folds.fold_of(name))]) == ids
        assert len({network["sha256"] for network in folds.record["networks"]}) == 2

    def test_figures_are_those_of_what_is_kept(self, straight, tree):
        summary, folds = straight
        frames = load_frames("camvid", tree / "camvid", "train")
        right = pixels = 0
        for frame in folds.match(frames):
            output = folds.output(frame.id)
            predicted = output.upsample(output.logits, frame.classes.shape).argmax(1)[0].numpy()
            pixels += (frame.classes != 255).sum()
            right += (predicted == frame.classes)[frame.classes != 255].sum()
        confusions = [
            np.array(read_json(tree / "out/stages/folds" / f"fold-{fold}" / "fold.json")["confusion"])
            for fold in range(2)
        ]
        total = np.sum(confusions, 0)
        assert total.sum() == pixels
        assert abs(np.trace(total) - right) <= 0.002 * pixels  # half precision may turn a tie
        union = total.sum(0) + total.sum(1) - np.diag(total)
        expected = (np.diag(total)[union > 0] / union[union > 0]).mean()
        assert summary["validation"]["out_of_fold_miou"] == pytest.approx(expected, abs=1e-4)
        assert summary["steps"] == 2

    def test_resumed_it_is_the_same(self, straight, recipe, tree, monkeypatch):
        out, count = tree / "resumed", []
        predict = FoldsStage._predict

        def stops(self, segmenter, *rest):
            count.append(1)
            if len(count) == 2:
                raise KeyboardInterrupt
            return predict(self, segmenter, *rest)

        monkeypatch.setattr(FoldsStage, "_predict", stops)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, out, quiet=True)
        first = (out / "stages/folds/fold-0/fold.json").stat().st_mtime_ns
        monkeypatch.setattr(FoldsStage, "_predict", predict)
        train(recipe, out, quiet=True)
        assert (out / "stages/folds/fold-0/fold.json").stat().st_mtime_ns == first
        folds, expected = Folds(out), straight[1]
        for name in expected.ids:
            assert torch.equal(folds.output(name).logits, expected.output(name).logits)
        for one, other in zip(folds.record["networks"], expected.record["networks"], strict=True):
            assert one["sha256"] == other["sha256"]

    def test_other_frames_are_refused(self, straight, tree):
        folds = straight[1]
        frames = load_frames("camvid", tree / "camvid", "train")
        with pytest.raises(DataError, match="not among"):
            folds.match(frames[1:])
        other = tree / "other"
        shutil.copytree(tree / "camvid", other)
        names = sorted((other / "images" / "train").iterdir())
        shutil.copy(names[0], names[1])
        with pytest.raises(DataError, match="another image"):
            folds.match(load_frames("camvid", other, "train"))

    @pytest.mark.parametrize(
        ("key", "value", "said"),
        [
            ("module.start", "somewhere", "may have seen"),
            ("gives", "segmenter", "gives: folds"),
            ("module.folds", "1", "folds must be 2"),
            ("module.rule", "often", "rule"),
            ("data.sources", "[{benchmark: camvid}, {benchmark: camvid, split: val}]", "one source"),
        ],
    )
    def test_bad_configurations(self, recipe, tmp_path, key, value, said):
        with pytest.raises(ConfigError, match=said) as caught:
            train(recipe, tmp_path / "out", {f"stages.folds.{key}": value}, quiet=True)
        assert "\n" not in str(caught.value)

    def test_more_folds_than_frames_are_told_before_training(self, recipe, tmp_path):
        with pytest.raises(ConfigError, match="cannot be parted"):
            train(recipe, tmp_path / "out", {"stages.folds.module.folds": "9"}, quiet=True)

    def test_a_gap_that_leaves_nothing_to_learn_from_is_told_before_training(self, recipe, tmp_path):
        with pytest.raises(ConfigError, match="smaller gap"):
            train(recipe, tmp_path / "out", {"stages.folds.module.gap": "9"}, quiet=True)
        assert not (tmp_path / "out").exists()


class TestCached:
    @pytest.fixture
    def cached(self, tree, tmp_path):
        torch.manual_seed(0)
        save_segmenter(ERFNetPyramid(["a"], bottleneck=4), tmp_path / "donor")
        path = tmp_path / "cached.yaml"
        path.write_text(CACHED.format(root=tree / "camvid", encoder=tmp_path / "donor" / "model.safetensors"))
        return path

    def test_crops_and_frequencies_are_those_of_the_frames_that_are_learned(self, cached, tmp_path, monkeypatch):
        read = []
        crop = CachedCrops.__getitem__
        monkeypatch.setattr(CachedCrops, "__getitem__", lambda self, n: read.append(self.numbers) or crop(self, n))
        train(cached, tmp_path / "out", quiet=True)
        folds, plan = Folds(tmp_path / "out"), load_recipe(cached)
        stage = FoldsStage(plan, plan.stages[1])
        place = stage.data.labelled.crops().place
        used = list(dict.fromkeys(tuple(numbers) for numbers in read))
        assert len(used) == 2
        for fold, numbers in enumerate(used):
            frames = {folds.ids[place(number)[1]] for number in numbers}
            assert frames <= set(folds.record["networks"][fold]["seen"])
        assert sum(map(len, used)) == 8

        stage.data.bind({"features": tmp_path / "out/stages/features/result"})
        only_road = [n for n, frame in enumerate(stage.data.labelled.stores[0].frames) if (frame.classes == 3).any()]
        data = FoldData(stage.data, only_road)
        frequencies = data.labelled.frequencies()
        assert frequencies[3] > 0
        assert frequencies[8] == 0
        assert data.record()["data"]["camvid/train"] == len(only_road)
        assert not torch.equal(data.row_weights(True), stage.data.row_weights(True))
        assert torch.equal(data.row_weights(False), stage.data.row_weights(False))

    def test_an_encoder_that_was_trained_on_the_frames_is_refused(self, cached, tmp_path):
        network = ERFNetPyramid(label_space("camvid").names, size=(32, 48), bottleneck=4)
        save_segmenter(network, tmp_path / "trained")
        change = {"stages.features.module": {"start": str(tmp_path / "trained"), "layers": ["stage2", "encoder"]}}
        with pytest.raises(ConfigError, match="may have been trained"):
            train(cached, tmp_path / "out", change, quiet=True)
