"""Large images in overlapping tiles: a network sees one tile at a time, and the answers are blended without seams."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise, product

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.errors import ConfigError
from anomseg.segmenters.base import SegmentationOutput, Segmenter, Size
from anomseg.segmenters.derived import derived_logits
from anomseg.segmenters.wrapping import WrappedSegmenter

MAX_ALIGNMENT = 128


class TiledSegmenter(WrappedSegmenter):
    """Runs a network on overlapping tiles of an image instead of on a shrunken one.

    The working size is the image's own, unless `size` is set: the fixed size of the network inside is meant for
    whole images. Tiles start on the common grid of padding and feature strides and the last ones are shifted
    inwards, so that all have the full size; an image smaller than a tile is padded to one.

    Across an overlap the weight of one tile falls as the other's rises, along a cosine that leaves the outer quarter
    on either side out, because there a tile sees the least of its surroundings. So a network without global context
    that sees no farther than a quarter of the overlap to each side gives what it gives on the whole image; others
    differ from it, as they would on any crop.

    Logits, void and outlier logits and features are blended as they come. Logits that a mask transformer derives as
    ``log(probability)`` are blended as probabilities. Its queries belong to one tile each and cannot be merged, so
    ``masks`` and ``negative`` are not provided.

    Args:
        segmenter: The network to run on each tile.
        tile: ``(height, width)`` of a tile in pixels; made as large as the network's padding makes it.
        overlap: Pixels that neighbouring tiles share at least, as far as the grid allows; below both sides of the tile.
        tile_batch: Tiles in one forward pass.
        size: Working size ``(height, width)`` of whole images; None keeps each image's own.

    Raises:
        ConfigError: The tile, the overlap or the batch cannot be used, or the network takes no image of a tile's size.

    Example:
        >>> from anomseg.segmenters import load_segmenter
        >>> tiled = TiledSegmenter(load_segmenter("bundled"), tile=(128, 160), overlap=32)
        >>> tiled(torch.rand(1, 3, 256, 320)).logits.shape
        torch.Size([1, 11, 64, 80])
        >>> tiled.identity()["execution"]
        {'tile': [128, 160], 'overlap': 32}
    """

    registry_name = "tiled"

    def __init__(
        self,
        segmenter: Segmenter,
        tile: Size = (512, 1024),
        overlap: int = 128,
        tile_batch: int = 1,
        size: Size | None = None,
    ) -> None:
        super().__init__(segmenter)
        if min(tile) < 1 or tile_batch < 1:
            raise ConfigError(f"tile {tile[0]}x{tile[1]} and tile batch {tile_batch} must be 1 or more")
        if not 0 <= overlap < min(tile):
            raise ConfigError(
                f"overlap {overlap} must be 0 or more and smaller than both sides of the tile, {tile[0]}x{tile[1]}"
            )
        self.divisor, self.tile = _grid_and_tile(self.inner, tile)
        self.overlap, self.tile_batch = overlap, tile_batch
        self.size = size

    @property
    def provides(self) -> frozenset[str]:
        """What the network inside provides, but for its queries."""
        return self.inner.provides - {"masks", "negative"}

    def execution(self) -> dict[str, object]:
        """Tile and overlap; how many tiles run at once does not change the answer."""
        return {"tile": list(self.tile), "overlap": self.overlap}

    def pad(self, batch: Tensor) -> Tensor:
        """Repeat edge values to the right and below up to a whole tile, then to multiples of the grid."""
        sides = (max(side, full) for side, full in zip(batch.shape[-2:], self.tile, strict=True))
        below, right = (
            _rounded_up(side, self.divisor) - given for side, given in zip(sides, batch.shape[-2:], strict=True)
        )
        return F.pad(batch, (0, right, 0, below), mode="replicate") if below or right else batch

    def segment(self, batch: Tensor, features: Sequence[str]) -> SegmentationOutput:
        """Run the network on all tiles and blend; see `Segmenter.forward`."""
        given: Size = (batch.shape[-2], batch.shape[-1])
        batch = self.pad(batch)
        canvas = _Canvas((batch.shape[-2], batch.shape[-1]), self.tile, self.overlap, self.divisor, len(batch))
        derived = False
        places = list(product(range(len(batch)), canvas.starts[0], canvas.starts[1]))
        for first in range(0, len(places), self.tile_batch):
            chunk = places[first : first + self.tile_batch]
            crops = [batch[row, :, y : y + self.tile[0], x : x + self.tile[1]] for row, y, x in chunk]
            output = self.inner(torch.stack(crops), features=features)
            derived = output.derived
            for name, maps in _maps(output):
                canvas.add(name, chunk, maps)
        logits = canvas.maps["logits"]
        return SegmentationOutput(
            logits=derived_logits(logits) if derived else logits,
            padded_size=canvas.size,
            input_size=given,
            features={name: canvas.maps[f"feature {name}"] for name in features},
            void_logits=canvas.maps.get("void"),
            outlier_logits=canvas.maps.get("outlier"),
            derived=derived,
        )


def _grid_and_tile(network: Segmenter, tile: Size) -> tuple[int, Size]:
    """The grid that tiles start on, and a tile as the network's padding makes it, in whole cells of the grid."""
    wanted = network.working_size(tile, tile)  # a network of one size says here that it takes no other
    padded = network.pad(torch.zeros(1, 3, *wanted)).shape[-2:]
    strides = math.lcm(*(info.stride for info in network.feature_info.values()))
    grid = math.lcm(network.divisor, strides)
    if max(padded) <= network.divisor and network.divisor % strides == 0:
        grid = strides  # one cell of the padding is a whole tile, and tiles on its grid could not overlap
    elif grid > MAX_ALIGNMENT:
        # Strides without a small common grid (14 and 32, say): their maps are brought to the tile's pixels instead.
        grid = network.divisor
    return grid, (_rounded_up(padded[0], grid), _rounded_up(padded[1], grid))


