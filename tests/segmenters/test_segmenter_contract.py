"""One contract for every registered segmenter: the next one gets these tests by adding a line to BUILDERS."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hf_networks import tiny_model
from onnx_networks import kept_network
from torch import nn
from transformers import Swinv2Config

from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import (
    SegmentationOutput,
    Segmenter,
    load_saved_segmenter,
    load_segmenter,
    make_scene,
    save_segmenter,
)
from anomseg.segmenters.catalog import BUNDLED
from anomseg.segmenters.guarded import MissingExtraError

CLASSES = ["road", "sky", "car", "tree", "sign"]
SWINV2 = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 4], "window_size": 4, "image_size": 64}


def _plain_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, len(CLASSES), 1))


def _extra(name: str, **options):
    try:
        return SEGMENTERS.create(name, random_weights=True, **options)
    except MissingExtraError as error:
        pytest.skip(str(error))


BUILDERS = {
    "erfnet": lambda: SEGMENTERS.create("erfnet", classes=CLASSES, void=True, size=(64, 96)),
    "pyramid": lambda: SEGMENTERS.create(
        "pyramid", classes=CLASSES, size=(64, 96), widths=(8, 16, 24, 32), bottleneck=16
    ),
    "erfnet_pyramid": lambda: SEGMENTERS.create("erfnet_pyramid", classes=CLASSES, size=(64, 96), bottleneck=16),
    "pspnet": lambda: SEGMENTERS.create("pspnet", classes=CLASSES, size=(64, 96), width=4, bottleneck=12),
    "deeplabv3plus": lambda: SEGMENTERS.create(
        "deeplabv3plus", classes=CLASSES, size=(64, 96), width=4, bottleneck=12, decoder=16
    ),
    "ladder_densenet": lambda: SEGMENTERS.create(
        "ladder_densenet", classes=CLASSES, size=(64, 96), growth=2, ladder=(8, 6, 6, 4), outlier_layers=("ladder4",)
    ),
    "image_classifier": lambda: SEGMENTERS.create(
        "image_classifier", classes=CLASSES, size=(64, 96), widths=(4, 6, 8), dropout=0.2
    ),
    "student": lambda: SEGMENTERS.create("student", channels=6, size=(64, 96), encoder="pyramid", width=4, branch=8),
    "module": lambda: SEGMENTERS.create("module", network=_plain_network(), classes=CLASSES, divisor=2),
    "onnx": lambda: SEGMENTERS.create(
        "onnx", model=kept_network(features=True), classes=CLASSES, divisor=2, output="logits"
    ),
    "smp": lambda: _extra("smp", arch="fpn", encoder="resnet18", classes=CLASSES, void=True, size=(64, 96)),
    "timm": lambda: _extra("timm", model="test_convnext"),
    "bundled": lambda: load_segmenter("bundled"),
    "bundled-mask": lambda: load_segmenter("bundled-mask"),
    "hf": lambda: load_segmenter(tiny_model("segformer", CLASSES)),
}
# One name, three kinds of network.
BUILDERS["hf mask head"] = lambda: load_segmenter(tiny_model("mask2former", CLASSES))
BUILDERS["hf backbone"] = lambda: load_segmenter(Swinv2Config(**SWINV2), random_weights=True)


@pytest.fixture(params=[*SEGMENTERS.names(), "hf mask head", "hf backbone"])
def segmenter(request):
    if request.param not in BUILDERS:
        pytest.fail(f"the registered segmenter {request.param} has no builder here")
    if request.param == "bundled" and not BUNDLED.is_dir():
        pytest.skip("no bundled weights in this tree yet")
    torch.manual_seed(0)
    return BUILDERS[request.param]().eval()


def _images(*sizes):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


def test_output_shapes_and_names(segmenter):
    scene = make_scene(_images((50, 77)), ["a"], segmenter)
    output = scene.output
    assert output.logits.shape[:2] == (1, len(segmenter.classes))
    assert len(segmenter.palette) == len(segmenter.classes) == len(set(segmenter.classes))
    assert scene.logits().shape == (1, len(segmenter.classes), 50, 77)
    assert torch.isfinite(scene.logits()).all()
    if segmenter.classes:
        assert scene.prediction().shape == (1, 50, 77)


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 96), (201, 64)])
def test_any_image_size_comes_back_at_its_own_size(segmenter, size):
    assert make_scene(_images(size), ["a"], segmenter).logits().shape[-2:] == size


def test_a_batch_gives_what_single_images_give(segmenter):
    images = _images((40, 60), (40, 60), (40, 60))
    together = make_scene(images, ["a", "b", "c"], segmenter).logits()
    for row, image in enumerate(images):
        alone = make_scene([image], ["x"], segmenter).logits()
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-4)


def test_mixed_image_sizes_share_one_pass(segmenter):
    if segmenter.size is None:
        segmenter.size = (48, 64)
    images = _images((40, 60), (33, 50), (40, 60))
    scene = make_scene(images, ["a", "b", "c"], segmenter)
    calls = []
    handle = segmenter.register_forward_hook(lambda *_: calls.append(1))
    parts = {tuple(rows): part.logits() for rows, part in scene.by_image_size()}
    handle.remove()
    assert len(calls) == 1
    assert parts[(0, 2)].shape[-2:] == (40, 60)
    assert parts[(1,)].shape[-2:] == (33, 50)
    alone = make_scene([images[1]], ["x"], segmenter).logits()
    torch.testing.assert_close(parts[(1,)], alone, rtol=1e-4, atol=1e-4)


def test_features_have_the_promised_channels_and_stride(segmenter):
    names = tuple(segmenter.feature_info)
    scene = make_scene(_images((64, 96)), ["a"], segmenter, size=(64, 96), features=names)
    assert set(scene.output.features) == set(names)
    for name, info in segmenter.feature_info.items():
        assert scene.output.features[name].shape == (1, info.channels, 64 // info.stride, 96 // info.stride)
    with pytest.raises(ConfigError, match="unknown feature"):
        scene.forward(features=("no such layer",))


def test_asking_for_features_leaves_the_logits_bit_equal(segmenter):
    images = _images((48, 64))
    plain = make_scene(images, ["a"], segmenter).output.logits
    asked = make_scene(images, ["a"], segmenter, features=tuple(segmenter.feature_info)).output.logits
    assert torch.equal(plain, asked)


def test_forward_is_differentiable(segmenter):
    if "gradient" not in segmenter.provides:
        pytest.skip("it says that it gives no gradient")
    scene = make_scene(_images((48, 64)), ["a"], segmenter)
    images = scene.images.clone().requires_grad_()
    names = () if segmenter.classes else tuple(segmenter.feature_info)[-1:]
    output = scene.forward(images, grad=True, features=names)
    (output.features[names[0]] if names else output.logits).square().mean().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_dropout_passes_leave_batch_norms_and_the_mode_alone(segmenter):
    scene = make_scene(_images((48, 64)), ["a"], segmenter)
    before = segmenter.fingerprint()
    scene.forward(dropout=True)
    assert segmenter.fingerprint() == before
    assert not any(module.training for module in segmenter.modules())


def test_saved_and_loaded_in_another_process_is_bit_equal(segmenter, tmp_path):
    if segmenter.registry_name in ("module", "onnx"):
        with pytest.raises(CompatibilityError, match="cannot be saved"):
            save_segmenter(segmenter, tmp_path / "net")
        assert not (tmp_path / "net").exists()
        return
    save_segmenter(segmenter, tmp_path / "net")
    again = load_saved_segmenter(tmp_path / "net")
    assert {**again.identity(), "name": None} == {**segmenter.identity(), "name": None}
    image = _images((40, 60))
    assert torch.equal(make_scene(image, ["a"], again).output.logits, make_scene(image, ["a"], segmenter).output.logits)
    code = f"from anomseg.segmenters import load_segmenter as l; print(l({str(tmp_path / 'net')!r}).fingerprint())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert told == segmenter.fingerprint()


class _Red(Segmenter):
    """Two classes, bright and dark, at the input's own resolution."""

    def segment(self, batch, features):
        size = tuple(batch.shape[-2:])
        assert not any(side % self.divisor for side in size)
        return SegmentationOutput(torch.cat([batch[:, :1], 1 - batch[:, :1]], 1), size, size)


