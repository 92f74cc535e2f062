"""Feature maps of transformers models by name: stages, the decoder's map, and the insides of transformer blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import nn

from anomseg.segmenters.taps import Layout, Map, Tap, Taps, attention_blocks, block_taps, measured
from anomseg.types import FeatureInfo

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Where each architecture keeps its encoder; the whole model is one where none of these is there.
_ENCODERS = ("model.pixel_level_module.encoder", "backbone", "segformer", "beit", "data2vec_vision", "dpt")
_PROBE = (64, 96)  # two by three cells at the stride of the deepest stage
_UNMEASURED = FeatureInfo(0, 1)


def transformer_taps(model: PreTrainedModel) -> Taps:
    """Every feature map of a transformers model that has a name here.

    ================================  ===========================================================================
    ``stage1``, ``stage2`` ...        encoder stages: what a segmentation head reads of its backbone, under the
                                      backbone's own names (of a plain vision transformer that is ``stage12`` and
                                      the like: the grid of patch tokens after that many blocks); the stages of
                                      SegFormer; the pyramid that BEiT, Data2Vec and DPT make of their blocks
    ``decoder``                       what the classifier reads; of mask heads the pixel embeddings that queries
                                      are multiplied with
    ``block0.key`` ...                ``query``, ``key``, ``value``, ``attention`` (after its output projection)
                                      and ``output`` of each block of a vision transformer, counted from 0
    ``stage1.block0.key`` ...         the same where blocks form stages (SegFormer, Swin, PVT)
    ================================  ===========================================================================

    Keys and values of SegFormer and PVT lie on the shrunken grid that attention reads, and have its stride. Those
    of Swin are put back from shifted windows to where they came from. Maps whose stride is no whole number, such
    as DPT's on patches of 14, are not offered.

    Args:
        model: A segmentation model or a backbone.

    Returns:
        The taps, shallow stages first.
    """
    alone = hasattr(model, "out_feature_channels")
    root = "" if alone else next((path for path in _ENCODERS if _has(model, path)), "")
    encoder = model.get_submodule(root)
    blocks = block_taps(model, root)
    pyramid = any(name.startswith("stage") for name in blocks) or not blocks
    patch = next((tap.info.stride for tap in blocks.values()), 1)
    stages = dict(_stages(model, root, blocks))
    if pyramid and any(tap.info is _UNMEASURED for tap in stages.values()):
        seen = measured(encoder, {name: _below(tap, root) for name, tap in stages.items()}, _PROBE).info
        stages = {name: Tap(tap.path, seen[name], tap.part, tap.layout) for name, tap in stages.items() if name in seen}
    first = next((tap.info.stride for tap in stages.values()), patch)
    return Taps(model, stages | dict(_head(model, patch, first)) | blocks)


def _stages(model: PreTrainedModel, root: str, blocks: dict[str, Tap]) -> Iterator[tuple[str, Tap]]:
    encoder: Any = model.get_submodule(root)
    flat = next((tap for name, tap in blocks.items() if name.startswith("block")), None)
    if hasattr(encoder, "out_feature_channels"):
        yield from _backbone_stages(encoder, root, flat)
    elif flat is not None:
        norm = next((name for name in ("layernorm", "norm") if _has(encoder, name)), None)
        if norm and not root and not _has(model, "upscale_block"):  # a vision transformer without a head
            yield f"stage{len(attention_blocks(model))}", Tap(norm, flat.info, layout=flat.layout)
    elif blocks:
        for index, block in _last_blocks(blocks):
            path = _join(root, f"stages.{index - 1}")
            if _has(model, f"{path}.patch_embeddings"):  # SegFormer
                layout = Map() if getattr(model.get_submodule(path), "reshape", True) else block.layout
                yield f"stage{index}", Tap(path, block.info, layout=layout)
            else:
                yield f"stage{index}", block
    elif _has(encoder, "encoder.stages"):
        for index, _ in enumerate(encoder.encoder.stages):
            yield f"stage{index + 1}", Tap(_join(root, f"encoder.stages.{index}"), _UNMEASURED)


def _backbone_stages(encoder: Any, root: str, flat: Tap | None) -> Iterator[tuple[str, Tap]]:
    """What a backbone of the library gives to a head, under its own names."""
    for index, name in enumerate(encoder.out_features):
        part = ("feature_maps", index)
        channels = int(encoder.out_feature_channels[name])
        if flat is None:
            yield name, Tap(root, _UNMEASURED, part)
        elif getattr(encoder.config, "add_fpn", False):  # BEiT makes its pyramid in the backbone
            yield from _whole(name, root, channels, flat.info.stride, 2.0 ** (2 - index), part)
        else:
            reshaped = getattr(encoder.config, "reshape_hidden_states", True)
            layout: Layout = Map() if reshaped else flat.layout
            yield name, Tap(root, FeatureInfo(channels, flat.info.stride), part, layout)


def _head(model: Any, patch: int, first: int) -> Iterator[tuple[str, Tap]]:
    """The decoder's map and the pyramid it is made from, with strides from patch size and architecture."""
    if _has(model, "upscale_block.block"):  # EoMT
        count = len(model.upscale_block.block)
        yield from _whole("decoder", "upscale_block", model.config.hidden_size, patch, 2**count)
    elif _has(model, "model.pixel_level_module.decoder.mask_projection"):
        path = "model.pixel_level_module.decoder.mask_projection"
        yield from _whole("decoder", path, model.get_submodule(path).out_channels, first)
    elif _has(model, "neck.fusion_stage"):  # DPT
        factors = model.config.reassemble_factors
        for index, factor in enumerate(factors):
            layer = model.neck.convs[index]
            if not model.config.is_hybrid:
                path = f"neck.reassemble_stage.layers.{index}"
                yield from _whole(f"stage{index + 1}", path, layer.in_channels, patch, factor)
        yield from _whole("decoder", "head.head.3", model.config.fusion_hidden_size, patch, 2 * factors[0])
    elif _has(model, "decode_head.classifier"):
        channels = model.decode_head.classifier.in_channels
        pyramid = _pyramid(model)
        for index, (path, part) in enumerate(pyramid):
            yield from _whole(f"stage{index + 1}", path, model.config.hidden_size, patch, 2.0 ** (2 - index), part)
        path = "decode_head.dropout" if _has(model, "decode_head.dropout") else "decode_head.fpn_bottleneck"
        yield from _whole("decoder", path, channels, patch if pyramid else first, 4 if pyramid else 1)


