"""The Lightning module that trains a segmenter."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor

from anomseg.errors import AnomsegError
from anomseg.metrics import SegmentationIoU
from anomseg.segmenters import SegmentationOutput, Segmenter
from anomseg.segmenters.trainable import DeepSupervision, StartableEncoder
from anomseg.training.losses import sample_logits, set_valued_cross_entropy
from anomseg.training.optimisers import build_optimiser
from anomseg.training.options import NetworkConfig, OptimiserConfig


class SegmentationModule(lightning.LightningModule):
    """Set-valued cross-entropy on crops, mean IoU on whole validation images."""

    def __init__(
        self,
        segmenter: Segmenter,
        sets: Tensor,
        weights: Tensor,
        network: NetworkConfig,
        optimiser: OptimiserConfig,
        seed: int,
    ) -> None:
        super().__init__()
        self.segmenter, self.network, self.optimiser, self.seed = segmenter, network, optimiser, seed
        self.register_buffer("sets", sets)
        self.register_buffer("row_weights", weights)
        self.seen = SegmentationIoU(len(segmenter.classes))
        if network.freeze_encoder and isinstance(segmenter, StartableEncoder):
            segmenter.encoder.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> SegmentationModule:
        """Set the mode; a frozen encoder always stays as in use, so that its batch norms keep their statistics."""
        super().train(mode)
        if self.network.freeze_encoder and isinstance(self.segmenter, StartableEncoder):
            self.segmenter.encoder.eval()
        return self

    def _logits(self, batch: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.optimiser.channels_last:
            batch = batch.contiguous(memory_format=torch.channels_last)
        if isinstance(self.segmenter, DeepSupervision):
            return self.segmenter.training_logits(batch)
        return self.segmenter(batch).logits, None

    def _loss(self, logits: Tensor, rows: Tensor) -> Tensor:
        stride = self.network.loss_stride
        sampled = sample_logits(logits.float(), (rows.shape[-2], rows.shape[-1]), stride)
        return set_valued_cross_entropy(
            sampled, rows[:, ::stride, ::stride], self.get_buffer("sets"), self.get_buffer("row_weights")
        )

    def losses(self, batch: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of a batch, auxiliary one included, and its logits."""
        main, auxiliary = self._logits(batch)
        loss = self._loss(main, rows)
        if auxiliary is not None and self.network.auxiliary:
            loss = loss + self.network.auxiliary * self._loss(auxiliary, rows)
        return loss, main

    def on_train_batch_start(self, batch: Any, index: int) -> None:
        """Seed dropout by the step, so that a resumed run draws what the straight one draws."""
        del batch, index
        torch.manual_seed(self.seed * 1_000_003 + self.global_step)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """One step on a batch of crops."""
        del index
        images, rows = batch
        loss, _ = self.losses(images, rows)
        if not torch.isfinite(loss):
            raise AnomsegError(
                f"the loss became {loss.item()} at step {self.global_step}; lower trainer.learning_rate, then run the "
                "same command again: it continues from the last checkpoint"
            )
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], index: int) -> None:
        """Loss and confusion on one whole image."""
        del index
        image, rows, classes = batch
        loss, main = self.losses(image, rows)
        self.log("val_loss", loss, batch_size=1, on_epoch=True)
        own_size, padded_size = (classes.shape[-2], classes.shape[-1]), (image.shape[-2], image.shape[-1])
        output = SegmentationOutput(main, padded_size, self.segmenter.working_size(own_size))
        self.seen.update(output.upsample(main.float(), own_size).argmax(1)[0], classes[0])

    def on_validation_epoch_end(self) -> None:
        """Report the mean IoU and start afresh."""
        self.log("val_miou", self.seen.compute().miou, prog_bar=True)
        self.seen = SegmentationIoU(len(self.segmenter.classes))

    def configure_optimizers(self) -> Any:
        """As the recipe says; the schedule is stepped each iteration."""
        optimiser, schedule = build_optimiser(self.segmenter, self.optimiser)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
