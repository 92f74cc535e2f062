"""Stages of the baselines: ``volume_shape`` trains an autoencoder of true masks, ``volume_uncertainty`` fits a line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from anomseg.detectors.synthcp.records import joined
from anomseg.detectors.synthcp.volumes.bank import CaseBank
from anomseg.detectors.synthcp.volumes.case_data import CaseData
from anomseg.detectors.synthcp.volumes.grid_config import GridConfig
from anomseg.detectors.synthcp.volumes.regressed import VolumeUncertainty
from anomseg.detectors.synthcp.volumes.saved import save_volume_detector
from anomseg.detectors.synthcp.volumes.shape_vae import ShapeVAE, ShapeVAEDetector, shape_loss
from anomseg.errors import ConfigError
from anomseg.training.base_module import Sample, TrainingModule
from anomseg.training.bounds import check_bounds
from anomseg.training.loop import run_training
from anomseg.training.options import OptimiserConfig
from anomseg.training.recipe import Recipe, StageConfig, configure

GIVES = "detector"


@dataclass(frozen=True)
class ShapeConfig(GridConfig):
    """An autoencoder of shapes, and the failed masks whose Dice its reconstructions are to tell.

    Attributes:
        width: Of `ShapeVAE`, as is the following.
        latent: Numbers that describe a shape.
        divergence: Weight of the divergence from a unit Gaussian.
        failed: Sets of cases with predictions, as ``data`` has them; the line is fitted on them.
    """

    width: int = 8
    latent: int = 32
    divergence: float = 0.05
    failed: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds("divergence", self.divergence, 0)
        if not self.failed:
            raise ConfigError("failed names the sets of cases that the line is fitted on: {sources: ...}")


class TrueMasks(Dataset[dict[str, Tensor]]):
    """Masks of the targets, each case once a round.

    Args:
        bank: With true masks.
        seed: Of the order; None gives every case once, in order.
    """

    def __init__(self, bank: CaseBank, seed: int | None) -> None:
        self.bank, self.seed = bank, seed

    def __len__(self) -> int:
        return len(self.bank)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """``mask`` ``(T, D, H, W)`` in [0, 1]."""
        turn, place = divmod(number, len(self.bank))
        if self.seed is not None:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + turn)
            place = int(torch.randperm(len(self.bank), generator=generator)[place])
        case, _ = self.bank[place]
        return {"mask": case.layout[self.bank.setting.indices]}


class ShapeModule(TrainingModule):
    """`shape_loss` with codes drawn; in validation the codes are their means.

    Args:
        vae: What is trained.
        divergence: See `shape_loss`.
        optimiser: How to train.
        seed: Seed of what is drawn.
    """

    def __init__(self, vae: ShapeVAE, divergence: float, optimiser: OptimiserConfig, seed: int) -> None:
        super().__init__(optimiser, seed)
        self.vae, self.divergence = vae, divergence

    @property
    def trained(self) -> nn.Module:
        """The autoencoder."""
        return self.vae

    def loss_of(self, batch: Sample) -> Tensor:
        """Of masks, with noise on the codes."""
        mask = batch["mask"]
        noise = torch.randn(len(mask), self.vae.options["latent"], device=mask.device)
        logits, mean, log_variance = self.vae(mask, noise)
        return shape_loss(logits.float(), mask, mean.float(), log_variance.float(), self.divergence)

    def validation_step(self, batch: Sample, index: int) -> None:
        """The loss of one mask."""
        del index
        logits, mean, log_variance = self.vae(batch["mask"])
        loss = shape_loss(logits.float(), batch["mask"], mean.float(), log_variance.float(), self.divergence)
        self.tell("val_loss", loss)


class VolumeShapeStage:
    """Trains `ShapeVAE` on true masks, then fits the line of `ShapeVAEDetector` on failed ones.

    Args:
        recipe: The recipe it belongs to.
        config: Its own part of the recipe.

    Raises:
        ConfigError: The configuration is not valid.
    """

    def __init__(self, recipe: Recipe, config: StageConfig) -> None:
        self.recipe, self.name = recipe, config.name
        _require_plain(config)
        self.module = configure(ShapeConfig, config.module, f"{self.name}.module")
        self.optimiser = configure(OptimiserConfig, config.trainer, f"{self.name}.trainer")
        self.data = CaseData(recipe, config, self.module.targets)
        failed = StageConfig(
            f"{config.name}.module.failed",
            config.stage,
            {},
            {"validation": config.data["validation"], **self.module.failed},
            {},
        )
        self.failed = CaseData(recipe, failed, self.module.targets)

    def check(self) -> None:
        """Find the cases, before any training starts."""
        if self.data.classes != self.failed.classes:
            raise ConfigError(f"{self.name}: true and failed masks name other classes; use sets of the same labels")

    def run(self, folder: Path, out: Path, *, taken: Mapping[str, Path], quiet: bool = False) -> dict[str, Any]:
        """Train and fit, or continue where a stopped run left off; see `Stage.run`."""
        del taken
        data, wanted, seed = self.data, self.module, self.recipe.seed
        setting = wanted.setting(data.classes)
        torch.manual_seed(seed)
        vae = ShapeVAE(len(setting.targets), setting.grid.size, wanted.width, wanted.latent)
        banks = [
            CaseBank(cases, setting, judged="truth", memory=data.config.memory)
            for cases in (data.cases, data.validation)
        ]
        trained = run_training(
            ShapeModule(vae, wanted.divergence, self.optimiser, seed),
            TrueMasks(banks[0], seed),
            TrueMasks(banks[1], None),
            folder=folder,
            batch_size=data.config.batch_size,
            workers=data.config.workers,
            quiet=quiet,
        )
        detector = ShapeVAEDetector(setting, None, vae.cpu().eval())
        skipped = detector.fit(self.failed.cases)
        summary = {"recipe": self.recipe.name, "stage": self.name, "seed": seed, **trained, **data.record()}
        summary |= {"line": _line(detector.line), "skipped": {**banks[0].skipped, **skipped}}
        detector.fitted_on = joined(data.fitted_on(banks[0].skipped, summary), self.failed.fitted_on(skipped, summary))
        save_volume_detector(detector, out)
        return summary


class VolumeUncertaintyStage:
    """Fits the line of `VolumeUncertainty` on cases with probabilities.

    Args:
        recipe: The recipe it belongs to.
        config: Its own part of the recipe; it has no trainer.

    Raises:
        ConfigError: The configuration is not valid.
    """

    def __init__(self, recipe: Recipe, config: StageConfig) -> None:
        self.recipe, self.name = recipe, config.name
        _require_plain(config)
        if config.trainer:
            raise ConfigError(f"{self.name} fits a line and trains nothing; leave trainer out")
        self.module = configure(GridConfig, config.module, f"{self.name}.module")
        self.data = CaseData(recipe, config, self.module.targets)

    def check(self) -> None:
        """Find the cases."""
        self.data.cases  # noqa: B018 - found now, so that a wrong folder is told now

    def run(self, folder: Path, out: Path, *, taken: Mapping[str, Path], quiet: bool = False) -> dict[str, Any]:
        """Fit; see `Stage.run`."""
        del folder, taken, quiet
        detector = VolumeUncertainty(self.module.setting(self.data.classes))
        skipped = detector.fit(self.data.cases)
        summary = {"recipe": self.recipe.name, "stage": self.name, "seed": self.recipe.seed, **self.data.record()}
        summary |= {"line": _line(detector.line), "skipped": skipped}
        detector.fitted_on = self.data.fitted_on(skipped, summary)
        save_volume_detector(detector, out)
        return summary


def _require_plain(config: StageConfig) -> None:
    if config.gives != GIVES or config.takes:
        raise ConfigError(f"{config.name} gives a detector and takes no other stage's result; write gives: {GIVES}")


def _line(line: Tensor | None) -> list[list[float]]:
    return [] if line is None else line.tolist()
