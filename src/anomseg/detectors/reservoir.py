"""Bounded uniform samples of vectors, gathered in one pass.

Every vector draws a number from the seed, the name of its frame and its place in it, and those with the smallest
numbers stay. So a sample depends neither on the order of the frames nor on how they were cut.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor


def frame_draws(seed: int, name: str, count: int) -> np.ndarray:
    """One number in [0, 1) for each vector of a frame, ``(count,)`` float64, the same in every process.

    Args:
        seed: Any integer.
        name: Id of the frame.
        count: Number of vectors.

    Example:
        >>> bool((frame_draws(0, "street", 3) == frame_draws(0, "street", 5)[:3]).all())
        True
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little")).random(count)


class Reservoir:
    """Keeps the vectors whose numbers are smallest: a uniform sample without replacement of all that were offered.

    Memory holds the capacity and no more, in float32 on the CPU; a vector that stays is copied once.

    Args:
        capacity: Vectors kept at most; None keeps all.

    Attributes:
        seen: Vectors offered so far.

    Example:
        >>> reservoir = Reservoir(2)
        >>> reservoir.offer(np.array([0.9, 0.2, 0.5]), torch.tensor([[1.0], [2.0], [3.0]]))
        >>> reservoir.sample().tolist()
        [[2.0], [3.0]]
    """

    def __init__(self, capacity: int | None) -> None:
        self.capacity = capacity
        self.seen = 0
        self._keys = np.empty(0)
        self._rows = torch.empty(0, 0)

    def __len__(self) -> int:
        """Vectors held."""
        return len(self._keys)

    def offer(self, keys: np.ndarray, rows: Tensor) -> None:
        """Take those that belong to the smallest so far, in the place of larger ones.

        Args:
            keys: ``(N,)`` float64, one number a vector.
            rows: ``(N, D)`` float, on any device.
        """
        self.seen += len(keys)
        held = len(self)
        merged = np.concatenate([self._keys, keys])
        stays = _smallest(merged, self.capacity)
        new = np.flatnonzero(stays[held:])
        if not len(new):
            return
        count = int(stays.sum())
        places = np.concatenate([np.flatnonzero(~stays[:held]), np.arange(held, count)])
        self._grow(count, rows.shape[1])
        self._keys = np.concatenate([self._keys, np.empty(count - held)])
        self._keys[places] = keys[new]
        taken = rows[torch.from_numpy(new).to(rows.device)].detach()
        self._rows[torch.from_numpy(places)] = taken.to("cpu", torch.float32)

    def shrink(self, capacity: int) -> None:
        """Let go of all but the smallest ``capacity``, now and later."""
        self.capacity = capacity
        if len(self) > capacity:
            order = np.argsort(self._keys, kind="stable")[:capacity]
            self._keys, self._rows = self._keys[order], self._rows[torch.from_numpy(order)]

    def sample(self) -> Tensor:
        """``(n, D)`` float32, smallest number first, so the first m are a sample as well; ``(0, 0)`` of none."""
        return self._rows[torch.from_numpy(np.argsort(self._keys, kind="stable"))]

    def _grow(self, count: int, width: int) -> None:
        """Make room for ``count`` vectors, twice as much at a time as long as that is within the capacity."""
        if count <= len(self._rows):
            return
        room = max(count, 2 * len(self._rows))
        room = room if self.capacity is None else min(room, self.capacity)
        grown = torch.empty(room, width)
        if len(self):
            grown[: len(self)] = self._rows[: len(self)]
        self._rows = grown


class ClassReservoir:
    """Keeps a uniform sample without replacement of the vectors of each class; memory holds classes x capacity.

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
        self._kept: dict[int, Reservoir] = {}

    def update(self, name: str, values: Tensor, labels: Tensor) -> None:
        """Offer the vectors of one frame.

        Args:
            name: Id of the frame; each comes once.
            values: ``(N, D)`` float.
            labels: ``(N,)`` integer in [0, C).
        """
        labels = labels.cpu()
        draws = frame_draws(self.seed, name, len(labels))
        for index in labels.unique().tolist():
            own = (labels == index).nonzero()[:, 0]
            kept = self._kept.setdefault(index, Reservoir(self.capacity))
            kept.offer(draws[own.numpy()], values[own.to(values.device)])
            self.count[index] += len(own)

    def sample(self, index: int) -> Tensor:
        """``(n, D)`` float32: the sample of one class, in the order of its numbers; ``(0, 0)`` where none was seen."""
        return self._kept[index].sample() if index in self._kept else torch.zeros(0, 0)


class BalancedReservoir(ClassReservoir):
    """Keeps as many vectors of each class as of any other, as far as there are, ``total`` together at most.

    Of classes with fewer all stay, and the others share what is left. What a class may keep only ever falls as more
    is seen, so nothing is let go that would be wanted later, and memory holds no more than the total and one frame.

    Args:
        classes: Number of classes C.
        total: Vectors kept at most.
        seed: Any integer.
    """

    def __init__(self, classes: int, total: int, seed: int = 0) -> None:
        super().__init__(classes, total, seed)

    def update(self, name: str, values: Tensor, labels: Tensor) -> None:
        """Offer the vectors of one frame; see `ClassReservoir.update`."""
        super().update(name, values, labels)
        level = _water_level(self.count.numpy(), self.capacity)
        for kept in self._kept.values():
            kept.shrink(level)

    def balanced(self) -> Tensor:
        """``(n, D)`` float32: the samples of all classes, class by class."""
        samples = [self._kept[index].sample() for index in sorted(self._kept)]
        return torch.cat(samples) if samples else torch.zeros(0, 0)


def _smallest(keys: np.ndarray, capacity: int | None) -> np.ndarray:
    """Which of the keys are among the ``capacity`` smallest, ``(N,)`` bool."""
    if capacity is None or len(keys) <= capacity:
        return np.ones(len(keys), bool)
    stays = np.zeros(len(keys), bool)
    stays[np.argpartition(keys, capacity - 1)[:capacity]] = True
    return stays


def _water_level(counts: np.ndarray, total: int) -> int:
    """The largest number, 1 or more, so that the sum of ``min(count, number)`` is no more than ``total``.

    Example:
        >>> _water_level(np.array([2, 10, 30]), 20), _water_level(np.array([2, 3]), 20)
        (9, 20)
    """
    if counts.sum() <= total:
        return total
    low, high = 1, total
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(counts, middle).sum() <= total else (low, middle - 1)
    return low
