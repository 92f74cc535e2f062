"""DeepLabV3+ (Chen et al.: Encoder-Decoder with Atrous Separable Convolution, ECCV 2018), plain convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.segmenters.base import Size
from anomseg.segmenters.cosine import Classifier, make_classifier
from anomseg.segmenters.pyramid_pooling import activation, conv_norm
from anomseg.segmenters.resnet_segmenter import Backbone, NormActivation, ResNetSegmenter
from anomseg.types import FeatureInfo

RATES = {8: (12, 24, 36), 16: (6, 12, 18)}  # dilations of the parallel convolutions, by output stride
LOW_LEVEL = 48  # channels that the decoder takes of the first stage


class AtrousPooling(nn.Module):
    """Convolutions of several dilations and the mean of the whole map, side by side, fused by a 1x1 convolution.

    Args:
        inputs: Channels that come in.
        branch: Channels of each branch.
        outputs: Channels that go out.
        rates: Dilations.
        leak: Slope of the activations' negative side.
    """

    def __init__(self, inputs: int, branch: int, outputs: int, rates: Sequence[int], leak: float) -> None:
        super().__init__()

        def layer(*modules: nn.Module) -> nn.Sequential:
            return nn.Sequential(*modules, activation(leak))

        self.branches = nn.ModuleList(
            [layer(*conv_norm(inputs, branch)), *(layer(*conv_norm(inputs, branch, 3, rate)) for rate in rates)]
        )
        self.whole = layer(*conv_norm(inputs, branch))
        self.fuse = layer(*conv_norm(branch * (len(self.branches) + 1), outputs))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` to ``(B, outputs, h, w)``."""
        mean = self.whole(x.mean((-2, -1), keepdim=True)).expand(-1, -1, *x.shape[-2:])
        return self.fuse(torch.cat([*(branch(x) for branch in self.branches), mean], 1))


class DeepLabV3Plus(ResNetSegmenter):
    """Dilated residual encoder, atrous pooling to the bottleneck, a decoder at stride 4, 1x1 classifier.

    Args:
        classes: Class names.
        palette: One RGB triple a class.
        size: Working size ``(height, width)``; None keeps each image's own.
        backbone: Depth of the encoder.
        output_stride: Stride of encoder and bottleneck; dilations are 12, 24, 36 at stride 8 and half that at 16.
        bottleneck: Channels of the bottleneck; the published network has 256.
        norm_activation: ``bn_relu``, or ``bn_leaky``: leaky ReLU of slope 0.01 throughout.
        dropout: Share of bottleneck channels dropped in training.
        width: Channels of the encoder's stem, 64 in published networks.
        bias: Linear classifiers have a bias.
        decoder: Channels of the decoder and of each branch of the pooling.
        classifier: ``linear``, or ``cosine``: logits are cosines to one prototype a class, times 10.
        outlier_layers: Feature maps that a head with an inlier and an outlier output reads; none for no such head.
        outlier_width: See `OutlierHead`.
        extra_class: The classifiers have one output more, for what is none of the classes; it needs linear ones.
    """

    registry_name: ClassVar[str] = "deeplabv3plus"
    classifier_reads: ClassVar[tuple[str, ...]] = ("decoder",)
    head_reads: ClassVar[tuple[str, ...]] = ("stage1", "stage3", "encoder")
    complete_reads: ClassVar[tuple[str, ...]] = ("stage1", "encoder")

    def __init__(
        self,
        classes: Sequence[str],
        palette: Sequence[Sequence[int]] | None = None,
        size: Size | None = None,
        backbone: Backbone = "resnet50",
        output_stride: Literal[8, 16] = 8,
        bottleneck: int = 512,
        norm_activation: NormActivation = "bn_relu",
        dropout: float = 0.1,
        width: int = 64,
        bias: bool = True,
        decoder: int = 256,
        classifier: Classifier = "linear",
        outlier_layers: Sequence[str] = (),
        outlier_width: int = 0,
        extra_class: bool = False,
    ) -> None:
        super().__init__(
            classes,
            palette,
            size,
            backbone,
            output_stride,
            bottleneck,
            norm_activation,
            dropout,
            width,
            bias,
            classifier,
            extra_class,
        )
        leak, channels = self.leak, self.encoder.channels
        self.options["decoder"] = self.decoder_width = decoder
        self.pooling = AtrousPooling(channels[3], decoder, bottleneck, RATES[output_stride], leak)
        self.low_level = nn.Sequential(*conv_norm(channels[0], LOW_LEVEL), activation(leak))
        self.decoder = nn.Sequential(
            *conv_norm(bottleneck + LOW_LEVEL, decoder, 3),
            activation(leak),
            *conv_norm(decoder, decoder, 3),
            activation(leak),
        )
        self.classifier = make_classifier(classifier, decoder, self.outputs, bias, extra_class)
        self.end_heads(outlier_layers, outlier_width)

    @property
    def feature_info(self) -> Mapping[str, FeatureInfo]:
        """Also ``bottleneck``, and ``decoder`` at stride 4."""
        return {
            **super().feature_info,
            "bottleneck": FeatureInfo(self.bottleneck, self.encoder.strides[3]),
            "decoder": FeatureInfo(self.decoder_width, 4),
        }

    def complete(self, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The encoder's stages, the bottleneck and the decoder's map."""
        bottleneck = self.pooling(named["encoder"])
        low = self.low_level(named["stage1"])
        high = F.interpolate(
            self.dropout(bottleneck), (low.shape[-2], low.shape[-1]), mode="bilinear", align_corners=False
        )
        return {**named, "bottleneck": bottleneck, "decoder": self.decoder(torch.cat([high, low], 1))}

    def classify(self, named: Mapping[str, Tensor]) -> Tensor:
        """Logits at stride 4."""
        return self.classifier(named["decoder"])
