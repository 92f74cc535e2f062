"""What watches a training: its record, which every checkpoint keeps, and the check that it has not diverged."""

from __future__ import annotations

import logging
import math
import time
import warnings
from itertools import pairwise
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from anomseg.training.base_module import DivergenceError, TrainingModule


class Record(Callback):
    """Seconds, figures and settings of a training, summed up over resumed runs.

    Args:
        settings: What this run does otherwise than a resumed one may have done before: learning rate, batch size.

    Attributes:
        figures: Of the last validation.
        history: ``(step, settings)`` of every run whose settings differ from those of the one before.
        validating: Whether a validation goes on.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.figures: dict[str, float] = {}
        self.history: list[tuple[int, dict[str, Any]]] = []
        self.validating = False
        self._before, self._began = 0.0, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds spent so far."""
        return self._before + time.perf_counter() - self._began

    def images(self, steps: int, batch_size: int) -> int:
        """Crops seen in so many steps, the last of them in batches of this size."""
        starts = [*(step for step, _ in self.history), steps]
        sizes = [int(settings["batch_size"]) for _, settings in self.history]
        seen = sum((end - begin) * size for (begin, end), size in zip(pairwise(starts), sizes, strict=True))
        return seen if sizes else steps * batch_size

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Note what this run does otherwise."""
        del module
        if not self.history or self.history[-1][1] != self.settings:
            self.history.append((trainer.global_step, self.settings))

    def on_validation_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """A validation begins."""
        del trainer, module
        self.validating = True

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Keep the figures."""
        del module
        self.validating = False
        self.figures = figures_of(trainer)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        history = [[step, dict(settings)] for step, settings in self.history]
        return {"seconds": self.seconds, "figures": self.figures, "history": history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue counting."""
        self._before = float(state_dict["seconds"])
        self.figures = dict(state_dict.get("figures", {}))
        self.history = [(int(step), dict(settings)) for step, settings in state_dict.get("history", ())]


class Guard(Callback):
    """Refuses an epoch that ends with weights or figures that are not finite, before its checkpoint is written."""

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Look at every trained weight, and at what batch norms have counted.

        Raises:
            DivergenceError: One is not finite, or the loss in validation is not.
        """
        loss = figures_of(trainer).get("val_loss", 0.0)
        if not math.isfinite(loss):
            raise DivergenceError(f"the loss in validation became {loss} at step {trainer.global_step}")
        kept = module.trained.state_dict() if isinstance(module, TrainingModule) else {}
        for name, value in kept.items():
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise DivergenceError(f"the weights became infinite (first: {name}) by step {trainer.global_step}")


class Silence(Callback):
    """Keeps Lightning's remarks off the screen, in this process and in those that train on further devices."""

    def __init__(self) -> None:
        quieten()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy arrives in another process."""
        vars(self).update(state)
        quieten()
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")


def quieten() -> None:
    """Lightning says nothing less than a warning."""
    for name in ("lightning.pytorch", "lightning.fabric", "torch.distributed"):
        logging.getLogger(name).setLevel(logging.WARNING)


def figures_of(trainer: lightning.Trainer) -> dict[str, float]:
    """The figures of the last validation."""
    return {key: round(float(value), 4) for key, value in trainer.callback_metrics.items() if key.startswith("val_")}
