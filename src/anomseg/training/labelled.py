"""Labelled in-distribution images of several data sets as one stream of training crops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from anomseg.data import label_space, load_frames
from anomseg.errors import ConfigError
from anomseg.training.augment import AugmentConfig, augment
from anomseg.training.losses import inverse_log_weights
from anomseg.types import VOID, Frame, UInt8Array


@dataclass(frozen=True)
class SourceConfig:
    """One data set in the mixture.

    Attributes:
        benchmark: Its name in the registry; its folder is the recipe's root of that name.
        split: Which split.
        share: Share of the training crops drawn from it, relative to the other sources.
        loss_weight: Weight of its pixels where a label stands for several classes.
    """

    benchmark: str
    split: str = "train"
    share: float = 1.0
    loss_weight: float = 1.0


@dataclass(frozen=True)
class LabelledConfig:
    """What a segmentation stage trains and validates on.

    Attributes:
        space: Label space of the network.
        sources: Data sets to draw from.
        validation: Data set to validate on, whole images.
        batch_size: Crops a step.
        workers: Loader processes; results are the same for any number.
        augment: How crops are made.
        limit: Use the first frames of each source only.
    """

    space: str = "camvid"
    sources: Sequence[Mapping[str, Any]] = ()
    validation: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 8
    workers: int = 0
    augment: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None


class LabelTable:
    """Every source's labels as rows of one table: the classes each may stand for, and its weight.

    Row 0 is void. The rows of a source begin at its offset, so a raw label becomes a row by adding the offset.
    """

    def __init__(self, space: str, sources: Sequence[SourceConfig]) -> None:
        target = label_space(space)
        rows: list[tuple[int, ...]] = [()]
        weights = [0.0]
        self.offsets: list[int] = []
        for source in sources:
            mapping = label_space(source.benchmark).to(target)
            self.offsets.append(len(rows))
            rows += mapping.sets
            weights += [source.loss_weight if len(classes) > 1 else 1.0 for classes in mapping.sets]
        self.sets = torch.zeros(len(rows), len(target.names), dtype=torch.bool)
        for row, classes in enumerate(rows):
            self.sets[row, list(classes)] = True
        self.weights = torch.tensor(weights)

    def rows(self, source: int, classes: UInt8Array) -> Tensor:
        """Table rows ``(H, W)`` int64 of a class map of the source; void becomes row 0."""
        known = (
            int(self.offsets[source + 1] if source + 1 < len(self.offsets) else len(self.sets)) - self.offsets[source]
        )
        raw = classes.astype(np.int64)
        return torch.from_numpy(np.where(raw < known, raw + self.offsets[source], 0))

    def balance(self, frequencies: Sequence[float]) -> Tensor:
        """Row weights times the mean inverse-log class weight of the row's classes."""
        per_class = torch.tensor(inverse_log_weights(frequencies))
        mean = (self.sets * per_class).sum(1) / self.sets.sum(1).clamp_min(1)
        return self.weights * mean


class FrameStore:
    """Decoded frames kept in memory, so that an epoch decodes nothing twice."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = list(frames)
        self._decoded: dict[int, tuple[UInt8Array, UInt8Array]] = {}

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        if index not in self._decoded:
            frame = self.frames[index]
            classes = frame.classes
            if classes is None:
                raise ConfigError(f"frame {frame.id} has no class map; training needs labelled frames")
            self._decoded[index] = (frame.image(), classes)
        return self._decoded[index]

    def class_frequencies(self, count: int) -> list[float]:
        """Share of labelled pixels of each class over all frames."""
        totals = np.zeros(256, np.int64)
        for index in range(len(self)):
            totals += np.bincount(self[index][1].ravel(), minlength=256)
        totals[VOID] = 0
        known = totals[:count]
        return [float(share) for share in known / max(int(known.sum()), 1)]


class CropDataset(Dataset[tuple[Tensor, Tensor]]):
    """Training crop number ``n`` of a seeded stream: the same for any number of workers and after a resume.

    Args:
        stores: One store of decoded frames a source.
        shares: Relative share of each source.
        table: Translates labels to rows.
        config: How crops are made.
        seed: Seed of the stream.
    """

    def __init__(
        self,
        stores: Sequence[FrameStore],
        shares: Sequence[float],
        table: LabelTable,
        config: AugmentConfig,
        seed: int,
    ) -> None:
        self.stores, self.table, self.config, self.seed = list(stores), table, config, seed
        self.probabilities = np.asarray(shares, np.float64) / np.sum(shares)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([self.seed, number])
        source = int(rng.choice(len(self.stores), p=self.probabilities))
        store = self.stores[source]
        image, classes = augment(*store[int(rng.integers(len(store)))], self.config, rng)
        return torch.from_numpy(image).permute(2, 0, 1).float().div_(255.0), self.table.rows(source, classes)


class StreamSampler(Sampler[int]):
    """Consecutive crop numbers; epoch ``e`` begins where epoch ``e - 1`` ended.

    Lightning calls `set_epoch`, on a resumed run too, which is what makes it continue the same stream.
    """

    def __init__(self, length: int) -> None:
        self.length, self.epoch = length, 0

    def set_epoch(self, epoch: int) -> None:
        """Move to the numbers of an epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.epoch * self.length, (self.epoch + 1) * self.length))

    def __len__(self) -> int:
        return self.length


def load_source(source: SourceConfig, roots: Mapping[str, str | None], limit: int | None) -> FrameStore:
    """Frames of one source.

    Raises:
        ConfigError: Its folder is not given.
        DataError: Its folder cannot be used.
    """
    root = roots.get(source.benchmark)
    if not root:
        raise ConfigError(f"the recipe needs the folder of {source.benchmark}: add --roots.{source.benchmark} DIR")
    return FrameStore(load_frames(source.benchmark, root=root, split=source.split, limit=limit))
