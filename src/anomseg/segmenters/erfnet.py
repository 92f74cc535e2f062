"""ERFNet, written from its paper, with the parameter names of the published checkpoints.

Romera, Alvarez, Bergasa, Arroyo: "ERFNet: Efficient Residual Factorized ConvNet for Real-time Semantic Segmentation",
IEEE Transactions on Intelligent Transportation Systems, 2018.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from anomseg.data.label_space import label_space
from anomseg.errors import CompatibilityError
from anomseg.segmenters.base import SegmentationOutput, Segmenter, Size
from anomseg.segmenters.checkpoint import load_checkpoint, load_strictly
from anomseg.types import FeatureInfo

BATCH_NORM_EPSILON = 1e-3


class Downsampler(nn.Module):
    """Strided 3x3 convolution beside a 2x2 max pooling, concatenated (paper, section III-B)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs - inputs, 3, stride=2, padding=1)
        self.bn = nn.BatchNorm2d(outputs, eps=BATCH_NORM_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Halve the resolution."""
        # ceil_mode keeps the pooled map as large as the convolved one on odd sizes.
        pooled = nn.functional.max_pool2d(x, 2, stride=2, ceil_mode=True)
        return nn.functional.relu(self.bn(torch.cat([self.conv(x), pooled], 1)))


class NonBottleneck1D(nn.Module):
    """Residual block of two factorised 3x3 convolutions, the second one dilated (paper, figure 2c)."""

    def __init__(self, channels: int, dropout: float, dilation: int) -> None:
        super().__init__()
        d = dilation
        self.conv3x1_1 = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0))
        self.conv1x3_1 = nn.Conv2d(channels, channels, (1, 3), padding=(0, 1))
        self.bn1 = nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON)
        self.conv3x1_2 = nn.Conv2d(channels, channels, (3, 1), padding=(d, 0), dilation=(d, 1))
        self.conv1x3_2 = nn.Conv2d(channels, channels, (1, 3), padding=(0, d), dilation=(1, d))
        self.bn2 = nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        relu = nn.functional.relu
        y = relu(self.bn1(self.conv1x3_1(relu(self.conv3x1_1(x)))))
        y = self.bn2(self.conv1x3_2(relu(self.conv3x1_2(y))))
        return relu(self.dropout(y) + x)


class Upsampler(nn.Module):
    """Transposed convolution that doubles the resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
        self.bn = nn.BatchNorm2d(outputs, eps=BATCH_NORM_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Double the resolution."""
        return nn.functional.relu(self.bn(self.conv(x)))


class Encoder(nn.Module):
    """Layers 1 to 16 of the paper's table I: stride 8, 128 channels."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.initial_block = Downsampler(3, 16)
        layers: list[nn.Module] = [Downsampler(16, 64)]
        layers += [NonBottleneck1D(64, 0.03, 1) for _ in range(5)]
        layers += [Downsampler(64, 128)]
        layers += [NonBottleneck1D(128, 0.3, dilation) for dilation in (2, 4, 8, 16, 2, 4, 8, 16)]
        self.layers = nn.ModuleList(layers)
        # Head of the encoder's own pre-training; the published checkpoints carry it, the decoder does not use it.
        self.output_conv = nn.Conv2d(128, outputs, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Feature maps by name: ``stage1`` (stride 4) and ``encoder`` (stride 8)."""
        x = self.initial_block(x)
        named = {}
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index == 5:
                named["stage1"] = x
        named["encoder"] = x
        return named


class Decoder(nn.Module):
    """Layers 17 to 23 of the paper's table I, back to the input's size."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                Upsampler(128, 64),
                NonBottleneck1D(64, 0.0, 1),
                NonBottleneck1D(64, 0.0, 1),
                Upsampler(64, 16),
                NonBottleneck1D(16, 0.0, 1),
                NonBottleneck1D(16, 0.0, 1),
            ]
        )
        self.output_conv = nn.ConvTranspose2d(16, outputs, 2, stride=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits at the input's size, and the 16-channel map they are read from (stride 2)."""
        for layer in self.layers:
            x = layer(x)
        return self.output_conv(x), x


class ERFNet(Segmenter):
    """ERFNet behind the segmenter contract. Input RGB in [0, 1] with no mean or deviation taken off.

    Args:
        weights: Checkpoint file (safetensors, or a ``.pth`` that holds tensors only); random weights without one.
        classes: Class names; for a checkpoint of 19 or 20 outputs Cityscapes' nineteen when not given.
        void: The last output is void and not among the logits; by default it is where there is one output more
            than classes, as in the published 20-output checkpoints.
        size: Working size ``(height, width)``.
    """

    registry_name: ClassVar[str] = "erfnet"

    def __init__(
        self,
        weights: str | None = None,
        classes: Sequence[str] | None = None,
        void: bool | None = None,
        size: Size = (512, 1024),
    ) -> None:
        state: Mapping[str, Tensor] | None = load_checkpoint(weights) if weights else None
        outputs = _outputs_of(state, str(weights)) if state is not None else None
        palette = None
        if classes is None:
            cityscapes = label_space("cityscapes")
            if outputs is None or outputs in (len(cityscapes.names), len(cityscapes.names) + 1):
                classes, palette = cityscapes.names, cityscapes.palette
            else:
                classes = [f"class_{index}" for index in range(outputs - bool(void))]
        if outputs is None:
            outputs = len(classes) + (1 if void is None else int(void))
        void = outputs == len(classes) + 1 if void is None else void
        if outputs != len(classes) + int(void):
            raise CompatibilityError(
                f"the checkpoint has {outputs} outputs, but {len(classes)} classes"
                f"{' and void' if void else ''} were given"
            )
        super().__init__(classes, palette, size, divisor=8)
        self.void = void
        self.weights_path = weights
        self.encoder = Encoder(outputs)
        self.decoder = Decoder(outputs)
        if state is not None:
            load_strictly(self, state, f"ERFNet checkpoint {weights}")
        self.eval()

    @property
    def feature_info(self) -> Mapping[str, FeatureInfo]:
        """``stage1``, ``encoder`` (the bottleneck) and ``decoder`` (before the last layer)."""
        return {"stage1": FeatureInfo(64, 4), "encoder": FeatureInfo(128, 8), "decoder": FeatureInfo(16, 2)}

    def segment(self, batch: Tensor, features: Sequence[str]) -> SegmentationOutput:
        """Run encoder and decoder; see `Segmenter.forward`."""
        named = self.encoder(batch)
        logits, named["decoder"] = self.decoder(named["encoder"])
        return self.split_void(logits, batch, {name: named[name] for name in features})

    def config(self) -> dict[str, object]:
        """Options that rebuild this network, without weights."""
        return {**super().config(), "classes": list(self.classes), "void": self.void}


def _outputs_of(state: Mapping[str, Tensor], what: str) -> int:
    key = "decoder.output_conv.bias"
    if key not in state:
        raise CompatibilityError(
            f"{what} is no ERFNet checkpoint: it has no {key!r} (it begins with {next(iter(state), 'nothing')!r})"
        )
    return int(state[key].shape[0])
