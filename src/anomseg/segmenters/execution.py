"""How a network is run: in mixed precision, compiled, in tiles. Its weights and its saved form stay as they are."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

from anomseg.errors import ConfigError, unknown_name
from anomseg.segmenters.base import SegmentationOutput, Segmenter, Size
from anomseg.segmenters.derived import LEAST_CLAIM
from anomseg.segmenters.tiling import TiledSegmenter
from anomseg.segmenters.wrapping import WrappedSegmenter

Precision = Literal["float32", "bfloat16", "float16"]
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FIELDS = tuple(field.name for field in fields(SegmentationOutput))
OPTIONAL = ("mask_logits", "class_logits", "negative_class_logits", "void_logits", "outlier_logits")


class AcceleratedSegmenter(WrappedSegmenter):
    """Runs a network in mixed precision, compiled, or both.

    Mixed precision is PyTorch's autocast: matrix products and convolutions in the shorter format, weights and
    everything that needs the range in float32. All outputs are returned as float32. Scores change by it in their
    second or third digit, so the precision is part of the identity.

    ``torch.compile`` happens at the first pass, which takes up to minutes, and again where the image size changes
    for the first time; sizes are dynamic from then on. Compiled are the passes that only ask for the network's
    outputs: those for features, for gradients and with dropout sampled run as they are, because hooks, autograd and
    random numbers are where compiled networks differ. Where compiling fails, one warning says why and the network
    runs as it is.

    Args:
        segmenter: The network.
        precision: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        compile: Compile it.

    Raises:
        ConfigError: The precision is unknown, or the network does not run in PyTorch.

    Example:
        >>> from anomseg.segmenters import load_segmenter
        >>> fast = AcceleratedSegmenter(load_segmenter("bundled"), precision="bfloat16")
        >>> fast.identity()["execution"]
        {'precision': 'bfloat16', 'compile': False}
        >>> fast(torch.rand(1, 3, 64, 96)).logits.dtype
        torch.float32
    """

    registry_name = "accelerated"

    def __init__(self, segmenter: Segmenter, precision: Precision = "float32", compile: bool = False) -> None:
        super().__init__(segmenter)
        if precision not in PRECISIONS:
            raise unknown_name("precision", precision, PRECISIONS)
        if "gradient" not in segmenter.provides:
            raise ConfigError(
                f"precision and compile are for networks in PyTorch, and {self.title} is none; leave them out"
            )
        self.precision, self.compile_plain_passes = precision, compile
        self._compiled: Callable[[Tensor], dict[str, Any]] | None = None

    def execution(self) -> dict[str, object]:
        """Precision, and whether the network is compiled."""
        return {"precision": self.precision, "compile": self.compile_plain_passes}

    def working_size(self, image_size: Size, size: Size | None = None) -> Size:
        """That of the network inside, which may have a rule of its own."""
        return self.inner.working_size(image_size, size or self.size)

    def pad(self, batch: Tensor) -> Tensor:
        """Pad as the network inside does."""
        return self.inner.pad(batch)

    def segment(self, batch: Tensor, features: Sequence[str]) -> SegmentationOutput:
        """Run the network inside; see `Segmenter.forward`."""
        short = self.precision != "float32"
        with torch.autocast(batch.device.type, dtype=PRECISIONS[self.precision] if short else None, enabled=short):
            output = self._run(batch, features)
        logits = output.logits.float()
        if output.derived:  # float16 has no 1e-8, so the floor of these logits fell to log(0)
            logits = logits.clamp(min=math.log(LEAST_CLAIM))
        return replace(
            output,
            logits=logits,
            features={name: maps.float() for name, maps in output.features.items()},
            **{name: maps.float() for name in OPTIONAL if (maps := getattr(output, name)) is not None},
        )

    def _run(self, batch: Tensor, features: Sequence[str]) -> SegmentationOutput:
        inner = self.inner
        plain = not features and not torch.is_grad_enabled() and not any(part.training for part in inner.modules())
        if not (plain and self.compile_plain_passes):
            return inner(batch, features=features)
        if self._compiled is None:
            self._compiled = torch.compile(lambda images: _as_mapping(inner(images)))
        try:
            return SegmentationOutput(**self._compiled(batch))
        except Exception as error:
            output = inner(batch)  # if the network itself is at fault, its own error is the one to tell
            self.compile_plain_passes, self._compiled = False, None
            reason = " ".join(str(error).split())[:200]
            warnings.warn(
                f"{self.title} runs uncompiled, because torch.compile failed: {type(error).__name__}: {reason}",
                stacklevel=2,
            )
            return output

    def __getstate__(self) -> dict[str, Any]:
        # The compiled function belongs to this very network: a copy makes its own.
        return {**self.__dict__, "_compiled": None}


def _as_mapping(output: SegmentationOutput) -> dict[str, Any]:
    # Plain values, which every version of the compiler can hand out.
    return {name: getattr(output, name) for name in FIELDS}


def run_as(
    segmenter: Segmenter,
    *,
    precision: Precision = "float32",
    compile: bool = False,
    tile: Size | None = None,
    overlap: int = 128,
    tile_batch: int = 1,
) -> Segmenter:
    """A network as it is to be run; itself where nothing is asked for.

    Args:
        segmenter: The network.
        precision: See `AcceleratedSegmenter`.
        compile: See `AcceleratedSegmenter`.
        tile: ``(height, width)`` of tiles, see `TiledSegmenter`; None for whole images.
        overlap: Pixels that neighbouring tiles share.
        tile_batch: Tiles in one forward pass.

    Raises:
        ConfigError: An option cannot be used.

    Example:
        >>> from anomseg.segmenters import load_segmenter
        >>> network = load_segmenter("bundled")
        >>> run_as(network) is network
        True
        >>> run_as(network, precision="bfloat16", tile=(256, 256), overlap=64).identity()["execution"]
        {'precision': 'bfloat16', 'compile': False, 'tile': [256, 256], 'overlap': 64}
    """
    if precision != "float32" or compile:
        segmenter = AcceleratedSegmenter(segmenter, precision, compile)
    return segmenter if tile is None else TiledSegmenter(segmenter, tile, overlap, tile_batch)
