"""What the logit detectors do beyond the contract: facts, invariances, options."""

import shutil

import pytest
import torch
from tiny import CLASSES, TinySegmenter, scene_of, scene_with_logits

from anomseg import scores
from anomseg.detectors import anomaly_maps, create_detector, load_detector, network_of, save_detector
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import load_segmenter, save_segmenter


@pytest.fixture(scope="module")
def logits() -> torch.Tensor:
    return torch.randn(1, len(CLASSES), 20, 30, generator=torch.Generator().manual_seed(0)) * 4


def map_of(detector, logits):
    return anomaly_maps(detector, scene_with_logits(logits))[0]


@pytest.mark.parametrize(
    ("name", "expected"), [("msp", 0.3348), ("max_logit", -2), ("entropy", 0.7577), ("energy", -2.4076)]
)
def test_acceptance_facts(name, expected):
    values = torch.tensor([2.0, 1.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 5, 6)
    score = anomaly_maps(create_detector(name), scene_with_logits(values, CLASSES[:3]))[0]
    torch.testing.assert_close(score, torch.full((5, 6), float(expected)), atol=5e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "shift"), [("msp", 0), ("entropy", 0), ("not_road", 0), ("max_logit", -5), ("energy", -5)]
)
def test_adding_a_constant_to_the_logits(name, shift, logits):
    detector = create_detector(name)
    torch.testing.assert_close(map_of(detector, logits + 5), map_of(detector, logits) + shift, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["max_logit", "energy"])
def test_scaling_all_logits_keeps_the_order_of_the_max_logit(name, logits):
    plain, scaled = (map_of(create_detector(name), factor * logits).flatten() for factor in (1, 8))
    if name == "max_logit":
        assert torch.equal(plain.argsort(stable=True), scaled.argsort(stable=True))
    else:  # energy tends to the max logit as the logits grow
        torch.testing.assert_close(scaled / 8, map_of(create_detector("max_logit"), logits).flatten(), atol=0.3, rtol=0)


def test_options_reach_the_formula(logits):
    assert torch.equal(map_of(create_detector("energy", temperature=3.0), logits), scores.energy(logits, 3.0)[0])
    nats = create_detector("entropy", normalized=False)
    assert torch.equal(map_of(nats, logits), scores.entropy(logits)[0])
    assert not nats.bounded
    assert create_detector("entropy").bounded
    assert create_detector("entropy").card()["bounded"]
    assert not nats.card()["bounded"]


def test_the_score_is_taken_of_upsampled_logits():
    scene = scene_of(TinySegmenter())
    assert scene.output.logits.shape[-2:] == (24, 32)  # 45 x 61 padded to 48 x 64, stride 2
    padded = torch.nn.functional.interpolate(scene.output.logits, size=(48, 64), mode="bilinear", align_corners=False)
    expected = scores.energy(padded[..., :45, :61])[0]
    torch.testing.assert_close(anomaly_maps(create_detector("energy"), scene)[0], expected)
    late = torch.nn.functional.interpolate(
        scores.energy(scene.output.logits)[:, None], size=(48, 64), mode="bilinear", align_corners=False
    )
    torch.testing.assert_close(
        anomaly_maps(create_detector("energy", upsample="score"), scene)[0], late[0, 0, :45, :61]
    )


def test_detectors_share_one_pass():
    segmenter = TinySegmenter()
    scene = scene_of(segmenter)
    for name in ("msp", "max_logit", "entropy", "energy", "not_road"):
        anomaly_maps(create_detector(name), scene)
    assert segmenter.passes == 1


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf"), "hot", True])
def test_impossible_temperatures(temperature):
    with pytest.raises(ConfigError, match="temperature"):
        create_detector("energy", temperature=temperature)


def test_half_precision_network():
    scene = scene_of(TinySegmenter())
    half = scene.output.logits.half()
    maps = anomaly_maps(create_detector("energy", upsample="score"), scene_with_logits(half))
    assert maps[0].dtype == torch.float32
    torch.testing.assert_close(maps[0], scores.energy(half.float())[0])


class TestANetworkOfItsOwn:
    """``msp:of=DIR`` scores that network, whatever is given beside it."""

    @pytest.fixture
    def networks(self, tmp_path):
        for seed in range(2):
            torch.manual_seed(seed)
            network = SEGMENTERS.create("pyramid", classes=CLASSES, size=None, widths=(4, 6, 8, 8), bottleneck=6)
            save_segmenter(network.eval(), tmp_path / f"net{seed}")
        return [load_segmenter(tmp_path / f"net{seed}") for seed in range(2)]

    @pytest.mark.parametrize("name", ["msp", "max_logit", "entropy", "energy"])
    def test_it_scores_as_that_network_does(self, name, networks, tmp_path):
        plain = [anomaly_maps(create_detector(name), scene_of(network))[0] for network in networks]
        detector = create_detector(f"{name}:of={tmp_path / 'net1'}")
        assert detector.flags.owns_network
        assert detector.bounded == create_detector(name).bounded
        assert network_of(detector, networks[0]).fingerprint() == networks[1].fingerprint()
        assert torch.equal(anomaly_maps(detector, scene_of(detector.segmenter))[0], plain[1])
        assert torch.equal(anomaly_maps(detector, scene_of(networks[0]))[0], plain[1])
        assert not torch.equal(*plain)
        save_detector(detector, tmp_path / "saved")
        shutil.rmtree(tmp_path / "net1")
        loaded = load_detector(tmp_path / "saved")
        assert torch.equal(anomaly_maps(loaded, scene_of(networks[0]))[0], plain[1])
        again = create_detector(f"{name}:of={tmp_path / 'saved'}")
        assert torch.equal(anomaly_maps(again, scene_of(networks[0]))[0], plain[1])

    def test_without_one_it_owns_none_and_its_card_is_as_ever(self, networks):
        detector = create_detector("msp")
        assert not detector.flags.owns_network
        assert not create_detector("msp").networks()
        assert detector.card()["parameters"] == {"upsample": "logits", "check_logits": True}
        with pytest.raises(CompatibilityError, match="carries no networks"):
            detector.load_networks({"network": networks[0]})

    def test_what_names_no_network_is_refused(self, tmp_path):
        with pytest.raises(ConfigError, match="there is no directory"):
            create_detector("msp:of=./nowhere").needs(None)
        save_detector(create_detector("energy"), tmp_path / "energy")
        with pytest.raises(CompatibilityError, match="carries no network; name the network instead"):
            create_detector("msp", of=str(tmp_path / "energy")).needs(None)
