"""PAnS as a detector: what it computes, in one pass and over scales, and what it refuses."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import CLASSES, made_image, scene_of
from torch.nn import functional as F

from anomseg.detectors import anomaly_maps, create_detector, load_detector, resolve_detector, save_detector
from anomseg.detectors.pans import PUBLISHED, PAnS, scaled_sizes
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import make_scene, save_segmenter
from anomseg.segmenters.execution import AcceleratedSegmenter


def network_of(classifier="cosine", size=None, seed=0):
    torch.manual_seed(seed)
    options = {"classes": CLASSES, "size": size, "bottleneck": 16, "classifier": classifier}
    return SEGMENTERS.create("erfnet_pyramid", **options).eval()


@pytest.fixture(scope="module")
def network():
    return network_of()


def by_hand(network, batch, inside=None):
    """Largest cosine to a prototype at the bottleneck's resolution, from features and weight rows alone."""
    with torch.no_grad():
        features = network.feature_maps(batch, ["bottleneck"])["bottleneck"]
        rows = network.classifier.weight
        return torch.stack([F.cosine_similarity(features, row[None, :, None, None], eps=1e-12) for row in rows]).amax(0)


def resized(maps, size):
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def test_the_map_is_that_of_the_formula(network):
    scene = scene_of(network, [(48, 64)] * 2)
    wanted = (1 - resized(by_hand(network, scene.images), (48, 64))) / 2
    torch.testing.assert_close(torch.stack(anomaly_maps(PAnS.of(network), scene)), wanted, rtol=1e-5, atol=1e-6)


def test_logits_resized_first_call_borders_odd(network):
    scene = scene_of(network, [(48, 64)])
    last = anomaly_maps(PAnS.of(network, upsample="logits"), scene)[0]
    cosines = scene.logits()[0] / 10
    torch.testing.assert_close(last, (1 - cosines.amax(0)) / 2)
    # The largest of means is at most the mean of largest ones.
    assert (last >= anomaly_maps(PAnS.of(network), scene)[0] - 1e-6).all()


def test_max_logit_of_the_network_is_the_same_order_and_msp_is_not(network):
    scene = scene_of(network, [(45, 61)])
    pans = anomaly_maps(PAnS.of(network), scene)[0].flatten()
    max_logit = anomaly_maps(create_detector("max_logit", upsample="score"), scene)[0].flatten()
    torch.testing.assert_close(pans, (1 + max_logit / 10) / 2, rtol=1e-5, atol=1e-6)
    msp = anomaly_maps(create_detector("msp"), scene)[0]
    torch.testing.assert_close(anomaly_maps(PAnS.of(network, measure="msp"), scene)[0], msp, rtol=1e-5, atol=1e-6)
    assert np.corrcoef(pans, msp.flatten())[0, 1] < 0.999


def test_published_scales_are_the_published_sizes():
    assert scaled_sizes((720, 1280), PUBLISHED, 8) == [(304, 536), (376, 672), (456, 800), (528, 936), (568, 1000)]
    assert PAnS(scales="published").forward_passes == 5
    assert PAnS(scales=[0.5, 1.0]).forward_passes == 2
    assert PAnS().forward_passes == 1


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3000), st.floats(0.05, 4), st.sampled_from([1, 8, 16]))
def test_sides_are_rounded_up_to_the_divisor(side, factor, divisor):
    (found,) = scaled_sizes((side, side), [factor], divisor)
    assert found[0] % divisor == 0
    assert found[0] >= divisor
    assert found[0] >= side * factor - 1e-6
    assert found[0] < max(side * factor, 1) + divisor


@pytest.mark.parametrize("scales", [[0.5, 0.75, 1.25], "0.5+0.75+1.25"])
def test_scales_equal_a_plain_loop(network, scales):
    image = made_image(3, (56, 72))
    scene = make_scene([image], ["a"], network)
    total = torch.zeros(1, 56, 72)
    probabilities = torch.zeros(1, len(CLASSES), 56, 72)
    for size in ((32, 40), (48, 56), (72, 96)):
        batch = F.interpolate(scene.images, size, mode="bilinear", align_corners=False)
        total += (1 + resized(by_hand(network, batch), (56, 72))) / 2
        with torch.no_grad():
            logits = network.classify(network.encode(batch))
        probabilities += F.interpolate(logits, (56, 72), mode="bilinear", align_corners=False).softmax(1)
    sizes = []
    handle = network.register_forward_pre_hook(lambda module, args: sizes.append(tuple(args[0].shape[-2:])))
    detector = PAnS.of(network, scales=scales, class_map=True)
    score = anomaly_maps(detector, scene)[0]
    segmentation = detector.segment(scene)
    handle.remove()
    assert sizes == [(32, 40), (48, 56), (72, 96)]  # one forward a scale, for score and class map together
    torch.testing.assert_close(score, 1 - total[0] / 3, rtol=1e-5, atol=1e-6)
    assert (segmentation == probabilities.argmax(1)).float().mean() > 0.999
    msp = anomaly_maps(PAnS.of(network, scales=scales, measure="msp"), scene)[0]
    torch.testing.assert_close(msp, 1 - probabilities.amax(1)[0] / 3, rtol=1e-5, atol=1e-5)


def test_scale_1_shares_the_plain_pass_and_scales_ask_for_none(network):
    scene = scene_of(network, [(48, 64)])
    torch.testing.assert_close(
        anomaly_maps(PAnS.of(network, scales=[1.0]), scene)[0], anomaly_maps(PAnS.of(network), scene)[0]
    )
    assert not PAnS.of(network, scales="published").needs(None).first_pass
    assert PAnS.of(network).needs(None).first_pass