def _maps(output: SegmentationOutput) -> Iterator[tuple[str, Tensor]]:
    """Everything of a tile's output that is blended, as it is blended."""
    yield "logits", output.logits.exp() if output.derived else output.logits
    for name, maps in (("void", output.void_logits), ("outlier", output.outlier_logits)):
        if maps is not None:
            yield name, maps
    for name, maps in output.features.items():
        yield f"feature {name}", maps


class _Canvas:
    """One map over the whole image for each kind of output, to which weighted tiles are added."""

    def __init__(self, size: Size, tile: Size, overlap: int, grid: int, rows: int) -> None:
        self.size, self.tile, self.overlap, self.rows = size, tile, overlap, rows
        self.starts = [tile_starts(side, full, overlap, grid) for side, full in zip(size, tile, strict=True)]
        self.maps: dict[str, Tensor] = {}
        self._weights: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def add(self, name: str, places: Sequence[tuple[int, int, int]], maps: Tensor) -> None:
        """Add the maps ``(n, K, h, w)`` of n tiles, at ``(image, top, left)`` each."""
        maps = maps.float()
        down, across = self._stride(maps)
        if (down, across) == (1, 1) and tuple(maps.shape[-2:]) != self.tile:
            maps = F.interpolate(maps, size=self.tile, mode="bilinear", align_corners=False)
        rows, columns = self._weights_at((down, across), maps)
        if name not in self.maps:
            height, width = self.size[0] // down, self.size[1] // across
            self.maps[name] = maps.new_zeros((self.rows, maps.shape[1], height, width))
        height, width = maps.shape[-2:]
        for (row, y, x), tile in zip(places, maps, strict=True):
            weight = rows[self.starts[0].index(y)][:, None] * columns[self.starts[1].index(x)]
            top, left = y // down, x // across
            self.maps[name][row, :, top : top + height, left : left + width] += weight * tile

    def _stride(self, maps: Tensor) -> tuple[int, int]:
        """The stride of a tile's map in both directions, where all tiles lie on its grid; else 1 in both."""
        strides = []
        for side, full, count, starts in zip(self.size, self.tile, maps.shape[-2:], self.starts, strict=True):
            stride = full // count
            if full % count or side % stride or any(start % stride for start in starts):
                return 1, 1
            strides.append(stride)
        return strides[0], strides[1]

    def _weights_at(self, stride: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor]:
        if stride not in self._weights:
            down, across = (
                tile_weights(side, full, starts, self.overlap, step).to(like)
                for side, full, starts, step in zip(self.size, self.tile, self.starts, stride, strict=True)
            )
            self._weights[stride] = down, across
        return self._weights[stride]


def tile_starts(side: int, tile: int, overlap: int, grid: int = 1) -> tuple[int, ...]:
    """Where tiles begin along one side, so that they cover it and neighbours share ``overlap`` pixels or more.

    Where that leaves less than a cell of the grid from one tile to the next, they go on by one cell.

    Args:
        side: Length of the image, a multiple of ``grid`` and not below ``tile``.
        tile: Length of a tile, a multiple of ``grid``.
        overlap: Pixels shared at least, below ``tile``.
        grid: All starts are multiples of it.

    Example:
        >>> tile_starts(100, 40, 10)
        (0, 30, 60)
        >>> tile_starts(96, 40, 10, grid=8)
        (0, 24, 48, 56)
    """
    step = max((tile - overlap) // grid * grid, grid)
    return tuple(sorted({min(start, side - tile) for start in range(0, side - overlap, step)} | {side - tile}))


def tile_weights(side: int, tile: int, starts: Sequence[int], overlap: int, stride: int = 1) -> Tensor:
    """The share of each tile in each cell it covers, along one side; over all tiles they sum to one.

    Args:
        side: Length of the image in pixels.
        tile: Length of a tile in pixels.
        starts: Where tiles begin.
        overlap: Pixels over which a tile's share goes from zero to one, the outer and inner quarter of them flat.
        stride: Pixels in a cell; it divides all of the above but the overlap.

    Returns:
        ``(tiles, tile / stride)`` float32.

    Example:
        >>> tile_weights(6, 4, (0, 2), 2)
        tensor([[1., 1., 1., 0.],
                [0., 1., 1., 1.]])
    """
    cells = tile // stride
    # A coarse grid may leave less in common than was asked for.
    overlap = min([overlap, *(start + tile - after for start, after in pairwise(starts))])
    centres = (torch.arange(cells, dtype=torch.float64) + 0.5) * stride
    inside = (centres - overlap / 4) / (overlap / 2) if overlap else torch.ones_like(centres)
    rise = 0.5 - 0.5 * torch.cos(math.pi * inside.clamp(0, 1))
    shares = torch.ones((len(starts), cells), dtype=torch.float64)
    total = torch.zeros(side // stride, dtype=torch.float64)
    for row, start in enumerate(starts):
        if start > 0:
            shares[row] *= rise
        if start + tile < side:
            shares[row] *= rise.flip(0)
        total[start // stride : start // stride + cells] += shares[row]
    for row, start in enumerate(starts):
        shares[row] /= total[start // stride : start // stride + cells]
    return shares.to(torch.float32)


def _rounded_up(length: int, step: int) -> int:
    return length + -length % step
