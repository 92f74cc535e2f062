"""One step of synthesis, the generator's and then the discriminator's; it knows nothing of where layouts come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.detectors.synthcp.losses import discriminator_hinge, feature_matching, generator_hinge

Distance = Callable[[Tensor, Tensor], Tensor]
"""A perceptual loss: how far a rendering is from an image, both in [-1, 1]; a scalar."""


class Steps(Protocol):
    """What is asked of an optimiser."""

    def zero_grad(self) -> Any:
        """Forget gradients."""

    def step(self) -> Any:
        """Take a step."""


@dataclass(frozen=True)
class SynthesisWeights:
    """Weights beside the adversarial term.

    Attributes:
        features: Of feature matching; 10 as published.
        perceptual: Of the perceptual loss, where there is one; 10 as published.
        pixels: Of the mean absolute difference of rendering and image; ours, 0 as published.
    """

    features: float = 10.0
    perceptual: float = 10.0
    pixels: float = 0.0


@dataclass(frozen=True)
class GeneratorTerms:
    """What the generator is told, scalars, and its rendering.

    Attributes:
        rendering: ``(B, channels, *S)`` in [-1, 1].
        adversarial: ``-mean(D(rendering))``.
        features: Feature matching.
        pixels: Mean absolute difference of rendering and image.
        perceptual: Their perceptual distance; None where there is none.
    """

    rendering: Tensor
    adversarial: Tensor
    features: Tensor
    pixels: Tensor
    perceptual: Tensor | None

    def total(self, weights: SynthesisWeights) -> Tensor:
        """The weighted sum, a scalar."""
        loss = self.adversarial + weights.features * self.features + weights.pixels * self.pixels
        return loss if self.perceptual is None else loss + weights.perceptual * self.perceptual

    def told(self) -> dict[str, Tensor]:
        """The terms by name, detached."""
        terms = {"adversarial": self.adversarial, "features": self.features, "pixels": self.pixels}
        if self.perceptual is not None:
            terms["perceptual"] = self.perceptual
        return {name: value.detach() for name, value in terms.items()}


def generator_terms(
    generator: nn.Module, discriminator: nn.Module, layout: Tensor, image: Tensor, perceptual: Distance | None = None
) -> GeneratorTerms:
    """What the generator is told of layouts and their images.

    Args:
        generator: Layout to rendering.
        discriminator: Layout and image to the maps of its scales.
        layout: ``(B, classes, *S)``.
        image: ``(B, channels, *S)`` in [-1, 1].
        perceptual: The perceptual loss, if any.
    """
    rendering = generator(layout)
    with torch.no_grad():
        of_image = discriminator(layout, image)
    of_rendering = discriminator(layout, rendering)
    return GeneratorTerms(
        rendering,
        generator_hinge(of_rendering),
        feature_matching(of_rendering, of_image),
        F.l1_loss(rendering.float(), image.float()),
        perceptual(rendering, image) if perceptual is not None else None,
    )


def discriminator_terms(
    discriminator: nn.Module, layout: Tensor, image: Tensor, rendering: Tensor
) -> tuple[Tensor, Tensor]:
    """The hinge of images and that of renderings; the discriminator's loss is their sum."""
    return (
        discriminator_hinge(discriminator(layout, image), real=True),
        discriminator_hinge(discriminator(layout, rendering.detach()), real=False),
    )


@torch.no_grad()
def adversarial_figures(
    generator: nn.Module, discriminator: nn.Module, layout: Tensor, image: Tensor, perceptual: Distance | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Every term of both networks on layouts and their images, for validation: one pass each.

    Returns:
        The rendering, and ``adversarial``, ``features``, ``pixels``, ``real``, ``fake`` and, where there is one,
        ``perceptual``; see `adversarial_step`.
    """
    rendering = generator(layout)
    of_image, of_rendering = discriminator(layout, image), discriminator(layout, rendering)
    told = {
        "adversarial": generator_hinge(of_rendering),
        "features": feature_matching(of_rendering, of_image),
        "pixels": F.l1_loss(rendering.float(), image.float()),
        "real": discriminator_hinge(of_image, real=True),
        "fake": discriminator_hinge(of_rendering, real=False),
    }
    return rendering, told if perceptual is None else {**told, "perceptual": perceptual(rendering, image)}


def adversarial_step(
    generator: nn.Module,
    discriminator: nn.Module,
    of_generator: Steps,
    of_discriminator: Steps,
    layout: Tensor,
    image: Tensor,
    *,
    weights: SynthesisWeights | None = None,
    perceptual: Distance | None = None,
    clip: float = 0.0,
    backward: Callable[[Tensor], Any] = Tensor.backward,
) -> dict[str, Tensor]:
    """A step of the generator, then one of the discriminator on the rendering that the generator was told of.

    Published code renders anew in between; that changes little and costs a pass.

    Args:
        generator: Layout to rendering.
        discriminator: Layout and image to the maps of its scales.
        of_generator: The generator's optimiser.
        of_discriminator: The discriminator's.
        layout: ``(B, classes, *S)``.
        image: ``(B, channels, *S)`` in [-1, 1].
        weights: Of the generator's terms; as published where not given.
        perceptual: The perceptual loss, if any.
        clip: Bound of each network's gradient norm; 0 for none.
        backward: What computes gradients of a scalar.

    Returns:
        The terms before the step, detached scalars: ``loss``, those of `GeneratorTerms.told`, ``real`` and ``fake``.
    """
    discriminator.requires_grad_(False)
    terms = generator_terms(generator, discriminator, layout, image, perceptual)
    loss = terms.total(weights or SynthesisWeights())
    _move(generator, of_generator, loss, clip, backward)
    discriminator.requires_grad_(True)
    real, fake = discriminator_terms(discriminator, layout, image, terms.rendering)
    _move(discriminator, of_discriminator, real + fake, clip, backward)
    return {"loss": loss.detach(), **terms.told(), "real": real.detach(), "fake": fake.detach()}


def _move(network: nn.Module, optimiser: Steps, loss: Tensor, clip: float, backward: Callable[[Tensor], Any]) -> None:
    optimiser.zero_grad()
    backward(loss)
    if clip:
        nn.utils.clip_grad_norm_(network.parameters(), clip)
    optimiser.step()


def two_rates(
    generator: nn.Module,
    discriminator: nn.Module,
    learning_rate: float = 1e-4,
    discriminator_rate: float = 4.0,
    betas: Sequence[float] = (0.0, 0.9),
) -> tuple[torch.optim.Adam, torch.optim.Adam]:
    """Adam for each network, the discriminator's of a higher rate (Heusel et al., NeurIPS 2017).

    Args:
        generator: Learns at ``learning_rate``.
        discriminator: Learns at ``discriminator_rate`` times that.
        learning_rate: 1e-4 as published.
        discriminator_rate: 4 as published.
        betas: Of both.
    """
    pair = (float(betas[0]), float(betas[1]))
    return (
        torch.optim.Adam(generator.parameters(), learning_rate, pair),
        torch.optim.Adam(discriminator.parameters(), learning_rate * discriminator_rate, pair),
    )
