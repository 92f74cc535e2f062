"""Spatially adaptive denormalisation (Park, Liu, Wang, Zhu, CVPR 2019): the blocks of a generator from layouts."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Norm = Literal["instance", "batch"]
SLOPE = 0.2
"""Of the leaky ReLUs."""
_CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
_NORMS: dict[tuple[str, int], type[nn.Module]] = {
    ("instance", 2): nn.InstanceNorm2d,
    ("instance", 3): nn.InstanceNorm3d,
    ("batch", 2): nn.BatchNorm2d,
    ("batch", 3): nn.BatchNorm3d,
}


class SpectralConvolution(nn.Module):
    """A convolution whose weight is divided by its largest singular value (Miyato et al., ICLR 2018).

    The singular value is followed by one power iteration a training step; in evaluation it stays as it is. Unlike
    torch's own, a module with it can be sent to another process.

    Args:
        convolution: Whose weight and bias are taken over.
    """

    vector: Tensor

    def __init__(self, convolution: nn.Conv2d | nn.Conv3d) -> None:
        super().__init__()
        self.convolution = convolution
        flat = convolution.weight.detach().flatten(1)
        vector = F.normalize(torch.randn(len(flat)), dim=0)
        for _ in range(15):
            vector = F.normalize(flat @ F.normalize(flat.t() @ vector, dim=0), dim=0)
        self.register_buffer("vector", vector)

    def weight(self) -> Tensor:
        """The weight that the convolution is done with."""
        weight = self.convolution.weight
        flat = weight.flatten(1)
        with torch.autocast(weight.device.type, enabled=False):  # half precision would blur the singular value
            with torch.no_grad():
                right = F.normalize(flat.t() @ self.vector, dim=0)
                if self.training:
                    self.vector.copy_(F.normalize(flat @ right, dim=0))
                left = self.vector.clone()  # the next pass changes the buffer, which backward still reads
            return weight / (left @ (flat @ right))

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of ``x``."""
        return self.convolution._conv_forward(x, self.weight(), self.convolution.bias)


def convolution(dims: int, inside: int, outside: int, kernel: int = 3, **options: Any) -> nn.Conv2d | nn.Conv3d:
    """A convolution that keeps the size of what it reads."""
    return _CONVOLUTIONS[dims](inside, outside, kernel, padding=kernel // 2, **options)


class SPADE(nn.Module):
    """``norm(x) * (1 + gamma) + beta``, where gamma and beta are computed of the layout at every place.

    Args:
        features: Channels of x.
        classes: Channels of the layout.
        hidden: Channels between the layout and gamma and beta.
        dims: 2 or 3.
        norm: The normalisation without parameters.
    """

    def __init__(self, features: int, classes: int, hidden: int, dims: int, norm: Norm) -> None:
        super().__init__()
        self.norm = _NORMS[norm, dims](features, affine=False)
        self.shared = convolution(dims, classes, hidden)
        self.gamma_beta = convolution(dims, hidden, 2 * features)  # one pass for both

    def forward(self, x: Tensor, layout: Tensor) -> Tensor:
        """``(B, features, *s)`` of ``x`` of that shape and a layout ``(B, classes, *S)``, resized to it nearest."""
        size = x.shape[2:]
        if layout.shape[2:] != size:
            layout = F.interpolate(layout, size, mode="nearest")
        gamma, beta = self.gamma_beta(F.relu(self.shared(layout))).chunk(2, 1)
        out: Tensor = self.norm(x) * (1 + gamma) + beta
        return out


class SPADEBlock(nn.Module):
    """Two convolutions behind SPADE and leaky ReLU, around which a shortcut goes; it is learned where channels change.

    Args:
        inside: Channels that are read.
        outside: Channels that are given.
        classes: Of the layout.
        hidden: Of `SPADE`.
        dims: 2 or 3.
        norm: Of `SPADE`.
        spectral: Divide the weights of the convolutions by their largest singular values.
    """

    def __init__(
        self, inside: int, outside: int, classes: int, hidden: int, dims: int, norm: Norm, spectral: bool
    ) -> None:
        super().__init__()
        between = min(inside, outside)
        self.spades = nn.ModuleList(SPADE(width, classes, hidden, dims, norm) for width in (inside, between))
        pairs = ((inside, between), (between, outside))
        made = [convolution(dims, *pair) for pair in pairs]
        self.shortcut_spade: SPADE | None = None
        self.shortcut: nn.Module | None = None
        if inside != outside:
            self.shortcut_spade = SPADE(inside, classes, hidden, dims, norm)
            straight = convolution(dims, inside, outside, 1, bias=False)
            self.shortcut = SpectralConvolution(straight) if spectral else straight
        self.convolutions = nn.ModuleList(SpectralConvolution(one) if spectral else one for one in made)

    def forward(self, x: Tensor, layout: Tensor) -> Tensor:
        """``(B, outside, *s)`` of ``x`` ``(B, inside, *s)`` and the layout ``(B, classes, *S)``."""
        past = x
        if self.shortcut is not None and self.shortcut_spade is not None:
            past = self.shortcut(self.shortcut_spade(x, layout))
        for spade, conv in zip(self.spades, self.convolutions, strict=True):
            x = conv(F.leaky_relu(spade(x, layout), SLOPE))
        return past + x