def test_padding_is_left_out():
    """Images of 45 x 61 are padded to 48 x 64; the map is of what is inside."""
    network = network_of()
    scene = scene_of(network, [(45, 61)])
    wanted = resized(by_hand(network, scene.images), (48, 64))[:, :45, :61]
    torch.testing.assert_close(anomaly_maps(PAnS.of(network), scene)[0], (1 - wanted[0]) / 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"scales": [0.75, 1.5], "class_map": True}, {"upsample": "logits"}])
def test_saved_and_reloaded_it_scores_bit_for_bit_the_same(tmp_path, network, options):
    detector = PAnS.of(network, **options)
    save_detector(detector, tmp_path / "pans")
    loaded = load_detector(tmp_path / "pans")
    assert loaded.get_params() == detector.get_params()
    image = made_image(5, (45, 61))
    maps = [
        anomaly_maps(one, make_scene([image], ["a"], one.segmenter))[0]
        for one in (detector, loaded, resolve_detector(tmp_path / "pans"))
    ]
    assert torch.equal(maps[0], maps[1])
    assert torch.equal(maps[0], maps[2])


def test_a_network_is_named_by_its_directory_or_by_a_detector_s(tmp_path, network):
    save_segmenter(network, tmp_path / "net")
    save_detector(PAnS.of(network), tmp_path / "pans")
    image = made_image(5, (48, 64))
    expected = anomaly_maps(PAnS.of(network), make_scene([image], ["a"], network))[0]
    for name in ("net", "pans", "pans/networks/network"):
        detector = create_detector(f"pans:network={tmp_path / name};scales=[1.0]")
        assert torch.equal(anomaly_maps(detector, make_scene([image], ["a"], detector.segmenter))[0], expected)


def test_other_ways_of_running_the_network_keep_its_prototypes(network):
    scene = scene_of(network, [(48, 64)])
    expected = anomaly_maps(PAnS.of(network), scene)[0]
    detector = PAnS.of(network)
    run = AcceleratedSegmenter(network, precision="bfloat16")
    detector.load_networks({"network": run})
    found = anomaly_maps(detector, scene_of(run, [(48, 64)]))[0]
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.03)


def test_the_number_of_parameters_is_that_published():
    with torch.device("meta"):
        network = SEGMENTERS.create(
            "pspnet", classes=[f"c{index}" for index in range(13)], norm_activation="bn_leaky", classifier="cosine"
        )
    assert round(sum(part.numel() for part in network.parameters()) / 1e6, 1) == 51.3
    assert network.classifier.weight.shape == (13, 512)
    assert not any(name.endswith("bias") for name, _ in network.classifier.named_parameters())


def test_what_cannot_be_used_is_refused_in_one_line(tmp_path, network):
    linear = network_of("linear")
    pyramid = SEGMENTERS.create("pyramid", classes=CLASSES, widths=(4, 6, 8, 8), bottleneck=6)
    with pytest.raises(CompatibilityError, match="not a cosine one; train a network with the option classifier"):
        PAnS.of(linear)
    with pytest.raises(CompatibilityError, match="no class prototypes"):
        PAnS.of(pyramid)
    save_segmenter(linear, tmp_path / "linear")
    with pytest.raises(CompatibilityError, match="not a cosine one"):
        create_detector(f"pans:network={tmp_path / 'linear'}").needs(None)
    with pytest.raises(ConfigError, match="no network; give the directory"):
        PAnS().needs(None)
    with pytest.raises(ConfigError, match="there is no directory"):
        create_detector("pans:network=./nowhere").needs(None)
    with pytest.raises(ConfigError, match="no weights of its own"):
        create_detector("pans:network=erfnet_pyramid").needs(None)
    save_detector(create_detector("energy"), tmp_path / "energy")
    with pytest.raises(CompatibilityError, match="carries no network"):
        create_detector(f"pans:network={tmp_path / 'energy'}").needs(None)
    with pytest.raises(CompatibilityError, match="one network"):
        PAnS().load_networks({"host": network})
    for scales in ("five", "0+1", "-1", [0.0], "nan", "1,2"):
        with pytest.raises(ConfigError, match="scales must be"):
            PAnS(scales=scales)
    for option in ({"upsample": "both"}, {"measure": "entropy"}):
        with pytest.raises(ConfigError, match="must be one of"):
            PAnS(**option)
    with pytest.raises(ConfigError, match="did you mean 'scales'"):
        create_detector("pans", scale="published")


def test_a_card_says_what_it_is(network):
    card = PAnS.of(network, scales="published").card()
    assert card["owns_network"]
    assert card["bounded"]
    assert card["forward_passes"] == 5
    assert not card["uses_anomaly_labels"]
    assert not card["uses_negatives"]
    assert card["networks"]["network"]["sha256"] == network.fingerprint()


def test_prototypes_are_told(network):
    detector = PAnS.of(network)
    assert list(detector.prototype_names()) == list(CLASSES)
    table = detector.prototype_table()
    weight = network.classifier.weight.detach()
    wanted = F.cosine_similarity(weight[:, None], weight[None], dim=2)
    torch.testing.assert_close(table, wanted)
    scene = scene_of(network, [(48, 64)])
    similarity = detector.prototype_similarity(scene)
    assert similarity.shape == (1, len(CLASSES), 6, 8)
    torch.testing.assert_close(similarity.amax(1), by_hand(network, scene.images), rtol=1e-5, atol=1e-6)
