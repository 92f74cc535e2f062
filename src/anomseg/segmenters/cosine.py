"""A classifier whose weight rows are class prototypes (Fontanel et al.: Detecting Anomalies by Prototypes, 2021)."""

from __future__ import annotations

import math
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.errors import ConfigError
from anomseg.scores.prototypes import cosine_logits

Classifier = Literal["linear", "cosine"]
SCALE = 10.0


@runtime_checkable
class PrototypeNetwork(Protocol):
    """A network whose logits are scaled cosines to one prototype a class, where it says so in ``provides``."""

    @property
    def prototypes(self) -> Tensor:
        """Unit prototypes ``(K, D)``, one a class."""
        ...

    @property
    def cosine_scale(self) -> float:
        """What a cosine of 1 is as a logit."""
        ...


class CosineClassifier(nn.Module):
    """Logits are cosines between a feature and the rows of a weight, times a fixed scale; there is no bias.

    Args:
        channels: Length of the features.
        classes: How many classes there are.
        scale: Fixed, not learned; 10 as published.
    """

    def __init__(self, channels: int, classes: int, scale: float = SCALE) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(classes, channels))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # as a 1x1 convolution is; only the direction counts

    @property
    def prototypes(self) -> Tensor:
        """Unit rows ``(K, D)``."""
        return F.normalize(self.weight, dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """``(B, D, h, w)`` to ``(B, K, h, w)`` in ``[-scale, scale]``."""
        return cosine_logits(features, self.weight, self.scale)


def make_classifier(kind: Classifier, channels: int, classes: int, bias: bool = True, void: bool = False) -> nn.Module:
    """The last layer of a network: a 1x1 convolution, or cosines to prototypes.

    Args:
        kind: Which of them.
        channels: Length of the features.
        classes: How many classes there are.
        bias: Of the convolution.
        void: The last of them is no class, so that it has no prototype.

    Raises:
        ConfigError: Prototypes are asked for and one of the classes is none.
    """
    if kind == "cosine":
        if void:
            raise ConfigError("what is no class has no prototype: extra_class needs classifier: linear")
        return CosineClassifier(channels, classes)
    return nn.Conv2d(channels, classes, 1, bias=bias)
