"""Detectors of failures in volumes: shapes, aggregation, empty masks, saved form, refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from volume_cases import SIZE, comparator, cubes, detectors, generator, setting

from anomseg.data.volumes import WorkingGrid
from anomseg.detectors.synthcp.volumes import (
    VOLUME_DETECTORS,
    DirectVolume,
    SynthCPVolume,
    VolumeSetting,
    VolumeUncertainty,
    load_volume_detector,
    prepare,
    save_volume_detector,
)
from anomseg.detectors.synthcp.volumes.comparing import comparator_batch, render
from anomseg.detectors.synthcp.volumes.regressed import fit_line
from anomseg.detectors.synthcp.volumes.slices import expected_size, soft_dice, volume_dice, with_neighbours
from anomseg.errors import CompatibilityError, ConfigError, DataError, FrameError

NAMES = list(detectors())


@pytest.mark.parametrize("name", NAMES)
def test_contract(name):
    detector = detectors()[name]
    case = cubes(0, missing=0.5, size=(6, 10, 9), soft=True)
    found = detector.predict(case)
    assert found.failure.measure == "dice"
    assert found.failure.class_quality.shape == (1, 1)
    assert 0 <= float(found.failure.class_quality) <= 1
    compares = not name.startswith(("shape", "uncertainty"))
    if compares:
        assert found.failure.error_map.shape == (1, 6, 10, 9)
        assert float(found.failure.error_map.min()) >= 0
        assert float(found.failure.error_map.max()) <= 1
    else:
        assert found.failure.error_map is None
    assert (found.judgement.rendering is not None) == name.startswith("synthcp")
    again = detector.predict(case)
    torch.testing.assert_close(found.failure.class_quality, again.failure.class_quality, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_the_truth_is_not_looked_at(name):
    detector = detectors()[name]
    case = cubes(0, missing=0.5, soft=True)

    def boom():
        raise AssertionError

    told = detector.predict(replace(case, truth=boom)).failure.class_quality
    torch.testing.assert_close(told, detector.predict(case).failure.class_quality)


@pytest.mark.parametrize("name", NAMES)
def test_a_target_that_is_not_in_the_mask_is_said_to_be_missed(name):
    detector = detectors()[name]
    found = detector.predict(cubes(0, missing=1.0, soft=True))
    assert found.prepared.empty.tolist() == [True]
    assert float(found.failure.class_quality) == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_one_slice(name):
    case = cubes(0, size=(4, 8, 8), soft=True)
    one = replace(
        case,
        image=lambda: case.image()[1:2],
        prediction=lambda: case.prediction()[1:2],
        truth=lambda: case.truth()[1:2],
        soft=lambda: case.soft()[:, 1:2],
    )
    found = detectors()[name].predict(one)
    assert torch.isfinite(found.failure.class_quality).all()
    if found.failure.error_map is not None:
        assert found.failure.error_map.shape == (1, 1, 8, 8)


@pytest.mark.parametrize("name", NAMES)
def test_saved_form_judges_bit_for_bit_the_same(name, tmp_path):
    detector = detectors()[name]
    save_volume_detector(detector, tmp_path / "saved")
    again = load_volume_detector(tmp_path / "saved")
    assert type(again) is type(detector)
    assert again.card() == detector.card()
    case = cubes(3, missing=0.25, soft=True)
    for part in ("class_quality", "error_map"):
        one, other = (getattr(each.predict(case).failure, part) for each in (detector, again))
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_damage_is_told(tmp_path):
    save_volume_detector(detectors()["synthcp-2"], tmp_path)
    path = tmp_path / "state.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-4] + b"abcd")
    with pytest.raises(DataError, match="copy the whole directory again"):
        load_volume_detector(tmp_path)
    path.write_bytes(whole)
    config = tmp_path / "volume.json"
    text = config.read_text()
    for old, new, told in (
        ('"synthcp_volume"', '"synthcp_volum"', "did you mean 'synthcp_volume'"),
        ('"synthcp_volume"', '"direct_volume"', "generator|rendering"),
        ('"reach": 1', '"reach": 2', "train it again"),
        ('"tumour"\n    ],\n    "grid"', '"liver"\n    ],\n    "grid"', "damaged"),
        ('"schema": 1', '"schema": 9', "update anomseg"),
    ):
        if new == '"direct_volume"':
            continue
        assert old in text
        config.write_text(text.replace(old, new, 1))
        with pytest.raises((DataError, CompatibilityError, ConfigError), match=told) as caught:
            load_volume_detector(tmp_path)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="anomseg train"):
        load_volume_detector(tmp_path / "nothing")


def test_registry_names_its_classes():
    for entry in VOLUME_DETECTORS:
        assert entry.factory.registry_name == entry.name


def test_other_classes_are_refused():
    detector = detectors()["direct-2"]
    with pytest.raises(CompatibilityError, match="judges masks of organ, tumour"):
        detector.predict(replace(cubes(0), classes=("background", "tumour", "organ")))
    with pytest.raises(FrameError, match="no predicted mask"):
        detector.predict(replace(cubes(0), prediction=None))
    with pytest.raises(FrameError, match="probabilities"):
        detectors()["uncertainty"].predict(cubes(0))


def test_networks_that_do_not_fit():
    for build, told in (
        (lambda: SynthCPVolume(setting(), comparator(2), generator(3)), None),
        (lambda: SynthCPVolume(setting((4, 16, 8)), comparator(2), generator(2)), "needed"),
        (lambda: SynthCPVolume(setting(), comparator(2), generator(2), reach=2), "channels"),
        (lambda: SynthCPVolume(setting(), comparator(2), None), "no generator"),
        (lambda: DirectVolume(setting(), comparator(2, "image"), generator(2)), "no rendering"),
        (
            lambda: DirectVolume(VolumeSetting(("b", "t"), ("t",), WorkingGrid(SIZE)), comparator(2, "image"), None),
            "class",
        ),
    ):
        if told is None:
            build()
            continue
        with pytest.raises(CompatibilityError, match=told):
            build()


def test_foreground_merges_all_classes():
    whole = VolumeSetting(("background", "foreground"), ("foreground",), WorkingGrid(SIZE))
    prepared = prepare(cubes(0, missing=0.5), whole)
    assert prepared.layout.shape[0] == 2
    assert float(prepared.dice) == 1.0  # what is missing of the tumour is organ


def test_margin_looks_at_the_mask_alone():
    case = cubes(0, size=(8, 32, 32))
    near = prepare(case, setting(margin=2.0))
    assert near.box[1].stop - near.box[1].start < 32
    far = prepare(case, setting())
    assert near.layout[2].sum() > 2 * far.layout[2].sum()
    back = setting(margin=2.0).grid.back(torch.ones(SIZE), near.box, near.shape)
    assert 0 < back.sum() < back.size


def test_neighbours_are_those_of_a_plain_loop():
    volume = torch.randn(5, 2, 3)
    stacked = with_neighbours(volume, 2)
    for row in range(5):
        for place, step in enumerate(range(-2, 3)):
            torch.testing.assert_close(stacked[row, place], volume[min(max(row + step, 0), 4)])


@given(st.integers(0, 2**31 - 1))
def test_the_volume_from_its_slices_is_exact(seed):
    rng = np.random.default_rng(seed)
    first, second = (torch.from_numpy((rng.random((6, 1, 4, 5)) < rng.random()).astype(np.float32)) for _ in range(2))
    first[rng.integers(6)] = 0
    second[rng.integers(6)] = 0
    if not (first.sum() or second.sum()):
        return
    right = 1 - (first - second).abs()
    true_size = expected_size(first, right)
    torch.testing.assert_close(true_size, second.sum((-2, -1)))
    dice = soft_dice(first, second).nan_to_num(7.0)  # of empty slices nothing sensible is said
    whole = volume_dice(dice, first.sum((-2, -1)), true_size)
    wanted = 2 * (first * second).sum() / (first.sum() + second.sum())
    torch.testing.assert_close(whole[0], wanted)


def test_batches_of_slices_and_of_volumes():
    image, layout, rendering = torch.randn(4, 8, 8), torch.rand(3, 4, 8, 8), torch.randn(4, 8, 8)
    slices = comparator_batch(image, layout, rendering, 2, 1, "rendering")
    assert [tuple(part.shape) for part in slices] == [(4, 3, 8, 8), (4, 3, 8, 8), (4, 3, 8, 8)]
    torch.testing.assert_close(slices[0][2], layout[:, 2])
    whole = comparator_batch(image, layout, rendering, 3, 1, "difference")
    assert [tuple(part.shape) for part in whole] == [(1, 3, 4, 8, 8), (1, 1, 4, 8, 8), (1, 1, 4, 8, 8)]
    torch.testing.assert_close(whole[2][0, 0], (image - rendering) / 2)
    assert comparator_batch(image, layout, None, 2, 0, "rendering")[2] is None


def test_slices_are_rendered_one_by_one():
    torch.manual_seed(0)
    network, layout = generator(2), torch.rand(3, 20, 8, 8)
    with torch.no_grad():
        whole = render(network, layout)
        hard = torch.nn.functional.one_hot(layout[:, 17].argmax(0), 3).permute(2, 0, 1).float()
        torch.testing.assert_close(whole[17], network(hard[None])[0, 0])
    assert whole.shape == (20, 8, 8)


def test_line_is_that_of_numpy():
    rng = np.random.default_rng(0)
    x, y = rng.random(30), rng.random(30)
    slope, intercept = np.polyfit(x, y, 1)
    found = fit_line(torch.tensor([*x, np.nan, 0.3]), torch.tensor([*y, 0.5, np.nan]))
    assert found == pytest.approx((intercept, slope))
    assert fit_line(torch.ones(3), torch.tensor([0.0, 1.0, 0.5])) == (0.5, 0.0)
    with pytest.raises(DataError, match="defined Dice"):
        fit_line(torch.ones(1), torch.tensor([float("nan")]))


def test_uncertainty_tells_the_dice_where_it_goes_with_it():
    cases = [cubes(number, missing=number % 4 / 4, soft=True) for number in range(12)]
    detector = VolumeUncertainty(setting())
    with pytest.raises(CompatibilityError, match="not been fitted"):
        detector.predict(cases[0])
    skipped = detector.fit([*cases, cubes(99)])
    assert list(skipped) == ["case-99"]
    assert float(detector.line[0, 1]) < 0
    prepared = prepare(cases[3], detector.setting, soft=True)
    p = np.array([0.075, 0.075, 0.85])
    wanted = -(p * np.log(p)).sum() / np.log(3)
    assert float(detector.feature(prepared)) == pytest.approx(wanted, rel=1e-4)
    told = [float(detector.predict(case).failure.class_quality) for case in cases]
    true = [float(prepare(case, detector.setting).dice) for case in cases]
    assert np.corrcoef(told, true)[0, 1] > 0.9
