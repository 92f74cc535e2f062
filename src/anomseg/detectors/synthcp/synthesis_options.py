"""What a synthesis stage can be told: networks and losses, optimisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from anomseg.detectors.synthcp.discriminator import PyramidDiscriminator
from anomseg.detectors.synthcp.generator import SPADEGenerator
from anomseg.detectors.synthcp.objective import SynthesisWeights
from anomseg.errors import ConfigError
from anomseg.training.bounds import check_bounds
from anomseg.training.options import OptimiserConfig


@dataclass(frozen=True)
class SynthesisConfig:
    """A generator, its discriminator and their losses.

    Attributes:
        size: ``(height, width)`` of renderings; see `SPADEGenerator`, as for the following.
        width: Channels of its last block.
        hidden: Channels between layout and modulation.
        ups: Doublings.
        norm: The normalisation without parameters.
        spectral: Whether weights are divided by their largest singular values.
        discriminator_width: Channels of the discriminator's first layer.
        scales: Of the discriminator.
        layers: Of each scale, between the first and the last.
        features: Weight of feature matching.
        perceptual: The perceptual loss: a segmenter as ``--segmenter`` takes it, or ``vgg``, ``alex`` or ``squeeze``,
            whose weights are downloaded; none where empty.
        perceptual_features: Feature maps of that segmenter.
        perceptual_weight: Weight of that loss.
        pixels: Weight of the mean absolute difference of rendering and image.
        watched: Validation images that are rendered, evenly drawn from all of them; 0 for all.
    """

    size: Sequence[int] = (96, 192)
    width: int = 16
    hidden: int = 128
    ups: int | None = None
    norm: Literal["instance", "batch"] = "instance"
    spectral: bool = True
    discriminator_width: int = 16
    scales: int = 2
    layers: int = 3
    features: float = 10.0
    perceptual: str = ""
    perceptual_features: Sequence[str] = ()
    perceptual_weight: float = 10.0
    pixels: float = 0.0
    watched: int = 24

    def __post_init__(self) -> None:
        for name in ("features", "perceptual_weight", "pixels", "watched"):
            check_bounds(name, getattr(self, name), 0)
        if self.perceptual_features and not self.perceptual:
            raise ConfigError("perceptual_features are those of a segmenter; name it as perceptual")

    @property
    def weights(self) -> SynthesisWeights:
        """Of the generator's terms."""
        return SynthesisWeights(self.features, self.perceptual_weight, self.pixels)

    def generator(self, classes: int) -> SPADEGenerator:
        """A new generator with random weights."""
        return SPADEGenerator(
            classes,
            size=self.size,
            width=self.width,
            hidden=self.hidden,
            ups=self.ups,
            norm=self.norm,
            spectral=self.spectral,
        )

    def discriminator(self, classes: int) -> PyramidDiscriminator:
        """A new discriminator with random weights."""
        return PyramidDiscriminator(classes, width=self.discriminator_width, scales=self.scales, layers=self.layers)


@dataclass(frozen=True)
class SynthesisTrainerConfig:
    """How to train, with Adam.

    Attributes:
        steps: Steps of each network, a multiple of ``validate_every``; 0 leaves both as they start.
        learning_rate: Of the generator; 1e-4 as published.
        discriminator_rate: The discriminator's learning rate relative to the generator's; 4 as published.
        betas: Of Adam.
        decay_from: Share of the steps after which the rates fall, linearly to zero; 0.5 as published.
        clip: Bound of the gradient's norm, of each network by itself; 0 for none.
        validate_every: Steps between validations, which are also the points to resume from.
        precision: Lightning's precision, ``32-true`` or ``bf16-mixed``.
        channels_last: Memory layout.
        accelerator: Lightning's accelerator.
        devices: Lightning's devices.
    """

    steps: int = 400
    learning_rate: float = 1e-4
    discriminator_rate: float = 4.0
    betas: tuple[float, float] = (0.0, 0.9)
    decay_from: float = 0.5
    clip: float = 0.0
    validate_every: int = 100
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    channels_last: bool = False
    accelerator: str = "auto"
    devices: int = 1

    def __post_init__(self) -> None:
        check_bounds("discriminator_rate", self.discriminator_rate, 0)
        check_bounds("decay_from", self.decay_from, 0, 1)
        check_bounds("betas", self.betas, 0, 0.9999)
        self.loop()

    def loop(self) -> OptimiserConfig:
        """What the training loop reads of it; each network's gradients are clipped elsewhere."""
        return OptimiserConfig(
            steps=self.steps,
            optimiser="adam",
            schedule="constant",
            learning_rate=self.learning_rate,
            weight_decay=0.0,
            clip=self.clip,
            validate_every=self.validate_every,
            precision=self.precision,
            channels_last=self.channels_last,
            accelerator=self.accelerator,
            devices=self.devices,
        )

    def factor(self, step: int) -> float:
        """Of the rates at a step.

        Example:
            >>> [SynthesisTrainerConfig(steps=400).factor(step) for step in (0, 200, 300, 400)]
            [1.0, 1.0, 0.5, 0.0]
        """
        left, falling = self.steps - step, self.steps * (1 - self.decay_from)
        return min(1.0, max(left, 0) / falling) if falling else 1.0
