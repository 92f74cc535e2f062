"""What networks over a residual encoder share: its options, its normalisation, deep supervision on its third stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from anomseg.errors import unknown_name
from anomseg.segmenters.base import Size
from anomseg.segmenters.cosine import Classifier, make_classifier
from anomseg.segmenters.pixels import IMAGENET
from anomseg.segmenters.pyramid_pooling import activation, conv_norm
from anomseg.segmenters.resnet import UNUSED, ResNet
from anomseg.segmenters.trainable import EncoderNetwork
from anomseg.types import FeatureInfo

Backbone = Literal["resnet18", "resnet34", "resnet50", "resnet101"]
NormActivation = Literal["bn_relu", "bn_leaky"]
LEAKS = {"bn_relu": 0.0, "bn_leaky": 0.01}


class ResNetSegmenter(EncoderNetwork):
    """A dilated residual encoder with the auxiliary classifier of PSPNet; subclasses add the head.

    Args:
        classes: Class names.
        palette: One RGB triple a class.
        size: Working size ``(height, width)``; None keeps each image's own.
        backbone: Depth of the encoder.
        output_stride: 8 or 16: stride of the encoder's last map.
        bottleneck: Channels of the bottleneck.
        norm_activation: ``bn_relu``, or ``bn_leaky``: leaky ReLU of slope 0.01 throughout.
        dropout: Share of bottleneck channels dropped in training.
        width: Channels of the encoder's stem.
        bias: Linear classifiers have a bias.
        classifier: ``linear``, or ``cosine``: logits are cosines to one prototype a class, times 10.
        extra_class: The classifiers have one output more, for what is none of the classes; it needs linear ones.
    """

    unused_weights: ClassVar[tuple[str, ...]] = UNUSED
    smallest_batch: ClassVar[int] = 2
    early_layers: ClassVar[tuple[str, ...]] = ("stage3",)
    encoder_layers: ClassVar[tuple[str, ...]] = ("stage1", "stage2", "stage3", "encoder")

    def __init__(
        self,
        classes: Sequence[str],
        palette: Sequence[Sequence[int]] | None,
        size: Size | None,
        backbone: Backbone,
        output_stride: Literal[8, 16],
        bottleneck: int,
        norm_activation: NormActivation,
        dropout: float,
        width: int,
        bias: bool,
        classifier: Classifier,
        extra_class: bool,
    ) -> None:
        super().__init__(classes, palette, size, divisor=output_stride)
        self.begin_heads(extra_class)
        if norm_activation not in LEAKS:
            raise unknown_name("norm_activation", norm_activation, LEAKS)
        self.options: dict[str, object] = {
            "backbone": backbone,
            "output_stride": output_stride,
            "bottleneck": bottleneck,
            "norm_activation": norm_activation,
            "dropout": dropout,
            "width": width,
            "bias": bias,
            "classifier": classifier,
        }
        self.leak, self.bottleneck = LEAKS[norm_activation], bottleneck
        self.register_buffer("mean", torch.tensor(IMAGENET[0]).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET[1]).view(3, 1, 1), persistent=False)
        self.encoder: ResNet = ResNet(backbone, output_stride, width, self.leak)
        self.dropout = nn.Dropout2d(dropout)
        self.auxiliary = nn.Sequential(
            *conv_norm(self.encoder.channels[2], bottleneck, 3),
            activation(self.leak),
            nn.Dropout2d(dropout),
            make_classifier(classifier, bottleneck, self.outputs, bias, extra_class),
        )

    @property
    def feature_info(self) -> Mapping[str, FeatureInfo]:
        """Maps of the encoder's stages."""
        return {
            name: FeatureInfo(channels, stride)
            for name, channels, stride in zip(
                self.encoder_layers, self.encoder.channels, self.encoder.strides, strict=True
            )
        }

    def encoder_maps(self, batch: Tensor) -> dict[str, Tensor]:
        """The encoder's stages of a batch in [0, 1]."""
        return self.encoder((batch - self.get_buffer("mean")) / self.get_buffer("deviation"))

    def classify_early(self, named: Mapping[str, Tensor]) -> Tensor:
        """Auxiliary logits, from the third stage."""
        return self.auxiliary(named["stage3"])

    def config(self) -> dict[str, object]:
        """Options that rebuild this network, without weights."""
        return {**super().config(), **self.options}
