"""The ladder DenseNet of training on noisy negatives: dense encoder, spatial pyramid, three steps up to stride 4.

Bevandić, Krešo, Oršić, Šegvić, arXiv 2101.09193; our own code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.errors import ConfigError
from anomseg.segmenters.base import Size
from anomseg.segmenters.densenet import UNUSED, DenseNet, present_names
from anomseg.segmenters.trainable import EncoderNetwork
from anomseg.types import FeatureInfo

MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)
DEVIATION = (70.60 / 255, 68.52 / 255, 71.42 / 255)
GRIDS = (8, 4, 2, 1)  # rows of the pyramid's grids
MOMENTUM = 0.01

Depth = Literal["densenet121", "densenet169"]


def _unit(inputs: int, outputs: int, kernel: int = 1, bias: bool = False) -> nn.Sequential:
    """Batch norm, ReLU, convolution."""
    return nn.Sequential(
        nn.BatchNorm2d(inputs, momentum=MOMENTUM),
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias),
    )


class SpatialPyramid(nn.Module):
    """Means over grids of 8, 4, 2 and 1 rows, with as many columns as keep their cells square.

    Args:
        inputs: Channels that come in.
        outputs: Channels that they are reduced to first, and that go out; each grid adds a quarter of them.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        branch = max(outputs // 4, 1)
        self.reduce = _unit(inputs, outputs)
        self.branches = nn.ModuleList(_unit(outputs, branch) for _ in GRIDS)
        self.fuse = _unit(outputs + branch * len(GRIDS), outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` to ``(B, outputs, h, w)``."""
        x = self.reduce(x)
        size = (x.shape[-2], x.shape[-1])
        pooled = []
        for rows, branch in zip(GRIDS, self.branches, strict=True):
            columns = max(round(rows * size[1] / size[0]), 1)
            means = branch(F.adaptive_avg_pool2d(x, (rows, columns)))
            pooled.append(F.interpolate(means, size, mode="bilinear", align_corners=False))
        return self.fuse(torch.cat([x, *pooled], 1))


class StepUp(nn.Module):
    """A coarse map at twice its resolution, a projection of a finer one added, then a 3x3 convolution."""

    def __init__(self, inputs: int, finer: int, outputs: int) -> None:
        super().__init__()
        self.skip = _unit(finer, inputs)
        self.blend = _unit(inputs, outputs, 3)

    def forward(self, coarse: Tensor, finer: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` and ``(B, finer, H, W)`` to ``(B, outputs, H, W)``."""
        size = (finer.shape[-2], finer.shape[-1])
        return self.blend(F.interpolate(coarse, size, mode="bilinear", align_corners=False) + self.skip(finer))


class LadderDenseNet(EncoderNetwork):
    """DenseNet, spatial pyramid pooling and a ladder to stride 4, with auxiliary heads at strides 32, 16 and 8.

    Every head is a batch norm, a ReLU and a 1x1 convolution. With ``outlier_layers: [ladder4]`` it is the published
    two-head network: 17.1 million parameters with DenseNet-169, 11.1 million with DenseNet-121.

    Args:
        classes: Class names.
        palette: One RGB triple a class.
        size: Working size ``(height, width)``; None keeps each image's own.
        backbone: Depth of the encoder.
        growth: Channels that each dense layer adds, 32 in the published networks.
        ladder: Channels of the pyramid and after each of the three steps.
        outlier_layers: Feature maps that a head with an inlier and an outlier output reads; none for no such head.
        outlier_width: See `OutlierHead`.
        extra_class: The classifiers have one output more, for what is none of the classes.

    Raises:
        ConfigError: An unknown backbone, or another number of steps than three.

    Example:
        >>> network = LadderDenseNet(["road", "sky"], growth=2, ladder=(8, 4, 4, 4)).eval()
        >>> network(torch.rand(1, 3, 64, 96)).logits.shape
        torch.Size([1, 2, 16, 24])
    """

    registry_name: ClassVar[str] = "ladder_densenet"
    unused_weights: ClassVar[tuple[str, ...]] = UNUSED
    smallest_batch: ClassVar[int] = 2
    encoder_layers: ClassVar[tuple[str, ...]] = ("stage1", "stage2", "stage3", "encoder")
    head_reads: ClassVar[tuple[str, ...]] = encoder_layers
    complete_reads: ClassVar[tuple[str, ...]] = encoder_layers
    early_layers: ClassVar[tuple[str, ...]] = ("bottleneck", "ladder16", "ladder8")
    classifier_reads: ClassVar[tuple[str, ...]] = ("ladder4",)

    def __init__(
        self,
        classes: Sequence[str],
        palette: Sequence[Sequence[int]] | None = None,
        size: Size | None = None,
        backbone: Depth = "densenet121",
        growth: int = 32,
        ladder: Sequence[int] = (512, 256, 256, 128),
        outlier_layers: Sequence[str] = (),
        outlier_width: int = 0,
        extra_class: bool = False,
    ) -> None:
        super().__init__(classes, palette, size, divisor=32)
        if len(ladder) != 4 or min(ladder) < 1:
            raise ConfigError(f"ladder is the channels of the pyramid and of three steps up, got {list(ladder)}")
        self.begin_heads(extra_class)
        self.backbone, self.growth, self.ladder = backbone, growth, tuple(ladder)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)
        self.encoder: DenseNet = DenseNet(backbone, growth, MOMENTUM)
        first, second, third, last = self.encoder.channels
        top, at16, at8, at4 = self.ladder
        self.pyramid = SpatialPyramid(last, top)
        self.to16, self.to8, self.to4 = StepUp(top, third, at16), StepUp(at16, second, at8), StepUp(at8, first, at4)
        self.classifier = _unit(at4, self.outputs, bias=True)
        self.auxiliary = nn.ModuleList(_unit(width, self.outputs, bias=True) for width in (top, at16, at8))
        self.end_heads(outlier_layers, outlier_width)

    @property
    def feature_info(self) -> Mapping[str, FeatureInfo]:
        """The dense blocks, the pyramid's map (``bottleneck``) and the ladder's three."""
        blocks = zip(self.encoder_layers, self.encoder.channels, (4, 8, 16, 32), strict=True)
        steps = zip((*self.early_layers, "ladder4"), self.ladder, (32, 16, 8, 4), strict=True)
        return {name: FeatureInfo(channels, stride) for name, channels, stride in (*blocks, *steps)}

    def encoder_maps(self, batch: Tensor) -> dict[str, Tensor]:
        """The dense blocks' maps of a batch in [0, 1]."""
        return self.encoder((batch - self.get_buffer("mean")) / self.get_buffer("deviation"))

    def complete(self, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those maps, the pyramid's and the ladder's."""
        found = {**named, "bottleneck": self.pyramid(named["encoder"])}
        found["ladder16"] = self.to16(found["bottleneck"], named["stage3"])
        found["ladder8"] = self.to8(found["ladder16"], named["stage2"])
        found["ladder4"] = self.to4(found["ladder8"], named["stage1"])
        return found

    def classify(self, named: Mapping[str, Tensor]) -> Tensor:
        """Logits at stride 4."""
        return self.classifier(named["ladder4"])

    def early_logits(self, named: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Auxiliary logits at strides 32, 16 and 8."""
        return tuple(head(named[name]) for head, name in zip(self.auxiliary, self.early_layers, strict=True))

    def classify_early(self, named: Mapping[str, Tensor]) -> Tensor:
        """The mean of all auxiliary logits at stride 8, for losses that take one map."""
        maps = self.early_logits(named)
        size = (maps[-1].shape[-2], maps[-1].shape[-1])
        raised = [F.interpolate(one, size, mode="bilinear", align_corners=False) for one in maps]
        return torch.stack(raised).mean(0)

    def load_encoder(self, state: Mapping[str, Tensor], what: str) -> None:
        """Set the encoder's weights; see `EncoderNetwork.load_encoder`."""
        super().load_encoder(present_names(state), what)

    def config(self) -> dict[str, object]:
        """Options that rebuild this network, without weights."""
        return {**super().config(), "backbone": self.backbone, "growth": self.growth, "ladder": list(self.ladder)}
