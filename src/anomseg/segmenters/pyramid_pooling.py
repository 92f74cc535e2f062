"""Pyramid pooling (Zhao et al.: Pyramid Scene Parsing Network, CVPR 2017, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GRIDS = (1, 2, 3, 6)


def activation(leak: float) -> nn.Module:
    """ReLU, or leaky ReLU where some of the negative side leaks through."""
    return nn.LeakyReLU(leak) if leak else nn.ReLU()


def conv_norm(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size, and its batch norm in place of a bias."""
    padding = kernel // 2 * dilation
    return [
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
    ]


class PyramidPooling(nn.Module):
    """Means over grids of several sizes beside the map itself, fused by a 3x3 convolution and, usually, a batch norm.

    Args:
        inputs: Channels that come in.
        branch: Channels that each grid's means are reduced to.
        outputs: Channels that go out, before any activation.
        leak: Slope of the negative side within the branches.
        norm: Normalise the branches; the coarsest one then sees one value a crop, so that a step needs two crops.
        grids: Cells along each side.
        last_norm: The batch norm after the fusing convolution is there.
    """

    def __init__(
        self,
        inputs: int,
        branch: int,
        outputs: int,
        leak: float = 0.0,
        norm: bool = True,
        grids: Sequence[int] = GRIDS,
        last_norm: bool = True,
    ) -> None:
        super().__init__()
        self.grids = tuple(grids)
        self.branches = nn.ModuleList(
            nn.Sequential(*(conv_norm(inputs, branch) if norm else [nn.Conv2d(inputs, branch, 1)]), activation(leak))
            for _ in self.grids
        )
        fuse = conv_norm(inputs + branch * len(self.grids), outputs, 3)
        self.fuse = nn.Sequential(*(fuse if last_norm else fuse[:1]))

    @property
    def norm(self) -> nn.BatchNorm2d:
        """The batch norm that comes last."""
        last = self.fuse[-1]
        assert isinstance(last, nn.BatchNorm2d)  # noqa: S101 - by construction
        return last

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, h, w)`` to ``(B, outputs, h, w)``, any size."""
        size = (x.shape[-2], x.shape[-1])
        pooled = [
            F.interpolate(branch(F.adaptive_avg_pool2d(x, grid)), size, mode="bilinear", align_corners=False)
            for branch, grid in zip(self.branches, self.grids, strict=True)
        ]
        return self.fuse(torch.cat([x, *pooled], 1))
