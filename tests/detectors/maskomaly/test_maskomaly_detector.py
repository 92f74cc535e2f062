"""Maskomaly as a detector: where it scores, what a fit picks, and whose queries it takes."""

import json

import numpy as np
import pytest
import torch
from query_scenes import COLOURS, SIZE, ColourQueries, anomaly_frames, ground_frames, street
from torch.nn import functional as F

from anomseg import scores
from anomseg.detectors import anomaly_maps, create_detector, load_detector, overlapping_frames, save_detector
from anomseg.detectors.maskomaly import Maskomaly
from anomseg.detectors.maskomaly.resample import area_resize
from anomseg.errors import CompatibilityError, ConfigError, DataError, FrameError
from anomseg.export import export_onnx
from anomseg.segmenters.base import SegmentationOutput
from anomseg.segmenters.scene import Scene, make_scene
from anomseg.types import Frame


@pytest.fixture(scope="module")
def network() -> ColourQueries:
    return ColourQueries().eval()


def scene_with(network, image: np.ndarray, **options) -> Scene:
    return make_scene([image], ["street"], network, **options)


def test_padding_is_cropped_before_scoring(network):
    image, _, _ = street()
    scene = scene_with(network, image)
    output = scene.output
    assert output.padded_size == (64, 96)
    masks = F.interpolate(output.mask_logits, (64, 96), mode="bilinear", align_corners=False)[..., : SIZE[0], : SIZE[1]]
    truth = scores.maskomaly(output.class_logits, masks)
    found = anomaly_maps(create_detector("maskomaly"), scene)[0]
    torch.testing.assert_close(found, truth[0])


def test_parity_squeezes_the_padded_map(network):
    image, _, _ = street()
    scene = scene_with(network, image)
    output = scene.output
    masks = F.interpolate(output.mask_logits, (64, 96), mode="bilinear", align_corners=False)
    truth = area_resize(scores.maskomaly(output.class_logits, masks), SIZE)
    found = anomaly_maps(create_detector("maskomaly", crop_padding=False), scene)[0]
    torch.testing.assert_close(found, truth[0])
    assert (found - anomaly_maps(create_detector("maskomaly"), scene)[0]).abs().max() > 0.1


@pytest.mark.parametrize("size", [(100, 140), (25, 35), (75, 30)])
def test_the_map_is_brought_to_the_image(network, size):
    """Scored at the working size; then means over areas where it shrinks, else bilinear."""
    image, _, _ = street()
    scene = scene_with(network, image, size=size)
    output = scene.output
    masks = F.interpolate(output.mask_logits, output.padded_size, mode="bilinear", align_corners=False)
    at_size = scores.maskomaly(output.class_logits, masks[..., : size[0], : size[1]])
    if size == (100, 140):
        truth = F.avg_pool2d(at_size[:, None], 2)[0, 0]
    else:
        truth = F.interpolate(at_size[:, None], SIZE, mode="bilinear", align_corners=False)[0, 0]
    torch.testing.assert_close(anomaly_maps(create_detector("maskomaly"), scene)[0], truth)


@pytest.mark.parametrize(("source", "target"), [(7, 3), (9, 9), (5, 11), (12, 4), (3, 1), (13, 7)])
def test_areas_by_hand(source, target):
    """A finer grid on which both sizes lie exactly gives the same means."""
    values = torch.rand(2, source, source, dtype=torch.float64)
    fine = values.repeat_interleave(target, 1).repeat_interleave(target, 2)
    truth = F.avg_pool2d(fine[:, None], source)[:, 0]
    torch.testing.assert_close(area_resize(values, (target, target)), truth)


def test_zero_shot_by_colour(network):
    """The cow and the car are claimed by nobody known; road and sky are."""
    image, _, label = street()
    found = anomaly_maps(create_detector("maskomaly"), scene_with(network, image))[0]
    assert found[label == 1].median() == pytest.approx(0.6, abs=1e-3)
    assert found[14:22, 2:10].min() > 0.5
    assert found[42:, :50].max() < 0.05
    assert found.max() <= 0.6


def fitted(network, profile="+anomaly", **options) -> Maskomaly:
    detector = create_detector("maskomaly", profile=profile, **options)
    return detector.fit(network, ground_frames(), anomalies=anomaly_frames() if detector.reads_anomalies else ())


