"""The detector: saved and loaded, its own class map, its probability, its prototypes to look at, and misuse."""

import json

import numpy as np
import pytest
import torch
from test_segmenter_contract import BUILDERS, CLASSES

from anomseg.detectors import anomaly_maps, create_detector, load_detector, save_detector, segmenter_matches
from anomseg.detectors.pgan import PGAN, PrototypeExtractor
from anomseg.detectors.prototypes import PrototypeDetector
from anomseg.errors import CompatibilityError, ConfigError, FrameError
from anomseg.segmenters import make_scene
from anomseg.segmenters.base import SegmentationOutput
from anomseg.segmenters.scene import Scene

LEVELS = "stage8+bottleneck"


@pytest.fixture(scope="module")
def host():
    torch.manual_seed(0)
    return BUILDERS["pyramid"]().eval()


def trained(host, curve=(9.0, -4.0), per_class=2, **options):
    torch.manual_seed(1)
    channels = [host.feature_info[name].channels for name in LEVELS.split("+")]
    extractor = PrototypeExtractor(channels, len(host.classes), per_class, 8, parents=[0, 1, 2, 1, 2])
    detector = PGAN(LEVELS, **options)
    detector.adopt(extractor, host, curve, {"frames": 0, "fingerprints": [], "sha256": "", "data": "made"})
    detector.fitted_on = None  # no frames behind it
    return detector


