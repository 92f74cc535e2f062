"""Feature maps against the library's own tensors: each is computed a second way, by hand, from other tensors."""

import pytest
import torch
from hf_backbones import PYRAMID, STAGES, SWIN, VIT, backbone, config, randomised
from torch.nn import functional as F

from anomseg.segmenters.huggingface.taps import transformer_taps
from anomseg.types import FeatureInfo


def _run(model, x, **options):
    """All features, and the library's answer."""
    taps = transformer_taps(model)
    with torch.no_grad(), taps.recording(list(taps.info)) as found:
        answer = model(x, output_hidden_states=True, **options)
    return found, answer, taps


def _heard(model, paths, x, **options):
    """Inputs and outputs of submodules, by hooks of this test's own."""
    inputs, outputs, handles = {}, {}, []
    for path in paths:

        def listen(module, args, kwargs, output, path=path):
            inputs[path] = args[0] if args else kwargs["hidden_states"]
            outputs[path] = output[0] if isinstance(output, tuple) else output

        handles.append(model.get_submodule(path).register_forward_hook(listen, with_kwargs=True))
    with torch.no_grad():
        model(x, **options)
    for handle in handles:
        handle.remove()
    return inputs, outputs


def _grid(tokens, height, width):
    return tokens.transpose(1, 2).unflatten(2, (height, width))


def _assert_close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("model_type", "layers", "prefix", "before"),
    [
        ("dinov2", "encoder.layer", 1, "norm1"),
        ("dinov2_with_registers", "encoder.layer", 4, "norm1"),
        ("dinov3_vit", "model.layer", 3, "norm1"),
        ("vit", "layers", 1, "layernorm_before"),
    ],
)
@pytest.mark.parametrize("size", [(33, 61), (56, 84)])
def test_vision_transformers(model_type, layers, prefix, before, size):
    model = backbone(model_type)
    patch = model.config.patch_size
    height, width = size[0] // patch, size[1] // patch
    options = {"interpolate_pos_encoding": True} if model_type == "vit" else {}
    found, answer, taps = _run(model, x := torch.rand(2, 3, *size), **options)
    blocks = model.get_submodule(layers)
    _, outputs = _heard(model, [f"{layers}.{index}.attention" for index in range(3)], x, **options)
    for index, block in enumerate(blocks):
        hidden = answer.hidden_states[index]
        normed = getattr(block, before)(hidden)
        for name, short in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")):
            expected = getattr(block.attention, short)(normed)[:, prefix:]
            _assert_close(found[f"block{index}.{name}"], _grid(expected, height, width))
        attention = outputs[f"{layers}.{index}.attention"][:, prefix:]
        _assert_close(found[f"block{index}.attention"], _grid(attention, height, width))
        _assert_close(found[f"block{index}.output"], _grid(answer.hidden_states[index + 1][:, prefix:], height, width))
    if model_type == "vit":
        last = _grid(answer.last_hidden_state[:, prefix:], height, width)
    else:
        last = answer.feature_maps[-1]
    _assert_close(found["stage3"], last)
    assert taps.info["block2.key"] == FeatureInfo(16, patch)


def test_registers_are_not_on_the_grid():
    model = backbone("dinov2_with_registers")
    x = torch.rand(1, 3, 32, 40)
    before, _, _ = _run(model, x)
    with torch.no_grad():
        model.embeddings.register_tokens.copy_(model.embeddings.register_tokens[:, [2, 0, 1]])
    after, _, _ = _run(model, x)
    for name, tensor in before.items():  # attention does not tell the order of registers
        _assert_close(after[name], tensor)
        assert tensor.shape[-2:] == (4, 5)


