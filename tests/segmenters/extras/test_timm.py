import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from anomseg.errors import CompatibilityError, ConfigError, DataError
from anomseg.segmenters import load_saved_segmenter, load_segmenter, make_scene, save_segmenter
from anomseg.segmenters.guarded import MissingExtraError, import_extra

try:
    timm = import_extra("timm", "timm", "timm")
    import_extra("torchvision", "torchvision", "timm")
except MissingExtraError as error:
    pytest.skip(str(error), allow_module_level=True)


def _model(name, **options):
    torch.manual_seed(0)
    return timm.create_model(name, pretrained=False, **options).eval()


def _checkpoint(model, path):
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    return str(path)


def _normalised(model, x):
    mean, std = (torch.tensor(model.pretrained_cfg[key])[:, None, None] for key in ("mean", "std"))
    return (x - mean) / std


@pytest.mark.parametrize("name", ["resnet10t", "test_convnext", "test_efficientnet", "swin_tiny_patch4_window7_224"])
def test_stages_are_those_of_the_library(name, tmp_path):
    model = _model(name, num_classes=7)
    path = _checkpoint(model, tmp_path / "net.safetensors")
    segmenter = load_segmenter(f"timm:{name};weights={path}")
    # features_only is the library's own way, by hooks and flattened modules; swin's fixed size is told to it.
    side = 224 if "swin" in name else 64
    reference = _model(name, features_only=True)
    reference.load_state_dict(dict(zip(reference.state_dict(), _body(model, reference), strict=True)))
    x = torch.rand(1, 3, side, side)
    with torch.inference_mode():
        expected = reference.eval()(_normalised(model, x))
        output = segmenter(x, features=tuple(segmenter.feature_info))
    if "swin" in name:
        expected = [feature.permute(0, 3, 1, 2) for feature in expected]
    assert len(expected) == len(output.features) == len(segmenter.feature_info)
    for feature, other in zip(output.features.values(), expected, strict=True):
        torch.testing.assert_close(feature, other)
    assert output.logits.shape[:2] == (1, 0)
    alone = segmenter(x, features=("stage2",)).features["stage2"]
    torch.testing.assert_close(alone, expected[1])


def _body(model, reference):
    """Tensors of the model in the order of the reference, which names the same layers with underscores."""
    flat = {name.replace(".", "_"): value for name, value in model.state_dict().items()}
    return [flat[name.replace(".", "_").removeprefix("model_")] for name in reference.state_dict()]


@pytest.mark.parametrize("name", ["test_vit", "test_vit2", "vit_small_patch14_reg4_dinov2"])
@torch.no_grad()
def test_tokens_of_a_plain_transformer(name, tmp_path):
    model = _model(name, num_classes=3, dynamic_img_size=True)
    segmenter = load_segmenter(f"timm:{name};weights={_checkpoint(model, tmp_path / 'net.safetensors')}")
    last = len(model.blocks) - 1
    image = np.random.default_rng(0).integers(0, 256, (45, 90, 3), np.uint8)
    names = tuple(f"block{last}.{part}" for part in ("query", "key", "value", "attention", "output"))
    scene = make_scene([image], ["a"], segmenter, features=names)
    found = scene.output.features
    heard = {}
    model.blocks[last].norm1.register_forward_hook(lambda *call: heard.update(normed=call[-1]))
    model.blocks[last].attn.register_forward_hook(lambda *call: heard.update(attention=call[-1]))
    maps = model.forward_intermediates(_normalised(model, scene.images), intermediates_only=True)
    attention = model.blocks[last].attn
    assert found[names[0]].shape[-2:] == (-(-45 // segmenter.divisor), -(-90 // segmenter.divisor))

    def tokens(feature):
        return feature[0].flatten(1).T

    def on_grid(sequence):
        return sequence[0, model.num_prefix_tokens :]

    torch.testing.assert_close(found[f"block{last}.output"], maps[-1])
    torch.testing.assert_close(tokens(found[f"block{last}.attention"]), on_grid(heard["attention"]))
    # Queries, keys and values by hand: the fused projection's rows are all queries, then all keys, then all values.
    width = attention.qkv.weight.shape[1]
    for place, part in enumerate(("query", "key", "value")):
        part_of = slice(place * width, (place + 1) * width)
        bias = attention.qkv.bias[part_of] if attention.qkv.bias is not None else None
        expected = F.linear(heard["normed"], attention.qkv.weight[part_of], bias)
        torch.testing.assert_close(tokens(found[f"block{last}.{part}"]), on_grid(expected), rtol=1e-4, atol=1e-5)


def test_a_model_of_one_size_says_so():
    fixed = load_segmenter("timm:mixer_s32_224;random_weights=true")
    assert fixed.working_size((50, 60)) == (224, 224)
    with pytest.raises(ConfigError, match="takes images of 224x224 alone, not 64x96"):
        fixed.working_size((50, 60), (64, 96))


def test_saved_backbone(tmp_path):
    path = _checkpoint(_model("test_vit"), tmp_path / "model.safetensors")
    segmenter = load_segmenter(f"timm:test_vit;weights={tmp_path}", mean=[0.1, 0.2, 0.3])
    save_segmenter(segmenter, tmp_path / "saved")
    again = load_saved_segmenter(tmp_path / "saved", size=(32, 48))
    assert {**again.identity(), "size": None} == segmenter.identity()
    assert again.identity()["random_weights"] is False
    config = json.loads((tmp_path / "saved" / "segmenter.json").read_text())
    assert path not in str(config)
    config["options"]["weights"] = path  # a file must not make us read another one
    (tmp_path / "saved" / "segmenter.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="in place of model and weights"):
        load_saved_segmenter(tmp_path / "saved")


def test_what_cannot_be_used(tmp_path):
    for text, message in {
        "timm:resnet10tt;random_weights=true": "did you mean 'resnet10t'",
        "timm:hf-hub:someone/something;random_weights=true": "unknown model",
        "timm:resnet10t": "either weights",
        "timm": "needs the name",
    }.items():
        with pytest.raises(ConfigError, match=message):
            load_segmenter(text)
    with pytest.raises(DataError, match="no checkpoint"):
        load_segmenter("timm:resnet10t;weights=nowhere.safetensors")
    other = _checkpoint(_model("test_vit"), tmp_path / "net.safetensors")
    with pytest.raises(CompatibilityError, match="is of another network"):
        load_segmenter(f"timm:test_convnext;weights={other}")
    with pytest.raises(ConfigError, match=r"unknown feature.*stage1"):
        load_segmenter("timm:test_convnext;random_weights=true")(torch.rand(1, 3, 64, 64), features=("stage9",))
