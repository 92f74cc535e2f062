"""ERFNet's encoder with a pyramid-pooling head: a small network whose bottleneck lies at stride 8.

Encoder: Romera et al., "ERFNet", IEEE T-ITS 2018, with the parameter names of the published checkpoints. Head: pyramid
pooling (Zhao et al., CVPR 2017), ours in its sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.segmenters.base import Size
from anomseg.segmenters.cosine import Classifier, make_classifier
from anomseg.segmenters.erfnet import Encoder
from anomseg.segmenters.pyramid_pooling import GRIDS, PyramidPooling
from anomseg.segmenters.trainable import EncoderNetwork
from anomseg.types import FeatureInfo


class ERFNetTrunk(Encoder):
    """ERFNet's encoder without the head of its own pre-training, and with its middle map named."""

    def __init__(self) -> None:
        super().__init__(outputs=1)
        del self.output_conv

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """``stage1`` (64 channels, stride 4), ``stage2`` (128, 8: half way through the dilated blocks), ``encoder``."""
        x = self.initial_block(x)
        named = {}
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in (5, 10):
                named["stage1" if index == 5 else "stage2"] = x
        named["encoder"] = x
        return named


class ERFNetPyramid(EncoderNetwork):
    """ERFNet's encoder, pyramid pooling to a bottleneck at stride 8, a 1x1 classifier.

    The auxiliary classifier of deep supervision reads ``stage2``. Input RGB in [0, 1] with no mean or deviation taken
    off, as the encoder's checkpoints want it.

    Args:
        classes: Class names.
        palette: One RGB triple a class.
        size: Working size ``(height, width)``; None keeps each image's own.
        bottleneck: Channels of the bottleneck.
        dropout: Share of bottleneck channels dropped in training.
        classifier: ``linear``, or ``cosine``: logits are cosines to one prototype a class, times 10.
        outlier_layers: Feature maps that a head with an inlier and an outlier output reads; none for no such head.
        outlier_width: See `OutlierHead`.
        extra_class: The classifiers have one output more, for what is none of the classes; it needs linear ones.

    Example:
        >>> import torch
        >>> network = ERFNetPyramid(["road", "sky"], size=(32, 48)).eval()
        >>> network(torch.rand(1, 3, 32, 48), features=("bottleneck",)).features["bottleneck"].shape
        torch.Size([1, 128, 4, 6])
    """

    registry_name: ClassVar[str] = "erfnet_pyramid"
    head_reads: ClassVar[tuple[str, ...]] = ("stage2", "encoder")
    early_layers: ClassVar[tuple[str, ...]] = ("stage2",)
    classifier_reads: ClassVar[tuple[str, ...]] = ("bottleneck",)
    encoder_layers: ClassVar[tuple[str, ...]] = ("stage1", "stage2", "encoder")
    unused_weights: ClassVar[tuple[str, ...]] = ("output_conv.",)

    def __init__(
        self,
        classes: Sequence[str],
        palette: Sequence[Sequence[int]] | None = None,
        size: Size | None = (360, 480),
        bottleneck: int = 128,
        dropout: float = 0.1,
        classifier: Classifier = "linear",
        outlier_layers: Sequence[str] = (),
        outlier_width: int = 0,
        extra_class: bool = False,
    ) -> None:
        super().__init__(classes, palette, size, divisor=8)
        self.begin_heads(extra_class)
        self.bottleneck, self.dropout_share, self.classifier_kind = bottleneck, dropout, classifier
        self.encoder = ERFNetTrunk()
        # Small crops and batches would make the means of the coarsest grid too noisy to normalise.
        self.pooling = PyramidPooling(128, max(bottleneck // len(GRIDS), 1), bottleneck, norm=False)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = make_classifier(classifier, bottleneck, self.outputs, void=extra_class)
        self.auxiliary = make_classifier(classifier, 128, self.outputs, void=extra_class)
        self.end_heads(outlier_layers, outlier_width)

    @property
    def feature_info(self) -> Mapping[str, FeatureInfo]:
        """Maps of the encoder, and the bottleneck that the classifier reads, before and after its activation."""
        return {
            "stage1": FeatureInfo(64, 4),
            "stage2": FeatureInfo(128, 8),
            "encoder": FeatureInfo(128, 8),
            "bottleneck_linear": FeatureInfo(self.bottleneck, 8),
            "bottleneck": FeatureInfo(self.bottleneck, 8),
        }

    def encoder_maps(self, batch: Tensor) -> dict[str, Tensor]:
        """``stage1``, ``stage2`` and ``encoder`` of a batch in [0, 1]."""
        return self.encoder(batch)

    def complete(self, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those maps and the bottleneck, made of ``encoder`` alone."""
        linear = self.pooling(named["encoder"])
        return {**named, "bottleneck_linear": linear, "bottleneck": F.relu(linear)}

    def feature_norm(self, name: str) -> nn.BatchNorm2d | None:
        """The batch norm that ends ``bottleneck_linear``."""
        return self.pooling.norm if name == "bottleneck_linear" else None

    def classify(self, named: Mapping[str, Tensor]) -> Tensor:
        """Logits at stride 8."""
        return self.classifier(self.dropout(named["bottleneck"]))

    def classify_early(self, named: Mapping[str, Tensor]) -> Tensor:
        """Auxiliary logits at stride 8."""
        return self.auxiliary(named["stage2"])

    def config(self) -> dict[str, object]:
        """Options that rebuild this network, without weights."""
        return {
            **super().config(),
            "bottleneck": self.bottleneck,
            "dropout": self.dropout_share,
            "classifier": self.classifier_kind,
        }