@pytest.mark.parametrize("size", [None, (36, 48), (30, 50)])
@pytest.mark.parametrize("given", [False, True])
def test_a_further_pass_lies_where_the_first_one_does(size, given):
    image = np.zeros((40, 60, 3), np.uint8)
    image[:20, :30] = 255
    scene = make_scene([image], ["a"], _Red(("bright", "dark"), size=(72, 100), divisor=32))
    output = scene.forward(scene.images + 0 if given else None, size=size)
    maps = output.upsample(output.logits, (40, 60)).argmax(1)[0].numpy()
    assert (maps[:19, :29] == 0).all()
    assert (maps[21:] == 1).all()
    assert (maps[:, 31:] == 1).all()


def test_a_name_goes_before_a_directory_of_that_name(tmp_path, monkeypatch):
    (tmp_path / "erfnet").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_segmenter("erfnet").registry_name == "erfnet"
    with pytest.raises(ConfigError, match=r"without segmenter\.json"):
        load_segmenter("./erfnet")


def test_the_hash_does_not_count_training_steps_that_saving_leaves_out(tmp_path):
    segmenter = BUILDERS["pyramid"]().train()
    segmenter(torch.rand(2, 3, 64, 96))
    segmenter.eval()
    assert segmenter.stem[1].num_batches_tracked == 1
    save_segmenter(segmenter, tmp_path / "net")
    assert load_saved_segmenter(tmp_path / "net").fingerprint() == segmenter.fingerprint()
    segmenter.stem[1].running_mean += 1
    assert load_saved_segmenter(tmp_path / "net").fingerprint() != segmenter.fingerprint()


@pytest.mark.parametrize("options", [[], None, "size", {"size": [64, 96]}])
def test_a_damaged_segmenter_json_is_told_in_one_line(options, tmp_path):
    save_segmenter(BUILDERS["pyramid"](), tmp_path)
    config = json.loads((tmp_path / "segmenter.json").read_text())
    (tmp_path / "segmenter.json").write_text(json.dumps({**config, "options": options}))
    with pytest.raises((ConfigError, DataError), match=r"segmenter\.json") as caught:
        load_saved_segmenter(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_hub_id_or_a_file_without_its_kind_is_told_how_to_be_written(tmp_path):
    with pytest.raises(ConfigError, match=r"is written hf:nvidia/segformer-b0$"):
        load_segmenter("nvidia/segformer-b0")
    (tmp_path / "net.onnx").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"such as onnx:.*net\.onnx"):
        load_segmenter(tmp_path / "net.onnx")
