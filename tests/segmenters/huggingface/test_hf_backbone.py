import numpy as np
import pytest
import torch
from hf_backbones import BACKBONES, backbone

from anomseg import create_detector, predict
from anomseg.detectors.posthoc import MSP
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.segmenters import load_saved_segmenter, make_scene, save_segmenter
from anomseg.segmenters.huggingface.backbone import (
    BACKBONE_KINDS,
    TransformersBackbone,
    backbone_architecture,
)
from anomseg.segmenters.huggingface.preprocessing import Preprocessing


def _image(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


@pytest.mark.parametrize("model_type", BACKBONE_KINDS)
def test_every_backbone_gives_the_maps_that_it_promises_and_no_classes(model_type):
    segmenter = TransformersBackbone(backbone(model_type))
    assert segmenter.provides == {"features", "gradient"}
    names = tuple(segmenter.feature_info)
    scene = make_scene([_image((50, 77))], ["a"], segmenter, features=names)
    height, width = scene.images.shape[-2:]
    assert not height % segmenter.divisor
    for name, info in segmenter.feature_info.items():
        found = scene.output.features[name]
        assert found.shape == (1, info.channels, height // info.stride, width // info.stride), name
        assert torch.isfinite(found).all()
    assert scene.output.logits.shape == (1, 0, height, width)
    assert scene.logits().shape == (1, 0, 50, 77)


@pytest.mark.parametrize("model_type", ["swin", "dinov2", "resnet", "vit"])
def test_rebuilt_from_its_options_it_gives_the_same(model_type):
    import transformers

    segmenter = TransformersBackbone(
        backbone(model_type), Preprocessing((0.1, 0.2, 0.3), (0.5, 0.6, 0.7), 255.0, True, 64, 200)
    )
    options = segmenter.config()
    kind = getattr(transformers, BACKBONE_KINDS[model_type])
    twin = kind(transformers.CONFIG_MAPPING[model_type].from_dict(options["architecture"]))
    facts = {key: options[key] for key in ("scale", "bgr", "shortest_edge", "longest_edge")}
    again = TransformersBackbone(twin, Preprocessing(tuple(options["mean"]), tuple(options["std"]), **facts))
    again.load_state_dict(segmenter.state_dict())
    assert again.identity() == segmenter.identity()
    name = list(segmenter.feature_info)[-1]
    image = _image((40, 61))
    ours, theirs = (
        make_scene([image], ["a"], net, features=[name]).output.features[name] for net in (segmenter, again)
    )
    assert torch.equal(ours, theirs)


def test_what_nothing_reads_is_no_part_of_the_identity():
    from transformers import ViTModel

    full = backbone("vit").config
    poolers = [ViTModel(full), ViTModel(full)]
    poolers[1].load_state_dict({**poolers[0].state_dict(), "pooler.dense.bias": torch.ones(16)})
    assert TransformersBackbone(poolers[0]).fingerprint() == TransformersBackbone(poolers[1]).fingerprint()


def test_pixels_reach_the_network_as_its_files_say():
    segmenter = TransformersBackbone(backbone("resnet"), Preprocessing((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), 255.0, True))
    heard = []
    handle = segmenter.network.register_forward_pre_hook(lambda module, inputs: heard.append(inputs[0]))
    batch = torch.rand(1, 3, 32, 32)
    segmenter(batch, features=["stage1"])
    handle.remove()
    expected = torch.stack([(255 * batch[0, 2 - c] - (1 + c)) / (4 + c) for c in range(3)])[None]
    torch.testing.assert_close(heard[0], expected)


def test_a_small_image_leaves_no_trace_in_later_ones():
    segmenter = TransformersBackbone(backbone("swin"))
    large = torch.rand(1, 3, 96, 128)
    names = ["stage1", "stage2.block1.key"]
    before = segmenter(large, features=names).features
    segmenter(torch.rand(1, 3, 32, 32), features=names)
    after = segmenter(large, features=names).features
    assert all(torch.equal(before[name], after[name]) for name in names)


def test_the_gradient_of_a_feature_reaches_the_image():
    segmenter = TransformersBackbone(backbone("dinov2_with_registers"))
    batch = torch.rand(1, 3, 32, 48).requires_grad_()
    segmenter(batch, features=["block2.key"]).features["block2.key"].sum().backward()
    assert batch.grad is not None
    assert batch.grad.abs().sum() > 0


def test_what_needs_classes_is_refused_in_one_line():
    segmenter = TransformersBackbone(backbone("resnet"))
    with pytest.raises(CompatibilityError, match="msp reads class logits, and hf has no classes"):
        MSP().needs(segmenter)
    with pytest.raises(CompatibilityError, match="a backbone has no classes to predict"):
        make_scene([_image((20, 30))], ["a"], segmenter).prediction()
    with pytest.raises(ConfigError, match=r"unknown feature.*did you mean 'stage1'"):
        segmenter(torch.rand(1, 3, 32, 32), features=["stage_1"])


def test_what_needs_no_classes_scores_with_it():
    segmenter = TransformersBackbone(backbone("resnet"))
    found = predict(_image((40, 61)), segmenter, create_detector("local_contrast"))
    assert found.anomaly_map.shape == (40, 61)
    assert found.segmentation is None


def test_saved_and_loaded_it_is_the_same(tmp_path):
    segmenter = TransformersBackbone(backbone("dinov3_vit"), random_weights=True)
    save_segmenter(segmenter, tmp_path)
    again = load_saved_segmenter(tmp_path)
    assert again.identity() == segmenter.identity()
    batch, names = torch.rand(1, 3, 32, 48), ["stage3", "block1.value"]
    ours, theirs = (net(batch, features=names).features for net in (segmenter, again))
    assert all(torch.equal(ours[name], theirs[name]) for name in names)


def test_another_class_of_the_same_type_says_which_is_wanted():
    from transformers import Dinov2Config, Dinov2Model

    options = {key: value for key, value in BACKBONES["dinov2"].items() if key != "intermediate_size"}
    with pytest.raises(CompatibilityError, match=r"build it as transformers\.Dinov2Backbone"):
        TransformersBackbone(Dinov2Model(Dinov2Config(**options)))
    with pytest.raises(CompatibilityError, match="'bert', which is no known backbone; those are convnext"):
        backbone_architecture({"model_type": "bert"}, "x")


def test_every_stage_of_a_pyramid_is_given_out():
    assert backbone_architecture({"model_type": "resnet"}, "x")["out_features"] == [
        "stage1",
        "stage2",
        "stage3",
        "stage4",
    ]
    # of a plain vision transformer only the last, since each costs a pass through the norm
    assert backbone_architecture({"model_type": "dinov2"}, "x")["out_features"] == ["stage12"]


def test_a_network_at_hand_stays_its_owner_s():
    from transformers import ViTModel

    network = ViTModel(backbone("vit").config).eval()
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = network(image)
    segmenter = TransformersBackbone(network)
    after = network(image)
    assert torch.equal(after.pooler_output, before.pooler_output)
    assert not any("pooler" in name for name in segmenter.state_dict())
    assert segmenter.network.embeddings is network.embeddings
