"""The segmentation networks of Hugging Face transformers that are taken: an explicit table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from anomseg.errors import CompatibilityError
from anomseg.segmenters.pixels import IMAGENET

OWN_ENCODER = "anomseg_encoder"
"""Model type of our own encoders as backbones; see `anomseg.segmenters.huggingface.own_encoder`."""

_OWN_STRIDE = 16

HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
Moments = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class Family:
    """What has to be known of one model type.

    Attributes:
        model_type: As in ``config.json``.
        network: Class of transformers.
        masks: It answers with queries (a mask and a class each), not with a class map.
        moments: Mean and deviation of its published checkpoints, for a directory that does not say.
        fixed: It takes squares of ``image_size`` alone, since its table of positions is not interpolated.
        least: Smallest side in multiples of the divisor that its pooling and group norms allow.
    """

    model_type: str
    network: str
    masks: bool = False
    moments: Moments = IMAGENET
    fixed: bool = False
    least: int = 1


FAMILIES = {
    family.model_type: family
    for family in (
        Family("segformer", "SegformerForSemanticSegmentation"),
        Family("upernet", "UperNetForSemanticSegmentation"),
        Family("dpt", "DPTForSemanticSegmentation", moments=HALF),
        # Its neck pools the grid of patches by two.
        Family("beit", "BeitForSemanticSegmentation", moments=HALF, least=2),
        Family("maskformer", "MaskFormerForInstanceSegmentation", masks=True, least=2),
        Family("mask2former", "Mask2FormerForUniversalSegmentation", masks=True, least=2),
        Family("oneformer", "OneFormerForUniversalSegmentation", masks=True, least=2),
        Family("eomt", "EomtForUniversalSegmentation", masks=True, fixed=True),
        Family("eomt_dinov3", "EomtDinov3ForUniversalSegmentation", masks=True, fixed=True),
    )
}

# Stages of these halve the resolution; the others in the table of backbones are grids of patches.
_PYRAMIDS = frozenset({"segformer", "convnext", "convnextv2", "dinov3_convnext", "resnet", "swin", "swinv2", "bit"})
_PYRAMID_STRIDE = 32


def family_of(architecture: Mapping[str, Any], what: str, others: Iterable[str] = ()) -> Family:
    """The family of a configuration.

    Args:
        architecture: What ``config.json`` holds.
        what: Where it comes from, for messages.
        others: Model types without a segmentation head that may be used for their features, for messages.

    Raises:
        CompatibilityError: It is none of the table, or one of them without its segmentation head.
    """
    model_type = architecture.get("model_type")
    if model_type not in FAMILIES:
        features = ", ".join(others)
        raise CompatibilityError(
            f"{what} holds a model of type {model_type!r}, which cannot segment here; "
            f"those that can are {', '.join(FAMILIES)}" + (f", and for features alone {features}" if features else "")
        )
    family = FAMILIES[model_type]
    saved_as = architecture.get("architectures") or []
    if saved_as and family.network not in saved_as:
        raise CompatibilityError(
            f"{what} holds {', '.join(map(str, saved_as))}, a {model_type} without the segmentation head; "
            f"give one that was saved as {family.network}"
        )
    return family


def input_divisor(architecture: Mapping[str, Any], family: Family) -> int:
    """What both sides of the input are padded to a multiple of.

    Hierarchical encoders need the stride of their last stage, 32; grids of patches the patch; networks of one size
    that size.

    Example:
        >>> input_divisor({"model_type": "beit", "patch_size": 16}, FAMILIES["beit"])
        16
        >>> input_divisor({"backbone_config": {"model_type": "dinov2", "patch_size": 14}}, FAMILIES["upernet"])
        14
    """
    if family.fixed:
        return _one_side(architecture["image_size"])
    backbone = architecture.get("backbone_config")
    trunk = backbone if isinstance(backbone, Mapping) else architecture
    if trunk.get("model_type") == OWN_ENCODER:
        return _OWN_STRIDE
    stride = _PYRAMID_STRIDE
    if trunk.get("model_type") not in _PYRAMIDS and "patch_size" in trunk and "depths" not in trunk:
        stride = _one_side(trunk["patch_size"])
    if family.masks:
        # Their decoders read maps down to a stride of 32 whatever the encoder.
        return math.lcm(stride, _PYRAMID_STRIDE)
    return stride


def _one_side(value: Any) -> int:
    return int(max(value)) if isinstance(value, list | tuple) else int(value)
