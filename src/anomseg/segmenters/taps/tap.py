"""A tap: one named place in a network where a feature map can be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from anomseg.errors import CompatibilityError
from anomseg.segmenters.taps.layouts import Layout, Map
from anomseg.types import FeatureInfo


@dataclass(frozen=True)
class Tap:
    """Where to listen, and how what is heard becomes a map.

    Attributes:
        path: Dotted path of the submodule whose output is taken; the network's own output where empty.
        info: Channels and stride of the map.
        part: Indices, keys or attributes that lead into an output that is no tensor; its first tensor is taken.
        layout: How the output becomes ``(B, D, h, w)``.
    """

    path: str
    info: FeatureInfo
    part: tuple[int | str, ...] = ()
    layout: Layout = field(default_factory=Map)

    def pick(self, output: Any) -> Tensor:
        """The tensor of a layer's output that this tap takes.

        Raises:
            CompatibilityError: The output holds no such part, or it is no tensor.
        """
        picked = output
        try:
            for step in self.part:
                attribute = isinstance(step, str) and not isinstance(picked, Mapping)
                picked = getattr(picked, str(step)) if attribute else picked[step]
        except (AttributeError, LookupError, TypeError):
            picked = None
        tensor = first_tensor(picked)
        if tensor is None:
            raise CompatibilityError(f"layer {self.path!r} gave a {type(output).__name__} without the tapped tensor")
        return tensor


def first_tensor(output: Any) -> Tensor | None:
    """The first tensor of a layer's output: itself, or the first item of a tuple, list or mapping that holds one."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        output = tuple(output.values())
    if isinstance(output, tuple | list):
        return next((tensor for item in output if (tensor := first_tensor(item)) is not None), None)
    return None
