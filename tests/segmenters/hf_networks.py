"""Tiny random networks of transformers, one of each family that is taken."""

import torch
import transformers as hf

CLASSES = ("road", "sky", "car", "tree", "sign")
_STAGES = ["stage1", "stage2", "stage3", "stage4"]
_VIT = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2}
_UPER = {"hidden_size": 16, "auxiliary_channels": 8}
_SEGFORMER = {
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [8, 8, 16, 16],
    "num_attention_heads": [1, 1, 2, 2],
    "decoder_hidden_size": 16,
}


def _swin():
    return hf.SwinConfig(
        image_size=64,
        embed_dim=8,
        depths=[1, 1, 1, 2],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        out_features=_STAGES,
    )


def _convnext():
    # A tuple of channels, as the library's default is: only lists can be built from.
    return hf.ConvNextConfig(hidden_sizes=(8, 8, 16, 16), depths=(1, 1, 1, 1), out_features=_STAGES)


def _dinov2():
    return hf.Dinov2Config(image_size=56, patch_size=14, out_features=_STAGES, **_VIT)


def _beit(**options):
    return {"intermediate_size": 16, "image_size": 64, "out_indices": [1, 2, 3, 4], **_VIT, **options}


def _detr():
    return hf.DetrConfig(
        d_model=16,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=7,
    )


_QUERIES = {
    "hidden_dim": 32,
    "encoder_feedforward_dim": 16,
    "encoder_layers": 1,
    "decoder_layers": 3,
    "num_attention_heads": 2,
    "dim_feedforward": 16,
    "num_queries": 7,
}
_EOMT = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 96,
    "patch_size": 16,
    "num_blocks": 2,
    "num_queries": 7,
    "num_register_tokens": 2,
    "num_upscale_blocks": 1,
}

_BUILDERS = {
    "segformer": lambda o: hf.SegformerConfig(**_SEGFORMER, **o),
    "upernet-convnext": lambda o: hf.UperNetConfig(backbone_config=_convnext(), **_UPER, **o),
    "upernet-swin": lambda o: hf.UperNetConfig(backbone_config=_swin(), **_UPER, **o),
    "upernet-dinov2": lambda o: hf.UperNetConfig(backbone_config=_dinov2(), **_UPER, **o),
    "dpt": lambda o: hf.DPTConfig(
        intermediate_size=16,
        image_size=64,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=16,
        **_VIT,
        **o,
    ),
    "beit": lambda o: hf.BeitConfig(**_beit(use_relative_position_bias=True), **o),
    "beit-absolute": lambda o: hf.BeitConfig(**_beit(use_absolute_position_embeddings=True), **o),
    "maskformer": lambda o: hf.MaskFormerConfig(
        backbone_config=_swin(), decoder_config=_detr(), fpn_feature_size=32, mask_feature_size=32, **o
    ),
    "mask2former": lambda o: hf.Mask2FormerConfig(
        backbone_config=_swin(), feature_size=32, mask_feature_size=32, **_QUERIES, **o
    ),
    "oneformer": lambda o: hf.OneFormerConfig(
        backbone_config=_swin(),
        conv_dim=32,
        mask_dim=32,
        text_encoder_width=16,
        text_encoder_num_layers=1,
        text_encoder_vocab_size=50,
        **_QUERIES,
        **o,
    ),
    "eomt": lambda o: hf.EomtConfig(mlp_ratio=1, **_EOMT, **o),
    "eomt-dinov3": lambda o: hf.EomtDinov3Config(intermediate_size=16, **_EOMT, **o),
}

PER_PIXEL = tuple(list(_BUILDERS)[:7])
MASKS = tuple(list(_BUILDERS)[7:])
FAMILY_NAMES = (*PER_PIXEL, *MASKS)


def tiny_config(family, classes=CLASSES):
    """The configuration of a tiny network."""
    names = dict(enumerate(classes))
    return _BUILDERS[family]({"id2label": names, "label2id": {name: index for index, name in names.items()}})


def tiny_model(family, classes=CLASSES, seed=0):
    """A tiny network of random weights, built by the library itself, with answers that are not nearly constant."""
    torch.manual_seed(seed)
    config = tiny_config(family, classes)
    if family == "upernet-convnext":  # what the library cannot do itself
        config.backbone_config.hidden_sizes = list(config.backbone_config.hidden_sizes)
    auto = hf.AutoModelForUniversalSegmentation if family in MASKS else hf.AutoModelForSemanticSegmentation
    model = auto.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            # The library's own beginning gives answers that hardly depend on the image, so that nothing could differ.
            spread = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
            parameter.add_(torch.randn_like(parameter) * spread)
    return model


def saved_model(folder, family="segformer", **options):
    """A directory as `save_pretrained` writes it."""
    tiny_model(family, **options).save_pretrained(folder)
    return folder
