"""Every layer of any network that gives a map, found by one small pass."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from anomseg.segmenters.taps.recording import Taps
from anomseg.segmenters.taps.tap import Tap
from anomseg.types import FeatureInfo

Run = Callable[[nn.Module, Tensor], Any]


def module_taps(network: nn.Module, probe: Tensor | tuple[int, int], run: Run | None = None) -> Taps:
    """Taps at every submodule whose output is ``(B, D, h, w)`` with sides an integer fraction of the input's.

    Names are the dotted paths of `nn.Module.named_modules`. A submodule whose output is not a map, such as global
    or pyramid pooling, or that does not run, has none.

    Args:
        network: Any network.
        probe: A batch, or the size ``(height, width)`` of a grey one, for the one pass that finds the maps. Sides
            that differ tell maps from squares of another meaning.
        run: How the network is called; ``network(probe)`` when not given. The pass runs on a copy in evaluation
            mode, since some networks remember sizes that they have seen.

    Returns:
        The taps, in order of the network's definition.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 2, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        >>> dict(module_taps(network, (8, 12)).info)
        {'0': FeatureInfo(channels=8, stride=2), '1': FeatureInfo(channels=8, stride=2)}
    """
    batch = _batch(network, probe)
    shapes: dict[str, torch.Size] = {}
    twin = copy.deepcopy(network).eval()
    for path, module in twin.named_modules():
        if path:
            module.register_forward_hook(lambda _module, _inputs, output, path=path: _note(output, path, shapes))
    _pass(twin, batch, run)
    taps = {}
    for path, _ in network.named_modules():
        stride = _stride(shapes.get(path), batch)
        if stride is not None:
            taps[path] = Tap(path, FeatureInfo(shapes[path][1], stride))
    return Taps(network, taps)


def measured(
    network: nn.Module, taps: Mapping[str, Tap], probe: Tensor | tuple[int, int], run: Run | None = None
) -> Taps:
    """The same taps with the channels and strides that one small pass shows; those that give no map are left out.

    Args:
        network: The network.
        taps: Taps by name; their `FeatureInfo` is not read.
        probe: See `module_taps`.
        run: See `module_taps`.
    """
    batch = _batch(network, probe)
    twin = copy.deepcopy(network).eval()
    listening = Taps(twin, taps)
    with listening.recording(list(taps)) as features:
        _pass(twin, batch, run)
    found = {}
    for name, tap in taps.items():
        stride = _stride(features[name].shape, batch)
        if stride is not None:
            info = FeatureInfo(features[name].shape[1], stride)
            found[name] = Tap(tap.path, info, tap.part, tap.layout)
    return Taps(network, found)


def _batch(network: nn.Module, probe: Tensor | tuple[int, int]) -> Tensor:
    if isinstance(probe, Tensor):
        return probe
    like = next((tensor for tensor in network.parameters() if tensor.is_floating_point()), torch.empty(0))
    return torch.full((1, 3, *probe), 0.5, dtype=like.dtype, device=like.device)


def _pass(network: nn.Module, batch: Tensor, run: Run | None) -> None:
    with torch.no_grad():
        if run is None:
            network(batch)
        else:
            run(network, batch)


def _note(output: Any, path: str, shapes: dict[str, torch.Size]) -> None:
    if isinstance(output, Tensor) and output.is_floating_point():
        shapes[path] = output.shape
    else:
        shapes.pop(path, None)


def _stride(shape: torch.Size | None, batch: Tensor) -> int | None:
    if shape is None or len(shape) != 4 or shape[0] != batch.shape[0] or 0 in shape:
        return None
    (height, width), (rows, columns) = batch.shape[-2:], shape[-2:]
    if height % rows or width % columns or height // rows != width // columns:
        return None
    return int(height // rows)