def _pyramid(model: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    if _has(model, "fpn.fpn1"):  # BEiT
        return [("fpn", (index,)) for index in range(4)]
    if _has(model, "fpn1"):  # Data2Vec, and BEiT of older releases
        return [(f"fpn{index}", ()) for index in range(1, 5)]
    return []


def _whole(
    name: str, path: str, channels: int, stride: int, finer: float = 1, part: tuple[str | int, ...] = ()
) -> Iterator[tuple[str, Tap]]:
    """A tap at ``stride / finer``, if that is a whole number."""
    exact = stride / finer
    if exact == round(exact):
        yield name, Tap(path, FeatureInfo(int(channels), round(exact)), part)


def _last_blocks(blocks: dict[str, Tap]) -> Iterator[tuple[int, Tap]]:
    """Number and last block output of each stage."""
    last: dict[int, Tap] = {}
    for name, tap in blocks.items():
        if name.endswith(".output"):
            last[int(name.split(".")[0].removeprefix("stage"))] = tap
    yield from last.items()


def _below(tap: Tap, root: str) -> Tap:
    """The same tap seen from the encoder."""
    path = tap.path if not root else tap.path[len(root) :].lstrip(".")
    return Tap(path, tap.info, tap.part, tap.layout)


def _has(model: nn.Module, path: str) -> bool:
    part: Any = model
    for name in path.split("."):
        part = getattr(part, name, None)
    return isinstance(part, nn.Module)


def _join(root: str, path: str) -> str:
    return f"{root}.{path}" if root else path
