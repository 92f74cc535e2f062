"""The generator: SPADE's arithmetic, sizes, layouts with don't-care, its folder, and what is refused."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from anomseg.detectors.synthcp import (
    SPADEGenerator,
    generator_meta,
    is_generator_directory,
    load_generator,
    one_hot_layout,
    save_generator,
)
from anomseg.detectors.synthcp.spade import SPADE, SPADEBlock, SpectralConvolution
from anomseg.errors import CompatibilityError, ConfigError, DataError


def tiny(**options):
    torch.manual_seed(0)
    return SPADEGenerator(**{"classes": 3, "size": (16, 32), "width": 2, "hidden": 4, **options}).eval()


def layout_of(seed=0, size=(16, 32), classes=3, count=2):
    return one_hot_layout(
        torch.randint(0, classes, (count, *size), generator=torch.Generator().manual_seed(seed)), classes
    )


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_without_gamma_and_beta_spade_is_the_plain_normalised_map(dims, norm):
    spade = SPADE(5, 3, 4, dims, norm)
    torch.nn.init.zeros_(spade.gamma_beta.weight)
    torch.nn.init.zeros_(spade.gamma_beta.bias)
    x = torch.randn(2, 5, *[6] * dims) * 3 + 1
    axes = tuple(range(2, 2 + dims)) if norm == "instance" else (0, *range(2, 2 + dims))
    plain = (x - x.mean(axes, keepdim=True)) / (x.var(axes, unbiased=False, keepdim=True) + 1e-5).sqrt()
    found = spade(x, layout_of(size=[12] * dims))
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-5)


def test_gamma_scales_beside_one_and_beta_adds():
    spade = SPADE(2, 3, 4, 2, "instance")
    torch.nn.init.zeros_(spade.gamma_beta.weight)
    spade.gamma_beta.bias.data = torch.tensor([1.0, 0.0, 0.0, 5.0])
    x = torch.randn(1, 2, 6, 6)
    plain = F.instance_norm(x)
    found = spade(x, layout_of(size=(6, 6), count=1))
    torch.testing.assert_close(found[:, 0], 2 * plain[:, 0])
    torch.testing.assert_close(found[:, 1], plain[:, 1] + 5)


def test_a_block_is_two_convolutions_around_a_learned_shortcut():
    torch.manual_seed(0)
    block, layout, x = SPADEBlock(6, 4, 3, 5, 2, "instance", False), layout_of(size=(8, 8)), torch.randn(2, 6, 8, 8)
    inner = block.convolutions[0](F.leaky_relu(block.spades[0](x, layout), 0.2))
    inner = block.convolutions[1](F.leaky_relu(block.spades[1](inner, layout), 0.2))
    torch.testing.assert_close(block(x, layout), block.shortcut(block.shortcut_spade(x, layout)) + inner)
    same = SPADEBlock(4, 4, 3, 5, 2, "instance", False)
    assert same.shortcut is None
    for conv in same.convolutions:
        torch.nn.init.zeros_(conv.weight)
        torch.nn.init.zeros_(conv.bias)
    assert torch.equal(same(inner, layout), inner)


@pytest.mark.parametrize("dims", [2, 3])
def test_spectral_norm_divides_by_the_largest_singular_value(dims):
    torch.manual_seed(0)
    conv = (torch.nn.Conv2d if dims == 2 else torch.nn.Conv3d)(4, 6, 3, padding=1)
    spectral = SpectralConvolution(conv).train()
    x = torch.randn(1, 4, *[5] * dims)
    for _ in range(30):
        spectral(x)
    largest = np.linalg.svd(conv.weight.detach().flatten(1).numpy(), compute_uv=False)[0]
    assert torch.linalg.matrix_norm(spectral.weight().flatten(1), 2).item() == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(spectral.weight(), conv.weight / largest, atol=1e-4, rtol=1e-3)
    before = spectral.eval().vector.clone()
    spectral(x)
    assert torch.equal(before, spectral.vector)


def test_the_published_sizes():
    generator = SPADEGenerator(13, size=(256, 512), width=1, hidden=2)
    assert generator.start == (4, 8)
    assert generator.options["ups"] == 6
    assert [block.convolutions[1].convolution.out_channels for block in generator.blocks] == [16, 16, 16, 8, 4, 2, 1]
    ids = torch.arange(13).repeat_interleave(40)[:512].expand(256, 512)[None]
    seen = []
    generator.first.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    with torch.no_grad():
        picture = generator.eval()(one_hot_layout(ids, 13))
    assert seen == [(1, 16, 4, 8)]
    assert picture.shape == (1, 3, 256, 512)
    assert picture.min() >= -1
    assert picture.max() <= 1
    assert picture.std() > 0


def test_width_64_has_the_published_channels_without_being_built():
    with torch.device("meta"):
        generator = SPADEGenerator(19, size=(256, 512), width=64, spectral=False)
    assert [block.convolutions[1].out_channels for block in generator.blocks] == [1024, 1024, 1024, 512, 256, 128, 64]
    assert generator.first.out_channels == 1024


@settings(max_examples=12, deadline=None)
@given(
    start=st.tuples(st.integers(1, 3), st.integers(2, 3)), ups=st.integers(1, 3), classes=st.integers(1, 4),
    channels=st.integers(1, 4),
)  # fmt: skip
def test_the_law_of_shapes(start, ups, classes, channels):
    size = tuple(side * 2**ups for side in start)
    generator = SPADEGenerator(classes, channels, size=size, width=1, hidden=2, ups=ups)
    assert generator.start == start
    assert generator(layout_of(size=size, classes=classes)).shape == (2, channels, *size)


def test_volumes():
    generator = tiny(spatial_dims=3, size=(8, 8, 16), channels=1)
    assert generator.start == (2, 2, 4)
    assert generator(layout_of(size=(8, 8, 16))).shape == (2, 1, 8, 8, 16)


def test_layouts_of_another_size_are_resized_nearest():
    generator = tiny()
    layout = layout_of(size=(24, 40))
    nearest = F.interpolate(layout, (16, 32), mode="nearest-exact")
    assert torch.equal(generator(layout), generator(nearest))
    assert set(nearest.unique().tolist()) == {0.0, 1.0}


def test_dont_care_is_an_all_zero_vector_and_changes_the_rendering():
    classes = torch.zeros(1, 16, 32, dtype=torch.uint8)
    classes[:, 4:8] = 255
    layout = one_hot_layout(classes, 3)
    assert layout.sum(1).unique().tolist() == [0.0, 1.0]
    assert torch.equal(layout.sum(1) == 0, classes == 255)
    generator = tiny()
    assert bool(torch.isfinite(generator(torch.zeros(1, 3, 16, 32))).all())
    assert not torch.equal(generator(layout), generator(one_hot_layout(torch.zeros_like(classes), 3)))


def test_rendering_is_deterministic_and_one_image_does_not_see_another():
    generator, layout = tiny(), layout_of(count=3)
    together = generator(layout)
    assert torch.equal(together, generator(layout))
    torch.testing.assert_close(generator(layout[1:2]), together[1:2], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("value", [3, 7, -1])
def test_class_maps_with_other_numbers_are_refused(value):
    classes = torch.zeros(1, 4, 4, dtype=torch.long)
    classes[0, 1, 1] = value
    with pytest.raises(CompatibilityError, match=f"holds {value};"):
        one_hot_layout(classes, 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": (16, 30), "ups": 3}, "multiples of 8; choose 16 x 32"),
        ({"size": (15, 32)}, "multiples of 2"),
        ({"size": (16, 16, 16)}, "2 whole numbers"),
        ({"size": (16, 0)}, "size must be a whole number"),
        ({"size": (16, 16), "ups": 4}, "single pixel"),
        ({"spatial_dims": 4}, "spatial_dims"),
        ({"norm": "layer"}, "norm must be one of"),
        ({"classes": 0}, "classes"),
        ({"width": 0}, "width"),
    ],
)
def test_options_that_cannot_be(options, words):
    with pytest.raises(ConfigError, match=words) as caught:
        tiny(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(1, 4, 16, 32), (3, 16, 32), (1, 3, 4, 16, 32)])
def test_layouts_of_another_shape_are_refused(shape):
    with pytest.raises(CompatibilityError, match="layouts of 3 classes in 2 dimensions"):
        tiny()(torch.zeros(shape))


@pytest.mark.parametrize(
    "options", [{}, {"norm": "batch", "spectral": False}, {"spatial_dims": 3, "size": (4, 4, 8), "channels": 1}]
)
def test_a_generator_comes_back_bit_for_bit(tmp_path, options):
    generator = tiny(**options)
    layout = layout_of(size=generator.size)
    generator.train()(layout)  # statistics that a folder has to keep
    generator.eval()
    meta = {"classes": ["road", "sky", "car"], "fitted_on": {"frames": 2}}
    save_generator(generator, tmp_path / "g", meta)
    back = load_generator(tmp_path / "g")
    assert not back.training
    assert back.options == generator.options
    assert back.meta == generator_meta(tmp_path / "g") == meta
    assert torch.equal(back(layout), generator(layout))
    assert is_generator_directory(tmp_path / "g")


def edited(folder, change):
    config = json.loads((folder / "generator.json").read_text())
    change(config)
    (folder / "generator.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (lambda folder: (folder / "generator.json").unlink(), DataError, "holds no generator.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), DataError, "is missing"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no"), DataError, "is damaged"),
        (lambda folder: edited(folder, lambda c: c.update(generator="flow")), DataError, "no generator of this kind"),
        (lambda folder: edited(folder, lambda c: c.update(schema=9)), DataError, "schema 9"),
        (lambda folder: edited(folder, lambda c: c["options"].update(width=3)), CompatibilityError, "do not fit"),
        (lambda folder: edited(folder, lambda c: c["options"].update(depth=3)), DataError, "unknown option depth"),
        (lambda folder: edited(folder, lambda c: c["options"].update(width="x")), DataError, "options are damaged"),
        (lambda folder: edited(folder, lambda c: c["meta"].update(classes=["a"])), CompatibilityError, "names 1 class"),
    ],
)
def test_damaged_folders_are_told(tmp_path, damage, error, words):
    save_generator(tiny(), tmp_path / "g", {"classes": ["a", "b", "c"]})
    damage(tmp_path / "g")
    with pytest.raises(error, match=words) as caught:
        load_generator(tmp_path / "g")
    assert "\n" not in str(caught.value)


def test_class_names_that_are_not_as_many_are_not_written(tmp_path):
    with pytest.raises(CompatibilityError, match="2 classes are named"):
        save_generator(tiny(), tmp_path / "g", {"classes": ["a", "b"]})
    assert not (tmp_path / "g").exists()
