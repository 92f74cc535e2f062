"""A network that learns another one's features and has no classes of its own: DiCNet's student.

Zhou et al., arXiv 2112.09908. As published: a dilated residual encoder, pyramid pooling, and a 3x3 convolution to the
teacher's width, with no batch norm after it. ``pyramid`` is ours, for a processor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.errors import ConfigError, unknown_name
from anomseg.segmenters.base import SegmentationOutput, Segmenter, Size
from anomseg.segmenters.checkpoint import load_strictly
from anomseg.segmenters.pixels import IMAGENET
from anomseg.segmenters.pyramid import PyramidTrunk
from anomseg.segmenters.pyramid_pooling import PyramidPooling
from anomseg.segmenters.resnet import BLOCKS, UNUSED, ResNet
from anomseg.segmenters.trainable import encoder_weights
from anomseg.types import FeatureInfo

DISTILLED = "distilled"
"""Name of the feature map that a student gives."""
STRIDE = 8
Encoder = Literal["resnet18", "resnet34", "resnet50", "resnet101", "pyramid"]


class PyramidHead(nn.Module):
    """The pooled map of a `PyramidTrunk` beside its map at stride 8, joined by a 3x3 convolution.

    With ``hidden`` channels that convolution ends in a batch norm and a ReLU, and a 1x1 convolution gives the map.
    """

    def __init__(self, third: int, pooled: int, outputs: int, hidden: int = 0) -> None:
        super().__init__()
        self.fuse = nn.Conv2d(third + pooled, hidden or outputs, 3, padding=1, bias=not hidden)
        last = (nn.BatchNorm2d(hidden), nn.ReLU(), nn.Conv2d(hidden, outputs, 1)) if hidden else ()
        self.last = nn.Sequential(*last)

    def forward(self, named: Mapping[str, Tensor]) -> Tensor:
        """Maps of the trunk to ``(B, outputs, h, w)`` at stride 8."""
        fine = named["stage8"]
        coarse = F.interpolate(named["bottleneck"], fine.shape[-2:], mode="bilinear", align_corners=False)
        return self.last(self.fuse(torch.cat([fine, coarse], 1)))


class PooledHead(nn.Module):
    """Pyramid pooling over the last map of a `ResNet`, and the 3x3 convolution without a batch norm."""

    def __init__(self, inputs: int, branch: int, outputs: int) -> None:
        super().__init__()
        self.pooling = PyramidPooling(inputs, branch, outputs, last_norm=False)

    def forward(self, named: Mapping[str, Tensor]) -> Tensor:
        """Maps of the encoder to ``(B, outputs, h, w)`` at stride 8."""
        return self.pooling(named["encoder"])


class Student(Segmenter):
    """An encoder of its own, pyramid pooling, and a map as wide as the teacher's at stride 8.

    It shares no weight with any other network. Its one feature map, ``distilled``, is linear: teachers' features have
    either sign.

    Args:
        channels: Channels of the teacher's feature map.
        size: Working size ``(height, width)``; None keeps each image's own.
        encoder: ``resnet34`` as published; the other residual ones; or ``pyramid``, of plain 3x3 convolutions at
            strides 2 to 16, which a processor trains in minutes.
        width: Channels at stride 2: 64 in published residual encoders. A ``pyramid`` has 2, 4 and 7 times as many at
            strides 4, 8 and 16.
        branch: Channels of each branch of the pooling, 512 as published; of a ``pyramid``, of its pooled map.
        hidden: Channels between the 3x3 convolution that joins a ``pyramid``'s maps and a 1x1 one that gives the
            teacher's; 0 leaves both out, and the 3x3 one gives them.

    Raises:
        ConfigError: An unknown encoder, numbers below 1, or ``hidden`` of another encoder than ``pyramid``.

    Example:
        >>> student = Student(12, encoder="pyramid", width=4, branch=8).eval()
        >>> student(torch.rand(1, 3, 32, 48), features=("distilled",)).features["distilled"].shape
        torch.Size([1, 12, 4, 6])
    """

    registry_name: ClassVar[str] = "student"

    def __init__(
        self,
        channels: int,
        size: Size | None = None,
        encoder: Encoder = "resnet34",
        width: int = 64,
        branch: int = 512,
        hidden: int = 0,
    ) -> None:
        super().__init__((), size=size, divisor=STRIDE)
        if encoder != "pyramid" and encoder not in BLOCKS:
            raise unknown_name("encoder", encoder, ("pyramid", *BLOCKS))
        if min(channels, width, branch) < 1:
            raise ConfigError(
                f"channels, width and branch of a student are 1 or more, got {channels}, {width}, {branch}"
            )
        if hidden < 0 or (hidden and encoder != "pyramid"):
            raise ConfigError(
                f"hidden is 0 or, of a student with encoder 'pyramid', the channels before its last convolution; got "
                f"{hidden} with {encoder!r}"
            )
        self.channels, self.kind, self.width, self.branch, self.hidden = channels, encoder, width, branch, hidden
        self.register_buffer("mean", torch.tensor(IMAGENET[0]).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET[1]).view(3, 1, 1), persistent=False)
        self.encoder: nn.Module
        self.head: nn.Module
        if encoder == "pyramid":
            self.encoder = PyramidTrunk((width, 2 * width, 4 * width, 7 * width), branch)
            self.head = PyramidHead(4 * width, branch, channels, hidden)
        else:
            self.encoder = residual = ResNet(encoder, STRIDE, width)
            self.head = PooledHead(residual.channels[3], branch, channels)

    @property
    def least_crops(self) -> int:
        """Crops a training step needs: the batch norm of the coarsest grid of a `PooledHead` sees one value a crop."""
        return 1 if self.kind == "pyramid" else 2

    @property
    def feature_info(self) -> Mapping[str, FeatureInfo]:
        """``distilled``: the teacher's feature as this network guesses it."""
        return {DISTILLED: FeatureInfo(self.channels, STRIDE)}

    def distil(self, batch: Tensor) -> Tensor:
        """The teacher's feature as this network guesses it, ``(B, channels, h / 8, w / 8)`` of a batch in [0, 1]."""
        return self.head(self.encoder((batch - self.get_buffer("mean")) / self.get_buffer("deviation")))

    def segment(self, batch: Tensor, features: Sequence[str]) -> SegmentationOutput:
        """No logits, and the feature map where it is asked for; see `Segmenter.forward`."""
        size, guess = (batch.shape[-2], batch.shape[-1]), self.distil(batch)
        return SegmentationOutput(
            guess.new_zeros(len(guess), 0, *guess.shape[-2:]), size, size, dict.fromkeys(features, guess)
        )

    def load_encoder(self, state: Mapping[str, Tensor], what: str) -> None:
        """Set the encoder's weights; see `EncoderNetwork.load_encoder`."""
        load_strictly(self.encoder, encoder_weights(state, UNUSED), what)

    def config(self) -> dict[str, object]:
        """Options that rebuild this network, without weights."""
        return {
            **super().config(),
            "channels": self.channels,
            "encoder": self.kind,
            "width": self.width,
            "branch": self.branch,
            "hidden": self.hidden,
        }
