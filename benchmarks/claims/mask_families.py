"""Whether Maskomaly runs on every family of mask transformers: on tiny networks of random weights, built here."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from anomseg.detectors import create_detector
from anomseg.scores import maskomaly
from anomseg.segmenters import Segmenter, load_segmenter, make_scene

_ENCODER = {"model_type": "anomseg_encoder", "widths": [8, 8, 16, 16], "bottleneck": 16}
_HEAD = {
    "hidden_dim": 32, "encoder_feedforward_dim": 16, "encoder_layers": 1, "decoder_layers": 3,
    "num_attention_heads": 2, "dim_feedforward": 16, "num_queries": 7, "num_labels": 3,
}  # fmt: skip
_SWIN = {
    "model_type": "swin", "image_size": 64, "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2],
    "window_size": 4, "out_features": ["stage1", "stage2", "stage3", "stage4"],
}  # fmt: skip
FAMILIES = {
    "MaskFormer": {
        "model_type": "maskformer", "backbone_config": _ENCODER, "fpn_feature_size": 32, "mask_feature_size": 32,
        "num_labels": 3,
        "decoder_config": {
            "model_type": "detr", "d_model": 16, "decoder_layers": 2, "decoder_attention_heads": 2,
            "decoder_ffn_dim": 16, "num_queries": 7,
        },
    },
    "Mask2Former": {
        "model_type": "mask2former", "backbone_config": _ENCODER, "feature_size": 32, "mask_feature_size": 32,
        "feature_strides": [4, 8, 16, 16], **_HEAD,
    },
    "OneFormer": {
        "model_type": "oneformer", "backbone_config": _SWIN, "conv_dim": 32, "mask_dim": 32, "text_encoder_width": 16,
        "text_encoder_num_layers": 1, "text_encoder_vocab_size": 50, **_HEAD,
    },
    "EoMT": {
        "model_type": "eomt", "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 96,
        "patch_size": 16, "num_blocks": 2, "num_queries": 7, "num_register_tokens": 2, "num_upscale_blocks": 1,
        "mlp_ratio": 1, "num_labels": 3,
    },
}  # fmt: skip


def agrees(segmenter: Segmenter) -> bool:
    """Whether the detector's map of one picture is the plain function of the raw outputs, upsampled and cropped."""
    picture = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    scene = make_scene([picture], ["made"], segmenter)
    detector = create_detector("maskomaly", reject=0.2)
    with torch.inference_mode():
        found = detector.score(scene)
        output = scene.output
        assert output.mask_logits is not None
        assert output.class_logits is not None
        masks = F.interpolate(output.mask_logits, output.padded_size, mode="bilinear", align_corners=False)
        height, width = output.input_size
        plain = maskomaly(output.class_logits, masks[..., :height, :width], reject=0.2)
    if plain.shape[-2:] != picture.shape[:2]:  # a network that resized the picture: only shape and range are compared
        return tuple(found.shape) == (1, *picture.shape[:2]) and bool(((found >= 0) & (found <= 1)).all())
    return torch.allclose(found, plain, atol=1e-5)


def families() -> dict[str, bool]:
    """For each family whether the detector runs on it and agrees."""
    answers = {}
    for name, architecture in FAMILIES.items():
        torch.manual_seed(0)
        answers[name] = agrees(load_segmenter("hf", architecture=architecture, random_weights=True))
    return answers
