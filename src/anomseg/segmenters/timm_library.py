"""What timm is asked for: a model by name, its weights, and which feature maps it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anomseg.errors import ConfigError
from anomseg.segmenters.base import Size
from anomseg.segmenters.checkpoint import load_checkpoint
from anomseg.segmenters.guarded import import_extra, unknown_of_many
from anomseg.segmenters.taps import Tap, Taps, block_taps, measured
from anomseg.types import FeatureInfo

# By these timm's transformers are told that images of any size will come.
_ANY_SIZE: Mapping[str, bool] = {"dynamic_img_size": True, "strict_img_size": False}


def build_backbone(name: str) -> tuple[Any, Size | None]:
    """An untrained model of timm without classifier; nothing is downloaded.

    Args:
        name: Its name, such as ``resnet50``, with or without a tag.

    Returns:
        The model, and the size ``(height, width)`` of its images where it takes one size alone.

    Raises:
        ConfigError: An unknown name, or a model that gives no maps.
        MissingExtraError: The library cannot be imported.
    """
    timm = import_extra("timm", "timm", "timm")
    # timm would fetch a name of the form hf-hub:... from the network.
    if not timm.is_model(name):
        raise unknown_of_many("model of timm", name, timm.list_models(), "timm.list_models()")
    switches = dict(_ANY_SIZE)
    network = None
    while network is None:
        try:
            network = timm.create_model(name, pretrained=False, num_classes=0, **switches)
        except Exception as error:  # the library raises many kinds
            refused = [switch for switch in switches if isinstance(error, TypeError) and repr(switch) in str(error)]
            if not refused:
                reason = " ".join(str(error).split())[:200]
                raise ConfigError(f"timm cannot build {name}: {reason}") from error
            for switch in refused:
                del switches[switch]
    if not hasattr(network, "forward_intermediates"):
        raise ConfigError(f"{name} of timm gives no feature maps; choose a model with forward_intermediates")
    facts = network.pretrained_cfg
    sides = facts["input_size"][1:] if facts.get("fixed_input_size") and not switches else None
    return network.eval(), (int(sides[0]), int(sides[1])) if sides else None


def read_weights(path: str, network: Any) -> dict[str, Tensor]:
    """The state dict in a file, or in a directory's ``model.safetensors``, without the classifier.

    Raises:
        DataError: It is missing or damaged.
    """
    file = Path(path)
    state = load_checkpoint(file / "model.safetensors" if file.is_dir() else file)
    classifier = network.pretrained_cfg.get("classifier") or ()
    layers = (classifier,) if isinstance(classifier, str) else classifier
    dropped = tuple(f"{layer}." for layer in layers)
    return {name: value for name, value in state.items() if not name.startswith(dropped)}


def coarsest_stride(network: Any) -> int:
    """Input pixels to a cell of the coarsest map."""
    stages: Sequence[Mapping[str, Any]] = getattr(network.feature_info, "info", network.feature_info)
    return max(int(stage["reduction"]) for stage in stages)


def stage_info(network: Any, probe: Size) -> dict[str, FeatureInfo]:
    """Channels and strides of the maps of the stages, by ``stage1`` and so on, from one small pass.

    A stage whose map does not divide the image evenly is left out.
    """
    with torch.no_grad():
        maps = stage_maps(network, torch.full((1, 3, *probe), 0.5))
    info = {}
    for number, feature in enumerate(maps, 1):
        stride = probe[0] // feature.shape[-2]
        if tuple(cells * stride for cells in feature.shape[-2:]) == probe:
            info[f"stage{number}"] = FeatureInfo(int(feature.shape[1]), stride)
    return info


def stage_maps(network: Any, pixels: Tensor, indices: Sequence[int] | None = None) -> list[Tensor]:
    """Maps ``(B, D, h, w)`` of the stages of these indices, all by default, running no farther than they ask for."""
    return network.forward_intermediates(
        pixels, indices=indices, output_fmt="NCHW", intermediates_only=True, stop_early=True
    )


def tapped_blocks(network: Any, probe: Size) -> Taps:
    """Taps of the blocks of a plain vision transformer.

    Layers that timm does not call, but only reads the weights of (the projections of some BEiT and EVA models), have
    nothing to tap and are left out.
    """
    taps = block_taps(network)
    ran: set[str] = set()
    hooks = [
        network.get_submodule(path).register_forward_hook(lambda *_, path=path: ran.add(path))
        for path in {tap.path for tap in taps.values()}
    ]
    try:
        with torch.no_grad():
            network.forward_features(torch.full((1, 3, *probe), 0.5))
    finally:
        for hook in hooks:
            hook.remove()
    heard: dict[str, Tap] = {name: tap for name, tap in taps.items() if tap.path in ran}
    return measured(network, heard, probe, _run)


def _run(network: Any, batch: Tensor) -> Any:
    return network.forward_features(batch)
