"""MC dropout: what is sampled, what is averaged, and that a frame's passes depend on its name and the seed alone."""

import math

import pytest
import torch
from tiny import FixedSegmenter, TinySegmenter, scene_of

from anomseg.detectors import anomaly_maps, create_detector
from anomseg.detectors.mc_dropout import dropout_rates
from anomseg.detectors.seeding import frame_randomness
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.segmenters.module import ModuleSegmenter
from anomseg.segmenters.scene import Scene


@pytest.fixture(scope="module")
def segmenter() -> TinySegmenter:
    return TinySegmenter()


def stacked(segmenter, scene, passes: int, upsampled: bool = True) -> torch.Tensor:
    """All passes kept, as the detector does not."""
    with torch.no_grad(), frame_randomness(0, scene.frame_ids[0], torch.device("cpu")):
        found = [scene.forward(dropout=True).logits for _ in range(passes)]
    return torch.stack([scene.resize(logits) if upsampled else logits for logits in found])


def test_entropy_and_information_of_the_stacked_passes(segmenter):
    scene = scene_of(segmenter)
    p = stacked(segmenter, scene, 6).softmax(2).double()
    total = -(p.mean(0) * p.mean(0).log()).sum(1)
    single = -(p * p.clamp(min=1e-300).log()).sum(2).mean(0)
    for measure, expected in (("entropy", total), ("mutual_information", total - single)):
        detector = create_detector("mc_dropout", passes=6, measure=measure, normalized=False)
        score = anomaly_maps(detector, scene)[0].double()
        torch.testing.assert_close(score, expected[0], atol=1e-5, rtol=1e-4)
        assert not detector.bounded
        whole = anomaly_maps(create_detector("mc_dropout", passes=6, measure=measure), scene)[0].double()
        torch.testing.assert_close(whole, expected[0] / math.log(5), atol=1e-5, rtol=1e-4)
    score = anomaly_maps(create_detector("mc_dropout", passes=6, measure="msp"), scene)[0].double()
    torch.testing.assert_close(score, 1 - p.mean(0).amax(1)[0], atol=1e-5, rtol=1e-4)


def test_averages_of_logits_are_another_thing(segmenter):
    """SynthCP's code averages logits; the papers average probabilities."""
    scene = scene_of(segmenter)
    p = stacked(segmenter, scene, 4).mean(0).softmax(1)
    expected = -(p * p.clamp(min=1e-30).log()).sum(1)[0] / math.log(5)
    score = anomaly_maps(create_detector("mc_dropout", passes=4, average="logits"), scene)[0]
    torch.testing.assert_close(score, expected, atol=1e-5, rtol=1e-4)
    assert (score - anomaly_maps(create_detector("mc_dropout", passes=4), scene)[0]).abs().max() > 1e-3


def test_at_the_networks_resolution(segmenter):
    scene = scene_of(segmenter)
    p = stacked(segmenter, scene, 4, upsampled=False).softmax(2).mean(0)
    score = -(p * p.clamp(min=1e-30).log()).sum(1, keepdim=True) / math.log(5)
    got = anomaly_maps(create_detector("mc_dropout", passes=4, upsample="score"), scene)[0]
    torch.testing.assert_close(got, scene.resize(score)[0, 0], atol=1e-5, rtol=1e-4)


def test_passes_differ_and_are_counted(segmenter):
    scene = scene_of(segmenter)
    passes = stacked(segmenter, scene, 3)
    assert not torch.equal(passes[0], passes[1])
    before = segmenter.passes
    detector = create_detector("mc_dropout", passes=7)
    anomaly_maps(detector, scene)
    assert segmenter.passes - before == detector.forward_passes == detector.card()["forward_passes"] == 7
    assert not segmenter.training
    assert not segmenter.dropout.training


