"""Mixed precision and compilation: against autocast and the plain network themselves."""

import copy
import functools
import warnings

import numpy as np
import pytest
import torch
from hf_networks import tiny_model
from torch import nn

from anomseg.detectors import create_detector
from anomseg.detectors.saved import segmenter_matches
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import (
    AcceleratedSegmenter,
    SegmentationOutput,
    Segmenter,
    TiledSegmenter,
    load_segmenter,
    make_scene,
    run_as,
    save_segmenter,
)

CLASSES = ["road", "sky", "car", "tree", "sign"]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SEGMENTERS.create("pyramid", classes=CLASSES, size=(64, 96), widths=(8, 16, 24, 32), bottleneck=16).eval()


@pytest.fixture
def images():
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def compiler(monkeypatch):
    """`torch.compile` without the compiler of machine code; counts what it was asked to run."""
    torch._dynamo.reset()
    original, runs = torch.compile, []

    def counted(function):
        compiled = original(function, backend="eager")

        @functools.wraps(function)
        def run(batch):
            runs.append(tuple(batch.shape))
            return compiled(batch)

        return run

    monkeypatch.setattr(torch, "compile", counted)
    return runs


class Halves(Segmenter):
    """Every output a network may have, in whatever format a convolution under autocast gives."""

    provides = frozenset({"logits", "masks", "negative", "void", "outlier_head", "gradient"})

    def __init__(self, derived=False):
        super().__init__(("a", "b"))
        self.conv, self.derived = nn.Conv2d(3, 2, 1), derived

    def segment(self, batch, features):
        size, maps = tuple(batch.shape[-2:]), self.conv(batch)
        if self.derived:
            share = torch.cat([maps[:, :1] * 0, maps[:, :1] * 0 + 1], 1)
            return SegmentationOutput(share.clamp(min=1e-8).log(), size, size, derived=True)
        queries = maps.mean((2, 3))[:, :, None].expand(-1, -1, 3)
        return SegmentationOutput(maps, size, size, {}, maps, queries, queries[..., :1], maps[:, :1], maps)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_is_autocast_around_the_network(network, images, precision):
    fast = AcceleratedSegmenter(network, precision)
    with torch.no_grad():
        ours = fast(images, features=("bottleneck",))
        with torch.autocast("cpu", dtype=getattr(torch, precision)):
            theirs = network(images, features=("bottleneck",))
        whole = network(images).logits
    assert theirs.logits.dtype == getattr(torch, precision)
    assert ours.logits.dtype == ours.features["bottleneck"].dtype == torch.float32
    assert torch.equal(ours.logits, theirs.logits.float())
    assert torch.equal(ours.features["bottleneck"], theirs.features["bottleneck"].float())
    assert not torch.equal(ours.logits, whole)
    torch.testing.assert_close(ours.logits, whole, rtol=0.1, atol=0.1)
    assert all(parameter.dtype == torch.float32 for parameter in fast.parameters())


def test_every_output_comes_back_in_float32(images):
    output = AcceleratedSegmenter(Halves(), "bfloat16")(images)
    found = [value for value in vars(output).values() if isinstance(value, torch.Tensor)]
    assert len(found) == 6
    assert {value.dtype for value in found} == {torch.float32}


def test_derived_logits_keep_their_floor_in_float16(images):
    assert torch.isinf(Halves(derived=True).half()(images.half()).logits).any()

    class Network(Halves):
        def segment(self, batch, features):
            return super().segment(batch, features)

    fast = AcceleratedSegmenter(Network(derived=True), "float16")
    assert torch.isfinite(fast(images).logits).all()


def test_gradients_and_dropout_pass(network, images, compiler):
    fast = AcceleratedSegmenter(network, "bfloat16", compile=True)
    scene = make_scene([(images[0].permute(1, 2, 0) * 255).byte().numpy()], ["a"], fast)
    leaf = scene.images.clone().requires_grad_()
    scene.forward(leaf, grad=True).logits.sum().backward()
    assert leaf.grad.abs().sum() > 0
    torch.manual_seed(0)
    assert not torch.equal(scene.forward(dropout=True).logits, scene.forward(dropout=True).logits)
    assert compiler == []


def test_compiled_passes_give_what_the_network_gives(network, images, compiler):
    fast = AcceleratedSegmenter(network, compile=True)
    with torch.no_grad():
        for batch in (images, images[:1], images[..., :32, :48]):
            torch.testing.assert_close(fast(batch).logits, network(batch).logits)
        assert len(compiler) == 3
        asked = fast(images, features=("stage4", "bottleneck"))
        whole = network(images, features=("stage4", "bottleneck"))
    assert len(compiler) == 3  # hooks and compilers do not go together
    assert torch.equal(asked.features["stage4"], whole.features["stage4"])
    assert torch.equal(asked.features["bottleneck"], whole.features["bottleneck"])
    assert torch.equal(asked.logits, whole.logits)


