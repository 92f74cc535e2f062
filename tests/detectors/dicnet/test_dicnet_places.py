"""The discrepancy told by place: against brute force, and what a fit does to a detector."""

from functools import partial

import numpy as np
import pytest
import torch
from dicnet_networks import tiny_dicnet, tiny_teacher
from tiny import TinySegmenter, made_image
from torch.nn import functional as F

from anomseg.detectors import anomaly_maps, create_detector, is_fitted_on_frames, load_detector, save_detector
from anomseg.detectors.dicnet import DiCNet
from anomseg.detectors.dicnet.places import FLOOR, PlaceMoments, Places, blurred
from anomseg.detectors.fitting import digest_of
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.segmenters.scene import make_scene
from anomseg.types import Frame

SIZE = (32, 48)


def frames(count=4, size=SIZE, first=0):
    rows = range(first, first + count)
    return [Frame(f"frame{row}", partial(made_image, row, size), meta={"dataset": "made"}) for row in rows]


def gathered(maps):
    moments = PlaceMoments()
    for one in maps:
        moments.update(one)
    return moments


def averaged(cells, spread):
    """Each cell's average by the weights written down, over all cells."""
    rows, columns = cells.shape
    found = np.zeros(cells.shape)
    for y in range(rows):
        for x in range(columns):
            distance = (np.arange(rows)[:, None] - y) ** 2 + (np.arange(columns)[None] - x) ** 2
            weights = np.exp(-distance / (2 * spread**2))
            found[y, x] = (weights * cells).sum() / weights.sum()
    return found


@pytest.mark.parametrize("spread", [0.5, 2.0, 8.0])
def test_standardised_by_hand(spread):
    rng = np.random.default_rng(0)
    maps = rng.gamma(2.0, 1.0, (7, 5, 6)).astype(np.float32)
    places = gathered(torch.from_numpy(maps)).places(spread)
    logs = np.log(maps.astype(np.float64))
    mean, deviation = averaged(logs.mean(0), spread), averaged(logs.std(0), spread)
    found = places.standardised(torch.from_numpy(maps[:2])).numpy()
    np.testing.assert_allclose(found, (logs[:2] - mean) / deviation, rtol=1e-4, atol=1e-5)


def test_a_score_in_deviations_does_not_depend_on_the_scale_of_the_discrepancy():
    maps = torch.rand(5, 4, 6) + 0.1
    one, other = gathered(maps).places(2.0), gathered(1000 * maps).places(2.0)
    torch.testing.assert_close(one.standardised(maps), other.standardised(1000 * maps), rtol=1e-3, atol=1e-4)


def test_what_never_changes_is_never_odd():
    places = gathered([torch.full((4, 5), 3.0)] * 3).places(8.0)
    assert torch.equal(places.standardised(torch.full((2, 4, 5), 3.0)), torch.zeros(2, 4, 5))
    assert torch.equal(places.standardised(torch.full((1, 4, 5), 9.0)), torch.zeros(1, 4, 5))
    agreed = gathered([torch.zeros(4, 5)] * 3).places(8.0)
    assert torch.equal(agreed.standardised(torch.zeros(1, 4, 5)), torch.zeros(1, 4, 5))
    mixed = gathered([torch.zeros(4, 5), torch.ones(4, 5)]).places(8.0)
    assert mixed.standardised(torch.zeros(1, 4, 5)).isfinite().all()
    assert float(mixed.mean[0, 0]) == pytest.approx(np.log(FLOOR) / 2)


def test_an_average_keeps_a_constant_and_the_middle_of_what_is_even():
    ramp = torch.arange(9.0).expand(7, 9)
    found = blurred(ramp, 1.5)
    assert found[3, 4] == pytest.approx(4)
    assert (found.diff(dim=1) > 0).all()
    torch.testing.assert_close(blurred(torch.full((3, 4), 2.5), 8.0), torch.full((3, 4), 2.5))


def test_maps_of_other_sizes_are_brought_to_the_first_ones():
    maps = [torch.rand(4, 6) + 0.5, torch.rand(8, 12) + 0.5]
    found = gathered(maps).places(1.0)
    logs = [maps[0].log(), F.interpolate(maps[1].log()[None, None], (4, 6), mode="bilinear")[0, 0]]
    expected = averaged(torch.stack(logs).double().mean(0).numpy(), 1.0)
    np.testing.assert_allclose(found.mean.numpy(), expected, rtol=1e-5)
    assert found.standardised(torch.rand(1, 7, 9)).shape == (1, 7, 9)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images_are_told(count):
    with pytest.raises(DataError, match=f"takes 2 images or more, got {count}"):
        gathered([torch.rand(4, 6)] * count).places(8.0)
    detector = tiny_dicnet(by_place=8.0)
    with pytest.raises(DataError, match="in-distribution"):
        detector.fit(None, frames(count))
    assert not detector.is_fitted


