"""A small residual network with pyramid pooling and a top-down decoder: the architecture of the bundled segmenter.

Ours, from well-known parts: residual blocks (He et al. 2016), pyramid pooling (Zhao et al. 2017) and lateral
connections (Lin et al. 2017). Plain 3x3 convolutions at strides 4 to 16, because those run fastest on a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.segmenters.base import SegmentationOutput, Size
from anomseg.segmenters.outlier_head import NegativesNetwork
from anomseg.types import FeatureInfo

MEAN, DEVIATION = 0.45, 0.27  # of RGB values in natural images; one pair for all channels


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = _conv(inputs, outputs, stride=stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            if stride != 1 or inputs != outputs
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` to ``(B, outputs, h / stride, w / stride)``."""
        return F.relu(self.second(self.first(x)) + self.shortcut(x))


class PyramidPooling(nn.Module):
    """Averages over grids of several sizes, so that every place knows the whole scene."""

    def __init__(self, inputs: int, outputs: int, grids: Sequence[int] = (1, 2, 4)) -> None:
        super().__init__()
        self.grids = tuple(grids)
        branch = outputs // 4
        self.branches = nn.ModuleList(nn.Sequential(nn.Conv2d(inputs, branch, 1), nn.ReLU()) for _ in self.grids)
        self.fuse = _conv(inputs + branch * len(self.grids), outputs, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` to ``(B, outputs, h, w)``."""
        pooled = [
            F.interpolate(branch(_grid_means(x, grid)), x.shape[-2:], mode="bilinear", align_corners=False)
            for branch, grid in zip(self.branches, self.grids, strict=True)
        ]
        return self.fuse(torch.cat([x, *pooled], 1))


def _grid_means(x: Tensor, grid: int) -> Tensor:
    return F.adaptive_avg_pool2d(x, (min(grid, x.shape[-2]), min(grid, x.shape[-1])))


class _TrunkParts(nn.Module):
    """The encoder and its pooled feature, under the parameter names that saved networks have."""

    widths: tuple[int, ...]
    bottleneck: int

    def build_trunk(self, widths: Sequence[int], bottleneck: int) -> None:
        """Make the modules, in the order that seeds rely on."""
        self.widths, self.bottleneck = tuple(widths), bottleneck
        first, second, third, fourth = self.widths
        self.stem = _conv(3, first, stride=2)
        self.stage4 = nn.Sequential(ResidualBlock(first, second, 2), ResidualBlock(second, second))
        self.stage8 = nn.Sequential(ResidualBlock(second, third, 2), ResidualBlock(third, third))
        self.stage16 = nn.Sequential(ResidualBlock(third, fourth, 2), ResidualBlock(fourth, fourth))
        self.pooling = PyramidPooling(fourth, bottleneck)

    def run_trunk(self, x: Tensor) -> dict[str, Tensor]:
        """``stage4``, ``stage8``, ``stage16`` and ``bottleneck`` of a batch from which mean and deviation are taken."""
        named: dict[str, Tensor] = {}
        named["stage4"] = self.stage4(self.stem(x))
        named["stage8"] = self.stage8(named["stage4"])
        named["stage16"] = self.stage16(named["stage8"])
        named["bottleneck"] = self.pooling(named["stage16"])
        return named

    def trunk_info(self) -> dict[str, FeatureInfo]:
        """Channels and stride of each map of the trunk."""
        widths = zip(("stage4", "stage8", "stage16"), self.widths[1:], (4, 8, 16), strict=True)
        stages = {name: FeatureInfo(width, stride) for name, width, stride in widths}
        return {**stages, "bottleneck": FeatureInfo(self.bottleneck, 16)}


class PyramidTrunk(_TrunkParts):
    """The encoder of `PyramidNet` and its pyramid pooling, for another head.

    Args:
        widths: Channels at strides 2, 4, 8 and 16.
        bottleneck: Channels of the pooled feature.
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 128, 224), bottleneck: int = 128) -> None:
        super().__init__()
        self.build_trunk(widths, bottleneck)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Maps by name; see `_TrunkParts.run_trunk`."""
        return self.run_trunk(x)


class PyramidNet(_TrunkParts, NegativesNetwork):
    """Residual encoder to stride 16, pyramid pooling, top-down decoder to stride 4.

    Args:
        classes: Class names.
        palette: One RGB triple a class.
        size: Working size ``(height, width)``; None keeps each image's own.
        widths: Channels at strides 2, 4, 8 and 16.
        bottleneck: Channels of the pooled feature and of the decoder.
        dropout: Share of bottleneck channels dropped in training.
        outlier_layers: Feature maps that a head with an inlier and an outlier output reads; none for no such head.
        outlier_width: See `OutlierHead`.
        extra_class: The classifiers have one output more, for what is none of the classes.
    """

    registry_name: ClassVar[str] = "pyramid"
    early_layers: ClassVar[tuple[str, ...]] = ("stage8",)
    classifier_reads: ClassVar[tuple[str, ...]] = ("decoder4",)

    def __init__(
        self,
        classes: Sequence[str],
        palette: Sequence[Sequence[int]] | None = None,
        size: Size | None = (360, 480),
        widths: Sequence[int] = (32, 64, 128, 224),
        bottleneck: int = 128,
        dropout: float = 0.1,
        outlier_layers: Sequence[str] = (),
        outlier_width: int = 0,
        extra_class: bool = False,
    ) -> None:
        super().__init__(classes, palette, size, divisor=16)
        self.begin_heads(extra_class)
        self.dropout_share = dropout
        self.build_trunk(widths, bottleneck)
        _, second, third, _ = self.widths
        self.dropout = nn.Dropout2d(dropout)
        self.lateral8, self.lateral4 = nn.Conv2d(third, bottleneck, 1), nn.Conv2d(second, bottleneck // 2, 1)
        self.merge8 = _conv(bottleneck, bottleneck)
        self.reduce = nn.Conv2d(bottleneck, bottleneck // 2, 1)
        self.merge4 = _conv(bottleneck // 2, bottleneck // 2)
        self.head = nn.Conv2d(bottleneck // 2, self.outputs, 1)
        self.auxiliary = nn.Conv2d(third, self.outputs, 1)
        self.end_heads(outlier_layers, outlier_width)

    @property
    def feature_info(self) -> Mapping[str, FeatureInfo]:
        """Encoder stages, the pooled bottleneck and the decoder's two maps."""
        return {
            **self.trunk_info(),
            "decoder8": FeatureInfo(self.bottleneck, 8),
            "decoder4": FeatureInfo(self.bottleneck // 2, 4),
        }

    def segment(self, batch: Tensor, features: Sequence[str]) -> SegmentationOutput:
        """Run the network; logits at stride 4. See `Segmenter.forward`."""
        return self.answer(self.encode(batch), batch, features)

    def classify(self, named: Mapping[str, Tensor]) -> Tensor:
        """Logits at stride 4."""
        return self.head(named["decoder4"])

    def classify_early(self, named: Mapping[str, Tensor]) -> Tensor:
        """Auxiliary logits at stride 8."""
        return self.auxiliary(named["stage8"])

    def encode(self, batch: Tensor) -> dict[str, Tensor]:
        """All named feature maps of a batch in [0, 1]."""
        named = self.run_trunk((batch - MEAN) / DEVIATION)
        top = _double(self.dropout(named["bottleneck"]), named["stage8"])
        named["decoder8"] = self.merge8(top + self.lateral8(named["stage8"]))
        top = _double(self.reduce(named["decoder8"]), named["stage4"])
        named["decoder4"] = self.merge4(top + self.lateral4(named["stage4"]))
        return named

    def training_logits(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Main logits (stride 4) and auxiliary ones (stride 8) for deep supervision."""
        named, count = self.encode(batch), len(self.classes)
        return self.classify(named)[:, :count], self.classify_early(named)[:, :count]

    def config(self) -> dict[str, object]:
        """Options that rebuild this network, without weights."""
        return {
            **super().config(),
            "classes": list(self.classes),
            "palette": [list(colour) for colour in self.palette],
            "widths": list(self.widths),
            "bottleneck": self.bottleneck,
            "dropout": self.dropout_share,
        }


def _double(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)
