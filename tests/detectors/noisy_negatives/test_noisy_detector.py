"""The detector noisy_negatives: every measure against its formula, one forward pass, and what networks it takes."""

import math

import pytest
import torch
from tiny import CLASSES, TinySegmenter, made_image
from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.detectors import anomaly_maps, create_detector, load_detector, save_detector
from anomseg.detectors.noisy_negatives import NoisyNegatives
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import make_scene
from anomseg.segmenters.base import SegmentationOutput, Segmenter


class Answering(Segmenter):
    """Gives the outputs that it was told, whatever it sees; counts its passes."""

    registry_name = "answering"

    def __init__(self, logits: Tensor, pair: Tensor | None = None, void: Tensor | None = None) -> None:
        super().__init__(CLASSES[: logits.shape[1]])
        self.answers, self.passes = nn.ParameterList([logits]), 0
        self.pair, self.void_answer, self.void = pair, void, void is not None

    @property
    def provides(self) -> frozenset[str]:
        return super().provides | ({"outlier_head"} if self.pair is not None else frozenset())

    def segment(self, batch, features):
        self.passes += 1
        size = (batch.shape[-2], batch.shape[-1])
        return SegmentationOutput(self.answers[0], size, size, void_logits=self.void_answer, outlier_logits=self.pair)


def scene_for(network, size=(4, 6)):
    return make_scene([made_image(0, size)], ["a"], network)


def constant(*values, size=(4, 6)):
    return torch.tensor(values).view(1, -1, 1, 1).expand(1, -1, *size).contiguous()


@pytest.mark.parametrize(("pair", "expected"), [((0.0, math.log(3)), 0.75), ((0.0, 0.0), 0.5)])
def test_the_score_is_the_probability_of_an_outlier(pair, expected):
    network = Answering(constant(1.0, 2.0), constant(*pair))
    score = NoisyNegatives.of(network).score(scene_for(network))
    torch.testing.assert_close(score, torch.full((1, 4, 6), expected))


def test_undecided_stays_an_inlier():
    """A head that says one half does not say outlier: the probability of an inlier is not below one half."""
    network = Answering(constant(1.0, 2.0), constant(0.3, 0.3))
    score = NoisyNegatives.of(network).score(scene_for(network))
    assert not (1 - score < 0.5).any()


def test_every_measure_is_its_formula():
    torch.manual_seed(0)
    logits, pair, void = torch.randn(1, 3, 4, 6), torch.randn(1, 2, 4, 6), torch.randn(1, 1, 4, 6)
    network = Answering(logits, pair, void)
    msp = 1 - logits.softmax(1).amax(1)
    outlier = pair.softmax(1)[:, 1]
    expected = {
        "outlier": outlier,
        "product": outlier * msp,
        "hybrid": pair.log_softmax(1)[:, 1] - logits.logsumexp(1),
        "extra_class": torch.cat([logits, void], 1).softmax(1)[:, 3],
        "sigmoid": 1 - logits.sigmoid().amax(1),
        "msp": msp,
    }
    for measure, wanted in expected.items():
        detector = NoisyNegatives.of(network, measure=measure)
        torch.testing.assert_close(detector.score(scene_for(network)), wanted, msg=measure)
        assert detector.bounded == (measure != "hybrid")
        assert detector.card()["uses_negatives"]
        assert detector.forward_passes == 1


def test_logits_are_brought_to_the_images_size_before_they_are_scored():
    torch.manual_seed(0)
    network = Answering(torch.randn(1, 3, 2, 3), torch.randn(1, 2, 4, 6))
    score = NoisyNegatives.of(network, measure="product").score(scene_for(network, (8, 12)))
    large = [F.interpolate(maps, (8, 12), mode="bilinear") for maps in (network.pair, network.answers[0])]
    expected = large[0].softmax(1)[:, 1] * (1 - large[1].softmax(1).amax(1))
    torch.testing.assert_close(score, expected)


def test_one_pass_gives_the_classes_and_every_score():
    network = Answering(torch.randn(1, 3, 4, 6), torch.randn(1, 2, 4, 6))
    scene = scene_for(network)
    for measure in ("outlier", "product", "hybrid", "msp"):
        NoisyNegatives.of(network, measure=measure).score(scene)
    scene.prediction()
    assert network.passes == 1


def test_auto_is_what_the_outputs_allow_or_the_training_says():
    logits = torch.randn(1, 3, 4, 6)
    both = NoisyNegatives.of(Answering(logits, torch.randn(1, 2, 4, 6)))
    assert both.chosen == "outlier"
    assert both.needs(None).outlier_head
    assert NoisyNegatives.of(Answering(logits, void=torch.zeros(1, 1, 4, 6))).chosen == "extra_class"
    plain = NoisyNegatives.of(Answering(logits))
    with pytest.raises(ConfigError, match="neither an outlier head nor an extra class"):
        plain.needs(None)
    plain.fitted_on = {"training": {"variant": "sigmoid"}}
    assert plain.chosen == "sigmoid"


def test_a_network_that_lacks_what_is_read_is_refused():
    network = Answering(torch.randn(1, 3, 4, 6))
    for measure in ("outlier", "product", "hybrid"):
        with pytest.raises(CompatibilityError, match="inlier/outlier head"):
            NoisyNegatives.of(network, measure=measure)
    with pytest.raises(CompatibilityError, match="void output"):
        NoisyNegatives.of(network, measure="extra_class")
    with pytest.raises(ConfigError, match="measure must be one of"):
        NoisyNegatives(measure="outliers")
    with pytest.raises(ConfigError, match="anomseg train camvid-noisy-negatives"):
        create_detector("noisy_negatives").needs(None)


@pytest.mark.parametrize("measure", ["outlier", "product", "hybrid", "sigmoid", "msp"])
def test_saved_and_loaded_it_scores_bit_for_bit_the_same_beside_any_network(measure, tmp_path):
    torch.manual_seed(0)
    options = {"bottleneck": 8, "outlier_layers": ["stage1", "bottleneck"], "outlier_width": 4}
    network = SEGMENTERS.create("erfnet_pyramid", classes=CLASSES, size=None, **options).eval()
    detector = NoisyNegatives.of(network, measure=measure)
    other = TinySegmenter()
    expected = anomaly_maps(detector, scene_for(network, (45, 61)))[0]
    save_detector(detector, tmp_path / "saved")
    loaded = load_detector(tmp_path / "saved")
    assert loaded.get_params() == detector.get_params()
    assert torch.equal(anomaly_maps(loaded, scene_for(other, (45, 61)))[0], expected)
    assert other.passes == 0
