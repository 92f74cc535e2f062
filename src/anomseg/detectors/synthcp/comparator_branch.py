"""One branch of the comparator: a residual network of basic blocks in two or three dimensions.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. In two dimensions the parameters have the names of
the widely used ImageNet checkpoints, so that those can be loaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor, nn

Norm = Literal["batch", "group"]
NORMS = ("batch", "group")
CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
_BATCH_NORMS: dict[int, Callable[[int], nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_POOLS: dict[int, Callable[..., nn.Module]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
_GROUPS = 8


def make_norm(norm: Norm, channels: int, spatial_dims: int) -> nn.Module:
    """A batch norm, or a group norm of at most eight groups, which does not look at the other images of a batch."""
    if norm == "group":
        return nn.GroupNorm(math.gcd(_GROUPS, channels), channels)
    return _BATCH_NORMS[spatial_dims](channels)


class Block(nn.Module):
    """Two convolutions of side 3 and a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int, spatial_dims: int, norm: Norm) -> None:
        super().__init__()
        convolution = CONVOLUTIONS[spatial_dims]
        self.conv1 = convolution(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = make_norm(norm, width, spatial_dims)
        self.conv2 = convolution(width, width, 3, 1, 1, bias=False)
        self.bn2 = make_norm(norm, width, spatial_dims)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != width:
            self.downsample = nn.Sequential(
                convolution(inputs, width, 1, stride, bias=False), make_norm(norm, width, spatial_dims)
            )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, *S)`` to ``(B, width, *S / stride)``."""
        y = self.bn2(self.conv2(nn.functional.relu(self.bn1(self.conv1(x)))))
        return nn.functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class Branch(nn.Module):
    """The four stages of a residual network, without a classifier.

    Args:
        inputs: Channels that go in.
        widths: Channels of each stage; the stem has those of the first.
        blocks: Blocks of each stage.
        spatial_dims: 2 or 3.
        stem: Side of the stem's convolution, odd.
        pool: Halve the resolution after the stem once more, as published; without it maps are twice as fine.
        norm: ``batch`` or ``group``.
    """

    def __init__(
        self,
        inputs: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        spatial_dims: int,
        stem: int,
        pool: bool,
        norm: Norm,
    ) -> None:
        super().__init__()
        self.conv1 = CONVOLUTIONS[spatial_dims](inputs, widths[0], stem, 2, stem // 2, bias=False)
        self.bn1 = make_norm(norm, widths[0], spatial_dims)
        self.maxpool = _POOLS[spatial_dims](3, 2, 1) if pool else nn.Identity()
        stages, before = [], widths[0]
        for index, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            stage = []
            for block in range(count):
                stride = 2 if index > 0 and block == 0 else 1
                stage.append(Block(before, width, stride, spatial_dims, norm))
                before = width
            stages.append(nn.Sequential(*stage))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps of the four stages, the first at a quarter of the resolution of ``x`` or, without pooling, at half."""
        x = self.maxpool(nn.functional.relu(self.bn1(self.conv1(x))))
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return maps
