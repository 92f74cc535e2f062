"""Residual networks as dilated encoders, with the parameter names of the widely used ImageNet checkpoints.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; the stride of a bottleneck block lies in its 3x3
convolution. Dilation in place of stride: Yu, Koltun, Funkhouser, "Dilated Residual Networks", CVPR 2017.
"""

from __future__ import annotations

from torch import Tensor, nn

from anomseg.errors import ConfigError, unknown_name
from anomseg.segmenters.pyramid_pooling import activation

UNUSED = ("fc.",)  # ImageNet's classifier
BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
DILATIONS = {8: (1, 1, 2, 4), 16: (1, 1, 1, 2), 32: (1, 1, 1, 1)}  # of the four stages, by output stride


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2 * dilation, dilation, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, dilation: int, leak: float) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(inputs, width, 3, stride, dilation), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3, 1, dilation), nn.BatchNorm2d(width)
        self.activation = activation(leak)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` to ``(B, width, h / stride, w / stride)``."""
        y = self.bn2(self.conv2(self.activation(self.bn1(self.conv1(x)))))
        return self.activation(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 ones that narrow and widen, and a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, dilation: int, leak: float) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(inputs, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3, stride, dilation), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _conv(width, 4 * width, 1), nn.BatchNorm2d(4 * width)
        self.activation = activation(leak)
        self.downsample = _shortcut(inputs, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` to ``(B, 4 * width, h / stride, w / stride)``."""
        y = self.activation(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.activation(self.bn2(self.conv2(y)))))
        return self.activation(y + (x if self.downsample is None else self.downsample(x)))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    """The four stages of a residual network, without its classifier.

    Args:
        depth: ``resnet18``, ``resnet34``, ``resnet50`` or ``resnet101``.
        output_stride: 8, 16 or 32; late stages keep their size by dilation instead of a stride.
        width: Channels of the stem, 64 in the published networks.
        leak: Slope of the activation's negative side; 0 is ReLU.

    Raises:
        ConfigError: An unknown depth or output stride.
    """

    def __init__(self, depth: str = "resnet50", output_stride: int = 8, width: int = 64, leak: float = 0.0) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise unknown_name("backbone", depth, BLOCKS)
        if output_stride not in DILATIONS:
            raise ConfigError(f"an output stride of {output_stride} is not to be had; choose 8, 16 or 32")
        block = BasicBlock if depth in ("resnet18", "resnet34") else Bottleneck
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.activation = activation(leak)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs, stages = width, []
        for stage, (count, dilation) in enumerate(zip(BLOCKS[depth], DILATIONS[output_stride], strict=True)):
            narrow = width * 2**stage
            blocks = []
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 and dilation == 1 else 1
                blocks.append(block(inputs, narrow, stride, dilation, leak))
                inputs = narrow * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.channels = tuple(width * 2**stage * block.expansion for stage in range(4))
        self.strides = tuple(min(stride, output_stride) for stride in (4, 8, 16, 32))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=leak, mode="fan_out", nonlinearity="leaky_relu")

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Normalised images to ``stage1``, ``stage2``, ``stage3`` and ``encoder`` (the fourth)."""
        named = {"stage1": self.layer1(self.maxpool(self.activation(self.bn1(self.conv1(x)))))}
        named["stage2"] = self.layer2(named["stage1"])
        named["stage3"] = self.layer3(named["stage2"])
        named["encoder"] = self.layer4(named["stage3"])
        return named
