"""A training small enough to be run dozens of times: one convolution that tells two colours apart."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from anomseg.training.base_module import TrainingModule
from anomseg.training.options import OptimiserConfig

PALETTE = ((10, 200, 30), (250, 0, 120))


def optimiser(**more) -> OptimiserConfig:
    """Twelve steps in three epochs on the CPU."""
    plain = {"steps": 12, "validate_every": 4, "precision": "32-true", "accelerator": "cpu", "clip": 0.0}
    return OptimiserConfig(
        **{"optimiser": "sgd", "momentum": 0.0, "schedule": "poly", "learning_rate": 0.2, "weight_decay": 0.0}
        | plain
        | more
    )


class Pictures(Dataset):
    """Sample ``n``: noise whose left part is dark and of class 0, whose right part is bright and of class 1."""

    def __init__(self, count: int = 5, size: tuple[int, int] = (8, 12)) -> None:
        self.count, self.size = count, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number):
        rng = np.random.default_rng(number)
        classes = np.zeros(self.size, np.int64)
        classes[:, int(rng.integers(3, self.size[1] - 3)) :] = 1
        image = (classes * 0.6 + rng.random((3, *self.size)) * 0.4).astype(np.float32)
        target = torch.from_numpy(classes)
        return {"image": torch.from_numpy(image), "rows": target + 1, "classes": target}


class Toy(TrainingModule):
    """What happens at a step can be said: ``at(step)`` gives ``nan``, ``spoil``, ``stop``, ``memory`` or nothing."""

    def __init__(self, config: OptimiserConfig, at: dict[int, str] | None = None, pictured: bool = True) -> None:
        super().__init__(config, seed=3)
        torch.manual_seed(0)
        self.net = nn.Conv2d(3, 2, 1)
        self.at, self.pictured, self.palette = at or {}, pictured, PALETTE
        self.rates: list[float] = []
        self.seen: list[int] = []

    @property
    def trained(self) -> nn.Module:
        return self.net

    def loss_of(self, batch):
        self.seen.append(self.global_step)
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        event = self.at.get(self.global_step)
        if event == "stop":
            raise KeyboardInterrupt
        if event == "memory":
            torch.empty(2**50)
        if event == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore lines")
        loss = F.cross_entropy(self.net(batch["image"]), batch["classes"])
        if event == "spoil":  # a finite loss whose gradient is not
            return loss + (self.net.weight * 0).abs().sqrt().sum() * 0
        return loss * float("nan") if event == "nan" else loss

    def validation_step(self, batch, index):
        if self.at.get(-1) == "memory":
            torch.empty(2**50)
        logits = self.net(batch["image"])
        self.tell("val_loss", F.cross_entropy(logits, batch["classes"]))
        if self.pictured:
            self.tell_classes(logits.argmax(1)[0], batch["classes"][0], 2)