def test_the_same_in_any_batch_order_and_state_of_the_generator(segmenter):
    detector = create_detector("mc_dropout", passes=3)
    alone = [anomaly_maps(detector, scene_of(segmenter, start=row))[0] for row in range(3)]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    together = anomaly_maps(detector, scene_of(segmenter, [(45, 61)] * 3))
    assert torch.equal(torch.get_rng_state(), state)
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(
        alone[0], anomaly_maps(create_detector("mc_dropout", passes=3, seed=1), scene_of(segmenter))[0]
    )
    renamed = scene_of(segmenter)
    renamed.frame_ids = ("other",)
    assert not torch.equal(alone[0], anomaly_maps(detector, renamed)[0])


def test_another_rate_lasts_as_long_as_the_passes(segmenter):
    scene = scene_of(segmenter)
    maps = {
        p: anomaly_maps(create_detector("mc_dropout", passes=4, p=p, measure="mutual_information"), scene)[0]
        for p in (None, 0.0, 0.3, 0.8)
    }
    assert maps[0.0].max() < 1e-5
    assert torch.equal(maps[None], maps[0.3])  # the layer's own
    assert (maps[0.8] - maps[0.3]).abs().max() > 0.01
    assert segmenter.dropout.p == 0.3


def test_rates_come_back_after_an_error_and_idle_layers_stay_idle():
    network = torch.nn.Sequential(torch.nn.Dropout(0.2), torch.nn.Dropout2d(0.0))

    def interrupted() -> None:
        with dropout_rates(network, 0.9):
            assert [layer.p for layer in network] == [0.9, 0.0]
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert [layer.p for layer in network] == [0.2, 0.0]


def test_batch_norms_stay_as_in_evaluation():
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5))
    segmenter = ModuleSegmenter(layers, classes=["a", "b", "c", "d"])
    before = segmenter.fingerprint()
    anomaly_maps(create_detector("mc_dropout", passes=2), scene_of(segmenter))
    assert segmenter.fingerprint() == before


def test_a_network_without_dropout_is_refused():
    with pytest.raises(CompatibilityError, match="no dropout layer"):
        create_detector("mc_dropout").needs(ModuleSegmenter(torch.nn.Conv2d(3, 4, 1)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"passes": 0}, "passes"),
        ({"measure": "variance"}, "measure"),
        ({"p": 1.5}, "p must"),
        ({"measure": "mutual_information", "average": "logits"}, "average=probabilities"),
    ],
)
def test_options(options, message):
    with pytest.raises(ConfigError, match=message):
        create_detector("mc_dropout", **options)


def test_other_measures_of_the_same_passes_make_none_anew():
    segmenter = TinySegmenter()
    scene = scene_of(segmenter, [(24, 32)] * 2)
    measures = ("entropy", "mutual_information", "msp")
    shared = [anomaly_maps(create_detector("mc_dropout", passes=3, measure=name), scene) for name in measures]
    assert segmenter.passes == 2 * 3
    for name, maps in zip(measures, shared, strict=True):
        alone = anomaly_maps(create_detector("mc_dropout", passes=3, measure=name), scene_of(segmenter, [(24, 32)] * 2))
        assert all(torch.equal(one, other) for one, other in zip(maps, alone, strict=True))
    before = segmenter.passes
    anomaly_maps(create_detector("mc_dropout", passes=3, seed=1), scene)
    assert segmenter.passes == before + 2 * 3


def test_what_a_scene_keeps_of_the_passes_does_not_grow_with_the_classes(monkeypatch):
    kept = []
    remembered = Scene.remembered
    monkeypatch.setattr(Scene, "remembered", lambda *given: kept.append(remembered(*given)) or kept[-1])
    segmenter = TinySegmenter()
    anomaly_maps(create_detector("mc_dropout", passes=2), scene_of(segmenter, [(24, 32)] * 2))
    values = sum(part.numel() for summary in kept[0] for part in vars(summary).values() if torch.is_tensor(part))
    assert values == 2 * 3 * 24 * 32


def test_logits_are_checked_though_another_detector_made_the_passes_without():
    scene = scene_of(FixedSegmenter([0.6, 0.1, 0.1, 0.1, 0.1]))
    anomaly_maps(create_detector("mc_dropout", passes=2, check_logits=False), scene)
    with pytest.raises(CompatibilityError, match="probabilities"):
        anomaly_maps(create_detector("mc_dropout", passes=2), scene)
