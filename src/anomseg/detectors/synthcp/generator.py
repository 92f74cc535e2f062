"""The SPADE generator: an image, or a volume, of a layout of classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.detectors.options import one_of, whole
from anomseg.detectors.synthcp.generator_files import (
    generator_meta,
    is_generator_directory,
    read_generator,
    rebuild,
    save_generator,
)
from anomseg.detectors.synthcp.spade import SLOPE, Norm, SPADEBlock, convolution
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.types import VOID

__all__ = [
    "SPADEGenerator",
    "generator_meta",
    "is_generator_directory",
    "load_generator",
    "one_hot_layout",
    "rebuild_generator",
    "save_generator",
]
MOST_DOUBLINGS = 6
"""Of a generator that is not told how many; those of the publication."""
_WIDEST = 16


class SPADEGenerator(nn.Module):
    """Renders what a layout says: deterministic, no noise goes in (Park et al., CVPR 2019, without the encoder).

    The layout, shrunk to the start size, goes through a convolution; then come SPADE blocks with a doubling of the size
    between any two, a leaky ReLU, a convolution and tanh. Block k of n doublings has ``width * min(16, 2^(n - k))``
    channels: 1024, 1024, 1024, 512, 256, 128, 64 as published (width 64, 256 x 512, six doublings from 4 x 8).

    Args:
        classes: Channels of the layout.
        channels: Of the image.
        spatial_dims: 2 for images, 3 for volumes.
        size: Of the image, ``spatial_dims`` numbers, each divisible by 2 to the number of doublings.
        width: Channels of the last block; 64 as published.
        hidden: Channels between the layout and what it makes of the normalised maps; 128 as published.
        ups: Doublings; as many as the size allows, six at most, where not given.
        norm: The normalisation without parameters. ``batch``, as published, counts over all images of a step, which
            takes large batches; ``instance`` does not.
        spectral: Divide the weights of the blocks by their largest singular values, as published.

    Raises:
        ConfigError: An option has a value that it cannot have, or the size cannot be halved so often.

    Attributes:
        options: All of these, in plain types.
        start: The size before the first doubling.
        meta: What its folder says of its training; empty where it was not loaded.

    Example:
        >>> generator = SPADEGenerator(classes=3, size=(16, 32), width=2, hidden=4)
        >>> layout = one_hot_layout(torch.zeros(1, 16, 32, dtype=torch.long), 3)
        >>> tuple(generator(layout).shape), generator.start
        ((1, 3, 16, 32), (2, 4))
    """

    def __init__(
        self,
        classes: int,
        channels: int = 3,
        spatial_dims: int = 2,
        size: Sequence[int] = (96, 192),
        width: int = 16,
        hidden: int = 128,
        ups: int | None = None,
        norm: Norm = "instance",
        spectral: bool = True,
    ) -> None:
        super().__init__()
        self.classes, self.channels = whole("classes", classes), whole("channels", channels)
        dims = self.spatial_dims = one_of("spatial_dims", spatial_dims, (2, 3))
        one_of("norm", norm, ("instance", "batch"))
        self.size = _checked_size(size, dims)
        doublings = _doublings(self.size) if ups is None else whole("ups", ups)
        self.start = _start(self.size, doublings)
        whole("width", width)
        whole("hidden", hidden)
        self.options: dict[str, Any] = {
            "classes": classes,
            "channels": channels,
            "spatial_dims": dims,
            "size": list(self.size),
            "width": width,
            "hidden": hidden,
            "ups": doublings,
            "norm": norm,
            "spectral": bool(spectral),
        }
        self.meta: dict[str, Any] = {}
        widths = [width * min(_WIDEST, 2 ** (doublings - block)) for block in range(doublings + 1)]
        self.first = convolution(dims, classes, widths[0])
        self.blocks = nn.ModuleList(
            SPADEBlock(inside, outside, classes, hidden, dims, norm, spectral)
            for inside, outside in zip([widths[0], *widths[:-1]], widths, strict=True)
        )
        self.last = convolution(dims, widths[-1], channels)

    def forward(self, layout: Tensor) -> Tensor:
        """Render.

        Args:
            layout: ``(B, classes, *S)`` float, one-hot or soft; all-zero where nothing is known. A layout of another
                size than the generator's is resized to it, nearest to the middle of each cell.

        Returns:
            ``(B, channels, *size)`` in [-1, 1].

        Raises:
            CompatibilityError: The layout has another number of classes or of dimensions.
        """
        if layout.ndim != 2 + self.spatial_dims or layout.shape[1] != self.classes:
            raise CompatibilityError(
                f"this generator renders layouts of {self.classes} classes in {self.spatial_dims} dimensions, got one "
                f"of shape {tuple(layout.shape)}; give (batch, classes, ...)"
            )
        if tuple(layout.shape[2:]) != self.size:
            layout = F.interpolate(layout, self.size, mode="nearest-exact")
        x = self.first(F.interpolate(layout, self.start, mode="nearest"))
        for number, block in enumerate(self.blocks):
            if number:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = block(x, layout)
        return torch.tanh(self.last(F.leaky_relu(x, SLOPE)))


def one_hot_layout(class_map: Tensor, classes: int) -> Tensor:
    """A class map as a layout.

    Args:
        class_map: ``(B, *S)`` whole numbers in [0, classes), 255 where nothing is known.
        classes: How many there are.

    Returns:
        ``(B, classes, *S)`` float32; all-zero where the map says 255.

    Raises:
        CompatibilityError: The map holds another number.

    Example:
        >>> one_hot_layout(torch.tensor([[[0, 1, 255]]]), 2)[0, :, 0].tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    wrong = (class_map != VOID) & ((class_map < 0) | (class_map >= classes))
    if bool(wrong.any()):
        raise CompatibilityError(
            f"a class map for {classes} classes holds {int(class_map[wrong][0])}; it may hold 0 to {classes - 1}, and "
            f"{VOID} where nothing is known"
        )
    numbers = torch.arange(classes, device=class_map.device).view(1, classes, *[1] * (class_map.ndim - 1))
    return (class_map.unsqueeze(1) == numbers).float()


