"""Tiling: against the untiled network where that must agree, and against sums of weights by hand."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from hf_networks import tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from anomseg.detectors import create_detector
from anomseg.detectors.base import anomaly_maps
from anomseg.detectors.saved import segmenter_matches
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.segmenters import SegmentationOutput, Segmenter, TiledSegmenter, load_segmenter, make_scene, save_segmenter
from anomseg.segmenters.tiling import tile_starts, tile_weights
from anomseg.types import FeatureInfo

CLASSES = ("road", "sky", "car")


class ConvNet(Segmenter):
    """A stride-2 convolution, a residual one and a head: sees 7 pixels to each side, zero padding at borders."""

    registry_name = "conv"

    def __init__(self, divisor=4, logits_at=None):
        super().__init__(CLASSES, size=(48, 64), divisor=divisor)
        torch.manual_seed(3)
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.coarse = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.dropout = nn.Dropout2d(0.5)
        self.head = nn.Conv2d(8, len(CLASSES) + 3, 3, padding=1)
        self.logits_at, self.seen = logits_at, []
        self.eval()

    provides = frozenset({"logits", "features", "void", "outlier_head", "masks", "negative", "dropout", "gradient"})

    @property
    def feature_info(self):
        return {"stem": FeatureInfo(6, 2), "coarse": FeatureInfo(8, 4)}

    def segment(self, batch, features):
        self.seen.append(tuple(batch.shape))
        assert not any(side % self.divisor for side in batch.shape[-2:])
        stem = torch.relu(self.stem(batch))
        coarse = torch.relu(self.coarse(stem))
        maps = self.head(self.dropout(coarse))
        logits = maps[:, :3]
        if self.logits_at:
            logits = nn.functional.interpolate(logits, self.logits_at, mode="bilinear")
        size = tuple(batch.shape[-2:])
        named = {"stem": stem, "coarse": coarse}
        queries = torch.zeros(len(batch), 2, len(CLASSES) + 1)
        return SegmentationOutput(
            logits,
            size,
            size,
            {name: named[name] for name in features},
            mask_logits=coarse[:, :2],
            class_logits=queries,
            negative_class_logits=queries[..., :1],
            void_logits=maps[:, 3:4],
            outlier_logits=maps[:, 4:6],
        )


class Queries(Segmenter):
    """Logits derived from a probability that is the picture's brightness; each tile's first pixel tells it apart."""

    registry_name = "queries"

    def segment(self, batch, features):
        size = tuple(batch.shape[-2:])
        share = batch[:, :1, :1, :1].expand(-1, -1, *size)
        return SegmentationOutput(torch.cat([share, 1 - share], 1).clamp(min=1e-8).log(), size, size, derived=True)


def _close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(96, 128), (92, 136), (64, 64), (64, 132)])
@pytest.mark.parametrize("tile_batch", [1, 3])
def test_a_network_that_sees_less_than_a_quarter_of_the_overlap_gives_what_it_gives_untiled(size, tile_batch):
    network = ConvNet()
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    tiled = TiledSegmenter(network, tile=(48, 64), overlap=32, tile_batch=tile_batch)
    with torch.no_grad():
        whole = network(images, features=("coarse", "stem"))
        network.seen.clear()
        ours = tiled(images, features=("coarse", "stem"))
    assert all(shape[0] <= tile_batch and shape[2:] == (48, 64) for shape in network.seen)
    assert len(network.seen) > 1
    assert ours.padded_size == whole.padded_size == size
    _close(ours.logits, whole.logits)
    _close(ours.void_logits, whole.void_logits)
    _close(ours.outlier_logits, whole.outlier_logits)
    for name in ("coarse", "stem"):
        _close(ours.features[name], whole.features[name])
    assert ours.mask_logits is ours.class_logits is ours.negative_class_logits is None


def test_too_little_overlap_does_differ_at_tile_edges():
    # The control of the test above: with no room beyond the cut, zero padding inside the picture shows.
    network, images = ConvNet(), torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        difference = (TiledSegmenter(network, (48, 64), 0)(images).logits - network(images).logits).abs()
    assert difference.max() > 1e-3
    _close(difference[..., 4:8, 4:12], torch.zeros(1, 3, 4, 8))  # inside a tile


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 12), st.data())
def test_weights_sum_to_one_and_tiles_cover_the_side(grid, data):
    tile = grid * data.draw(st.integers(1, 12))
    side = tile + grid * data.draw(st.integers(0, 30))
    overlap = data.draw(st.integers(0, tile - 1))
    starts = tile_starts(side, tile, overlap, grid)
    assert starts[0] == 0
    assert starts[-1] == side - tile
    assert all(start % grid == 0 for start in starts)
    assert all(before < after for before, after in pairwise(starts))
    shared = [before + tile - after for before, after in pairwise(starts)]
    assert all(pixels >= min(overlap, tile - grid) for pixels in shared)
    for stride in {1, grid}:
        total = np.zeros(side // stride)
        for start, weights in zip(starts, tile_weights(side, tile, starts, overlap, stride), strict=True):
            assert (weights >= 0).all()
            total[start // stride : (start + tile) // stride] += weights.numpy()
        np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize("overlap", [0, 7, 15])
@pytest.mark.parametrize("size", [(16, 16), (50, 33), (17, 90)])
def test_constant_logits_stay_constant(size, overlap):
    values = torch.tensor([-3.0, 0.5, 40.0]).view(1, 3, 1, 1)
    network = load_segmenter(lambda batch: values.expand(len(batch), -1, *batch.shape[-2:]), classes=CLASSES)
    logits = TiledSegmenter(network, (16, 24), overlap)(torch.rand(1, 3, *size)).logits
    torch.testing.assert_close(logits, values.expand_as(logits))


def test_the_blend_runs_from_one_tile_to_the_other_without_a_step():
    # Each tile answers with its own number, so the logits are the weights themselves.
    network = load_segmenter(lambda batch: batch.mean((2, 3), keepdim=True).expand_as(batch), classes=CLASSES)
    images = torch.zeros(1, 3, 64, 96)
    images[..., 64:] = 1
    row = TiledSegmenter(network, (64, 64), 32)(images).logits[0, 0, 16]
    assert (row[:40] == 0).all()  # the left tile alone, and the outer quarter of the overlap
    torch.testing.assert_close(row[56:], torch.full((40,), 0.5))
    steps = row.diff()
    assert (steps >= 0).all()
    assert steps.max() < 0.06  # 0.5 over 16 pixels: a straight line would climb 0.031 a pixel, a cut 0.5


def test_an_image_smaller_than_a_tile_is_one_padded_tile():
    network = ConvNet()
    image = np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)
    tiled = TiledSegmenter(network, (48, 64), 16)
    scene = make_scene([image], ["a"], tiled)
    assert scene.images.shape == (1, 3, 48, 64)
    assert torch.equal(scene.images[0, :, :, 41:], scene.images[0, :, :, 40:41].expand(-1, -1, 23))
    assert network.seen == []
    _close(scene.output.logits, network(scene.images).logits)
    assert scene.output.input_size == (30, 41)
    assert scene.logits().shape == (1, 3, 30, 41)


def test_the_working_size_is_the_images_own_or_the_one_asked_for():
    network, image = ConvNet(), np.zeros((101, 150, 3), np.uint8)
    assert make_scene([image], ["a"], network).images.shape[-2:] == (48, 64)
    tiled = TiledSegmenter(network, (48, 64), 16)
    assert make_scene([image], ["a"], tiled).images.shape[-2:] == (104, 152)
    assert make_scene([image], ["a"], tiled, size=(80, 80)).images.shape[-2:] == (80, 80)
    assert make_scene([image], ["a"], TiledSegmenter(network, (48, 64), size=(64, 96), overlap=8)).input_size == (
        64,
        96,
    )
    assert tiled.identity()["size"] is None
    assert network.identity()["size"] == [48, 64]


@pytest.mark.parametrize("logits_at", [(31, 45), (12, 17)])
def test_logits_off_the_grid_are_brought_to_the_tiles_pixels(logits_at):
    network = ConvNet(logits_at=logits_at)
    images = torch.rand(1, 3, 96, 128)
    assert TiledSegmenter(network, (48, 64), 16)(images).logits.shape == (1, 3, 96, 128)
    alone = TiledSegmenter(network, (48, 64), 16)(images[..., :48, :64]).logits
    _close(alone, nn.functional.interpolate(network(images[..., :48, :64]).logits, (48, 64), mode="bilinear"))


def test_a_grid_finer_than_the_stride_of_the_logits_shifts_nothing():
    # Padded to multiples of 1, so the last tile starts at an odd pixel, where a map at stride 4 has no cell.
    network = load_segmenter(lambda batch: nn.functional.avg_pool2d(batch, 4), classes=CLASSES)
    ramp = torch.arange(91.0).expand(1, 3, 40, 91) / 91
    logits = TiledSegmenter(network, (40, 64), 16)(ramp).logits
    assert logits.shape == (1, 3, 40, 91)
    _close(logits[..., 4:-4], ramp[..., 4:-4])


def test_derived_logits_are_blended_as_probabilities():
    images = torch.zeros(1, 3, 64, 96)
    images[..., 0, 32] = 1  # the first pixel of the second tile
    output = TiledSegmenter(Queries(("a", "b")), (64, 64), 32)(images)
    assert output.derived
    shares = output.logits.exp()
    torch.testing.assert_close(shares.sum(1), torch.ones(1, 64, 96))
    middle = shares[0, 0, 16, 46:50]
    assert ((middle > 0.3) & (middle < 0.7)).all()  # as logits, log(1e-8) would drag it to 1e-4
    assert torch.isfinite(output.logits).all()


def test_gradients_pass_through_the_tiles():
    network, images = ConvNet(), torch.rand(1, 3, 96, 128)
    gradients = []
    for segmenter in (network, TiledSegmenter(network, (48, 64), 32)):
        leaf = images.clone().requires_grad_()
        segmenter(leaf).logits.square().sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-5)


def test_dropout_is_sampled_in_the_network_inside():
    scene = make_scene([np.zeros((60, 80, 3), np.uint8)], ["a"], TiledSegmenter(ConvNet(), (48, 64), 16))
    torch.manual_seed(0)
    assert not torch.equal(scene.forward(dropout=True).logits, scene.forward(dropout=True).logits)
    assert torch.equal(scene.forward().logits, scene.output.logits)


def test_identity_fingerprint_and_what_it_provides():
    network = ConvNet()
    tiled = TiledSegmenter(network, (45, 62), 20)
    assert tiled.tile == (48, 64)
    assert tiled.fingerprint() == network.fingerprint()
    assert tiled.identity() == {
        **network.identity(),
        "size": None,
        "execution": {"tile": [48, 64], "overlap": 20},
    }
    assert tiled.provides == network.provides - {"masks", "negative"}
    again = copy.deepcopy(tiled)
    images = torch.rand(1, 3, 60, 90)
    assert torch.equal(again(images).logits, tiled(images).logits)
    assert again.inner is not network


def test_a_detector_fitted_on_whole_images_warns_on_tiles():
    network, detector = ConvNet(), create_detector("msp")
    tiled = TiledSegmenter(network, (48, 64), 16)
    detector.segmenter_identity = network.identity()
    assert segmenter_matches(detector, network) is None
    assert "tile" in str(segmenter_matches(detector, tiled))
    detector.segmenter_identity = tiled.identity()
    assert segmenter_matches(detector, tiled) is None
    assert "tile" in str(segmenter_matches(detector, network))
    assert "overlap" in str(segmenter_matches(detector, TiledSegmenter(network, (48, 64), 24)))


def test_detectors_score_tiled_scenes():
    scene = make_scene([np.zeros((61, 83, 3), np.uint8)], ["a"], TiledSegmenter(ConvNet(), (48, 64), 16))
    assert anomaly_maps(create_detector("energy"), scene)[0].shape == (61, 83)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": (48, 64), "overlap": 48}, "overlap 48"),
        ({"tile": (48, 64), "overlap": -1}, "overlap -1"),
        ({"tile": (0, 64), "overlap": 0}, "tile 0x64"),
        ({"tile_batch": 0}, "tile batch 0"),
    ],
)
def test_what_cannot_be_tiled_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        TiledSegmenter(ConvNet(), **options)


def test_a_wrapper_is_not_saved(tmp_path):
    with pytest.raises(CompatibilityError, match="save the network it wraps"):
        save_segmenter(TiledSegmenter(ConvNet()), tmp_path / "net")


def _lit(family, image, **options):
    return make_scene([image], ["a"], TiledSegmenter(load_segmenter(tiny_model(family)), **options)).logits()


def test_a_tile_is_as_large_as_the_network_takes():
    image = np.random.default_rng(0).integers(0, 256, (100, 150, 3), np.uint8)
    # The decoder of Mask2Former takes no 32 pixels, so its own padding doubles them.
    assert TiledSegmenter(load_segmenter(tiny_model("mask2former")), (32, 32), overlap=8).tile == (64, 64)
    assert torch.isfinite(_lit("mask2former", image, tile=(32, 32), overlap=8)).all()


def test_a_network_of_one_square_is_tiled_by_it_with_overlap():
    network = load_segmenter(tiny_model("eomt"))
    tiled = TiledSegmenter(network, (96, 96), overlap=32)
    images = torch.rand(1, 3, 96, 160, generator=torch.Generator().manual_seed(0))
    assert tiled.pad(images).shape == images.shape
    passes = []
    network.register_forward_hook(lambda _module, inputs, _output: passes.append(inputs[0]))
    tiled(images)
    assert len(passes) == 2
    assert torch.equal(passes[1], images[..., 64:])
    with pytest.raises(ConfigError, match="squares of 96"):
        TiledSegmenter(network, (128, 128), overlap=32)
