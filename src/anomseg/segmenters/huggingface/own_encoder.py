"""Encoders of ours as a backbone of transformers, so that a mask head of the library can stand on one.

Registered with the library by its own means; a configuration names it by ``model_type: anomseg_encoder``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoBackbone, AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.backbone_utils import BackboneConfigMixin, BackboneMixin
from transformers.modeling_outputs import BackboneOutput

from anomseg.errors import CompatibilityError
from anomseg.segmenters.checkpoint import load_strictly
from anomseg.segmenters.erfnet_pyramid import ERFNetPyramid, ERFNetTrunk
from anomseg.segmenters.huggingface.families import OWN_ENCODER
from anomseg.segmenters.pyramid import PyramidTrunk
from anomseg.segmenters.trainable import encoder_weights

_STAGES = {
    "pyramid": ("stage4", "stage8", "stage16", "bottleneck"),
    "erfnet": ("stage1", "stage2", "encoder", "coarse"),
}


class EncoderConfig(BackboneConfigMixin, PreTrainedConfig):
    """Configuration of one of our encoders.

    Args:
        kind: ``pyramid``, the encoder and pyramid pooling of the bundled network, or ``erfnet``, its last map once
            more at half the resolution (``coarse``), since heads over several scales want a coarser one.
        widths: Of ``pyramid``: channels at strides 2, 4, 8 and 16.
        bottleneck: Of ``pyramid``: channels of the pooled feature.
        **kwargs: What every configuration of the library takes, such as ``out_features``.
    """

    model_type = OWN_ENCODER

    def __init__(
        self,
        kind: str = "pyramid",
        widths: tuple[int, ...] | list[int] = (32, 64, 128, 224),
        bottleneck: int = 128,
        **kwargs: Any,
    ) -> None:
        if kind not in _STAGES:
            raise CompatibilityError(f"{OWN_ENCODER} has the kinds {' and '.join(_STAGES)}, not {kind!r}")
        self.kind, self.widths, self.bottleneck = kind, list(widths), bottleneck
        self.stage_names = list(_STAGES[kind])
        chosen = kwargs.pop("out_features", None) or self.stage_names
        kwargs.pop("out_indices", None)
        kwargs.pop("stage_names", None)
        self.set_output_features_output_indices(out_indices=None, out_features=chosen)
        super().__init__(**kwargs)


class EncoderBackbone(BackboneMixin, PreTrainedModel):
    """One of our encoders behind the library's backbone interface.

    Args:
        config: Which one.
    """

    config_class = EncoderConfig
    base_model_prefix = "encoder"
    main_input_name = "pixel_values"
    has_attentions = False

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.trunk: nn.Module
        if config.kind == "pyramid":
            self.trunk = PyramidTrunk(config.widths, config.bottleneck)
            self.num_features = [info.channels for info in self.trunk.trunk_info().values()]
        else:
            self.trunk = ERFNetTrunk()
            self.num_features = [64, 128, 128, 128]
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """PyTorch's own initial values stay."""

    def forward(  # type: ignore[override]
        self, pixel_values: Tensor, **_: Any
    ) -> BackboneOutput:
        """Maps of the stages asked for, ``(B, D, h, w)`` each."""
        named: dict[str, Tensor] = self.trunk(pixel_values)
        if self.config.kind == "erfnet":
            named["coarse"] = F.avg_pool2d(named["encoder"], 2)
        maps: Any = tuple(named[name] for name in self.out_features)
        return BackboneOutput(feature_maps=maps)

    def load(self, state: Mapping[str, Tensor], what: str) -> None:
        """Set the weights from a checkpoint of a whole network of ours, or of ERFNet.

        Args:
            state: Tensors by name.
            what: Where they come from, for messages.

        Raises:
            CompatibilityError: They do not fit.
        """
        if self.config.kind == "erfnet":
            given = encoder_weights(state, ERFNetPyramid.unused_weights)
        else:
            parts = tuple(f"{name}." for name, _ in self.trunk.named_children())
            given = {name: value for name, value in state.items() if name.startswith(parts)}
        load_strictly(self.trunk, given, what)


AutoConfig.register(OWN_ENCODER, EncoderConfig, exist_ok=True)
AutoBackbone.register(EncoderConfig, EncoderBackbone, exist_ok=True)
