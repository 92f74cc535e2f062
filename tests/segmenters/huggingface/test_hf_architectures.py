"""Each family against the library's own forward on the same pixel values."""

import numpy as np
import pytest
import torch
from hf_networks import CLASSES, FAMILY_NAMES, MASKS, PER_PIXEL, tiny_config, tiny_model

from anomseg.errors import CompatibilityError
from anomseg.scores import mask_semantic
from anomseg.segmenters import load_saved_segmenter, load_segmenter, make_scene, save_segmenter
from anomseg.segmenters.huggingface import TransformersSegmenter
from anomseg.segmenters.huggingface.task import SEMANTIC_TOKENS


def _images(*sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


def _normalised(batch, mean, std):
    # By NumPy, since the segmenter's own arithmetic is what is tested.
    return torch.from_numpy((batch.numpy() - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))).float()


HALF = ([0.5] * 3, [0.5] * 3)
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
MOMENTS = {name: HALF if name.startswith(("beit", "dpt")) else IMAGENET for name in FAMILY_NAMES}


@pytest.fixture(scope="module", params=FAMILY_NAMES)
def pair(request):
    """A family's name, the library's network, and a segmenter around a twin of it."""
    return request.param, tiny_model(request.param), load_segmenter(tiny_model(request.param))


def test_it_is_recognised_without_a_name(pair):
    family, model, segmenter = pair
    assert isinstance(segmenter, TransformersSegmenter)
    assert segmenter.family.network == type(model).__name__
    assert segmenter.classes == CLASSES
    assert ("masks" in segmenter.provides) == (family in MASKS)
    assert not any(module.training for module in segmenter.modules())