def test_statistics_that_do_not_fit_are_refused():
    good = torch.ones(2, 3)
    for mean, deviation in ((good, torch.ones(3, 2)), (good[0], good[0]), (good, -good), (good / 0, good)):
        with pytest.raises(CompatibilityError, match="usual by place"):
            Places(mean, deviation)
    state = tiny_dicnet().state()
    with pytest.raises(CompatibilityError, match="place_mean and place_deviation"):
        DiCNet().load_state({**state, "place_mean": good})
    with pytest.raises(CompatibilityError, match="scale and shift"):
        DiCNet().load_state({"place_mean": good, "place_deviation": good})


def test_the_score_is_that_of_the_discrepancies_of_the_training_images():
    detector = tiny_dicnet(by_place=3.0, smooth=3)
    teacher = detector.segmenter
    cells = [detector.discrepancy(make_scene([one.image()], [one.id], teacher))[0].detach() for one in frames()]
    expected = gathered(cells).places(3.0)
    seen = []
    assert detector.fit(None, frames(), progress=lambda frame, error: seen.append((frame.id, error))) is detector
    assert seen == [(f"frame{row}", None) for row in range(4)]
    scene = make_scene([made_image(9, SIZE)], ["new"], teacher)
    found = detector.score(scene)
    by_hand = F.interpolate(
        expected.standardised(detector.discrepancy(scene))[:, None], SIZE, mode="bilinear", align_corners=True
    )[:, 0]
    torch.testing.assert_close(found, by_hand, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, tiny_dicnet(smooth=3).score(scene))


def test_an_image_whose_features_are_not_finite_is_left_out(monkeypatch):
    detector, whole = tiny_dicnet(by_place=3.0), tiny_dicnet(by_place=3.0)
    plain = detector.discrepancy

    def broken(scene):
        found = plain(scene)
        return torch.full_like(found, torch.nan) if scene.frame_ids == ("frame1",) else found

    monkeypatch.setattr(detector, "discrepancy", broken)
    detector.fit(None, frames())
    assert detector.fitted_on["skipped"] == ["frame1"]
    whole.fit(None, [frame for frame in frames() if frame.id != "frame1"])
    assert torch.equal(detector.state()["place_mean"], whole.state()["place_mean"])


def test_a_fit_leaves_the_networks_and_adds_its_frames():
    detector = tiny_dicnet(by_place=8.0)
    before = {role: network.fingerprint() for role, network in detector.networks().items()}
    scale = detector.state()["scale"].clone()
    detector.fitted_on = {"data": "t", "frames": 1, "sha256": digest_of(["f"]), "fingerprints": ["f"], "training": {}}
    detector.fit(None, frames(3))
    assert {role: network.fingerprint() for role, network in detector.networks().items()} == before
    assert torch.equal(detector.state()["scale"], scale)
    record = detector.fitted_on
    assert record["training"] == {}
    assert record["frames"] == len(record["fingerprints"]) == 4
    assert record["sha256"] == digest_of(record["fingerprints"])
    assert record["by_place"]["frames"] == 3
    assert record["by_place"]["data"] == "made (3)"


@pytest.mark.parametrize("attached", [False, True])
def test_saved_and_loaded_by_place_it_scores_the_same_bits(tmp_path, attached):
    teacher = tiny_teacher()
    detector = tiny_dicnet(by_place=2.0, attached=attached)
    with pytest.raises(CompatibilityError, match="what is usual at each place"):
        save_detector(detector, tmp_path / "early")
    detector.fit(teacher, frames())
    scene = make_scene([made_image(9, (45, 61))], ["a"], teacher)
    save_detector(detector, tmp_path / "dicnet")
    loaded = load_detector(tmp_path / "dicnet")
    assert loaded.is_fitted
    assert loaded.by_place == 2.0
    assert loaded.card()["needs_fit"]
    assert torch.equal(loaded.score(scene), detector.score(scene))
    again = loaded.fit(teacher, frames(first=4))
    assert again.fitted_on["frames"] == 8


def test_refused_before_it_has_seen_the_places_and_where_there_are_none():
    detector = tiny_dicnet(by_place=8.0)
    scene = make_scene([made_image(0, SIZE)], ["a"], detector.segmenter)
    with pytest.raises(CompatibilityError, match=r"stages\.student\.module\.by_place 8"):
        anomaly_maps(detector, scene)
    plain = tiny_dicnet()
    assert plain.is_fitted
    assert not plain.needs_fit
    with pytest.raises(CompatibilityError, match="without by_place needs no fitting"):
        plain.fit(None, frames())
    with pytest.raises(CompatibilityError, match="has no student"):
        create_detector("dicnet", by_place=8.0).fit(TinySegmenter(), frames())
    for wrong in (-1.0, float("inf")):
        with pytest.raises(ConfigError, match="by_place must be a number, 0 or above"):
            create_detector("dicnet", by_place=wrong)
    assert is_fitted_on_frames(detector)
    assert DiCNet().get_params()["by_place"] == 0.0