def test_ground_and_anomaly_queries_are_found(network):
    detector = fitted(network)
    # Queries 1 and 5 fire on road, 3 on the pavement, 2 on the cow; 5 is not sure enough for masks above .9.
    assert detector.ground_queries == [1]
    assert detector.anomaly_queries == [2]
    assert detector.fitted_on["anomaly"]["best"]["query"] == 2
    assert detector.fitted_on["anomaly"]["picked"][0]["iou"] > 0.4
    assert detector.warnings == []
    lower = fitted(network, "+ground", min_iou=0.1)
    assert lower.ground_queries == [1, 3]
    found = {
        profile: anomaly_maps(fitted(network, profile, min_iou=0.1), scene_with(network, street()[0]))[0]
        for profile in ("+ground", "+anomaly")
    }
    cow = found["+anomaly"][32:38, 26:30]
    assert cow.min() > 0.95
    assert found["+ground"].max() <= 0.6
    assert found["+ground"][30:46, 60:66].max() < 0.06  # the pavement, which zero_shot finds odd
    assert anomaly_maps(create_detector("maskomaly"), scene_with(network, street()[0]))[0][30:46, 60:66].min() > 0.55


def test_ious_of_a_fit_against_the_picture(network):
    """IoU of the masks, thresholded at the image's size, on pixels that are not void."""
    detector = fitted(network, min_iou=0.0)
    iou = []
    for frame in anomaly_frames():
        output = scene_with(network, frame.image()).output
        masks = F.interpolate(output.mask_logits, output.padded_size, mode="bilinear", align_corners=False)
        masks = masks[0, :, : SIZE[0], : SIZE[1]].sigmoid().numpy() > 0.9
        gt, valid = frame.label == 1, frame.label != 255
        iou.append([(m & gt & valid).sum() / ((m | gt) & valid).sum() for m in masks])
    torch.testing.assert_close(detector.state()["anomaly_iou"], torch.tensor(np.mean(iou, 0)).float())


@pytest.mark.parametrize("space", ["idd_lite"])
def test_classes_that_may_be_ground_are_left_out(space):
    """IDD's "non-drivable" is pavement or grass: neither ground nor not."""
    from anomseg.detectors.maskomaly.regions import ground_region

    classes = np.array([[0, 1, 2, 3, 4, 255]], np.uint8)
    region, valid = ground_region(Frame("a", None, classes, meta={"label_space": space}))
    assert region.tolist() == [[True, False, False, False, False, False]]
    assert valid.tolist() == [[True, False, True, True, False, False]]


def test_the_flags_follow_the_profile():
    plain = create_detector("maskomaly")
    assert (plain.needs_fit, plain.uses_anomaly_labels, plain.bounded) == (False, False, True)
    ground = create_detector("maskomaly", profile="+ground")
    assert (ground.needs_fit, ground.uses_anomaly_labels) == (True, False)
    anomaly = create_detector("maskomaly:profile=+anomaly")
    assert (anomaly.needs_fit, anomaly.uses_anomaly_labels) == (True, True)
    by_hand = create_detector("maskomaly:ground=[19,24];anomaly=[49,31,83,32]")
    assert (by_hand.needs_fit, by_hand.uses_anomaly_labels) == (False, True)
    assert by_hand.card()["uses_anomaly_labels"] is True
    assert by_hand.card()["queries"] == {"ground": [19, 24], "anomaly": [49, 31, 83, 32]}
    cards = {spec: create_detector(f"maskomaly:{spec}").card()["profile"] for spec in ("ground=[1]", "anomaly=[1]")}
    assert cards == {"ground=[1]": "+ground", "anomaly=[1]": "+anomaly"}
    half = create_detector("maskomaly:profile=+anomaly;ground=[]")
    assert (half.reads_frames, half.reads_anomalies) == (False, True)


def test_queries_by_hand(network):
    scene = scene_with(network, street()[0])
    by_hand = anomaly_maps(create_detector("maskomaly", ground=[1], anomaly=[2]), scene)[0]
    assert torch.equal(by_hand, anomaly_maps(fitted(network), scene)[0])
    with pytest.raises(CompatibilityError, match=r"maskomaly: anomaly query 99 does not exist: this network has 6"):
        create_detector("maskomaly", anomaly=[2, 99]).score(scene)


