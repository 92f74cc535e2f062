"""A second head that says inlier or outlier, and an output for what is no class: what networks learn from negatives.

Two heads on shared features: Bevandić, Krešo, Oršić, Šegvić, "Dense open-set recognition based on training with noisy
negative images", arXiv 2101.09193. The published head is a batch norm, a ReLU and a 1x1 convolution on one map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.errors import ConfigError, unknown_name
from anomseg.segmenters.base import SegmentationOutput, Segmenter
from anomseg.types import FeatureInfo


class OutlierHead(nn.Module):
    """Two logits of every cell, inlier then outlier, from feature maps brought to the finest of them.

    Args:
        layers: The maps that it reads, by name; the finest has the smallest stride.
        width: 0: batch norm, ReLU, 1x1 convolution. Else two 3x3 convolutions of so many channels go before the 1x1
            one, each with a batch norm and a ReLU.

    Raises:
        ConfigError: No layers, or a negative width.

    Example:
        >>> head = OutlierHead({"fine": FeatureInfo(4, 4), "coarse": FeatureInfo(6, 8)}).eval()
        >>> head({"fine": torch.rand(1, 4, 8, 12), "coarse": torch.rand(1, 6, 4, 6)}).shape
        torch.Size([1, 2, 8, 12])
    """

    def __init__(self, layers: Mapping[str, FeatureInfo], width: int = 0) -> None:
        super().__init__()
        if not layers or width < 0:
            raise ConfigError(f"an outlier head reads at least one layer at a width of 0 or more, got {width}")
        self.layers = tuple(layers)
        self.finest = min(layers, key=lambda name: layers[name].stride)
        channels = sum(info.channels for info in layers.values())
        parts: list[nn.Module] = []
        for inputs in (channels, width) if width else ():
            parts += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        if not width:
            parts += [nn.BatchNorm2d(channels), nn.ReLU()]
        self.body = nn.Sequential(*parts, nn.Conv2d(width or channels, 2, 1))

    def forward(self, named: Mapping[str, Tensor]) -> Tensor:
        """Maps by name, at least those of `layers`, to ``(B, 2, h, w)`` at the finest one's size."""
        size = (named[self.finest].shape[-2], named[self.finest].shape[-1])
        maps = [
            named[name]
            if named[name].shape[-2:] == size
            else F.interpolate(named[name], size, mode="bilinear", align_corners=False)
            for name in self.layers
        ]
        return self.body(torch.cat(maps, 1) if len(maps) > 1 else maps[0])


@dataclass(frozen=True)
class HeadOutputs:
    """What all heads of a network say in training, each at its own resolution.

    Attributes:
        logits: ``(B, K, h, w)``, K the classes, and one more where the network has an extra class, which comes last.
        auxiliary: The same from heads on earlier layers.
        outlier: ``(B, 2, h, w)``, inlier then outlier; None without an outlier head.
        outlier_auxiliary: The same from heads on earlier layers.
    """

    logits: Tensor
    auxiliary: tuple[Tensor, ...]
    outlier: Tensor | None
    outlier_auxiliary: tuple[Tensor, ...]


class NegativesNetwork(Segmenter):
    """Base of our trainable networks: an outlier head and an extra class beside the classes are options of theirs.

    A subclass calls `begin_heads` before it builds its classifiers, of `outputs` channels, and `end_heads` when it has
    built all else, so that seeds give the same weights with an outlier head as without.
    """

    early_layers: ClassVar[tuple[str, ...]] = ()
    """Maps that auxiliary heads read, one each."""
    classifier_reads: ClassVar[tuple[str, ...]] = ()
    """Maps that `classify` reads."""
    outlier: OutlierHead | None
    outlier_auxiliary: nn.ModuleList

    def begin_heads(self, extra_class: bool) -> None:
        """Note whether there is one output more than classes."""
        self.void = extra_class

    @property
    def outputs(self) -> int:
        """Channels of the classifiers."""
        return len(self.classes) + int(self.void)

    def end_heads(self, layers: Sequence[str], width: int) -> None:
        """Build the outlier head, and its auxiliary ones, where any layer is named.

        Args:
            layers: Names of `feature_info`.
            width: See `OutlierHead`.

        Raises:
            ConfigError: There is no such layer, or the text of one where a list belongs.
        """
        if isinstance(layers, str):
            raise ConfigError(f"outlier_layers is a list of names such as [{layers}]")
        info = self.feature_info
        for name in layers:
            if name not in info:
                raise unknown_name(f"feature of {self.registry_name}", name, info)
        self.outlier_width = width
        self.outlier = OutlierHead({name: info[name] for name in layers}, width) if layers else None
        early = self.early_layers if layers else ()
        self.outlier_auxiliary = nn.ModuleList(OutlierHead({name: info[name]}) for name in early)

    @property
    def provides(self) -> frozenset[str]:
        """As `Segmenter.provides`; also ``outlier_head`` where there is one."""
        found = super().provides
        return found | {"outlier_head"} if self.outlier is not None else found

    def classify(self, named: Mapping[str, Tensor]) -> Tensor:
        """Outputs of the classifier, from the feature maps."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it classifies")

    def classify_early(self, named: Mapping[str, Tensor]) -> Tensor:
        """Outputs of the auxiliary classifier on an earlier feature map."""
        raise NotImplementedError(f"{type(self).__name__} has no auxiliary classifier")

    def early_logits(self, named: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Outputs of every auxiliary classifier."""
        return (self.classify_early(named),)

    def encode(self, batch: Tensor) -> dict[str, Tensor]:
        """All named feature maps of a batch in [0, 1]."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it encodes")

    def heads(self, named: Mapping[str, Tensor]) -> HeadOutputs:
        """What all heads, those of training included, say of the feature maps that `encode` gives."""
        return HeadOutputs(
            self.classify(named),
            self.early_logits(named),
            None if self.outlier is None else self.outlier(named),
            tuple(head(named) for head in self.outlier_auxiliary),
        )

    def answer(self, named: Mapping[str, Tensor], batch: Tensor, features: Sequence[str]) -> SegmentationOutput:
        """What `segment` returns: the classifier's outputs and the outlier head's, of one pass."""
        output = self.split_void(self.classify(named), batch, {name: named[name] for name in features})
        return output if self.outlier is None else replace(output, outlier_logits=self.outlier(named))

    def config(self) -> dict[str, object]:
        """Options that rebuild this network; those on negatives where they are in use."""
        found = super().config()
        if self.outlier is not None:
            found |= {"outlier_layers": list(self.outlier.layers), "outlier_width": self.outlier_width}
        return {**found, "extra_class": True} if self.void else found
