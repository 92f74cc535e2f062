"""The detector ``flow_likelihood`` against a plain loop over patches."""

import json

import numpy as np
import pytest
import torch
from flow_toys import stirred
from tiny import TinySegmenter, made_image, scene_of

from anomseg.detectors import anomaly_maps, create_detector, load_detector, save_detector
from anomseg.detectors.synthetic_outliers import FlowLikelihood
from anomseg.detectors.synthetic_outliers.flow import RealNVP, save_flow
from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.segmenters import make_scene


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("flow") / "flow"
    save_flow(stirred(), path)
    return path


def test_values_are_those_of_patches_one_by_one(folder):
    """Where a patch's middle is a cell's middle, the map is the patch's bits; ends are patches moved inside."""
    image = made_image(0, (32, 48))
    detector = FlowLikelihood(str(folder), patch=16, stride=9, height=0)
    score = anomaly_maps(detector, make_scene([image], ["a"], None))[0]
    flow = stirred()
    pixels = torch.from_numpy(image).permute(2, 0, 1).float()[None] / 255
    for row, top in enumerate((0, 5, 14, 16)):  # middles at 4.5, 13.5, 22.5, 31.5: begins -3.5, 5.5, 14.5, 23.5
        for column, left in enumerate((0, 5, 14, 23, 32, 32)):
            with torch.no_grad():
                values = (pixels[:, :, top : top + 16, left : left + 16] * 255 + 0.5) / 256
                bits = 8 - flow.log_density(values) / np.log(2) / (3 * 16 * 16)
            y, x = 9 * row + 4, 9 * column + 4
            if y < 32 and x < 48:
                assert score[y, x].item() == pytest.approx(bits.item(), abs=1e-4)


@pytest.mark.parametrize("size", [(45, 61), (8, 8), (1, 1), (33, 7)])
def test_maps_have_the_size_of_the_image(folder, size):
    detector = FlowLikelihood(str(folder), patch=8, stride=4)
    segmenter = TinySegmenter()
    score = anomaly_maps(detector, scene_of(segmenter, [size, size]))
    assert [tuple(one.shape) for one in score] == [size, size]
    assert all(one.dtype == torch.float32 and bool(torch.isfinite(one).all()) for one in score)
    assert segmenter.passes == 0
    assert not detector.needs(segmenter).forward


def test_a_map_does_not_depend_on_its_batch_and_is_the_same_again(folder):
    detector = FlowLikelihood(str(folder), patch=8, stride=8)
    together = anomaly_maps(detector, scene_of(None, [(24, 32), (24, 32)]))
    alone = anomaly_maps(detector, scene_of(None, [(24, 32)], start=1))
    assert torch.equal(together[1], alone[0])
    assert not torch.equal(together[0], together[1])


def test_higher_images_are_shrunk_first(folder):
    image = made_image(3, (32, 40))
    large = np.repeat(np.repeat(image, 2, 0), 2, 1)
    small, shrunk, full = (
        anomaly_maps(FlowLikelihood(str(folder), patch=8, stride=8, height=height), make_scene([one], ["a"], None))[0]
        for one, height in ((image, 32), (large, 32), (large, 0))
    )
    assert shrunk.shape == full.shape == (64, 80)
    assert (shrunk - full).abs().max() > 0.05
    # Antialiased shrinking of doubled pixels is nearly the image that was doubled.
    assert (torch.nn.functional.avg_pool2d(shrunk[None], 2)[0] - small).abs().mean() < 0.1


def test_noise_is_odder_than_what_the_flow_has_learned(tmp_path):
    """A flow of flat patches: noise in one corner takes more bits. And smooth patches take few, whatever they show."""
    torch.manual_seed(0)
    flow = RealNVP(scales=1, width=8, blocks=1, channelwise=0)
    optimiser, generator = torch.optim.Adamax(flow.parameters(), 0.05), torch.Generator().manual_seed(0)
    for _ in range(60):
        flat = torch.randint(60, 160, (16, 3, 1, 1), generator=generator).expand(16, 3, 8, 8) / 255
        loss = flow.bits_per_dimension(flat, generator).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    save_flow(flow, tmp_path)
    image = np.full((32, 32, 3), 110, np.uint8)
    image[:16, :16] = np.random.default_rng(0).integers(0, 256, (16, 16, 3))
    score = anomaly_maps(FlowLikelihood(str(tmp_path), patch=8, stride=4), make_scene([image], ["a"], None))[0]
    assert score[2:13, 2:13].min() > score[20:, 20:].max() + 1


def test_saved_with_its_flow(folder, tmp_path):
    detector = create_detector(f"flow_likelihood:flow={folder};patch=8;stride=8")
    expected = anomaly_maps(detector, scene_of(None, [(24, 32)]))[0]
    save_detector(detector, tmp_path / "detector")
    content = json.loads((tmp_path / "detector/detector.json").read_text())
    content["parameters"]["flow"] = "/nowhere"  # the flow is carried: its old place may be gone
    (tmp_path / "detector/detector.json").write_text(json.dumps(content))
    loaded = load_detector(tmp_path / "detector")
    assert torch.equal(anomaly_maps(loaded, scene_of(None, [(24, 32)]))[0], expected)


def test_flags(folder):
    detector = FlowLikelihood(str(folder))
    assert detector.forward_passes == 0
    assert not detector.bounded
    assert not detector.needs_fit
    assert not detector.flags.owns_network
    assert FlowLikelihood().state() == {}


@pytest.mark.parametrize("options", [{"patch": 0}, {"stride": 0}, {"height": -1}])
def test_options_out_of_range(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        FlowLikelihood(**options)


def test_what_cannot_score_is_told_before_any_work(folder, tmp_path):
    cases = (
        (FlowLikelihood(), ConfigError, "no flow"),
        (FlowLikelihood(str(tmp_path)), DataError, "holds no flow.json"),
        (FlowLikelihood(str(folder), patch=10), ConfigError, "multiples of 4"),
    )
    for detector, kind, words in cases:
        with pytest.raises(kind, match=words) as caught:
            detector.needs(None)
        assert "\n" not in str(caught.value)


def test_grey_flows_are_refused(tmp_path):
    save_flow(stirred(channels=1), tmp_path)
    with pytest.raises(CompatibilityError, match="colour"):
        FlowLikelihood(str(tmp_path)).needs(None)


@pytest.mark.parametrize("state", [{"something": torch.zeros(3)}, {"options": torch.tensor([1, 2])}])
def test_a_state_of_another_kind_is_refused(state):
    with pytest.raises(CompatibilityError, match="state"):
        FlowLikelihood().load_state(state)
