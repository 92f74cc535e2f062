"""A bounded uniform sample of vectors for each class, gathered in one pass."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor


class ClassReservoir:
    """Keeps a uniform sample without replacement of the vectors of each class.

    Every vector draws a number from the seed, the name of its frame and its place in it, and those with the smallest
    numbers stay. So the sample depends neither on the order of the frames nor on how they were cut, and memory is
    bounded by classes x capacity.

    Args:
        classes: Number of classes C.
        capacity: Vectors kept of each class at most.
        seed: Any integer.

    Attributes:
        count: ``(C,)`` int64, vectors seen of each class.
    """

    def __init__(self, classes: int, capacity: int, seed: int = 0) -> None:
        self.capacity, self.seed = capacity, seed
        self.count = torch.zeros(classes, dtype=torch.int64)
        self._kept: dict[int, tuple[np.ndarray, Tensor]] = {}

    def update(self, name: str, values: Tensor, labels: Tensor) -> None:
        """Offer the vectors of one frame.

        Args:
            name: Id of the frame; each comes once.
            values: ``(N, D)`` float.
            labels: ``(N,)`` integer in [0, C).
        """
        labels = labels.cpu()
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        draws = np.random.default_rng(int.from_bytes(digest[:16], "little")).random(len(labels))
        for index in labels.unique().tolist():
            own = (labels == index).nonzero()[:, 0]
            keys = draws[own.numpy()]
            first = np.argsort(keys, kind="stable")[: self.capacity]
            keys, rows = keys[first], values[own[first].to(values.device)].detach().cpu().to(torch.float32)
            if index in self._kept:
                keys, rows = np.concatenate([self._kept[index][0], keys]), torch.cat([self._kept[index][1], rows])
            order = np.argsort(keys, kind="stable")[: self.capacity]
            self._kept[index] = keys[order], rows[order]
            self.count[index] += len(own)

    def sample(self, index: int) -> Tensor:
        """``(n, D)`` float32: the sample of one class, in the order of its numbers; ``(0, 0)`` where none was seen."""
        return self._kept[index][1] if index in self._kept else torch.zeros(0, 0)
