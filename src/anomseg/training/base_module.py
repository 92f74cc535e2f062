"""What the Lightning modules of all trainings share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn

from anomseg.errors import AnomsegError
from anomseg.metrics import SegmentationIoU
from anomseg.metrics.segmentation import iou_of_confusion, mean_iou
from anomseg.training.feature_cache import FEATURES
from anomseg.training.optimisers import build_optimiser, scale_rates
from anomseg.training.options import OptimiserConfig
from anomseg.types import UInt8Array

Sample = Mapping[str, Tensor]
"""``rows`` ``(B, H, W)`` of the label table, and ``image`` ``(B, 3, H, W)`` or ``features.<layer>`` maps, or both."""
RATE = "learning_rate"
"""Key of a checkpoint: the learning rate that it was trained with."""


class DivergenceError(AnomsegError):
    """The loss or the weights of a training are no longer finite."""


class TrainingModule(lightning.LightningModule):
    """A loss on batches of samples, with the recipe's optimiser; subclasses say what is trained and what the loss is.

    In validation, a subclass calls `tell` and `tell_classes` for each image; what they were told is summed over the
    images of all devices and logged.

    Args:
        optimiser: How to train.
        seed: Seed of whatever is drawn while training.

    Attributes:
        palette: Colour of each class, for pictures; the usual ones where empty.
        shown: Class map ``(H, W)`` of the validation image seen last; None where none is predicted.
    """

    def __init__(self, optimiser: OptimiserConfig, seed: int) -> None:
        super().__init__()
        self.optimiser, self.seed = optimiser, seed
        self.palette: Sequence[Sequence[int]] = ()
        self.shown: UInt8Array | None = None
        self._sums: dict[str, tuple[float, int]] = {}
        self._confusion: SegmentationIoU | None = None

    @property
    def trained(self) -> nn.Module:
        """Whose parameters the optimiser gets, as far as they require gradients."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it trains")

    def loss_of(self, batch: Sample) -> Tensor:
        """The loss of a batch, a scalar."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its loss is")

    def on_train_batch_start(self, batch: Any, index: int) -> None:
        """Seed dropout by step and device, so that a resumed run draws what the straight one draws."""
        del batch, index
        torch.manual_seed(self.seed * 1_000_003 + self.global_step + 998_244_353 * self.global_rank)

    def training_step(self, batch: Sample, index: int) -> Tensor:
        """One step on a batch."""
        del index
        loss = self.loss_of(batch)
        if not torch.isfinite(loss):
            raise DivergenceError(f"the loss became {loss.item()} at step {self.global_step}")
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def tell(self, name: str, value: Tensor | float) -> None:
        """A figure of one validation image; the mean over all images is logged.

        Args:
            name: What it is called, ``val_loss`` for the loss.
            value: The figure.
        """
        total, count = self._sums.get(name, (0.0, 0))
        self._sums[name] = total + float(value), count + 1

    def tell_classes(self, prediction: Tensor, classes: Tensor, count: int) -> None:
        """The class map of one validation image; the mean IoU over all images is logged as ``val_miou``.

        Args:
            prediction: ``(H, W)`` predicted classes.
            classes: ``(H, W)`` true ones, 255 void.
            count: How many classes there are.
        """
        self._confusion = self._confusion or SegmentationIoU(count)
        self._confusion.update(prediction, classes)
        self.shown = prediction.to("cpu", torch.uint8).numpy()

    def on_validation_epoch_end(self) -> None:
        """Log what was told, over the images of all devices, and start afresh."""
        for name, told in self._sums.items():
            total, count = self._over_devices(np.array(told)).tolist()
            self.log(name, total / count, sync_dist=True)
        if self._confusion is not None:
            confusion = self._over_devices(self._confusion.compute().confusion)
            self.log("val_miou", mean_iou(iou_of_confusion(confusion)), prog_bar=True, sync_dist=True)
        self._sums, self._confusion = {}, None

    def _over_devices(self, values: np.ndarray) -> np.ndarray:
        """A sum over all devices."""
        if self.trainer.world_size == 1:
            return values
        summed = self.trainer.strategy.reduce(torch.from_numpy(values).to(self.device), reduce_op="sum")
        return np.asarray(summed.cpu())

    def configure_optimizers(self) -> Any:
        """As the recipe says; the schedule is stepped each iteration."""
        optimiser, schedule = build_optimiser(self.trained, self.optimiser)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the learning rate that the state of optimiser and schedule belongs to."""
        checkpoint[RATE] = self.optimiser.learning_rate

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on at this run's learning rate where it is another one."""
        before = checkpoint.get(RATE, self.optimiser.learning_rate)
        if before and before != self.optimiser.learning_rate:
            scale_rates(checkpoint, self.optimiser.learning_rate / before)


def features_of(batch: Sample) -> dict[str, Tensor]:
    """The feature maps of a batch by layer, float32; none where it holds images."""
    return {name.removeprefix(FEATURES): maps.float() for name, maps in batch.items() if name.startswith(FEATURES)}
