"""Transformer blocks found by their structure: query, key and value projections inside an item of a list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from anomseg.segmenters.taps.layouts import Channels, Grid, Layout, Tokens, Windows
from anomseg.segmenters.taps.tap import Tap
from anomseg.types import FeatureInfo

_PROJECTIONS = (("q_proj", "k_proj", "v_proj"), ("query", "key", "value"))
_JOINT = "qkv"
PARTS = ("query", "key", "value")


@dataclass(frozen=True)
class TransformerBlock:
    """One block of an encoder, by the paths of its submodules.

    Attributes:
        path: The block.
        attention: Its attention, whose output is what is added to the residual stream (before layer scale).
        projections: The query, key and value projections; one path where a single layer gives all three.
        reduction: The convolution that shrinks the grid that keys and values lie on, where there is one.
        windowed: Attention runs inside windows (Swin).
    """

    path: str
    attention: str
    projections: tuple[str, ...]
    reduction: str | None
    windowed: bool

    @property
    def group(self) -> str:
        """The list that holds the block."""
        return self.path.rpartition(".")[0]


def attention_blocks(network: nn.Module, root: str = "") -> list[TransformerBlock]:
    """All blocks under a submodule, in order of definition.

    Args:
        network: The network.
        root: Dotted path of the encoder; blocks elsewhere, such as those of a query decoder, are not wanted.
    """
    blocks: dict[str, TransformerBlock] = {}
    for path, module in network.named_modules():
        if not _inside(path, root):
            continue
        names = _projections(module)
        parts = path.split(".")
        number = next((place for place in range(len(parts) - 2, -1, -1) if parts[place].isdigit()), None)
        if names is None or number is None:
            continue
        block, attention = ".".join(parts[: number + 1]), ".".join(parts[: number + 2])
        reduction = next((inner for inner, _ in _convolutions(network.get_submodule(attention), attention)), None)
        windowed = hasattr(network.get_submodule(block), "shift_size")
        paths = tuple(f"{path}.{name}" for name in names)
        blocks.setdefault(block, TransformerBlock(block, attention, paths, reduction, windowed))
    return list(blocks.values())


def block_taps(network: nn.Module, root: str = "") -> dict[str, Tap]:
    """Taps at query, key, value, attention output and block output of every block, on the token grid.

    Names are ``block0.key`` and so on where blocks form one list, ``stage1.block0.key`` where they form several
    (SegFormer, Swin, PVT). Queries, keys and values are what the linear projections give, heads side by side and
    before any rotary embedding. Class, register and query tokens are dropped; windows are put back in place. Keys
    and values that attention reads from a shrunken grid (SegFormer, PVT) have the stride of that grid.

    Args:
        network: The network.
        root: Dotted path of the encoder.
    """
    blocks = attention_blocks(network, root)
    groups = list(dict.fromkeys(block.group for block in blocks))
    grids = _grids(network, root, groups)
    taps: dict[str, Tap] = {}
    for stage, group in enumerate(groups):
        if stage not in grids:
            continue
        grid, stride = grids[stage]
        prefix = f"stage{stage + 1}." if len(groups) > 1 else ""
        members = [block for block in blocks if block.group == group]
        for number, block in enumerate(members):
            named = _taps_of(network, block, grid, stride)
            taps |= {f"{prefix}block{number}.{name}": tap for name, tap in named.items()}
    return taps


def _taps_of(network: nn.Module, block: TransformerBlock, grid: Grid, stride: int) -> dict[str, Tap]:
    first = network.get_submodule(block.projections[0])
    inputs, outputs = int(first.in_features), int(first.out_features)  # type: ignore[arg-type]
    joint = len(block.projections) == 1
    taps = {}
    for index, name in enumerate(PARTS):
        on, at = grid, stride
        if name != "query" and block.reduction is not None:
            on = Grid(block.reduction)
            at = stride * _stride(network, block.reduction)
        layout: Layout = Windows(on, block.path) if block.windowed else Tokens(on)
        if joint:
            taps[name] = Tap(block.projections[0], FeatureInfo(outputs // 3, at), layout=Channels(layout, index))
        else:
            channels = int(network.get_submodule(block.projections[index]).out_features)  # type: ignore[arg-type]
            taps[name] = Tap(block.projections[index], FeatureInfo(channels, at), layout=layout)
    inner: Layout = Windows(grid, block.path) if block.windowed else Tokens(grid)
    info = FeatureInfo(inputs, stride)
    return taps | {
        "attention": Tap(block.attention, info, layout=inner),
        "output": Tap(block.path, info, layout=Tokens(grid)),
    }


def _grids(network: nn.Module, root: str, groups: Sequence[str]) -> dict[int, tuple[Grid, int]]:
    """Where each group's token grid is seen, and its stride."""
    before: list[list[str]] = [[] for _ in groups]
    started = -1
    for path, module in network.named_modules():
        if not _inside(path, root):
            continue
        within = next(
            (place for place, group in enumerate(groups) if path == group or path.startswith(group + ".")), None
        )
        if within is not None:
            started = max(started, within)
        elif isinstance(module, nn.Conv2d) and started + 1 < len(groups):
            before[started + 1].append(path)
    if not groups or not before[0]:
        return {}
    if len(groups) > 1 and not any(before[1:]):
        if len(before[0]) == len(groups):  # all patch embeddings first, then all blocks
            before = [[path] for path in before[0]]
        else:  # one patch embedding; patches merge two by two from stage to stage
            stride = _stride(network, before[0][-1])
            return {place: (Grid(before[0][-1], place), stride * 2**place) for place in range(len(groups))}
    grids, stride = {}, 1
    for place, paths in enumerate(before):
        if not paths:
            break
        for path in paths:
            stride *= _stride(network, path)
        grids[place] = (Grid(paths[-1]), stride)
    return grids


def _projections(module: nn.Module) -> tuple[str, ...] | None:
    for names in (*_PROJECTIONS, (_JOINT,)):
        if all(isinstance(getattr(module, name, None), nn.Linear) for name in names):
            return names
    return None


def _convolutions(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Conv2d]]:
    for inner, part in module.named_modules():
        if isinstance(part, nn.Conv2d):
            yield f"{path}.{inner}", part


def _stride(network: nn.Module, path: str) -> int:
    stride = network.get_submodule(path).stride
    return int(stride[0])  # type: ignore[index]


def _inside(path: str, root: str) -> bool:
    return not root or path == root or path.startswith(root + ".")
