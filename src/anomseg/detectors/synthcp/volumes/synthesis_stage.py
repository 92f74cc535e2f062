"""The stage ``volume_synthesis``: a generator learns what CT true masks have, in slices or in volumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from anomseg.detectors.synthcp.discriminator import PyramidDiscriminator
from anomseg.detectors.synthcp.generator import SPADEGenerator, save_generator
from anomseg.detectors.synthcp.objective import SynthesisWeights
from anomseg.detectors.synthcp.synthesis_module import SynthesisModule
from anomseg.detectors.synthcp.synthesis_options import SynthesisTrainerConfig
from anomseg.detectors.synthcp.synthesis_pictures import SynthesisPictures
from anomseg.detectors.synthcp.volumes.bank import CaseBank, LayoutMiddles, LayoutSlices
from anomseg.detectors.synthcp.volumes.case_data import CaseData
from anomseg.detectors.synthcp.volumes.grid_config import GridConfig
from anomseg.errors import ConfigError
from anomseg.training.bounds import check_bounds
from anomseg.training.loop import run_training
from anomseg.training.recipe import Recipe, StageConfig, configure

GIVES = "generator"


@dataclass(frozen=True)
class VolumeSynthesisConfig(GridConfig):
    """A generator of CT, its discriminator and their losses.

    Attributes:
        dims: 2 renders every slice by itself, 3 the volume.
        width: Of `SPADEGenerator`, as are the following.
        hidden: Channels between layout and modulation.
        ups: Doublings.
        norm: The normalisation without parameters.
        spectral: Whether weights are divided by their largest singular values.
        discriminator_width: Channels of the discriminator's first layer.
        scales: Of the discriminator.
        layers: Of each scale, between the first and the last.
        features: Weight of feature matching.
        pixels: Weight of the mean absolute difference of rendering and CT.
    """

    dims: Literal[2, 3] = 2
    width: int = 8
    hidden: int = 16
    ups: int | None = 3
    norm: Literal["instance", "batch"] = "instance"
    spectral: bool = True
    discriminator_width: int = 8
    scales: int = 2
    layers: int = 2
    features: float = 10.0
    pixels: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("features", "pixels"):
            check_bounds(name, getattr(self, name), 0)

    def generator(self, classes: int) -> SPADEGenerator:
        """A new generator with random weights."""
        return SPADEGenerator(
            classes,
            channels=1,
            spatial_dims=self.dims,
            size=[int(side) for side in self.size][-self.dims :],
            width=self.width,
            hidden=self.hidden,
            ups=self.ups,
            norm=self.norm,
            spectral=self.spectral,
        )

    def discriminator(self, classes: int) -> PyramidDiscriminator:
        """A new discriminator with random weights."""
        return PyramidDiscriminator(classes, 1, self.dims, self.discriminator_width, self.scales, self.layers)


class VolumePictures(SynthesisPictures):
    """Pictures of the slice with the largest part of a mask."""

    def keep(self, classes: Tensor, image: Tensor, rendering: Tensor) -> None:
        """Remember a slice, or one of a volume; image and rendering are ``(1, *S)``."""
        if classes.ndim == 3:
            row = int((classes > 0).sum((1, 2)).argmax())
            classes, image, rendering = classes[row], image[:, row], rendering[:, row]
        super().keep(classes, image.expand(3, -1, -1), rendering.expand(3, -1, -1))


class VolumeSynthesisStage:
    """Trains a `SPADEGenerator` of one channel against a discriminator on true masks and their CT.

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
        self.module = configure(VolumeSynthesisConfig, config.module, f"{self.name}.module")
        self.trainer = configure(SynthesisTrainerConfig, config.trainer, f"{self.name}.trainer")
        if self.trainer.channels_last:
            raise ConfigError(f"{self.name}.trainer.channels_last is for colour images; leave it out")
        self.data = CaseData(recipe, config, self.module.targets)
        try:
            with torch.device("meta"):  # neither memory nor time
                self.module.generator(2)
        except ConfigError as error:
            raise ConfigError(f"{self.name}.module: {error}") from error

    def check(self) -> None:
        """Find the cases, before any training starts."""
        self.data.cases  # noqa: B018 - found now, so that a wrong folder is told now

    def run(self, folder: Path, out: Path, *, taken: Mapping[str, Path], quiet: bool = False) -> dict[str, Any]:
        """Train, or continue where a stopped run left off; see `Stage.run`."""
        del taken
        data, wanted, seed = self.data, self.module, self.recipe.seed
        setting = wanted.setting(data.classes)
        torch.manual_seed(seed)
        generator = wanted.generator(len(setting.classes))
        module = SynthesisModule(
            generator,
            wanted.discriminator(len(setting.classes)),
            SynthesisWeights(features=wanted.features, pixels=wanted.pixels),
            None,
            self.trainer,
            seed,
            folder,
        )
        module.pictures = VolumePictures(folder)
        banks = [
            CaseBank(cases, setting, judged="truth", memory=data.config.memory)
            for cases in (data.cases, data.validation)
        ]
        trained = run_training(
            module,
            LayoutSlices(banks[0], wanted.dims, seed),
            LayoutMiddles(banks[1], wanted.dims),
            folder=folder,
            batch_size=data.config.batch_size,
            workers=data.config.workers,
            quiet=quiet,
        )
        skipped = banks[0].skipped
        summary = {"recipe": self.recipe.name, "stage": self.name, "seed": seed, **trained, **data.record()}
        summary["skipped"] = skipped
        low, high = setting.grid.window
        meta = {
            "classes": list(setting.classes),
            "intensity": f"CT, {low:g} to {high:g} HU as -1 to 1",
            "setting": setting.to_json(),
            "fitted_on": data.fitted_on(skipped, summary),
        }
        save_generator(generator.cpu().eval(), out, meta)
        return summary