@pytest.mark.parametrize(
    "options",
    [
        {"profile": "ground"}, {"ground": [-1]}, {"anomaly": [True]}, {"reject": 1.5}, {"border": -0.1}, {"weight": 2},
        {"mask_threshold": "high"}, {"min_iou": 2.0}, {"top_k": 0}, {"ground_k": 0},
    ],
)  # fmt: skip
def test_options_that_cannot_be(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        create_detector("maskomaly", **options)


@pytest.mark.parametrize("profile", ["+ground", "+anomaly"])
def test_saved_and_loaded(network, profile, tmp_path):
    detector = fitted(network, profile)
    save_detector(detector, tmp_path / "d", network)
    loaded = load_detector(tmp_path / "d")
    scene = scene_with(network, street()[0])
    assert torch.equal(anomaly_maps(loaded, scene)[0], anomaly_maps(detector, scene)[0])
    assert loaded.fitted_on == detector.fitted_on
    assert loaded.ground_queries == detector.ground_queries
    assert loaded.card() == json.loads(json.dumps(detector.card()))
    content = json.loads((tmp_path / "d" / "detector.json").read_text())
    assert content["flags"]["uses_anomaly_labels"] == (profile == "+anomaly")
    assert content["segmenter"]["sha256"] == network.fingerprint()


def test_frames_of_both_kinds_are_known_again(network, tmp_path):
    save_detector(fitted(network), tmp_path / "d", network)
    loaded = load_detector(tmp_path / "d")
    fresh = Frame("fresh", lambda: street(77)[0])
    assert overlapping_frames(loaded, [*ground_frames(), *anomaly_frames(), fresh]) == [
        frame.id for frame in (*ground_frames(), *anomaly_frames())
    ]
    card = loaded.card()["fitted_on"]
    assert "fingerprints" not in json.dumps(card)
    assert card["ground"]["data"] == "camvid@train (3)"
    assert card["anomaly"]["data"] == "road_anomaly_21@validation (3)"


def test_nothing_fires_on_anomalies(tmp_path):
    """The best query is told all the same, and the profile scores without anomaly queries."""
    network = ColourQueries(queries=2).eval()
    detector = fitted(network)
    assert detector.anomaly_queries == []
    best = detector.fitted_on["anomaly"]["best"]
    assert best["iou"] < 0.25
    assert detector.warnings == [
        f"no query reaches an IoU of 0.25 with anomalies (the best, query {best['query']}, has {best['iou']:.3f}), "
        "so maskomaly scores without anomaly queries"
    ]
    assert detector.card()["fitted_on"]["warnings"] == detector.warnings
    scene = scene_with(network, street()[0])
    save_detector(detector, tmp_path / "d", network)
    loaded = load_detector(tmp_path / "d")
    expected = anomaly_maps(create_detector("maskomaly", ground=detector.ground_queries), scene)[0]
    assert torch.equal(anomaly_maps(loaded, scene)[0], expected)
    assert loaded.warnings == detector.warnings
    assert loaded.uses_anomaly_labels  # labels were looked at, though nothing came of it


def test_queries_of_another_checkpoint_are_refused(network, tmp_path):
    save_detector(fitted(network), tmp_path / "d", network)
    loaded = load_detector(tmp_path / "d")
    other = ColourQueries(seed=1.0).eval()
    assert loaded.needs(network).masks
    with pytest.raises(CompatibilityError, match=r"another checkpoint .*fit it again .* ground=\[\.\.\.\]") as caught:
        loaded.needs(other)
    assert "\n" not in str(caught.value)
    # Numbers given by hand are somebody's word; numbers saved with a network are that network's.
    by_hand = create_detector("maskomaly", ground=[1])
    assert by_hand.needs(other).masks
    save_detector(by_hand, tmp_path / "hand", network)
    with pytest.raises(CompatibilityError, match="another checkpoint"):
        load_detector(tmp_path / "hand").needs(other)
    # Without queries of its own it belongs to no network.
    save_detector(create_detector("maskomaly"), tmp_path / "plain", network)
    assert load_detector(tmp_path / "plain").needs(other).masks


def test_what_cannot_be_fitted(network):
    with pytest.raises(CompatibilityError, match="needs no fitting with profile=zero_shot; use it as it is, or"):
        create_detector("maskomaly").fit(network, ground_frames())
    with pytest.raises(CompatibilityError, match="given by hand"):
        create_detector("maskomaly", profile="+ground", ground=[1]).fit(network, ground_frames())
    with pytest.raises(CompatibilityError, match="give a segmenter"):
        create_detector("maskomaly", profile="+ground").fit(None, ground_frames())
    with pytest.raises(DataError, match="--anomalies"):
        create_detector("maskomaly", profile="+anomaly").fit(network, ground_frames())
    with pytest.raises(DataError, match=r"all 3 were skipped, .*no class map of a known label space"):
        create_detector("maskomaly", profile="+ground").fit(network, anomaly_frames())
    with pytest.raises(DataError, match=r"all 3 were skipped, .*no anomaly label"):
        create_detector("maskomaly", profile="+anomaly", ground=[]).fit(network, (), anomalies=ground_frames())
    clean = [Frame(f"c{i}", frame.image, None, np.zeros(SIZE, np.uint8)) for i, frame in enumerate(ground_frames())]
    with pytest.raises(DataError, match="none of the 3 frames to pick anomaly queries on shows anomalies"):
        create_detector("maskomaly", profile="+anomaly", ground=[]).fit(network, (), anomalies=clean)


def test_frames_that_cannot_be_used_are_skipped_and_named(network):
    seen = []
    blank = Frame("blank", lambda: street(5)[0])
    detector = create_detector("maskomaly", profile="+anomaly").fit(
        network,
        [*ground_frames(2), blank],
        anomalies=[blank, *anomaly_frames(2)],
        progress=lambda frame, error: seen.append((frame.id, error is None)),
    )
    assert detector.fitted_on["skipped"] == ["blank", "blank"]
    assert detector.fitted_on["frames"] == 4
    assert seen == [
        ("drive0", True),
        ("drive1", True),
        ("blank", False),
        ("blank", False),
        ("cow0", True),
        ("cow1", True),
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("anomaly_iou"),
        lambda state: state.update(extra=torch.zeros(1)),
        lambda state: state.update(anomaly_queries=torch.tensor([6])),
        lambda state: state.update(anomaly_queries=torch.tensor([-1])),
        lambda state: state.update(anomaly_queries=torch.tensor([1.0])),
        lambda state: state.update(anomaly_iou=torch.tensor([float("nan")] * 6)),
        lambda state: state.update(ground_iou=torch.zeros(2, 3)),
    ],
)
def test_damaged_states_are_refused(network, change):
    detector = fitted(network)
    state = detector.state()
    change(state)
    with pytest.raises(CompatibilityError, match="state of maskomaly"):
        create_detector("maskomaly", profile="+anomaly").load_state(state)
    assert detector.anomaly_queries == [2]


