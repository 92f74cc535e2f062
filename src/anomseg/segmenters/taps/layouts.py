"""Layouts: how the output of a layer becomes a feature map ``(B, D, h, w)``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from anomseg.errors import CompatibilityError

Size = tuple[int, int]


@dataclass(frozen=True)
class Grid:
    """Where the height and width of a token grid are read off, in the very pass that is recorded.

    The size is taken from a layer that gives a map, such as the convolution that cuts the image into patches, so
    rounding and padding inside the network are right by construction.

    Attributes:
        path: Dotted path of a submodule whose output is ``(B, D, h, w)``.
        halvings: How often both sides are halved, rounding up, between there and the tokens.
    """

    path: str
    halvings: int = 0

    def of(self, sizes: Mapping[str, Size]) -> Size:
        """Height and width of the grid, from the sizes that this pass has shown so far."""
        if self.path not in sizes:
            raise CompatibilityError(
                f"layer {self.path!r} did not run before the tokens cut from it; is it the right one?"
            )
        height, width = sizes[self.path]
        factor = 2**self.halvings
        return -(-height // factor), -(-width // factor)


class Layout(Protocol):
    """Turns the output of a layer into a feature map."""

    @property
    def watched(self) -> tuple[str, ...]:
        """Paths of the submodules whose output size has to be known."""

    def __call__(self, output: Tensor, sizes: Mapping[str, Size], network: nn.Module) -> Tensor:
        """The map ``(B, D, h, w)``.

        Args:
            output: What the layer gave.
            sizes: Output sizes ``(h, w)`` of the watched submodules in this pass.
            network: The network that runs, for what it decides while running.
        """


@dataclass(frozen=True)
class Map:
    """The output is a map already.

    Attributes:
        channels_last: It is ``(B, h, w, D)``.
    """

    channels_last: bool = False

    @property
    def watched(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def __call__(self, output: Tensor, sizes: Mapping[str, Size], network: nn.Module) -> Tensor:
        """See `Layout`."""
        del sizes, network
        return output.permute(0, 3, 1, 2) if self.channels_last else output


@dataclass(frozen=True)
class Tokens:
    """The output is ``(B, L, D)``: any class, register and query tokens first, then one token for each grid cell.

    Attributes:
        grid: The token grid, row by row.
    """

    grid: Grid

    @property
    def watched(self) -> tuple[str, ...]:
        """The layer that shows the grid."""
        return (self.grid.path,)

    def __call__(self, output: Tensor, sizes: Mapping[str, Size], network: nn.Module) -> Tensor:
        """See `Layout`."""
        del network
        height, width = self.grid.of(sizes)
        batch, length, channels = output.shape
        if length < height * width:
            raise CompatibilityError(f"{length} tokens do not fill a grid of {height}x{width}; is it the right layer?")
        return output[:, length - height * width :].transpose(1, 2).reshape(batch, channels, height, width)


@dataclass(frozen=True)
class Windows:
    """The output is ``(B * windows, s * s, D)`` inside (shifted) attention windows, as in Swin.

    Windows are put side by side, the cyclic shift is undone and the padding cropped, so that each token lies
    where it came from.

    Attributes:
        grid: The token grid, without padding.
        block: Path of the block that holds ``window_size`` and ``shift_size``, read while the network runs since
            some set them then.
    """

    grid: Grid
    block: str

    @property
    def watched(self) -> tuple[str, ...]:
        """The layer that shows the grid."""
        return (self.grid.path,)

    def __call__(self, output: Tensor, sizes: Mapping[str, Size], network: nn.Module) -> Tensor:
        """See `Layout`."""
        height, width = self.grid.of(sizes)
        block = network.get_submodule(self.block)
        window, shift = _side(block.window_size), _side(block.shift_size)
        rows, columns = -(-height // window), -(-width // window)
        tiles = output.reshape(-1, rows, columns, window, window, output.shape[-1])
        whole = tiles.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
        if shift:
            whole = whole.roll((shift, shift), (2, 3))
        return whole[..., :height, :width]


@dataclass(frozen=True)
class Channels:
    """Some of the channels of another layout, such as the keys of a joint query-key-value projection.

    Attributes:
        layout: The layout of all channels.
        part: Which part, from 0.
        parts: Into how many equal parts the channels are cut.
    """

    layout: Layout
    part: int
    parts: int = 3

    @property
    def watched(self) -> tuple[str, ...]:
        """What the layout of all channels watches."""
        return self.layout.watched

    def __call__(self, output: Tensor, sizes: Mapping[str, Size], network: nn.Module) -> Tensor:
        """See `Layout`."""
        return self.layout(output, sizes, network).chunk(self.parts, 1)[self.part]


def _side(value: object) -> int:
    return int(value[0]) if isinstance(value, tuple | list) else int(value)  # type: ignore[call-overload]
