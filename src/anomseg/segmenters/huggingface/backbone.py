"""Backbones of transformers: feature maps by name, and no classes."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from anomseg.errors import CompatibilityError
from anomseg.segmenters.base import SegmentationOutput, Segmenter, Size
from anomseg.segmenters.huggingface.building import complete_architecture
from anomseg.segmenters.huggingface.families import Family, input_divisor
from anomseg.segmenters.huggingface.preprocessing import Preprocessing
from anomseg.segmenters.huggingface.taps import transformer_taps
from anomseg.segmenters.pixels import IMAGENET
from anomseg.segmenters.taps import Taps
from anomseg.types import FeatureInfo

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BACKBONE_KINDS: Mapping[str, str] = {
    "convnext": "ConvNextBackbone",
    "convnextv2": "ConvNextV2Backbone",
    "dinov2": "Dinov2Backbone",
    "dinov2_with_registers": "Dinov2WithRegistersBackbone",
    "dinov3_convnext": "DINOv3ConvNextBackbone",
    "dinov3_vit": "DINOv3ViTBackbone",
    "pvt_v2": "PvtV2Backbone",
    "resnet": "ResNetBackbone",
    "swin": "SwinBackbone",
    "swinv2": "Swinv2Backbone",
    "vit": "ViTModel",
}
"""Class of transformers by model type: an explicit table, never a name from a file."""

UNREAD = r"(^|\.)(classifier|head|lm_head|pooler|decoder|layernorm|norm|mask_token|hidden_states_norms\.stem)(\.|$)"
"""Weights of a checkpoint that a backbone may leave unread: heads, poolers, and the norm before them."""

UNGIVEN = r"(^|\.)(hidden_states_norms|mask_token|pooler)(\.|$)"
"""Weights that a checkpoint may lack: they stay what they are made as, norms that only normalise."""


def backbone_architecture(architecture: Mapping[str, Any], what: str) -> dict[str, Any]:
    """A complete configuration of a backbone, with all stages of a pyramid given out.

    Args:
        architecture: What ``config.json`` holds.
        what: Where it comes from, for messages.

    Raises:
        CompatibilityError: It is no known backbone, or the library does not take it.
    """
    _kind_of(architecture, what)
    complete = complete_architecture(architecture, what)
    if "depths" in complete:
        names = [name for name in complete["stage_names"] if name != "stem"]
        complete["out_features"] = names
        complete["out_indices"] = [complete["stage_names"].index(name) for name in names]
    return complete


class TransformersBackbone(Segmenter):
    """A backbone of transformers behind the segmenter contract: features by name, no classes, empty logits.

    Feature maps are those of `transformer_taps`: ``stage1`` ... of pyramids, ``block0.key`` ... of transformer blocks,
    and the last normalised grid of a plain vision transformer under the library's name (``stage12`` and the like).

    Args:
        network: A backbone class of transformers with its weights (`BACKBONE_KINDS`).
        preprocessing: What its pixels are to be; ImageNet's mean and deviation when not given.
        size: Working size ``(height, width)`` that images are stretched to, instead of the rule in ``preprocessing``.
        random_weights: The network was built with random weights; cards say so.

    Raises:
        CompatibilityError: The network is no backbone that is known.
    """

    registry_name: ClassVar[str] = "hf"

    def __init__(
        self,
        network: PreTrainedModel,
        preprocessing: Preprocessing | None = None,
        size: Size | None = None,
        random_weights: bool = False,
    ) -> None:
        given = json.loads(network.config.to_json_string(use_diff=False))
        kind = _kind_of(given, "the network")
        if type(network).__name__ != kind:
            raise CompatibilityError(
                f"{type(network).__name__} is not the class that a {given['model_type']} backbone is rebuilt from; "
                f"build it as transformers.{kind}"
            )
        architecture = complete_architecture(given, "the network")
        super().__init__((), None, size, input_divisor(architecture, Family(architecture["model_type"], kind)))
        if getattr(network, "pooler", None) is not None:
            # Nothing here reads it, and where a checkpoint has none it would be random, and so the network's
            # identity. Its owner keeps it: what is changed is a copy that shares all weights.
            network = copy.copy(network)
            network._modules = {**network._modules}
            network.register_module("pooler", None)
        self.network = network.eval()
        self.architecture = architecture
        self.preprocessing = preprocessing or Preprocessing(*IMAGENET)
        self.random_weights = random_weights
        self.taps: Taps = transformer_taps(network)
        self.eval()

    @property
    def feature_info(self) -> Mapping[str, FeatureInfo]:
        """Stages and the insides of transformer blocks; see `transformer_taps`."""
        return self.taps.info

    @property
    def provides(self) -> frozenset[str]:
        """Features and their gradients; without classes there are no logits, nor anything for dropout to vary."""
        return frozenset({"features", "gradient"})

    def working_size(self, image_size: Size, size: Size | None = None) -> Size:
        """``(height, width)`` an image of ``image_size`` is resized to, before padding."""
        return size or self.size or self.preprocessing.size(image_size)

    def segment(self, batch: Tensor, features: Sequence[str]) -> SegmentationOutput:
        """Run the backbone where features are asked for; see `Segmenter.forward`. The logits are ``(B, 0, h, w)``."""
        size = (int(batch.shape[-2]), int(batch.shape[-1]))
        found: Mapping[str, Tensor] = {}
        if features:
            options = {"interpolate_pos_encoding": True} if self.architecture["model_type"] == "vit" else {}
            with self.taps.recording(features) as found:
                self.network(self.preprocessing.apply(batch), **options)
        return SegmentationOutput(batch.new_zeros(len(batch), 0, *size), size, size, found)

    def config(self) -> dict[str, object]:
        """Options that rebuild this network, without weights."""
        facts = self.preprocessing
        return {
            **super().config(),
            "architecture": self.architecture,
            "mean": list(facts.mean),
            "std": list(facts.std),
            "scale": facts.scale,
            "bgr": facts.bgr,
            "shortest_edge": facts.shortest_edge or 0,
            "longest_edge": facts.longest_edge or 0,
            "random_weights": self.random_weights,
        }

    def identity(self) -> dict[str, object]:
        """What a result card says about the network: also its architecture and how its input is made."""
        told = {key: value for key, value in self.config().items() if key != "architecture"}
        kind = BACKBONE_KINDS[self.architecture["model_type"]]
        return {**told, **super().identity(), "network": kind, "divisor": self.divisor}


def _kind_of(architecture: Mapping[str, Any], what: str) -> str:
    model_type = str(architecture.get("model_type"))
    if model_type not in BACKBONE_KINDS:
        raise CompatibilityError(
            f"{what} holds a model of type {model_type!r}, which is no known backbone; "
            f"those are {', '.join(BACKBONE_KINDS)}"
        )
    return BACKBONE_KINDS[model_type]
