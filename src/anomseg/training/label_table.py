"""What the labels of several data sets mean in the classes that one network is taught."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from anomseg.data import LabelSpace, label_space
from anomseg.errors import ConfigError
from anomseg.training.losses import inverse_log_weights
from anomseg.types import VOID, UInt8Array


class TaughtClasses:
    """A label space less the classes that the network is not to know.

    Args:
        space: Name of the label space.
        held_out: Its classes that are left out.

    Raises:
        ConfigError: There is no such class, or none would be left.

    Example:
        >>> TaughtClasses("camvid", ["bicyclist"]).names[-1]
        'pedestrian'
    """

    def __init__(self, space: str, held_out: Sequence[str] = ()) -> None:
        self.space = label_space(space)
        self._held_out = {self.space.index(name) for name in held_out}
        self._kept = [index for index in range(len(self.space)) if index not in self._held_out]
        if not self._kept:
            raise ConfigError(f"holding out {', '.join(held_out)} leaves no class of {space} to learn")
        self.names = tuple(self.space.names[index] for index in self._kept)
        self.palette = tuple(self.space.palette[index] for index in self._kept) if self.space.palette else ()

    def sets(self, source: LabelSpace) -> list[tuple[int, ...]]:
        """For each class of a data set the taught classes that it may be; none where it may be a held-out one."""
        position = {index: place for place, index in enumerate(self._kept)}
        return [
            () if self._held_out & set(classes) else tuple(position[index] for index in classes)
            for classes in source.to(self.space).sets
        ]

    def withheld(self, source: LabelSpace) -> list[str]:
        """Names of the classes of a data set that may be held-out ones."""
        sets = source.to(self.space).sets
        return [name for name, classes in zip(source.names, sets, strict=True) if self._held_out & set(classes)]

    def lookup(self, source: LabelSpace) -> UInt8Array:
        """``(256,)`` uint8: the taught class of each label of a data set; 255 where it may be several, or none."""
        table = np.full(256, VOID, np.uint8)
        for index, classes in enumerate(self.sets(source)):
            if len(classes) == 1:
                table[index] = classes[0]
        return table


class LabelTable:
    """Every source's labels as rows of one table: the classes each may stand for, and its weight.

    Row 0 is void. The rows of a source begin at its offset, so a raw label becomes a row by adding the offset.

    Args:
        taught: The classes of the network.
        sources: Label space of each source.
        loss_weights: Weight of each source's pixels where a label stands for several classes.
    """

    def __init__(self, taught: TaughtClasses, sources: Sequence[LabelSpace], loss_weights: Sequence[float]) -> None:
        rows: list[tuple[int, ...]] = [()]
        weights = [0.0]
        self.offsets: list[int] = []
        for source, weight in zip(sources, loss_weights, strict=True):
            sets = taught.sets(source)
            self.offsets.append(len(rows))
            rows += sets
            weights += [weight if len(classes) > 1 else 1.0 for classes in sets]
        self.sets = torch.zeros(len(rows), len(taught.names), dtype=torch.bool)
        for row, classes in enumerate(rows):
            self.sets[row, list(classes)] = True
        self.weights = torch.tensor(weights)

    def rows(self, source: int, classes: UInt8Array) -> Tensor:
        """Table rows ``(H, W)`` int64 of a class map of the source; void becomes row 0."""
        ends = [*self.offsets[1:], len(self.sets)]
        known = ends[source] - self.offsets[source]
        raw = classes.astype(np.int64)
        return torch.from_numpy(np.where(raw < known, raw + self.offsets[source], 0))

    def balance(self, frequencies: Sequence[float]) -> Tensor:
        """Row weights times the mean inverse-log class weight of the row's classes."""
        per_class = torch.tensor(inverse_log_weights(frequencies))
        mean = (self.sets * per_class).sum(1) / self.sets.sum(1).clamp_min(1)
        return self.weights * mean
