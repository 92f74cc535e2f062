"""Coupling layers: one part of the channels is scaled and shifted by what a network makes of the other."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.detectors.synthetic_outliers.flow.affine import affine, affine_inverse
from anomseg.detectors.synthetic_outliers.flow.layout import Parts


class ResidualConditioner(nn.Module):
    """A residual network of convolutions at one resolution, without normalisation: it sees images of any size alike.

    Its last layer begins at zero, so that a new flow is the identity.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        width: Channels within.
        blocks: Residual blocks.
    """

    def __init__(self, inputs: int, outputs: int, width: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 1))
            for _ in range(blocks)
        )
        self.last = nn.Conv2d(width, outputs, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None  # noqa: S101 - a convolution has one unless told otherwise
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` to ``(B, outputs, h, w)``."""
        hidden = self.first(x)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.last(F.relu(hidden))


class AffineCoupling(nn.Module):
    """``z_a = x_a``, ``z_b = x_b e^s + t`` with s and t of the part a: the inverse is as cheap as the forward pass.

    s is a learned scale for each channel times a tanh, so that no network output can make it explode.

    Args:
        parts: Channels that are read, and channels that are transformed.
        conditioner: Gives s and t, twice as many channels as are transformed, of those that are read.
    """

    reads: Tensor
    writes: Tensor
    back: Tensor

    def __init__(self, parts: Parts, conditioner: nn.Module) -> None:
        super().__init__()
        reads, writes = torch.tensor(parts[0]), torch.tensor(parts[1])
        self.conditioner = conditioner
        self.scale = nn.Parameter(torch.ones(len(writes)))
        self.register_buffer("reads", reads, persistent=False)
        self.register_buffer("writes", writes, persistent=False)
        self.register_buffer("back", torch.cat([reads, writes]).argsort(), persistent=False)

    def _scale_and_shift(self, read: Tensor) -> tuple[Tensor, Tensor]:
        # In half precision only the network runs: its answer is added up over thousands of values.
        raw, shift = self.conditioner(read).to(read.dtype).chunk(2, 1)
        return self.scale.view(-1, *[1] * (read.ndim - 2)) * raw.tanh(), shift

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Transform x ``(B, C, ...)``: z of that shape, and ``(B,)`` the log-determinant."""
        read, written = x.index_select(1, self.reads), x.index_select(1, self.writes)
        z, logdet = affine(written, *self._scale_and_shift(read))
        return torch.cat([read, z], 1).index_select(1, self.back), logdet

    def inverse(self, z: Tensor) -> Tensor:
        """The x of which `forward` made z."""
        read, written = z.index_select(1, self.reads), z.index_select(1, self.writes)
        x = affine_inverse(written, *self._scale_and_shift(read))
        return torch.cat([read, x], 1).index_select(1, self.back)


class Chain(nn.Module):
    """Couplings one after the other.

    Args:
        couplings: In the order of the forward pass.
    """

    def __init__(self, couplings: Iterable[AffineCoupling]) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(couplings)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Transform x ``(B, C, ...)``: z of that shape, and ``(B,)`` the log-determinant."""
        logdet = x.new_zeros(len(x))
        for coupling in self.couplings:
            x, change = coupling(x)
            logdet = logdet + change
        return x, logdet

    def inverse(self, z: Tensor) -> Tensor:
        """The x of which `forward` made z."""
        for coupling in reversed(self.couplings):
            assert isinstance(coupling, AffineCoupling)  # noqa: S101 - a module list forgets what it holds
            z = coupling.inverse(z)
        return z