def load_generator(folder: Any) -> SPADEGenerator:
    """Take back what `save_generator` wrote, in evaluation mode, its record as ``meta``.

    Args:
        folder: The directory.

    Raises:
        DataError: It holds no generator, or a file is missing or damaged.
        CompatibilityError: Weights, options and class names do not fit each other.
    """
    options, weights, meta = read_generator(folder)
    generator = rebuild_generator(options, weights, str(folder))
    names = meta.get("classes")
    if names is not None and len(names) != generator.classes:
        raise CompatibilityError(
            f"{folder} names {len(names)} classes, and its generator renders {generator.classes}; train it again"
        )
    generator.meta = meta
    return generator


def rebuild_generator(options: Any, weights: Any, where: str) -> SPADEGenerator:
    """A generator of its options and weights, in evaluation mode.

    Args:
        options: Of `SPADEGenerator`, by name.
        weights: Its state dict.
        where: Where they come from, for messages.

    Raises:
        DataError: An unknown option or one of another type, or weights that are not finite.
        CompatibilityError: The weights do not fit the options.
    """
    return rebuild(SPADEGenerator, options, weights, where)


def _checked_size(size: Sequence[int], dims: int) -> tuple[int, ...]:
    if isinstance(size, str | int) or len(size) != dims:
        raise ConfigError(f"size must be {dims} whole numbers for {dims} dimensions, got {size!r}")
    return tuple(whole("size", side) for side in size)


def _doublings(size: tuple[int, ...]) -> int:
    """As many as leave every side whole and two or more, six at most; one where there is no such number."""
    for doublings in range(MOST_DOUBLINGS, 0, -1):
        if all(side % 2**doublings == 0 and side // 2**doublings > 1 for side in size):
            return doublings
    return 1


def _start(size: tuple[int, ...], doublings: int) -> tuple[int, ...]:
    part = 2**doublings
    shown = " x ".join(map(str, size))
    if any(side % part for side in size):
        near = " x ".join(str(max(round(side / part), 1) * part) for side in size)
        raise ConfigError(
            f"size {shown} cannot be reached by {doublings} doublings: its sides must be multiples of {part}; choose "
            f"{near}, or fewer ups"
        )
    if math.prod(side // part for side in size) < 2:
        raise ConfigError(f"size {shown} begins with a single pixel of {doublings} doublings; choose fewer ups")
    return tuple(side // part for side in size)
