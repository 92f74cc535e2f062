"""Tiny random backbones and heads of transformers, for tests of their feature maps."""

import torch
from torch import nn

PYRAMID = {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 2, 1, 1]}
STAGES = ["stage1", "stage2", "stage3", "stage4"]
SWIN = {
    "embed_dim": 8,
    "depths": [2, 2, 1, 1],
    "num_heads": [1, 2, 2, 4],
    "window_size": 4,
    "image_size": 64,
}
VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 32,
    "patch_size": 8,
}
ATTENTION = {"num_attention_heads": [1, 2, 2, 4], "image_size": 64}

BACKBONES = {
    "convnext": PYRAMID,
    "convnextv2": PYRAMID,
    "dinov2": {**VIT, "patch_size": 14, "image_size": 28},
    "dinov2_with_registers": {**VIT, "num_register_tokens": 3},
    "dinov3_convnext": PYRAMID,
    "dinov3_vit": {**VIT, "num_register_tokens": 2},
    "pvt_v2": {**PYRAMID, **ATTENTION},
    "resnet": {**PYRAMID, "embedding_size": 8},
    "swin": SWIN,
    "swinv2": SWIN,
    "vit": VIT,
}


def config(model_type, **options):
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[model_type](**options)


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random numbers in every parameter, those too that the library makes zero or one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def backbone(model_type, seed=0, **options):
    """A random backbone that gives out all stages of a pyramid."""
    import transformers

    from anomseg.segmenters.huggingface.backbone import BACKBONE_KINDS, backbone_architecture

    architecture = {"model_type": model_type, **BACKBONES[model_type], **options}
    full = backbone_architecture(architecture, "a test")
    torch.manual_seed(seed)
    kind = getattr(transformers, BACKBONE_KINDS[model_type])
    return randomised(kind(transformers.CONFIG_MAPPING[model_type].from_dict(full)), seed)