def test_the_answers_are_the_library_s(pair):
    family, model, segmenter = pair
    # Squares, since the library's DPT and EoMT take nothing else.
    side = 96 if segmenter.divisor != 14 else 98
    images = _images((side, side), (side, side))
    scene = make_scene(images, ["a", "b"], segmenter)
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).double() / 255
    inputs = {"pixel_values": _normalised(batch, *MOMENTS[family])}
    if family == "oneformer":
        inputs["task_inputs"] = torch.tensor([[*SEMANTIC_TOKENS, *[0] * 70]] * 2)
    with torch.no_grad():
        expected = model(**inputs)
    output = scene.output
    assert output.padded_size == output.input_size == (side, side)
    if family in PER_PIXEL:
        torch.testing.assert_close(output.logits, expected.logits, rtol=1e-4, atol=1e-5)
        assert not output.derived
        return
    torch.testing.assert_close(output.mask_logits, expected.masks_queries_logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(output.class_logits, expected.class_queries_logits, rtol=1e-4, atol=1e-5)
    assert output.class_logits.shape == (2, 7, len(CLASSES) + 1)  # the no-object column is kept, last
    p = expected.class_queries_logits.softmax(-1)[..., :-1]
    claims = torch.einsum("bqc,bqhw->bchw", p, expected.masks_queries_logits.sigmoid())
    torch.testing.assert_close(output.logits, claims.clamp(min=1e-8).log(), rtol=1e-4, atol=1e-4)
    assert output.derived


@pytest.mark.parametrize("size", [(1, 1), (50, 77), (33, 130), (97, 64)])
def test_odd_sizes_and_batches(pair, size):
    _, _, segmenter = pair
    images = _images(size, size, size)
    scene = make_scene(images, ["a", "b", "c"], segmenter)
    assert not any(side % segmenter.divisor for side in scene.images.shape[-2:])
    assert scene.logits().shape == (3, len(CLASSES), *size)
    assert torch.isfinite(scene.logits()).all()
    alone = make_scene(images[1:2], ["b"], segmenter)
    # Attention of mask heads is cut off at a probability of one half, which magnifies what other batches round.
    torch.testing.assert_close(scene.logits()[1:2], alone.logits(), rtol=1e-2, atol=1e-3)


def test_saved_and_rebuilt_from_plain_options(pair, tmp_path):
    _, _, segmenter = pair
    save_segmenter(segmenter, tmp_path)
    again = load_saved_segmenter(tmp_path)
    assert again.config() == segmenter.config()
    assert again.identity() == {**segmenter.identity(), "name": "hf"}
    image = _images((50, 77))
    assert torch.equal(make_scene(image, ["a"], again).output.logits, make_scene(image, ["a"], segmenter).output.logits)


def test_a_gradient_reaches_the_image(pair):
    _, _, segmenter = pair
    scene = make_scene(_images((64, 64)), ["a"], segmenter)
    images = scene.images.clone().requires_grad_()
    scene.forward(images, grad=True).logits.square().sum().backward()
    assert images.grad.abs().sum() > 0


def test_features_are_wired(pair):
    family, _, segmenter = pair
    assert "decoder" in segmenter.feature_info
    size = (96, 96) if family.startswith("eomt") else (64, 128)
    plain = make_scene(_images(size), ["a"], segmenter).output.logits
    scene = make_scene(_images(size), ["a"], segmenter, features=("decoder",))
    assert torch.equal(scene.output.logits, plain)
    info = segmenter.feature_info["decoder"]
    height, width = scene.images.shape[-2:]
    assert scene.output.features["decoder"].shape == (1, info.channels, height // info.stride, width // info.stride)


def test_dpt_lays_patches_out_as_the_image_is():
    # The library takes the grid for a square: 64x96 fails there, and 32x128 comes out as if it were 64x64.
    model, segmenter = tiny_model("dpt"), load_segmenter(tiny_model("dpt"))
    pixels = torch.rand(1, 3, 32, 128)
    with torch.no_grad():
        assert model(pixel_values=pixels).logits.shape[-2:] != (32, 128)
    scene = make_scene(_images((32, 128)), ["a"], segmenter)
    assert scene.output.logits.shape[-2:] == (32, 128)
    with torch.no_grad():  # the parts of the library, told the grid by hand
        hidden = model.dpt(scene.images / 0.5 - 1, output_hidden_states=True).hidden_states[1:]
        expected = model.head(model.neck(list(hidden), 2, 8))
    torch.testing.assert_close(scene.output.logits, expected, rtol=1e-4, atol=1e-6)


def test_eomt_gets_the_whole_image_in_its_square():
    segmenter = load_segmenter(tiny_model("eomt"))
    assert segmenter.working_size((1024, 2048)) == (48, 96)
    assert segmenter.working_size((10, 5)) == (96, 48)
    scene = make_scene(_images((40, 80)), ["a"], segmenter)
    assert scene.images.shape[-2:] == (96, 96)
    assert scene.input_size == (48, 96)


def test_a_negative_class_leaves_the_classes():
    whole, segmenter = (
        load_segmenter(tiny_model("mask2former")),
        load_segmenter(tiny_model("mask2former"), negative="car"),
    )
    image = _images((64, 96))
    full, output = (make_scene(image, ["a"], which).output for which in (whole, segmenter))
    assert segmenter.classes == ("road", "sky", "tree", "sign")
    assert "negative" in segmenter.provides
    assert "negative" not in whole.provides
    assert torch.equal(output.class_logits, full.class_logits[..., [0, 1, 3, 4, 5]])
    assert torch.equal(output.negative_class_logits, full.class_logits[..., 2:3])
    # The softmax still runs over the negative class: no other class inherits its share.
    claims = mask_semantic(full.class_logits, full.mask_logits)
    torch.testing.assert_close(output.logits, claims[:, [0, 1, 3, 4]].log())
    assert len(segmenter.palette) == 4


def test_a_saved_network_keeps_its_negative_class(tmp_path):
    segmenter = load_segmenter(tiny_model("maskformer"), negative="road")
    save_segmenter(segmenter, tmp_path)
    again = load_saved_segmenter(tmp_path)
    assert (again.classes, again.palette, again.negative) == (segmenter.classes, segmenter.palette, "road")


def test_oneformer_depends_on_the_task_it_is_told():
    model = tiny_model("oneformer")
    told, other = load_segmenter(model), load_segmenter(model, task_tokens=[1, 2, 3])
    assert told.task_tokens == (*SEMANTIC_TOKENS, *[0] * 70)
    assert other.task_tokens == (1, 2, 3, *[0] * 74)
    image = _images((64, 64))
    logits = [make_scene(image, ["a"], which).output.logits for which in (told, other)]
    assert not torch.allclose(*logits)


def test_oneformer_saved_for_training_is_built_for_inference():
    config = tiny_config("oneformer")
    config.is_training = True
    segmenter = load_segmenter(config, random_weights=True)
    assert make_scene(_images((64, 64)), ["a"], segmenter).logits().shape == (1, 5, 64, 64)


def test_dpt_is_told_its_grid_for_the_pass_alone():
    model = tiny_model("dpt")
    square = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before = model(square).logits
    first, second = load_segmenter(model), load_segmenter(model)
    wide = first(torch.rand(1, 3, 32, 96)).logits
    second(torch.rand(1, 3, 96, 32))
    assert first(torch.rand(1, 3, 32, 96)).logits.shape == wide.shape == (1, len(CLASSES), 32, 96)
    assert torch.equal(model(square).logits, before)


def test_one_class_for_each_pixel_is_refused():
    with pytest.raises(CompatibilityError, match="two or more"):
        load_segmenter(tiny_model("segformer", classes=("anomaly",)))
