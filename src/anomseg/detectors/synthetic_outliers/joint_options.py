"""What the joint stage can be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from anomseg.detectors.options import one_of, positive
from anomseg.detectors.synthetic_outliers.divergence import DIVERGENCES, Divergence
from anomseg.errors import ConfigError
from anomseg.training.bounds import check_bounds
from anomseg.training.options import NetworkConfig, OptimiserConfig


@dataclass(frozen=True)
class JointConfig(NetworkConfig):
    """The network and how it learns together with a flow, besides what a segmentation stage is told.

    Attributes:
        flow: Directory of a flow that is trained already; not given where an earlier stage trains it.
        divergence: ``js``, ``kl`` or ``reverse_kl``, see `divergence_to_uniform`.
        weight: Of the divergence, against the cross-entropy.
        temperature: Logits are divided by it for the divergence.
        detached: The divergence does not reach the flow, which then learns likelihood alone.
        paste: Samples are patches on the images; else each is a whole image beside them, of a crop's size.
        sizes: Least and largest side of the patches; height and width are drawn apart, once a step.
        flow_trainer: How the flow is trained, see `FlowTrainerConfig`.
    """

    flow: str | None = None
    divergence: Divergence = "js"
    weight: float = 0.03
    temperature: float = 1.0
    detached: bool = False
    paste: bool = True
    sizes: Sequence[int] = (16, 64)
    flow_trainer: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("divergence", self.divergence, DIVERGENCES)
        positive("temperature", self.temperature)
        check_bounds("weight", self.weight, 0)
        if len(self.sizes) != 2 or self.sizes[0] > self.sizes[1]:
            raise ConfigError(f"sizes are the least and the largest side of a patch, got {list(self.sizes)}")
        check_bounds("sizes", self.sizes, 1)
        if self.paste and self.sizes[0] < self.loss_stride:
            raise ConfigError(
                f"a patch of {self.sizes[0]} pixels may hide between the pixels that a loss_stride of "
                f"{self.loss_stride} reads; choose a lower one, or larger sizes"
            )


@dataclass(frozen=True)
class FlowTrainerConfig:
    """How the flow is trained in the joint stage, over as many steps as the network.

    Attributes:
        optimiser: As `OptimiserConfig`.
        schedule: As `OptimiserConfig`, with the network's warm-up and power.
        learning_rate: Peak of the schedule.
        clip: Bound of the norm of the flow's gradient; 0 for none.
    """

    optimiser: Literal["adamw", "adam", "adamax", "sgd"] = "adamax"
    schedule: Literal["cosine", "poly", "constant"] = "cosine"
    learning_rate: float = 1e-4
    clip: float = 1.0

    def __post_init__(self) -> None:
        check_bounds("learning_rate", self.learning_rate, 0)
        check_bounds("clip", self.clip, 0)

    def beside(self, other: OptimiserConfig) -> OptimiserConfig:
        """The whole configuration of the flow's optimiser.

        Args:
            other: The network's, whose steps and warm-up it shares.
        """
        return OptimiserConfig(
            steps=other.steps,
            validate_every=other.validate_every,
            warmup=other.warmup,
            power=other.power,
            momentum=other.momentum,
            weight_decay=0.0,
            optimiser=self.optimiser,
            schedule=self.schedule,
            learning_rate=self.learning_rate,
            clip=self.clip,
        )
