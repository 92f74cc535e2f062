"""The Lightning module that trains a comparator."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anomseg.detectors.synthcp.comparator import Comparator
from anomseg.detectors.synthcp.comparator_losses import confidence_loss, quality_loss
from anomseg.metrics import PixelCurve
from anomseg.training.base_module import Sample, TrainingModule
from anomseg.training.options import OptimiserConfig
from anomseg.types import VOID


class ComparatorModule(TrainingModule):
    """``L_iou + L_conf`` on out-of-fold predictions; in validation also what the figures of the task will be.

    Args:
        comparator: What is trained.
        quality_weight: Weight of L_iou.
        confidence_weight: Weight of L_conf.
        optimiser: How to train.
        seed: Seed of whatever is drawn while training.
    """

    def __init__(
        self,
        comparator: Comparator,
        quality_weight: float,
        confidence_weight: float,
        optimiser: OptimiserConfig,
        seed: int,
    ) -> None:
        super().__init__(optimiser, seed)
        self.comparator = comparator
        self.weights = (quality_weight, confidence_weight)

    @property
    def trained(self) -> nn.Module:
        """The comparator."""
        return self.comparator

    def _answer(self, batch: Sample) -> tuple[Tensor, Tensor]:
        image, rendering = batch["image"], batch.get("rendering")
        if self.optimiser.channels_last:
            image = image.contiguous(memory_format=torch.channels_last)
        return self.comparator(batch["probabilities"], image, rendering)

    def _losses(self, batch: Sample, quality: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
        return (
            quality_loss(quality, batch["overlap"]),
            confidence_loss(confidence, batch["probabilities"], batch["truth"]),
        )

    def _total(self, losses: tuple[Tensor, Tensor]) -> Tensor:
        return self.weights[0] * losses[0] + self.weights[1] * losses[1]

    def loss_of(self, batch: Sample) -> Tensor:
        """Both losses of a batch, weighed."""
        return self._total(self._losses(batch, *self._answer(batch)))

    def validation_step(self, batch: Sample, index: int) -> None:
        """Losses of one image, the error of its predicted overlaps, and how well its wrong pixels are found.

        ``val_aupr_error`` is the mean over images with right and wrong pixels; ``val_aupr_error_msp`` is the same of
        the network's own confidence alone, which has to be beaten.
        """
        del index
        # Half precision is for steps only: figures are those of the comparator that is written.
        with torch.autocast(batch["image"].device.type, enabled=False):
            quality, confidence = self._answer(batch)
            losses = self._losses(batch, quality, confidence)
        for name, value in zip(
            ("val_loss", "val_quality", "val_confidence"), (self._total(losses), *losses), strict=True
        ):
            self.tell(name, value)
        absent = batch["overlap"].isnan()
        if not bool(absent.all()):
            self.tell("val_mae", (quality.float().clamp(0, 1) - batch["overlap"])[~absent].abs().mean())
        highest, predicted = batch["probabilities"].max(1)
        wrong = (predicted != batch["truth"]).long().masked_fill(batch["truth"] == VOID, VOID)
        if bool((wrong == 1).any()) and bool((wrong == 0).any()):
            ours = -(confidence.float().sigmoid() + highest)
            for name, error in (("val_aupr_error", ours), ("val_aupr_error_msp", -highest)):
                curve = PixelCurve()
                curve.update(error[0].cpu(), wrong[0].cpu(), "image")
                self.tell(name, curve.compute().ap)
