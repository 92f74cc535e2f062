"""The Lightning module that trains a generator against a discriminator; imported by training alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from anomseg.detectors.synthcp.generator import SPADEGenerator, one_hot_layout
from anomseg.detectors.synthcp.objective import (
    SynthesisWeights,
    adversarial_figures,
    adversarial_step,
    two_rates,
)
from anomseg.detectors.synthcp.synthesis_options import SynthesisTrainerConfig
from anomseg.detectors.synthcp.synthesis_pictures import SynthesisPictures
from anomseg.training.base_module import DivergenceError, Sample, TrainingModule


class SynthesisModule(TrainingModule):
    """Both networks' steps on layouts and images; in validation, how near renderings of unseen layouts come.

    ``val_loss`` is the mean absolute difference of rendering and image, both in [-1, 1]; ``val_features`` how far they
    are for the discriminator as it is then, ``val_adversarial``, ``val_real`` and ``val_fake`` the hinge terms, and
    ``val_perceptual`` the perceptual loss.

    Args:
        generator: The generator.
        discriminator: The discriminator.
        weights: Of the generator's terms.
        perceptual: Of rendering and image to a scalar.
        trainer: How to train.
        seed: Seed of whatever is drawn.
        folder: The stage's folder.
        palette: Colour of each class, for pictures.
    """

    def __init__(
        self,
        generator: SPADEGenerator,
        discriminator: nn.Module,
        weights: SynthesisWeights,
        perceptual: nn.Module | None,
        trainer: SynthesisTrainerConfig,
        seed: int,
        folder: Path,
        palette: Sequence[Sequence[int]] = (),
    ) -> None:
        # Lightning cannot clip where there are two optimisers.
        super().__init__(replace(trainer.loop(), clip=0.0), seed)
        self.automatic_optimization = False
        self.generator, self.discriminator = generator, discriminator
        self.perceptual, self.weights, self.settings = perceptual, weights, trainer
        self.pictures = SynthesisPictures(folder, palette)
        self.palette = palette

    @property
    def trained(self) -> nn.Module:
        """Both networks."""
        return nn.ModuleDict({"generator": self.generator, "discriminator": self.discriminator})

    def configure_optimizers(self) -> Any:
        """Adam for each network; the rates are constant, then fall linearly to zero."""
        settings = self.settings
        optimisers = two_rates(
            self.generator, self.discriminator, settings.learning_rate, settings.discriminator_rate, settings.betas
        )

        def factor(step: int) -> float:
            return settings.factor(step)  # a schedule would keep the state of a method

        return list(optimisers), [LambdaLR(one, factor) for one in optimisers]

    def _layout(self, batch: Sample) -> Tensor:
        layout = one_hot_layout(batch["classes"], self.generator.classes)
        return layout.contiguous(memory_format=torch.channels_last) if self.settings.channels_last else layout

    def training_step(self, batch: Sample, index: int) -> Tensor:
        """One step of the generator and one of the discriminator.

        Raises:
            DivergenceError: A term is not finite.
        """
        del index
        of_generator, of_discriminator = self.optimizers()  # type: ignore[attr-defined] # there are two
        told = adversarial_step(
            self.generator,
            self.discriminator,
            of_generator,
            of_discriminator.optimizer,  # Lightning counts the steps of optimisers that it wraps; both are one
            self._layout(batch),
            batch["image"],
            weights=self.weights,
            perceptual=self.perceptual,
            clip=self.settings.clip,
            backward=self.manual_backward,
        )
        for schedule in self.lr_schedulers():  # type: ignore[union-attr] # there are two
            schedule.step()
        for name, value in told.items():
            if not torch.isfinite(value):
                raise DivergenceError(f"the term {name} became {value.item()} at step {self.global_step}")
        loss = told.pop("loss")
        self.log("train_loss", loss, prog_bar=True)
        self.log_dict(told)
        return loss

    def validation_step(self, batch: Sample, index: int) -> None:
        """Figures of one image; the first ones are pictured."""
        del index
        image = batch["image"]
        # Half precision is for steps only: figures are those of the generator that is written.
        with torch.autocast(image.device.type, enabled=False):
            layout = self._layout(batch)
            rendering, told = adversarial_figures(self.generator, self.discriminator, layout, image, self.perceptual)
        self.tell("val_loss", told.pop("pixels"))
        for name, value in told.items():
            self.tell(f"val_{name}", value)
        if self.trainer.is_global_zero:
            self.pictures.keep(batch["classes"][0], image[0], rendering[0])

    def on_validation_epoch_end(self) -> None:
        """Log the figures and write the picture."""
        super().on_validation_epoch_end()
        if self.trainer.is_global_zero:
            self.pictures.write(self.trainer.global_step)
