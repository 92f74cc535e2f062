"""What the Lightning modules of all trainings share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from anomseg.errors import AnomsegError
from anomseg.training.feature_cache import FEATURES
from anomseg.training.optimisers import build_optimiser
from anomseg.training.options import OptimiserConfig

Sample = Mapping[str, Tensor]
"""``rows`` ``(B, H, W)`` of the label table, and ``image`` ``(B, 3, H, W)`` or ``features.<layer>`` maps, or both."""


class TrainingModule(lightning.LightningModule):
    """A loss on batches of samples, with the recipe's optimiser; subclasses say what is trained and what the loss is.

    Args:
        optimiser: How to train.
        seed: Seed of whatever is drawn while training.
    """

    def __init__(self, optimiser: OptimiserConfig, seed: int) -> None:
        super().__init__()
        self.optimiser, self.seed = optimiser, seed

    @property
    def trained(self) -> nn.Module:
        """Whose parameters the optimiser gets, as far as they require gradients."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it trains")

    def loss_of(self, batch: Sample) -> Tensor:
        """The loss of a batch, a scalar."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its loss is")

    def on_train_batch_start(self, batch: Any, index: int) -> None:
        """Seed dropout by the step, so that a resumed run draws what the straight one draws."""
        del batch, index
        torch.manual_seed(self.seed * 1_000_003 + self.global_step)

    def training_step(self, batch: Sample, index: int) -> Tensor:
        """One step on a batch."""
        del index
        loss = self.loss_of(batch)
        if not torch.isfinite(loss):
            raise AnomsegError(
                f"the loss became {loss.item()} at step {self.global_step}; lower trainer.learning_rate, then run the "
                "same command again: it continues from the last checkpoint"
            )
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        """As the recipe says; the schedule is stepped each iteration."""
        optimiser, schedule = build_optimiser(self.trained, self.optimiser)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def features_of(batch: Sample) -> dict[str, Tensor]:
    """The feature maps of a batch by layer, float32; none where it holds images."""
    return {name.removeprefix(FEATURES): maps.float() for name, maps in batch.items() if name.startswith(FEATURES)}
