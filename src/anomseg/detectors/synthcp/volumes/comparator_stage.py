"""The stage ``volume_comparator``: a comparator learns the Dice of failed masks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.detectors.synthcp.comparator import Comparator
from anomseg.detectors.synthcp.comparator_losses import quality_loss
from anomseg.detectors.synthcp.generator import SPADEGenerator, is_generator_directory, load_generator
from anomseg.detectors.synthcp.records import joined
from anomseg.detectors.synthcp.volumes.bank import CaseBank, JudgedCases, JudgedRuns
from anomseg.detectors.synthcp.volumes.case_data import CaseData
from anomseg.detectors.synthcp.volumes.comparing import (
    Against,
    ComparatorDetector,
    DirectVolume,
    SynthCPVolume,
)
from anomseg.detectors.synthcp.volumes.grid_config import GridConfig
from anomseg.detectors.synthcp.volumes.saved import save_volume_detector
from anomseg.detectors.synthcp.volumes.setting import PreparedCase, VolumeSetting
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.training.base_module import Sample, TrainingModule
from anomseg.training.bounds import check_bounds
from anomseg.training.loop import run_training
from anomseg.training.options import OptimiserConfig
from anomseg.training.recipe import Recipe, StageConfig, configure

GIVES = "detector"


@dataclass(frozen=True)
class VolumeComparatorConfig(GridConfig):
    """A comparator and what it compares with.

    Attributes:
        dims: 2 judges slices with their neighbours, 3 volumes.
        branches: ``both`` compares with a rendering; ``image`` is the baseline without one.
        generator: Folder of the generator, where no stage is taken that gives one.
        reach: Of slices: neighbours to either side.
        against: The second branch sees the ``rendering``, as published, or half of CT less rendering.
        widths: Of `Comparator`, as are the following.
        blocks: Of the four stages.
        hidden: Channels that the pixel head makes of each stage.
        stem: Side of the first convolution.
        pool: The stem pools.
        norm: ``batch`` or ``group``.
        confidence: Weight of the pixel head's loss beside the Dice's.
    """

    dims: Literal[2, 3] = 2
    branches: Literal["both", "image"] = "both"
    generator: str = ""
    reach: int = 1
    against: Against = "rendering"
    widths: Sequence[int] = (24, 32, 48, 64)
    blocks: Sequence[int] = (1, 1, 1, 1)
    hidden: int = 16
    stem: int = 5
    pool: bool = False
    norm: Literal["batch", "group"] = "group"
    confidence: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds("confidence", self.confidence, 0)
        check_bounds("reach", self.reach, 0)
        shrinks = 32 if self.pool else 16
        sides = [int(side) for side in self.size][-self.dims :]
        if self.norm == "group" and math.prod(-(-side // shrinks) for side in sides) < 2:
            raise ConfigError(
                f"size {list(self.size)} leaves the comparator's last stage a single cell, without a norm; its sides "
                f"shrink {shrinks} times"
            )
        self.comparator(2)

    def comparator(self, classes: int) -> Comparator:
        """A new comparator with random weights."""
        return Comparator(
            classes,
            1 if self.dims == 3 else 2 * self.reach + 1,
            self.dims,
            size=[int(side) for side in self.size][-self.dims :],
            branches=self.branches,
            widths=tuple(self.widths),
            blocks=tuple(self.blocks),
            hidden=self.hidden,
            stem=self.stem,
            pool=self.pool,
            norm=self.norm,
        )

    def detector(self, setting: VolumeSetting, generator: SPADEGenerator | None) -> ComparatorDetector:
        """The detector that is trained."""
        kind = SynthCPVolume if self.branches == "both" else DirectVolume
        return kind(setting, self.comparator(len(setting.classes)), generator, self.reach, self.against)


class VolumeComparatorModule(TrainingModule):
    """SmoothL1 to the Dice, and the cross-entropy of the chance that a voxel is right; ``val_loss`` is the mean error.

    Args:
        detector: Whose comparator is trained.
        confidence: Weight of the cross-entropy.
        optimiser: How to train.
        seed: Seed of whatever is drawn.
    """

    def __init__(self, detector: ComparatorDetector, confidence: float, optimiser: OptimiserConfig, seed: int) -> None:
        super().__init__(optimiser, seed)
        self.comparator, self.detector, self.confidence = detector.comparator, detector, confidence

    @property
    def trained(self) -> nn.Module:
        """The comparator."""
        return self.comparator

    def loss_of(self, batch: Sample) -> Tensor:
        """Of runs ``(B, N, ...)``."""
        rows = {name: part.flatten(0, 1) for name, part in batch.items()}
        quality, right = self.comparator(rows["layout"], rows["image"], rows.get("rendering"))
        of_dice = quality_loss(quality[:, self.detector.setting.indices], rows["dice"])
        return of_dice + self.confidence * F.binary_cross_entropy_with_logits(right.float(), rows["right"].float())

    def validation_step(self, batch: Sample, index: int) -> None:
        """Mean absolute error of the Dice of one whole case; of targets that are not there, nothing."""
        del index
        image, layout, dice, empty = (batch[name][0] for name in ("image", "layout", "dice", "empty"))
        whole = tuple(slice(0, side) for side in image.shape)
        case = PreparedCase(image, layout, None, dice, empty, whole, tuple(image.shape))  # type: ignore[arg-type]
        rendering = batch["rendering"][0] if "rendering" in batch else None
        with torch.autocast(image.device.type, enabled=False):
            told = self.detector.compare(case, rendering).quality.clamp(0, 1).masked_fill(empty, 0.0)
        apart = (told - dice).abs()[~dice.isnan()]
        if len(apart):
            self.tell("val_loss", apart.mean())


class VolumeComparatorStage:
    """Trains a `Comparator` on predicted masks that are right and wrong to every degree.

    Args:
        recipe: The recipe it belongs to.
        config: Its own part of the recipe.

    Raises:
        ConfigError: The configuration is not valid.
    """

    def __init__(self, recipe: Recipe, config: StageConfig) -> None:
        self.recipe, self.name = recipe, config.name
        config.require_gives(GIVES)
        self.module = configure(VolumeComparatorConfig, config.module, f"{self.name}.module")
        self.optimiser = configure(OptimiserConfig, config.trainer, f"{self.name}.trainer")
        self.data = CaseData(recipe, config, self.module.targets)
        self.takes = config.takes
        both = self.module.branches == "both"
        sources = len(config.takes) + bool(self.module.generator)
        if sources != int(both):
            raise ConfigError(
                f"{self.name}.module.branches: both compares with what one generator renders; take one stage "
                "volume_synthesis, or give module.generator DIR"
                if both
                else f"{self.name}.module.branches: image compares with no rendering; leave takes and generator out"
            )

    def check(self) -> None:
        """Find the cases and the generator, before any training starts."""
        setting = self.module.setting(self.data.classes)
        self.data.validation  # noqa: B018 - found now, so that a wrong folder is told now
        if self.module.generator:
            self._generator(self.module.generator, setting)

    def _generator(self, folder: str | Path, setting: VolumeSetting) -> SPADEGenerator:
        if not is_generator_directory(folder):
            raise ConfigError(f"{self.name}.module.generator: {folder} is no directory that volume_synthesis wrote")
        generator = load_generator(folder)
        theirs, ours = dict(generator.meta.get("setting") or {}), setting.to_json()
        theirs.pop("targets", None)
        ours.pop("targets")
        if theirs != ours:
            raise CompatibilityError(
                f"{self.name}: the generator in {folder} works on {theirs or 'images'}, and this stage on {ours}; give "
                "both the same classes, size, window and margin"
            )
        return generator

    def run(self, folder: Path, out: Path, *, taken: Mapping[str, Path], quiet: bool = False) -> dict[str, Any]:
        """Train, or continue where a stopped run left off; see `Stage.run`."""
        data, wanted, seed = self.data, self.module, self.recipe.seed
        setting = wanted.setting(data.classes)
        generator = None
        if wanted.branches == "both":
            generator = self._generator(wanted.generator or taken[self.takes[0]], setting)
        torch.manual_seed(seed)
        detector = wanted.detector(setting, generator)
        banks = [
            CaseBank(cases, setting, memory=data.config.memory, generator=generator)
            for cases in (data.cases, data.validation)
        ]
        trained = run_training(
            VolumeComparatorModule(detector, wanted.confidence, self.optimiser, seed),
            JudgedRuns(banks[0], wanted.dims, wanted.reach, wanted.against, data.config.slices, seed),
            JudgedCases(banks[1]),
            folder=folder,
            batch_size=data.config.batch_size,
            workers=data.config.workers,
            quiet=quiet,
        )
        detector.comparator.cpu().eval()
        summary = {"recipe": self.recipe.name, "stage": self.name, "seed": seed, **trained, **data.record()}
        summary["skipped"] = banks[0].skipped
        of_generator = generator.meta.get("fitted_on") if generator is not None else None
        detector.fitted_on = joined(of_generator, data.fitted_on(banks[0].skipped, summary))
        save_volume_detector(detector, out)
        return summary
