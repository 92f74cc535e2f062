"""Whatever can be wrong with what a user gives: one line that says what and how to mend it, or a named skip."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from small_run import BENCHMARK, COUNT, HEIGHT, WIDTH, TinySegmenter, write_tree

from anomseg.detectors import Detector, create_detector
from anomseg.errors import AnomsegError, CompatibilityError, ConfigError, DataError
from anomseg.evaluation import evaluate, make_plan
from anomseg.evaluation.plan import name_detectors
from anomseg.types import Flags, Needs


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "data")


class Uneven(Detector):
    """Grey value, but NaN on some frames."""

    registry_name = "uneven"

    def __init__(self, bad: tuple[str, ...] = (), value: float = float("nan")) -> None:
        super().__init__()
        self.bad, self.value = bad, value

    def needs(self, segmenter):
        return Needs(logits=False)

    def score(self, scene):
        score = scene.images.mean(1)
        if scene.frame_ids[0] in self.bad:
            score[:, 4, 4] = self.value
        return score


class FeatureDetector(Detector):
    registry_name = "feature_detector"

    def needs(self, segmenter):
        raise CompatibilityError("feature_detector reads the feature map 'encoder', which tiny does not provide")


class Owner(Detector):
    """Carries its own network."""

    registry_name = "owner"
    flags = Flags(owns_network=True)

    def __init__(self) -> None:
        super().__init__()
        self.segmenter = TinySegmenter(5)

    def get_params(self):
        return {}

    def score(self, scene):
        return -scene.logits().amax(1)


def one_line(error):
    assert isinstance(error, AnomsegError)
    assert "\n" not in str(error)
    return str(error)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_a_skip_of_that_detector_alone(tree, tmp_path, value):
    detectors = {"uneven": Uneven(("2", "5"), value), "msp": create_detector("msp")}
    uneven, msp = evaluate(BENCHMARK, tree, TinySegmenter(), detectors, tmp_path / "out")
    assert [item["frame"] for item in uneven["skipped"]] == ["2", "5"]
    assert all("uneven gave 1 NaN or infinite" in item["reason"] for item in uneven["skipped"])
    assert uneven["frames"] == COUNT - 2
    alone = evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"])[0]
    assert {name: msp[name] for name in ("pixel", "component", "skipped")} == {
        name: alone[name] for name in ("pixel", "component", "skipped")
    }


def test_detector_that_fails_everywhere_does_not_stop_the_others(tree, tmp_path):
    everywhere = tuple(str(index) for index in range(COUNT))
    detectors = {"uneven": Uneven(everywhere), "chance": create_detector("chance")}
    uneven, chance = evaluate(BENCHMARK, tree, None, detectors, tmp_path / "out")
    assert uneven["frames"] == 0
    assert set(uneven["pixel"].values()) == {None}
    assert len(uneven["skipped"]) == COUNT
    assert "share 0 of 7 frames" in uneven["comparison"]["chance"]["reason"]
    assert chance["pixel"]["ap"] > 0
    with pytest.raises(
        DataError, match="none of 7 frames could be evaluated; the first because: 0: uneven gave"
    ) as info:
        evaluate(BENCHMARK, tree, None, {"uneven": Uneven(everywhere)}, tmp_path / "alone")
    one_line(info.value)
    assert not (tmp_path / "alone" / "uneven").exists()


def test_bad_frames_are_named_skips(tree, tmp_path):
    Image.fromarray(np.zeros((HEIGHT, WIDTH - 8), np.uint8)).save(tree / "labels_masks" / "0.png")
    data = (tree / "images" / "1.png").read_bytes()
    (tree / "images" / "1.png").write_bytes(data[: len(data) // 2])
    Image.fromarray(np.full((HEIGHT, WIDTH), 255, np.uint8)).save(tree / "labels_masks" / "2.png")
    Image.fromarray(np.full((HEIGHT, WIDTH), 7, np.uint8)).save(tree / "labels_masks" / "3.png")
    (tree / "labels_masks" / "4.png").unlink()
    cards = evaluate(BENCHMARK, tree, TinySegmenter(), ["msp", "max_logit"], tmp_path / "out")
    for card in cards:
        reasons = {item["frame"]: item["reason"] for item in card["skipped"]}
        assert list(reasons) == ["0", "1", "2", "3", "4"]
        assert "32x40" in reasons["0"] or "40x32" in reasons["0"]
        assert "1.png" in reasons["1"]
        assert "every pixel of the label is void" in reasons["2"]
        assert "values 7 outside the table" in reasons["3"]
        assert reasons["4"] == "no ground truth"
        assert all("\n" not in reason for reason in reasons.values())
        assert card["frames"] == 2


def test_no_anomaly_anywhere(tmp_path):
    tree = write_tree(tmp_path / "data", count=3, clean=range(3))
    out = tmp_path / "out"
    for protocol, words in (("default", "no anomaly pixel in any of 3 frames"), ("caos", "no anomaly in any of 3")):
        with pytest.raises(DataError, match=words) as info:
            evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], out, protocol=protocol)
        one_line(info.value)
        assert not list(out.iterdir())


def test_nothing_but_anomaly(tmp_path):
    tree = write_tree(tmp_path / "data", count=2)
    for index in range(2):
        Image.fromarray(np.ones((HEIGHT, WIDTH), np.uint8)).save(tree / "labels_masks" / f"{index}.png")
    with pytest.raises(DataError, match="no inlier pixel in any of 2 frames"):
        evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], tmp_path / "out")


def test_hidden_test_set_has_nothing_to_evaluate(tmp_path):
    root = tmp_path / "dataset_AnomalyTrack"
    (root / "images").mkdir(parents=True)
    for name in ("cow0003", "piano0000"):
        Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(root / "images" / f"{name}.jpg")
    with pytest.raises(DataError, match=r"no frame of road_anomaly_21 \(split test\) has ground truth.*predict"):
        evaluate("road_anomaly_21", root, TinySegmenter(), ["msp"], tmp_path / "out", split="test")
    assert not (tmp_path / "out").exists()


def test_missing_and_empty_folders(tmp_path):
    for root in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(DataError) as info:
            evaluate("road_anomaly_21", root, TinySegmenter(), ["msp"], tmp_path / "nowhere" / "out")
        one_line(info.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"benchmark": "road_anomly"}, "did you mean 'road_anomaly'"),
        ({"detectors": ["mps"]}, "did you mean 'msp'"),
        ({"protocol": "caso"}, "did you mean 'caos'"),
        ({"split": "tset"}, "no split 'tset'"),
        ({"detectors": []}, "no detector was named"),
        ({"segmenter": None}, "msp scores the output of a network; give --segmenter"),
        ({"detectors": ["sml"]}, "sml has not been fitted; run 'anomseg fit"),
        ({"detectors": [FeatureDetector()]}, "which tiny does not provide"),
        ({"held_out": ["car"]}, "held-out classes"),
    ],
)
def test_requests_that_cannot_be_carried_out(tree, tmp_path, options, words):
    network = TinySegmenter()
    request = {"benchmark": BENCHMARK, "segmenter": network, "detectors": ["msp"], **options}
    with pytest.raises(AnomsegError, match=words) as info:
        evaluate(root=tree, out=tmp_path / "out", **request)
    one_line(info.value)
    assert network.calls == 0
    assert not (tmp_path / "out").exists()


def test_unknown_device(tree, tmp_path):
    with pytest.raises(ConfigError, match="device"):
        evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], tmp_path / "out", device="quantum:0")


def test_frames_that_a_detector_was_fitted_on(tree, tmp_path):
    detector = create_detector("sml").fit(TinySegmenter(), BENCHMARK.load_frames(tree)[:2])
    with pytest.raises(CompatibilityError, match=r"fitted on 2 of these 7 frames \(0, 1\).*--allow-overlap") as info:
        evaluate(BENCHMARK, tree, TinySegmenter(), [detector], tmp_path / "out")
    one_line(info.value)
    assert not (tmp_path / "out").exists()
    card = evaluate(BENCHMARK, tree, TinySegmenter(), [detector], tmp_path / "out", allow_overlap=True)[0]
    assert card["detector"]["overlap"] == ["0", "1"]
    assert card["detector"]["fitted_on"]["frames"] == 2
    assert card["detector"]["warnings"] == []


def test_detector_fitted_on_another_network_is_marked(tree, tmp_path):
    other = write_tree(tmp_path / "other", seed=9)
    detector = create_detector("sml").fit(TinySegmenter(3), BENCHMARK.load_frames(other))
    card = evaluate(BENCHMARK, tree, TinySegmenter(), [detector], tmp_path / "out")[0]
    assert "fitted on another network" in card["detector"]["warnings"][0]
    assert card["detector"]["overlap"] == []


def test_detector_that_owns_its_network_scores_that_one(tree, tmp_path):
    given = TinySegmenter()
    owner, plain = evaluate(BENCHMARK, tree, given, [Owner(), "max_logit"], tmp_path / "out")
    without = evaluate(BENCHMARK, tree, None, [Owner()])[0]
    other = evaluate(BENCHMARK, tree, TinySegmenter(5), ["max_logit"])[0]
    assert owner["pixel"] == without["pixel"] == other["pixel"] != plain["pixel"]
    assert owner["detector"]["network"]["sha256"] == TinySegmenter(5).fingerprint()
    assert owner["segmenter"]["sha256"] == given.fingerprint()


def test_device_without_memory_is_one_error(tree, tmp_path, monkeypatch):
    def full(self, batch, features):
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(TinySegmenter, "segment", full)
    with pytest.raises(ConfigError, match="out of memory on cpu at frame 0; use a smaller --size"):
        evaluate(BENCHMARK, tree, TinySegmenter(), ["msp"], tmp_path / "out")


def test_names_of_folders():
    assert list(name_detectors(["msp", "msp", "energy:temperature=2"])) == ["msp", "msp-2", "energy"]
    named = name_detectors({"segmentation": create_detector("msp"), "../x": create_detector("msp")})
    assert list(named) == ["segmentation-2", "_._x"]


def test_saved_detector_is_filed_under_its_directory(tree, tmp_path):
    from anomseg.detectors import save_detector

    network = TinySegmenter()
    other = write_tree(tmp_path / "other", seed=9)
    detector = create_detector("sml").fit(network, BENCHMARK.load_frames(other))
    save_detector(detector, tmp_path / "my_sml", network)
    plan = make_plan(BENCHMARK, tree, network, [tmp_path / "my_sml", "msp"])
    assert plan.folders == ("my_sml", "msp")


def test_sampling_detector_depends_on_seed_and_frame_alone(tree, tmp_path):
    class Sampler(Uneven):
        def score(self, scene):
            return torch.rand(scene.images.shape[0], *scene.image_size)

    torch.manual_seed(1)
    one = evaluate(BENCHMARK, tree, None, {"sampler": Sampler()})[0]
    torch.manual_seed(2)
    two = evaluate(BENCHMARK, tree, None, {"other": Sampler(), "sampler": Sampler()})[1]
    three = evaluate(BENCHMARK, tree, None, {"sampler": Sampler()}, seed=5)[0]
    assert one["pixel"] == two["pixel"] != three["pixel"]
