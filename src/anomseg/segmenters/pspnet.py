"""PSPNet (Zhao et al., CVPR 2017) over a dilated residual network, with the bottleneck that prototype methods read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn

from anomseg.segmenters.base import Size
from anomseg.segmenters.cosine import Classifier, make_classifier
from anomseg.segmenters.pyramid_pooling import PyramidPooling, activation
from anomseg.segmenters.resnet_segmenter import Backbone, NormActivation, ResNetSegmenter
from anomseg.types import FeatureInfo


class PSPNet(ResNetSegmenter):
    """Dilated residual encoder, pyramid pooling, 3x3 convolution to the bottleneck, 1x1 classifier.

    With the defaults and ``norm_activation="bn_leaky"`` these are the shapes of PAnS (Fontanel et al. 2021): 51.3
    million parameters for thirteen classes, the auxiliary classifier counted.

    Args:
        classes: Class names.
        palette: One RGB triple a class.
        size: Working size ``(height, width)``; None keeps each image's own.
        backbone: Depth of the encoder.
        output_stride: Stride of encoder and bottleneck.
        bottleneck: Channels of the bottleneck, and of each branch of the pooling.
        norm_activation: ``bn_relu``, or ``bn_leaky``: leaky ReLU of slope 0.01 throughout.
        dropout: Share of bottleneck channels dropped in training.
        width: Channels of the encoder's stem, 64 in published networks.
        bias: Linear classifiers have a bias.
        classifier: ``linear``, or ``cosine``: logits are cosines to one prototype a class, times 10.
        outlier_layers: Feature maps that a head with an inlier and an outlier output reads; none for no such head.
        outlier_width: See `OutlierHead`.
        extra_class: The classifiers have one output more, for what is none of the classes; it needs linear ones.
    """

    registry_name: ClassVar[str] = "pspnet"
    classifier_reads: ClassVar[tuple[str, ...]] = ("bottleneck",)
    head_reads: ClassVar[tuple[str, ...]] = ("stage3", "encoder")

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
        self.pooling = PyramidPooling(self.encoder.channels[3], bottleneck, bottleneck, self.leak)
        self.activation = activation(self.leak)
        self.classifier = make_classifier(classifier, bottleneck, self.outputs, bias, extra_class)
        self.end_heads(outlier_layers, outlier_width)

    @property
    def feature_info(self) -> Mapping[str, FeatureInfo]:
        """Also ``bottleneck`` and, before its activation, ``bottleneck_linear``."""
        info = FeatureInfo(self.bottleneck, self.encoder.strides[3])
        return {**super().feature_info, "bottleneck_linear": info, "bottleneck": info}

    def complete(self, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The encoder's stages and the bottleneck, made of ``encoder`` alone."""
        linear = self.pooling(named["encoder"])
        return {**named, "bottleneck_linear": linear, "bottleneck": self.activation(linear)}

    def feature_norm(self, name: str) -> nn.BatchNorm2d | None:
        """The batch norm that ends ``bottleneck_linear``."""
        return self.pooling.norm if name == "bottleneck_linear" else None

    def classify(self, named: Mapping[str, Tensor]) -> Tensor:
        """Logits at the bottleneck's stride."""
        return self.classifier(self.dropout(named["bottleneck"]))