def test_a_negative_class_is_no_object(network):
    """A query that is sure of negatives rejects nothing and makes no border."""
    image, _, _ = street()
    scene = scene_with(network, image)
    negative = torch.full((1, len(COLOURS), 1), -9.0)
    negative[0, 1] = 30.0  # the road's query
    output = SegmentationOutput(**{**vars(scene.output), "negative_class_logits": negative})
    changed = Scene(scene.images, scene.frame_ids, scene.image_sizes, network, input_size=SIZE, output=output)
    assert anomaly_maps(create_detector("maskomaly"), changed)[0][44:, :50].min() == pytest.approx(0.6)
    assert anomaly_maps(create_detector("maskomaly"), scene)[0][44:, :50].max() < 0.05


def test_outputs_that_are_not_finite_are_refused(network):
    scene = scene_with(network, street()[0])
    broken = scene.output.class_logits.clone()
    broken[0, 3, 0] = float("nan")
    output = SegmentationOutput(**{**vars(scene.output), "class_logits": broken})
    changed = Scene(scene.images, scene.frame_ids, scene.image_sizes, network, input_size=SIZE, output=output)
    with pytest.raises(FrameError, match=r"street: .*not finite"):
        anomaly_maps(create_detector("maskomaly"), changed)


def test_only_queries_that_matter_are_upsampled(network, monkeypatch):
    looked_at = []
    plain = scores.maskomaly_resized

    def spy(roles, masks, *args):
        hidden = masks.clone()
        hidden[:, ~roles.matter[0]] = float("nan")
        looked_at.append(int(roles.matter.sum()))
        return plain(roles, hidden, *args)

    scene = scene_with(network, street()[0])
    expected = anomaly_maps(create_detector("maskomaly", anomaly=[2]), scene)[0]
    monkeypatch.setattr(scores, "maskomaly_resized", spy)
    assert torch.equal(anomaly_maps(create_detector("maskomaly", anomaly=[2]), scene)[0], expected)
    assert looked_at == [3]


@pytest.mark.parametrize("opset", [17, 18])
def test_no_graph_is_recorded(network, opset, tmp_path):
    """It would hold the choices made for one picture's queries."""
    with pytest.raises(CompatibilityError, match=r"cannot be written as one ONNX graph .*looks at a picture's queries"):
        export_onnx(network, create_detector("maskomaly"), tmp_path / "m.onnx", size=(32, 32), opset=opset)
