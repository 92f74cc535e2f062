"""The working grid: volumes of any size brought to one shape and one range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from anomseg.data.volumes.case import Mask, Volume
from anomseg.errors import ConfigError

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class WorkingGrid:
    """Size, range and region in which volumes are worked on.

    Attributes:
        size: ``(D, H, W)`` voxels.
        window: Hounsfield units that become -1 and 1; what lies outside is clipped.
        margin: Millimetres around the predicted mask that are kept; 0 keeps the whole volume. A small organ in a large
            volume has more voxels this way, at the cost of what lies elsewhere.
    """

    size: tuple[int, int, int] = (24, 64, 64)
    window: tuple[float, float] = (-160.0, 240.0)
    margin: float = 0.0

    def __post_init__(self) -> None:
        if len(self.size) != 3 or min(self.size) < 1:
            raise ConfigError(f"size {list(self.size)} is not D, H, W, each 1 or more")
        if not self.window[0] < self.window[1]:
            raise ConfigError(f"window {list(self.window)} is not two Hounsfield values, the lower one first")
        if not self.margin >= 0:
            raise ConfigError(f"margin is 0 millimetres or more, got {self.margin}")

    def region(self, mask: Mask | None, shape: tuple[int, ...], spacing: tuple[float, float, float]) -> Box:
        """The part of a volume that is worked on: around the mask where there is one and a margin is set.

        Args:
            mask: The predicted mask; classes other than 0 count.
            shape: ``(D, H, W)`` of the volume.
            spacing: Millimetres, ``(z, y, x)``.

        Returns:
            A slice of each axis.
        """
        whole = tuple(slice(0, side) for side in shape)
        if not self.margin or mask is None or not mask.any():
            return whole  # type: ignore[return-value]
        box = []
        for axis, (side, step) in enumerate(zip(shape, spacing, strict=True)):
            others = tuple(other for other in range(3) if other != axis)
            hit = np.flatnonzero(mask.any(axis=others))
            extra = int(np.ceil(self.margin / step))
            box.append(slice(max(int(hit[0]) - extra, 0), min(int(hit[-1]) + 1 + extra, side)))
        return tuple(box)  # type: ignore[return-value]

    def image(self, volume: Volume, box: Box) -> Tensor:
        """The region of a volume on the grid, float32 ``(D, H, W)`` in [-1, 1]."""
        low, high = self.window
        part = torch.from_numpy(np.ascontiguousarray(volume[box]))
        scaled = (part.clamp(low, high) - low) * (2 / (high - low)) - 1
        return resample(scaled[None], self.size)[0]

    def share(self, values: Volume, box: Box) -> Tensor:
        """The region of a map of shares or probabilities on the grid, ``(D, H, W)``."""
        return resample(torch.from_numpy(np.ascontiguousarray(values[box]))[None], self.size)[0]

    def layout(self, mask: Mask, box: Box, classes: int) -> Tensor:
        """The region of a mask on the grid: the share of each class, ``(C, D, H, W)`` in [0, 1]."""
        indices = torch.from_numpy(np.ascontiguousarray(mask[box]))
        # Class by class: all at once, a scan of the abdomen would take several gigabytes.
        return torch.cat([resample((indices == index)[None].float(), self.size) for index in range(classes)])

    def mask(self, mask: Mask, box: Box, classes: int) -> Tensor:
        """The region of a mask on the grid: the class with the largest share, int64 ``(D, H, W)``."""
        return self.layout(mask, box, classes).argmax(0)

    def back(self, values: Tensor, box: Box, shape: tuple[int, ...], outside: float = 0.0) -> NDArray[np.float32]:
        """A map ``(D, H, W)`` of the grid at a volume's own size; ``outside`` where the region does not reach."""
        whole = np.full(shape, outside, np.float32)
        size = tuple(part.stop - part.start for part in box)
        whole[box] = F.interpolate(values[None, None].float(), size, mode="trilinear")[0, 0].numpy()
        return whole


def resample(values: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Bring ``(C, D, H, W)`` to another size: means along axes that shrink, linear along those that grow.

    Example:
        >>> resample(torch.tensor([[[[0.0, 1.0, 2.0, 3.0]]]]), (2, 1, 2))[0, :, 0].tolist()
        [[0.5, 2.5], [0.5, 2.5]]
    """
    shrunk = tuple(min(side, wanted) for side, wanted in zip(values.shape[1:], size, strict=True))
    if shrunk != tuple(values.shape[1:]):
        values = F.adaptive_avg_pool3d(values[None], (shrunk[0], shrunk[1], shrunk[2]))[0]
    if shrunk != size:
        values = F.interpolate(values[None], size, mode="trilinear")[0]
    return values
