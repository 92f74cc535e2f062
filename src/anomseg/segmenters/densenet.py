"""Densely connected networks as encoders, with the parameter names of the widely used ImageNet checkpoints.

Huang et al., "Densely Connected Convolutional Networks", CVPR 2017.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.errors import unknown_name

UNUSED = ("classifier.",)  # ImageNet's classifier
BLOCKS = {"densenet121": (6, 12, 24, 16), "densenet169": (6, 12, 32, 32)}
NARROW = 4  # a 1x1 convolution narrows to so many times the growth before each 3x3 one
_OLD_NAME = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d\.)")


class DenseLayer(nn.Module):
    """A 1x1 and a 3x3 convolution, a batch norm and a ReLU before each, beside what comes in."""

    def __init__(self, inputs: int, growth: int, momentum: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs, momentum=momentum)
        self.conv1 = nn.Conv2d(inputs, NARROW * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(NARROW * growth, momentum=momentum)
        self.conv2 = nn.Conv2d(NARROW * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` to ``(B, inputs + growth, h, w)``."""
        y = self.conv1(F.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(F.relu(self.norm2(y)))], 1)


class Transition(nn.Module):
    """A 1x1 convolution that halves the channels, and means over 2x2 cells."""

    def __init__(self, inputs: int, momentum: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs, momentum=momentum)
        self.conv = nn.Conv2d(inputs, inputs // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` to ``(B, inputs / 2, h / 2, w / 2)``."""
        return F.avg_pool2d(self.conv(F.relu(self.norm(x))), 2)


class DenseNet(nn.Module):
    """The four dense blocks, without the classifier.

    Args:
        depth: ``densenet121`` or ``densenet169``.
        growth: Channels that each layer adds, 32 in the published networks; the stem has twice as many.
        momentum: Of the batch norms' running statistics, 0.01 in the ladder networks.

    Raises:
        ConfigError: An unknown depth.
    """

    def __init__(self, depth: str = "densenet121", growth: int = 32, momentum: float = 0.01) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise unknown_name("backbone", depth, BLOCKS)
        channels = 2 * growth
        parts: dict[str, nn.Module] = {
            "conv0": nn.Conv2d(3, channels, 7, 2, 3, bias=False),
            "norm0": nn.BatchNorm2d(channels, momentum=momentum),
        }
        found = []
        for number, layers in enumerate(BLOCKS[depth], 1):
            block = nn.Sequential()
            for index in range(layers):
                block.add_module(f"denselayer{index + 1}", DenseLayer(channels, growth, momentum))
                channels += growth
            parts[f"denseblock{number}"] = block
            found.append(channels)
            if number < len(BLOCKS[depth]):
                parts[f"transition{number}"] = Transition(channels, momentum)
                channels //= 2
        parts["norm5"] = nn.BatchNorm2d(channels, momentum=momentum)
        self.features = nn.ModuleDict(parts)
        self.channels = tuple(found)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Normalised images to ``stage1`` to ``stage3`` and ``encoder``: the blocks at strides 4, 8, 16 and 32.

        The last one is normalised, as a classifier would have it, and not activated.
        """
        parts = self.features
        x = F.max_pool2d(F.relu(parts["norm0"](parts["conv0"](x))), 2)
        named = {}
        for number in (1, 2, 3):
            named[f"stage{number}"] = x = parts[f"denseblock{number}"](x)
            x = parts[f"transition{number}"](x)
        named["encoder"] = parts["norm5"](parts["denseblock4"](x))
        return named


def present_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's tensors by the names in use now; the oldest checkpoints write ``norm.1`` for ``norm1``.

    Example:
        >>> list(present_names({"features.denseblock1.denselayer2.conv.1.weight": torch.zeros(1)}))
        ['features.denseblock1.denselayer2.conv1.weight']
    """
    return {_OLD_NAME.sub(r"\1\2", name): value for name, value in state.items()}