def test_compiled_outputs_keep_void_and_padding(compiler, images):
    network = SEGMENTERS.create("erfnet", classes=CLASSES, void=True, size=(64, 96)).eval()
    with torch.inference_mode():
        ours, theirs = AcceleratedSegmenter(network, compile=True)(images), network(images)
    torch.testing.assert_close(ours.void_logits, theirs.void_logits)
    assert ours.padded_size == theirs.padded_size
    assert compiler


def test_without_a_compiler_it_warns_once_and_goes_on(network, images, monkeypatch):
    def broken(function):
        def run(batch):
            raise RuntimeError("no working\ncompiler was found")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    fast = AcceleratedSegmenter(network, compile=True)
    with torch.no_grad():
        with pytest.warns(UserWarning, match="runs uncompiled.*no working compiler was found") as told:
            logits = fast(images).logits
        assert len(told) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fast(images)
        assert torch.equal(logits, network(images).logits)


def test_the_networks_own_error_is_not_taken_for_the_compilers(network, compiler):
    fast = AcceleratedSegmenter(network, compile=True)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeError):
            fast(torch.rand(1, 5, 64, 96))


def test_a_copy_compiles_its_own_network(network, images, compiler):
    fast = AcceleratedSegmenter(network, compile=True)
    with torch.no_grad():
        before = fast(images).logits
        again = copy.deepcopy(fast)
        for parameter in again.inner.head.parameters():
            parameter.zero_()
        assert (again(images).logits == 0).all()
        assert torch.equal(fast(images).logits, before)


def test_identity_and_fingerprint(network):
    fast = AcceleratedSegmenter(network, "bfloat16")
    assert fast.fingerprint() == network.fingerprint()
    assert fast.identity() == {**network.identity(), "execution": {"precision": "bfloat16", "compile": False}}
    assert fast.provides == network.provides
    assert fast.feature_info == network.feature_info
    assert fast.size == (64, 96)
    both = run_as(network, precision="bfloat16", tile=(64, 64), overlap=16)
    assert both.identity()["execution"] == {
        "precision": "bfloat16",
        "compile": False,
        "tile": [64, 64],
        "overlap": 16,
    }
    assert isinstance(both, TiledSegmenter)
    assert both.inner.inner is network
    assert run_as(network) is network


def test_another_precision_than_the_fits_warns_and_compilation_does_not(network):
    detector = create_detector("msp")
    detector.segmenter_identity = network.identity()
    assert "bfloat16" in str(segmenter_matches(detector, AcceleratedSegmenter(network, "bfloat16")))
    assert segmenter_matches(detector, AcceleratedSegmenter(network, compile=True)) is None


def test_what_cannot_be_run_so_is_refused(network, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'bfloat16'"):
        AcceleratedSegmenter(network, "bfloat")

    class Graph(Segmenter):
        provides = frozenset({"logits"})

    with pytest.raises(ConfigError, match="networks in PyTorch"):
        AcceleratedSegmenter(Graph(CLASSES), "bfloat16")
    with pytest.raises(CompatibilityError, match="save the network it wraps"):
        save_segmenter(AcceleratedSegmenter(network, "bfloat16"), tmp_path / "net")


def test_a_wrapped_callable_runs_in_mixed_precision_too(images):
    torch.manual_seed(0)
    fast = run_as(load_segmenter(nn.Conv2d(3, 4, 3, padding=1)), precision="bfloat16")
    assert fast(images).logits.dtype == torch.float32
    assert len(fast.state_dict()) == 2


@pytest.mark.parametrize("family", ["segformer", "eomt"])
def test_a_rule_for_the_working_size_stays(family):
    # SegFormer keeps the aspect to the size in its files, EoMT puts the whole image into its one square.
    plain = load_segmenter(tiny_model(family), shortest_edge=64)
    fast = run_as(plain, precision="bfloat16")
    assert plain.working_size((100, 150)) == fast.working_size((100, 150)) == (64, 96)
    image = np.random.default_rng(0).integers(0, 256, (100, 150, 3), np.uint8)
    scenes = [make_scene([image], ["a"], network) for network in (plain, fast)]
    torch.testing.assert_close(scenes[1].logits(), scenes[0].logits(), rtol=0.1, atol=0.3)
    fast.size = (32, 64)
    assert fast.working_size((100, 150)) == (32, 64)
