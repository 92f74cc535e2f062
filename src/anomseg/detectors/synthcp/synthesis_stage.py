"""The stage ``synthesis``: a generator learns to render the true layouts of labelled frames."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from anomseg.detectors.synthcp.generator import save_generator
from anomseg.detectors.synthcp.perceptual import SegmenterDistance, perceptual_distance
from anomseg.detectors.synthcp.synthesis_data import LayoutImages, LayoutStream, evenly
from anomseg.detectors.synthcp.synthesis_module import SynthesisModule
from anomseg.detectors.synthcp.synthesis_options import SynthesisConfig, SynthesisTrainerConfig
from anomseg.detectors.trained import trained_on
from anomseg.errors import ConfigError
from anomseg.training.labelled_data import LabelledData
from anomseg.training.loop import run_training
from anomseg.training.recipe import Recipe, StageConfig, configure

GIVES = "generator"
DETECTOR = "synthcp"
INTENSITY = "RGB in [-1, 1]"
"""What the images are that a generator of this stage renders."""


class SynthesisStage:
    """Trains a `SPADEGenerator` against a discriminator on whole frames, stretched to its size.

    Pixels of held-out classes are nothing to it: such frames are dropped, or those pixels are all-zero in the layout.

    Args:
        recipe: The recipe it belongs to.
        config: Its own part of the recipe.

    Raises:
        ConfigError: The configuration is not valid.
    """

    def __init__(self, recipe: Recipe, config: StageConfig) -> None:
        self.recipe, self.name = recipe, config.name
        config.require_gives(GIVES)
        config.require_no_takes()
        self.synthesis = configure(SynthesisConfig, config.module, f"{self.name}.module")
        self.trainer = configure(SynthesisTrainerConfig, config.trainer, f"{self.name}.trainer")
        for key in config.data.get("augment") or {}:
            if key != "flip":
                raise ConfigError(
                    f"{self.name}.data.augment.{key}: layouts are rendered whole and as they are; give flip alone"
                )
        self.data = LabelledData(recipe, config)
        if self.data.negatives is not None:
            raise ConfigError(f"{self.name}.data.negatives: a generator would learn what is pasted; leave them out")
        try:
            with torch.device("meta"):  # neither memory nor time
                generator = self.synthesis.generator(len(self.data.taught.names))
                self.synthesis.discriminator(len(self.data.taught.names))
        except ConfigError as error:
            raise ConfigError(f"{self.name}.module: {error}") from error
        self.size = (generator.size[0], generator.size[1])

    def check(self) -> None:
        """Find the data and the network of the perceptual loss, before any training starts."""
        self.data.stores  # noqa: B018 - found now, so that a wrong folder is told now
        self._perceptual()

    def _perceptual(self) -> nn.Module | None:
        wanted = self.synthesis
        try:
            return perceptual_distance(wanted.perceptual, wanted.perceptual_features) if wanted.perceptual else None
        except ConfigError as error:
            raise ConfigError(f"{self.name}.module.perceptual: {error}") from error

    def run(self, folder: Path, out: Path, *, taken: Mapping[str, Path], quiet: bool = False) -> dict[str, Any]:
        """Train, or continue where a stopped run left off; see `Stage.run`."""
        del taken
        data, names = self.data, self.data.taught.names
        torch.manual_seed(self.recipe.seed)
        generator = self.synthesis.generator(len(names))
        discriminator = self.synthesis.discriminator(len(names))
        perceptual = self._perceptual()
        if self.trainer.channels_last:
            for network in (generator, discriminator):
                network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        found = [
            LayoutImages(store, data.taught.lookup(space), self.size)
            for store, space in zip(data.stores, data.spaces, strict=True)
        ]
        shares = [source.share for source in data.sources]
        module = SynthesisModule(
            generator,
            discriminator,
            self.synthesis.weights,
            perceptual,
            self.trainer,
            self.recipe.seed,
            folder,
            data.taught.palette,
        )
        trained = run_training(
            module,
            LayoutStream(found[:-1], shares, data.augment.flip, data.seed),
            LayoutImages(evenly(data.stores[-1], self.synthesis.watched), found[-1].lookup, self.size),
            folder=folder,
            batch_size=data.config.batch_size,
            workers=data.config.workers,
            quiet=quiet,
        )
        summary = {
            "recipe": self.recipe.name,
            "stage": self.name,
            "seed": self.recipe.seed,
            **trained,
            **data.record(),
            **_record(perceptual),
        }
        meta = {
            "classes": list(names),
            "palette": [list(colour) for colour in data.taught.palette],
            "intensity": INTENSITY,
            "fitted_on": trained_on(DETECTOR, data.training_frames(), None, summary),
        }
        save_generator(generator.cpu().eval(), out, meta)
        return summary


def _record(perceptual: nn.Module | None) -> dict[str, Any]:
    """The network of the perceptual loss, as far as there is one."""
    if perceptual is None:
        return {}
    if isinstance(perceptual, SegmenterDistance):
        return {"perceptual": {**perceptual.segmenter.identity(), "features": list(perceptual.names)}}
    return {"perceptual": {"name": type(perceptual).__name__}}
