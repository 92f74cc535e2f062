"""What a segmentation stage can be told: network, optimisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from anomseg.errors import ConfigError
from anomseg.training.bounds import check_bounds


@dataclass(frozen=True)
class NetworkConfig:
    """What to train.

    Attributes:
        network: Registered segmenter with random weights.
        options: Its options; the classes come from the label space.
        start: A saved segmenter whose weights to start from instead of random ones.
        encoder_start: A checkpoint whose encoder to start from, for networks on a published encoder or one of ours;
            ``bundled`` is the network that ships with the package.
        freeze_encoder: The encoder is not trained: no gradients, batch norms and dropout as in use.
        balance: Weigh classes by the inverse logarithm of their frequency.
        auxiliary: Weight of the auxiliary loss, where the network has an auxiliary head.
        semantic: Of mask transformers: weight of the cross-entropy on the class map that their queries make together.
        loss_stride: The loss reads every n-th pixel of a crop in both directions; 2 saves a third of a step's time.
        half: Store the result as float16.
    """

    network: str = "pyramid"
    options: Mapping[str, Any] = field(default_factory=dict)
    start: str | None = None
    encoder_start: str | None = None
    freeze_encoder: bool = False
    balance: bool = True
    auxiliary: float = 0.4
    semantic: float = 1.0
    loss_stride: int = 1
    half: bool = True

    def __post_init__(self) -> None:
        check_bounds("auxiliary", self.auxiliary, 0)
        check_bounds("semantic", self.semantic, 0)
        check_bounds("loss_stride", self.loss_stride, 1)


@dataclass(frozen=True)
class OptimiserConfig:
    """How to train.

    Attributes:
        steps: Optimiser steps, a multiple of ``validate_every``; 0 leaves the network as it starts, to compare with.
        optimiser: ``adamw``; ``adam`` and ``adamax``, whose weight decay is part of the gradient; ``sgd`` with
            Nesterov momentum.
        schedule: ``cosine``: linear warm-up, then a cosine to zero; ``poly``: the rate falls as
            ``(1 - step / steps) ** power``; ``constant``. They are stepped each iteration.
        learning_rate: Peak of the schedule.
        encoder_rate: The encoder's learning rate relative to the head's, for networks on a published encoder.
        outlier_rate: The outlier head's learning rate relative to the other weights'.
        warmup: Share of the steps that ``cosine`` spends warming up.
        power: Of ``poly``.
        momentum: Of ``sgd``.
        weight_decay: On convolution kernels.
        decay_all: Also on biases and batch norms.
        clip: Bound of the gradient's norm; 0 for none.
        validate_every: Steps between validations, which are also the points to resume from.
        precision: Lightning's precision; ``bf16-mixed`` halves the time on processors with bfloat16.
        channels_last: Memory layout; faster for convolutions.
        accelerator: Lightning's accelerator.
        devices: Lightning's devices.
    """

    steps: int = 7000
    optimiser: Literal["adamw", "adam", "adamax", "sgd"] = "adamw"
    schedule: Literal["cosine", "poly", "constant"] = "cosine"
    learning_rate: float = 2e-3
    encoder_rate: float = 1.0
    outlier_rate: float = 1.0
    warmup: float = 0.03
    power: float = 0.9
    momentum: float = 0.9
    weight_decay: float = 0.02
    decay_all: bool = False
    clip: float = 5.0
    validate_every: int = 500
    precision: str = "bf16-mixed"
    channels_last: bool = True
    accelerator: str = "auto"
    devices: int = 1

    def __post_init__(self) -> None:
        for name in ("validate_every", "devices"):
            check_bounds(name, getattr(self, name), 1)
        if self.steps % self.validate_every:
            raise ConfigError("steps must be a multiple of validate_every")
        for name in ("steps", "learning_rate", "encoder_rate", "outlier_rate", "power", "weight_decay", "clip"):
            check_bounds(name, getattr(self, name), 0)
        for name in ("warmup", "momentum"):
            check_bounds(name, getattr(self, name), 0, 1)