@pytest.mark.parametrize("model_type", ["swin", "swinv2"])
@pytest.mark.parametrize("size", [(64, 96), (53, 101)])
def test_swin_windows_are_put_back(model_type, size):
    # A projection acts on each token alone, so that the key of a token is W_k (normalised hidden state) wherever its
    # window was; Swin v2 normalises after attention.
    model = backbone(model_type)
    root = "swin.encoder" if model_type == "swin" else "encoder"
    blocks = [
        (stage, index, f"{root}.layers.{stage}.blocks.{index}")
        for stage in range(4)
        for index in range(SWIN["depths"][stage])
    ]
    found, _, taps = _run(model, x := torch.rand(2, 3, *size))
    inputs, _ = _heard(model, [f"{path}{part}" for _, _, path in blocks for part in ("", ".layernorm_after")], x)
    assert any(model.get_submodule(path).shift_size for _, _, path in blocks)
    for stage, index, path in blocks:
        block = model.get_submodule(path)
        height, width = (-(-side // 4) for side in size)
        for _ in range(stage):
            height, width = (height + 1) // 2, (width + 1) // 2
        hidden = inputs[path]
        normed = hidden if model_type == "swinv2" else block.layernorm_before(hidden)
        attention = block.attention
        names = ("q_proj", "k_proj", "v_proj") if hasattr(attention, "q_proj") else ("query", "key", "value")
        holder = attention if hasattr(attention, names[0]) else attention.self
        for name, short in zip(("query", "key", "value"), names, strict=True):
            expected = _grid(getattr(holder, short)(normed), height, width)
            _assert_close(found[f"stage{stage + 1}.block{index}.{name}"], expected)
        if model_type == "swin":  # what attention adds to the residual stream
            added = inputs[f"{path}.layernorm_after"] - hidden
            _assert_close(found[f"stage{stage + 1}.block{index}.attention"], _grid(added, height, width))
        assert taps.info[f"stage{stage + 1}.block{index}.key"] == FeatureInfo(8 * 2**stage, 4 * 2**stage)


@pytest.mark.parametrize("model_type", ["swin", "convnext", "dinov3_convnext", "resnet", "pvt_v2"])
def test_stages_of_pyramids_are_the_librarys_feature_maps(model_type):
    model = backbone(model_type)
    found, answer, taps = _run(model, torch.rand(1, 3, 64, 96))
    for index, name in enumerate(STAGES):
        assert torch.equal(found[name], answer.feature_maps[index])
        assert taps.info[name].stride == 4 * 2**index


def _segformer():
    from transformers import SegformerForSemanticSegmentation

    options = {**PYRAMID, "num_attention_heads": [1, 2, 2, 4], "decoder_hidden_size": 20, "num_labels": 5}
    return randomised(SegformerForSemanticSegmentation(config("segformer", **options)))


def test_segformer_and_its_shrunken_keys():
    model = _segformer()
    found, answer, taps = _run(model, x := torch.rand(2, 3, 64, 96))
    for index in range(4):
        assert torch.equal(found[f"stage{index + 1}"], answer.hidden_states[index])
    _assert_close(model.decode_head.classifier(found["decoder"]), answer.logits)
    block = model.segformer.stages[1].blocks[1]
    inputs, outputs = _heard(model, ["segformer.stages.1.blocks.1"], x)
    normed = block.layernorm_before(inputs["segformer.stages.1.blocks.1"])
    _assert_close(found["stage2.block1.query"], _grid(block.attention.q_proj(normed), 8, 12))
    shrunk = block.attention.sequence_reduction(normed, 8, 12)
    _assert_close(found["stage2.block1.key"], _grid(block.attention.k_proj(shrunk), 2, 3))
    _assert_close(found["stage2.block1.output"], _grid(outputs["segformer.stages.1.blocks.1"], 8, 12))
    assert [taps.info[f"stage2.block1.{name}"].stride for name in ("query", "key", "value", "output")] == [8, 32, 32, 8]


def test_beit_and_dpt_classify_what_their_decoder_gives():
    from transformers import BeitForSemanticSegmentation, DPTForSemanticSegmentation

    vit = {**VIT, "patch_size": 16, "num_hidden_layers": 4, "num_labels": 5}
    beit = config("beit", **vit, out_indices=[1, 2, 3, 4], use_relative_position_bias=True, use_auxiliary_head=False)
    model = randomised(BeitForSemanticSegmentation(beit))
    found, answer, taps = _run(model, torch.rand(1, 3, 64, 96))
    _assert_close(model.decode_head.classifier(found["decoder"]), answer.logits)
    assert torch.equal(found["stage3"], _grid(answer.hidden_states[2][:, 1:], 4, 6))
    assert [taps.info[name].stride for name in STAGES] == [4, 8, 16, 32]
    assert all(found[name].shape[-1] == 96 // taps.info[name].stride for name in STAGES)

    dpt = config(
        "dpt",
        **vit,
        is_hybrid=False,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 10, 12, 14],
        fusion_hidden_size=12,
        use_auxiliary_head=False,
    )
    model = randomised(DPTForSemanticSegmentation(dpt))
    found, answer, taps = _run(model, torch.rand(1, 3, 64, 64))
    _assert_close(model.head.head[4:](found["decoder"]), answer.logits)
    assert torch.equal(found["block3.output"], _grid(answer.hidden_states[4][:, 1:], 4, 4))
    for name, info in taps.info.items():
        assert found[name].shape == (1, info.channels, 64 // info.stride, 64 // info.stride), name


@pytest.mark.parametrize("kind", ["swin", "convnext", "dinov2"])
def test_upernet_on_any_backbone(kind):
    from transformers import UperNetForSemanticSegmentation

    options = {"swin": SWIN, "convnext": PYRAMID, "dinov2": {**VIT, "patch_size": 14, "num_hidden_layers": 4}}[kind]
    inner = config(kind, **options, out_features=STAGES)
    model = UperNetForSemanticSegmentation(
        config("upernet", backbone_config=inner, hidden_size=16, pool_scales=[1, 2], use_auxiliary_head=False)
    )
    model = randomised(model)
    x = torch.rand(1, 3, *((56, 84) if kind == "dinov2" else (64, 96)))
    found, answer, taps = _run(model, x)
    with torch.no_grad():
        for name, expected in zip(STAGES, model.backbone(x).feature_maps, strict=True):
            assert torch.equal(found[name], expected)
        logits = model.decode_head.classifier(found["decoder"])
    _assert_close(F.interpolate(logits, x.shape[-2:], mode="bilinear", align_corners=False), answer.logits)
    for name, info in taps.info.items():
        assert found[name].shape[1:] == (info.channels, x.shape[2] // info.stride, x.shape[3] // info.stride), name


def test_mask2former_gives_what_queries_are_multiplied_with():
    from transformers import Mask2FormerForUniversalSegmentation

    sizes = {"feature_size": 32, "mask_feature_size": 20, "hidden_dim": 32, "encoder_feedforward_dim": 16}
    options = {"encoder_layers": 1, "decoder_layers": 2, "dim_feedforward": 16, "num_queries": 5, **sizes}
    inner = config("swin", **SWIN, out_features=STAGES)
    model = Mask2FormerForUniversalSegmentation(
        config("mask2former", backbone_config=inner, num_attention_heads=2, **options)
    )
    found, answer, taps = _run(randomised(model), torch.rand(1, 3, 64, 96))
    assert torch.equal(found["decoder"], answer.pixel_decoder_last_hidden_state)
    assert taps.info["decoder"] == FeatureInfo(20, 4)
    assert torch.equal(found["stage4"], answer.encoder_last_hidden_state)
    # the query decoder's own attention is not on any grid
    assert sum("block" in name for name in found) == 5 * sum(SWIN["depths"])


@pytest.mark.parametrize("model_type", ["eomt", "eomt_dinov3"])
def test_eomt_drops_queries_that_join_half_way(model_type):
    import transformers

    options = {**VIT, "patch_size": 16, "image_size": 64, "num_hidden_layers": 4, "num_labels": 3}
    extra = {"num_blocks": 2, "num_queries": 5, "num_upscale_blocks": 2, "num_register_tokens": 3}
    kind = {"eomt": "EomtForUniversalSegmentation", "eomt_dinov3": "EomtDinov3ForUniversalSegmentation"}[model_type]
    model = randomised(getattr(transformers, kind)(config(model_type, **options, **extra)))
    found, answer, taps = _run(model, x := torch.rand(1, 3, 64, 64))
    _, outputs = _heard(model, [f"layers.{index}" for index in range(4)], x)
    for index, dropped in enumerate((4, 4, 9, 9)):  # class and registers, then the queries before them too
        expected = outputs[f"layers.{index}"][:, dropped:]
        assert torch.equal(found[f"block{index}.output"], _grid(expected, 4, 4))
    tokens = model.mask_head(answer.last_hidden_state[:, :5])
    _assert_close(torch.einsum("bqc,bchw->bqhw", tokens, found["decoder"]), answer.masks_queries_logits)
    assert taps.info["decoder"] == FeatureInfo(16, 4)


def test_looking_for_maps_leaves_a_model_as_it_was():
    model = _segformer()
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        plain = model(x).logits
        taps = transformer_taps(model)
        with taps.recording(list(taps.info)):
            tapped = model(x).logits
    assert torch.equal(plain, tapped)