def scene_of(detector, network, sizes=((48, 64),), seed=0):
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    names = [f"image{index}" for index in range(len(sizes))]
    return make_scene(images, names, network, features=detector.needs(network).features)


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("options", [{}, {"probability": "calibrated", "parent_term": True}])
def test_saved_and_loaded_it_scores_bit_for_bit_the_same(attached, options, host, tmp_path):
    detector = trained(host, attached=attached, **options)
    expected = anomaly_maps(detector, scene_of(detector, host))[0]
    save_detector(detector, tmp_path / "a", host)
    loaded = load_detector(tmp_path / "a")
    assert loaded.get_params() == detector.get_params()
    network = host if attached else loaded.segmenter
    assert torch.equal(anomaly_maps(loaded, scene_of(loaded, network))[0], expected)
    assert torch.equal(loaded.segment(scene_of(loaded, network)), detector.segment(scene_of(detector, host)))
    assert set(loaded.networks()) == (set() if attached else {"host"})
    save_detector(loaded, tmp_path / "b", host)
    for file in (path for path in (tmp_path / "a").rglob("*") if path.is_file()):
        assert (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes() == file.read_bytes()


def test_an_owning_one_scores_its_own_network_whatever_prepared_the_scene(host):
    detector = trained(host)
    expected = anomaly_maps(detector, scene_of(detector, host))[0]
    torch.manual_seed(5)
    other = BUILDERS["erfnet_pyramid"]().eval()
    rng = np.random.default_rng(0)
    scene = make_scene([rng.integers(0, 256, (48, 64, 3), np.uint8)], ["image0"], other)
    torch.testing.assert_close(anomaly_maps(detector, scene)[0], expected)


def test_another_network_beside_an_attached_one_is_told(host):
    detector = trained(host, attached=True)
    assert segmenter_matches(detector, host) is None
    torch.manual_seed(7)
    assert "another network" in segmenter_matches(detector, BUILDERS["pyramid"]().eval())
    with pytest.raises(CompatibilityError, match="train it on this network"):
        detector.needs(BUILDERS["bundled"]())
    with pytest.raises(ConfigError, match="stage8"):
        detector.needs(BUILDERS["erfnet_pyramid"]())


def test_mixed_sizes_and_batches(host):
    detector = trained(host)
    sizes = [(48, 64), (30, 50), (48, 64)]
    maps = anomaly_maps(detector, scene_of(detector, host, sizes))
    assert [tuple(one.shape) for one in maps] == sizes
    first = anomaly_maps(detector, scene_of(detector, host))[0]
    torch.testing.assert_close(maps[0], first, atol=1e-5, rtol=1e-5)


def test_score_and_class_map_share_one_pass(host):
    detector = trained(host)
    scene, calls = scene_of(detector, host), []
    handle = host.register_forward_hook(lambda *_: calls.append(1))
    anomaly_maps(detector, scene)
    classes = detector.segment(scene)
    handle.remove()
    assert len(calls) == 1
    assert classes.dtype == torch.int64
    assert not torch.equal(classes, scene.prediction())  # its own, not the host's


def test_the_class_is_that_of_the_greatest_score(host):
    detector = trained(host)
    scene = scene_of(detector, host)
    maps = [scene.output.features[name] for name in LEVELS.split("+")]
    with torch.no_grad():
        scores = scene.resize(detector.extractor(maps))
    assert torch.equal(detector.segment(scene), scores.argmax(1))


def test_the_probability_keeps_the_order_and_follows_its_curve(host):
    raw, calibrated = (trained(host, probability=kind) for kind in ("raw", "calibrated"))
    score = anomaly_maps(raw, scene_of(raw, host))[0]
    chance = anomaly_maps(calibrated, scene_of(calibrated, host))[0]
    torch.testing.assert_close(chance, torch.sigmoid(9 * score - 4))
    order = score.flatten().argsort()
    assert (chance.flatten()[order].diff() >= 0).all()
    assert 0 <= chance.min() <= chance.max() <= 1
    without = trained(host, curve=None, probability="calibrated")
    with pytest.raises(CompatibilityError, match="probability=raw"):
        anomaly_maps(without, scene_of(without, host))


@pytest.mark.parametrize("per_class", [1, 2])
def test_its_prototypes_can_be_looked_at(per_class, host):
    detector = trained(host, per_class=per_class)
    detector.extractor.present[2] = False
    assert isinstance(detector, PrototypeDetector)
    names, classes = detector.prototype_names(), detector.prototype_classes()
    count = 2 * 4 * per_class
    assert len(names) == len(set(names)) == len(classes) == count
    assert names[0] == ("stage8: road" if per_class == 1 else "stage8: road 1")
    assert 2 not in classes
    scene = scene_of(detector, host)
    similarity, table = detector.prototype_similarity(scene), detector.prototype_table()
    assert similarity.shape == (1, count, *scene.output.features["stage8"].shape[-2:])
    torch.testing.assert_close(table.diagonal(), torch.ones(count))
    assert (table[: count // 2, count // 2 :] == 0).all()
    road = similarity[:, :per_class].amax(1)
    with torch.no_grad():
        maps = [scene.output.features[name] for name in LEVELS.split("+")]
        own = detector.extractor.to_prototypes(0, detector.extractor.embed(maps)[0])
    torch.testing.assert_close(road, own[:, 0].amax(1))


def test_features_that_are_not_finite_are_told_by_frame(host):
    detector = trained(host)
    scene = scene_of(detector, host)
    broken = {name: one.clone() for name, one in scene.output.features.items()}
    broken["stage8"][0, 0, 0, 0] = torch.nan
    output = SegmentationOutput(**{**vars(scene.output), "features": broken})
    other = Scene(scene.images, scene.frame_ids, scene.image_sizes, host, input_size=scene.input_size, output=output)
    with pytest.raises(FrameError, match=r"image0.*not finite"):
        anomaly_maps(detector, other)


def test_untrained_it_says_what_to_run(host, tmp_path):
    detector = create_detector("pgan")
    assert not detector.is_fitted
    assert detector.state() == {}
    for attempt in (
        lambda: detector.needs(host),
        lambda: save_detector(detector, tmp_path / "x"),
        lambda: anomaly_maps(detector, scene_of(trained(host), host)),
    ):
        with pytest.raises(CompatibilityError, match="run 'anomseg train camvid-pgan"):
            attempt()


@pytest.mark.parametrize("option", ["similarity=cos", "probability=yes", "levles=a"])
def test_options_that_cannot_be(option):
    with pytest.raises(ConfigError) as caught:
        create_detector(f"pgan:{option}")
    assert "\n" not in str(caught.value)


def test_a_state_that_is_not_whole_is_refused(host):
    state = trained(host).state()
    for name in ("prototypes.1", "parents", "projections.0.0.weight"):
        part = {key: tensor for key, tensor in state.items() if key != name}
        with pytest.raises(CompatibilityError, match="state of pgan"):
            PGAN(LEVELS).load_state(part)
    with pytest.raises(CompatibilityError, match="unit length"):
        PGAN(LEVELS).load_state({**state, "prototypes.0": 2 * state["prototypes.0"]})
    with pytest.raises(CompatibilityError, match="state of pgan"):
        PGAN("stage8").load_state(state)
    with pytest.raises(CompatibilityError, match="state of pgan"):
        PGAN(LEVELS).load_state({"something": torch.zeros(3)})


def test_networks_that_do_not_belong_are_refused(host):
    with pytest.raises(CompatibilityError, match="role host"):
        PGAN(LEVELS).load_networks({"network": host})
    with pytest.raises(CompatibilityError, match="attached"):
        PGAN(LEVELS, attached=True).load_networks({"host": host})


def test_the_card_says_that_it_is_a_reconstruction(host):
    card = trained(host).card()
    json.dumps(card)
    assert card["extractor"]["reconstruction"] is True
    assert card["extractor"]["classes"] == len(CLASSES)
    assert card["owns_network"]
    assert card["bounded"]
