"""The claims' runner of dense k-NN on made-up features: exact counts, nested banks, verdicts, resumed work."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from anomseg.detectors.knn.bank import BankPass
from anomseg.errors import ConfigError
from anomseg.metrics import PixelCurve
from anomseg.scores.neighbors import knn_distance
from anomseg.segmenters import make_scene
from anomseg.segmenters.base import SegmentationOutput, Segmenter
from anomseg.types import FeatureInfo, Frame

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "claims"))

import knn
import knn_measure
import knn_reduced
import knn_study
import knn_sweeps
from knn_bank import bank_rows
from knn_cache import PARAMETRIC, Cache
from knn_choice import Choice, best_layer
from knn_page import page
from knn_plan import FrameSet, Network
from knn_search import Cells, nested_search
from knn_study import NotMeasured, Study
from knn_tables import number
from knn_verdicts import (
    above,
    all_of,
    beats_controls,
    combines,
    leaves_primary,
    over_networks,
    robust,
    small_banks,
    within,
)

CLASSES = ("road", "sky", "car")
SIZE = (20, 30)


class Made(Segmenter):
    """Two random convolutions, padded to multiples of 8, so that some cells lie in the padding."""

    registry_name = "made"

    def __init__(self) -> None:
        super().__init__(CLASSES, size=SIZE, divisor=8)
        generator = torch.Generator().manual_seed(1)
        self.stem = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.head = nn.Conv2d(5, len(CLASSES), 1)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        self.passes = 0
        self.eval()

    @property
    def feature_info(self):
        return {"stem": FeatureInfo(5, 2), "head": FeatureInfo(3, 2)}

    def segment(self, batch, features):
        self.passes += 1
        stem = torch.relu(self.stem(batch))
        logits = self.head(stem)
        named = {"stem": stem, "head": logits}
        size = (batch.shape[-2], batch.shape[-1])
        return SegmentationOutput(logits, size, size, {name: named[name] for name in features})


def made_frames(name, count, anomalous):
    """Frames 40 x 50 with an odd square, or with class maps."""
    frames = []
    for index in range(count):
        draws = np.random.default_rng([index, len(name)])
        image = draws.integers(0, 120, (40, 50, 3), dtype=np.uint8)
        label = np.zeros((40, 50), np.uint8)
        label[:3] = 255
        label[12:25, 5 + index : 22 + index] = 1
        if anomalous:
            image[label == 1] += 90
        classes = draws.integers(0, 3, (40, 50)).astype(np.uint8)
        classes[-4:] = 255
        meta = {"dataset": "camvid" if not anomalous else name, "label_space": "made-up"}
        frames.append(
            Frame(
                f"{name}{index}",
                lambda image=image: image,
                None if anomalous else classes,
                label if anomalous else None,
                meta=meta,
            )
        )
    return frames


class MadeSet(FrameSet):
    """A set whose frames are made."""

    def frames(self, data, limit=None):
        return made_frames(self.key, 4, self.anomalies)


def made_set(key, anomalies=True):
    return MadeSet(key, key.title(), "camvid", "", anomalies=anomalies)


@pytest.fixture
def study(tmp_path):
    network = Network(
        "made",
        "made",
        "Made up.",
        "made",
        ("stem", "head", "stem@4"),
        bank=made_set("bank", anomalies=False),
        select=made_set("select"),
        test=made_set("test"),
        clean=(made_set("clean", anomalies=False),),
    )
    cache = Cache(tmp_path / "cache", network, tmp_path)
    cache._segmenter = Made()
    cache.fill(lambda text: None)
    return Study(network, cache, tmp_path / "units", rows=300)


def test_extraction_goes_on_where_it_was_stopped(study, tmp_path):
    passes = study.cache.segmenter.passes
    study.cache.fill(lambda text: None)
    assert study.cache.segmenter.passes == passes == 16
    one = study.frames(study.network.test)[2]
    (one.folder / f"{one.name}.json").unlink()
    study.cache.fill(lambda text: None)
    assert study.cache.segmenter.passes == passes + 1


def test_features_of_another_network_are_not_taken_for_its_own(study):
    with torch.no_grad():
        study.cache.segmenter.head.bias += 1
    with pytest.raises(ConfigError, match=r"another network.*units called made-"):
        study.cache.fill(lambda text: None)


def test_cached_values_are_those_of_the_network(study):
    one = study.frames(study.network.test)[0]
    scene = make_scene([one.frame.image()], ["x"], study.cache.segmenter, features=("stem",))
    features = scene.output.features["stem"][0].flatten(1).T
    np.testing.assert_allclose(one.features("stem"), features.detach().numpy(), rtol=1e-3, atol=1e-3)
    blocks = scene.output.features["stem"][0].unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).mean((2, 4))
    assert one.grid("stem@4") == tuple(blocks.shape[-2:])
    np.testing.assert_allclose(one.features("stem@4"), blocks.flatten(1).T.detach(), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(one.map("energy"), -scene.logits().logsumexp(1)[0].detach().numpy(), rtol=1e-5)


def test_bank_is_the_one_that_the_library_draws(study):
    frames = study.frames(study.network.bank)
    rows = bank_rows(frames, "stem", seed=3)
    drawn = BankPass(study.cache.segmenter, 100, seed=3)
    with torch.inference_mode():
        for one in frames:
            scene = make_scene([one.frame.image()], [one.frame.id], study.cache.segmenter, features=("stem",))
            drawn.add(one.frame.id, *drawn.read(one.frame, scene, scene.output.features["stem"]))
    assert drawn.valid == len(rows)
    torch.testing.assert_close(rows.first(100).vectors().float(), drawn.bank(), rtol=2e-3, atol=2e-3)


def test_images_are_nested(study):
    rows = study.bank("stem")
    one, three = (set(rows.of_images(count, 5).frame.tolist()) for count in (1, 3))
    assert (len(one), len(three)) == (1, 3)
    assert one < three
    assert rows.of_images(None) is rows is rows.of_images(9)


@pytest.mark.parametrize("chunk", [7, 10_000])
def test_one_search_answers_all_sizes(study, chunk):
    frames, rows = study.frames(study.network.test), study.bank("stem")
    found = nested_search(frames, rows, [20, 150], [1, 5], Cells(), lambda text: None, chunk=chunk)
    assert set(found) == {(20, 1), (20, 5), (150, 1), (150, 5)}
    for (size, k), own in found.items():
        bank = rows.first(size).vectors().float()
        for one, scores in zip(frames, own, strict=True):
            queries = torch.from_numpy(np.array(one.features("stem"))).float()
            np.testing.assert_allclose(scores, knn_distance(queries, bank, k), rtol=1e-4, atol=1e-5)


def test_counting_cells_is_counting_pixels(study):
    frames = study.frames(study.network.test)
    scores = [np.random.default_rng(at).random(one.features("stem").shape[0]) for at, one in enumerate(frames)]
    scores = [own.astype(np.float32) for own in scores]
    tallies = [knn_measure.tally(one, "stem", Cells()) for one in frames]
    cells = knn_measure.of_cells(frames, tallies, scores)
    pixels = knn_measure.of_maps(frames, lambda at, one: knn_measure.spread(one, "stem", scores[at], "nearest"))
    assert cells.result == pixels.result
    assert cells.threshold == pixels.threshold
    found = knn_measure.difference(cells, pixels)
    assert found["ap"] == {"value": 0, "ci95": [0, 0]}


def test_nearest_upsampling_is_the_library_s(study):
    one = study.frames(study.network.test)[0]
    from anomseg.detectors.knn.resizing import nearest_at_size

    grid = torch.rand(1, *one.grid("stem"))
    padded, inside, own = one.geometry
    wanted = nearest_at_size(grid, SegmentationOutput(grid[:, None], padded, inside), own)[0]
    np.testing.assert_array_equal(knn_measure.spread(one, "stem", grid.flatten().numpy(), "nearest"), wanted)


def test_cells_of_a_sweep_count_only_their_pixels(study):
    one = study.frames(study.network.test)[0]
    every, some = (knn_measure.tally(one, "stem", Cells(step)) for step in (1, 3))
    assert some.inlier.size == Cells(3).of(one.grid("stem")).size < every.inlier.size
    np.testing.assert_array_equal(some.anomaly, every.anomaly[Cells(3).of(one.grid("stem"))])
    assert every.inlier.sum() + every.anomaly.sum() + every.void == 40 * 50


def test_a_clean_frame_s_label_follows_its_classes(study):
    one = study.frames(study.network.bank)[0]
    assert np.unique(knn_measure.label_of(one)).tolist() == [0, 255]
    everything = knn_measure.false_alarms([one], lambda at, which: np.ones((40, 50), np.float32), 1.0)
    nothing = knn_measure.false_alarms([one], lambda at, which: np.zeros((40, 50), np.float32), 1.0)
    assert (everything["share"], nothing["share"]) == (1.0, 0.0)


def test_threshold_finds_ninety_five_per_cent(study):
    frames = study.frames(study.network.test)
    maps = [np.random.default_rng(at).random((40, 50), np.float32) for at in range(len(frames))]
    state = knn_measure.of_maps(frames, lambda at, one: maps[at])
    anomalous = np.concatenate([maps[at][one.frame.label == 1] for at, one in enumerate(frames)])
    assert np.mean(anomalous >= state.threshold) >= 0.95
    assert np.mean(anomalous > state.threshold + 0.01) < 0.95
    curve = PixelCurve()
    for at, one in enumerate(frames):
        curve.update(maps[at], one.frame.label, one.name)
    assert curve.compute() == state.result


def test_finished_units_are_not_made_again(study):
    made = []

    def unit():
        made.append(1)
        return {"value": len(made)}

    assert study.once("u", unit, k=3) == study.once("u", unit, k=3) == {"value": 1}
    assert study.once("u", unit, k=(4,)) == study.once("u", unit, k=[4]) == {"value": 2}
    study.finished_only = True
    with pytest.raises(NotMeasured):
        study.once("u", unit, k=5)
    assert len(made) == 2


def test_an_interrupted_unit_leaves_nothing(study):
    def stopped():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.once("u", stopped)
    assert not study.path("u").exists()


def test_the_greatest_ap_chooses():
    found = {"a": {"k": {"1": {"ap": 0.3}, "3": {"ap": 0.3}}}, "b": {"k": {"1": {"ap": 0.3}, "3": {"ap": 0.2}}}}
    assert best_layer(found) == ("a", 1)


def gain(low, high):
    return {"ap": {"value": (low + high) / 2, "ci95": [low, high]}, "fpr95": {"value": 0.0, "ci95": []}}


@pytest.mark.parametrize(
    ("limits", "over", "inside"),
    [
        ((0.01, 0.015), "yes", "yes"),
        ((-0.015, -0.01), "no", "yes"),
        ((-0.01, 0.0), "no", "yes"),
        ((0.03, 0.05), "yes", "no"),
        ((-0.05, -0.03), "no", "no"),
        ((0.0, 0.05), "?", "?"),
        ((), "?", "?"),
    ],
)
def test_answers_follow_the_interval(limits, over, inside):
    assert above(limits) == over
    assert within(limits, 0.02) == inside


def test_one_contradiction_refutes_and_one_open_check_leaves_open():
    assert all_of(["yes", "yes"]) == "supported"
    assert all_of(["yes", "?"]) == "undecided"
    assert all_of(["yes", "?", "no"]) == "not supported"
    assert over_networks(["not supported", "not supported"]) == "not supported"
    assert over_networks(["supported", "not supported"]).startswith("undecided: supported on 1, not supported on 1")
    assert over_networks([]) == "not measured"


@pytest.mark.parametrize(("low", "seconds", "word"), [(-0.01, 0.5, "supported"), (-0.03, 0.5, "undecided")])
def test_small_banks_may_lose_a_little(low, seconds, word):
    few = {"less_all": gain(low, 0.0), "figures": {"ap": 0.3}}
    draws = {str(draw): {"20": few, "1": {"less_all": gain(-1, -1)}} for draw in range(3)}
    timing = {"search": {"10000": [seconds, seconds]}, "forward": [1.0, 1.2]}
    assert small_banks("n", {"draws": draws}, timing).word == word
    slow = {"search": {"10000": [2.0, 3.0]}, "forward": [1.0, 1.2]}
    assert small_banks("n", {"draws": draws}, slow).word == "not supported"


def swept(ap=0.3, **differences):
    found = {key.replace("_", "/"): own for key, own in differences.items()}
    return {"differences": found, "figures": {key: {"ap": ap} for key in found}}


def test_robust_means_within_the_margin_everywhere():
    near = {"a_1": gain(-0.01, 0.01), "b_50": gain(0.0, 0.015)}
    everything = {"rows": [4, 9], "difference": gain(-0.001, 0.001), "figures": {"all": {"ap": 0.3}}}
    assert robust("n", swept(**near), everything).word == "supported"
    assert robust("n", swept(**near, c_9=gain(-0.2, -0.1)), everything).word == "not supported"
    assert robust("n", swept(**near), {**everything, "difference": gain(0.01, 0.03)}).word == "undecided"


def test_a_margin_wider_than_the_figure_says_nothing():
    assert robust("n", swept(0.008, a_1=gain(-0.001, 0.001)), None).word == "undecided"
    assert robust("n", swept(0.008, a_1=gain(0.03, 0.04)), None).word == "not supported"
    few = {"less_all": gain(-0.001, 0.001), "figures": {"ap": 0.008}}
    timing = {"search": {"10000": [0.1]}, "forward": [1.0]}
    assert small_banks("n", {"draws": {"0": {"20": few}}}, timing).word == "undecided"


def test_combining_must_beat_both_parts_for_every_score():
    names = [f"cdnp:{one} - {two}" for one in PARAMETRIC for two in (one, "knn")]
    differences = dict.fromkeys(names, gain(0.01, 0.02))
    assert combines("n", {"differences": differences}).word == "supported"
    differences["cdnp:energy - knn"] = gain(-0.02, -0.01)
    assert combines("n", {"differences": differences}).word == "not supported"


def test_equal_logits_are_counted():
    assert leaves_primary("n", {"frames": 4, "equal": 4}).word == "supported"
    assert leaves_primary("n", {"frames": 4, "equal": 3}).word == "not supported"


def test_a_method_works_only_above_every_control():
    differences = {f"knn - {one}": gain(0.01, 0.2) for one in ("chance", "local_contrast", "not_road")}
    for low, high, word in ((0.1, 0.2, "supported"), (-0.2, -0.1, "not supported"), (-0.1, 0.1, "undecided")):
        prior = {"knn - position_prior": gain(low, high)}
        assert beats_controls("n", {"differences": {**differences, **prior}}).word == word


def test_numbers_are_short():
    assert number(-0.0312, (-0.1, 1.25), sign=True) == "-.031 [-.100, +1.250]"


def test_the_whole_command_on_made_frames(study, tmp_path, monkeypatch):
    monkeypatch.setattr(knn_sweeps, "SIZES", (60, 300))
    monkeypatch.setattr(knn_sweeps, "IMAGES", (1, 2))
    monkeypatch.setattr(knn_reduced, "SMALL", (50,))
    monkeypatch.setattr(knn_reduced, "ENGINES", ())
    monkeypatch.setattr(knn_study, "SWEEP_CELLS", 60)
    monkeypatch.setattr(knn_measure, "SAMPLES", 20)
    monkeypatch.setattr("knn.untouched", lambda study, choice: {"frames": 1, "equal": 1})
    found = knn.measured(study)
    assert set(found) >= {"headline", "rows_k", "images", "rows_all", "clean", "compression", "layers_test"}
    assert found["headline"]["figures"]["knn"]["frames"] == 4
    assert found["usual"]["choice"] == {"layer": "head", "k": 3, "upsample": "nearest"}
    assert found["usual"]["figures"]["energy"] == found["headline"]["figures"]["energy"]
    assert found["images"]["draws"]["0"]["4"]["less_all"]["ap"]["value"] == 0
    doc = tmp_path / "d" / "x.md"
    options = knn.parsed(["--data", "DATA", "--work", str(tmp_path / "w"), "--doc", str(doc)])
    knn.write(options, {"made": found})
    text = doc.read_text()
    assert all(words in text for words in ("**K1**", "K2, made", "prevalence"))
    assert (tmp_path / "d" / "pictures" / "knn-images.png").stat().st_size < 60_000
    assert json.loads((tmp_path / "w" / "results.json").read_text())["verdicts"]
    again = replace(study, finished_only=True)
    assert knn.measured(again)["headline"] == found["headline"]
    fewer = ["--data", "DATA", "--work", str(tmp_path / "w"), "--doc", str(doc), "--rows", "300", "--limit", "4"]
    knn.write(knn.parsed(fewer), {})
    text = doc.read_text()
    assert all(words in text for words in ("--rows 300 --limit 4`", "the bank has 300 rows"))


def test_a_page_of_nothing_says_so(tmp_path):
    text = page({"n": {"note": "A note."}}, [], [], "command")
    assert all(words in text for words in ("Not measured yet.", "**K1**: not measured"))


def test_the_real_detector_leaves_logits_alone(study):
    from knn_networks import untouched

    choice = Choice("stem", 3, "nearest")
    assert untouched(study, choice) == {"frames": 4, "equal": 4}
