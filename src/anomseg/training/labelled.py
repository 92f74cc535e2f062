"""Labelled in-distribution images of several data sets as one stream of training crops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from anomseg.data import load_frames
from anomseg.data.negatives import Paster
from anomseg.errors import ConfigError
from anomseg.registry import parse_spec
from anomseg.training.augment import AugmentConfig, augment
from anomseg.training.bounds import check_bounds
from anomseg.training.label_table import LabelTable
from anomseg.training.negatives import PASTED, outlier_labels, paste_on
from anomseg.types import VOID, Frame, UInt8Array


@dataclass(frozen=True)
class SourceConfig:
    """One data set in the mixture.

    Attributes:
        benchmark: Its name in the registry; its folder is the recipe's root of that name.
        split: Which split.
        share: Share of the training crops drawn from it, relative to the other sources.
        loss_weight: Weight of its pixels where a label stands for several classes.
        magnify: Factor of the scale that its crops are made at, where its images are smaller or larger than others.
    """

    benchmark: str
    split: str = "train"
    share: float = 1.0
    loss_weight: float = 1.0
    magnify: float = 1.0

    def __post_init__(self) -> None:
        check_bounds("share", self.share, 0)
        check_bounds("loss_weight", self.loss_weight, 0)
        check_bounds("magnify", self.magnify, 0.01, 100)


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
        held_out: Classes of the space that the network is not to know.
        held_out_images: What becomes of training images that show one: ``drop`` them, or take those pixels as
            ``void``. Validation images stay; there such pixels are void.
        seed: Seed of the stream of crops; the recipe's where not given.
        memory: Gigabytes of decoded frames that each source keeps in each process that loads; further frames are
            decoded whenever they are drawn.
        negatives: What is pasted on the images, see `NegativesConfig`; nothing where empty.
    """

    space: str = "camvid"
    sources: Sequence[Mapping[str, Any]] = ()
    validation: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 8
    workers: int = 0
    augment: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None
    held_out: Sequence[str] = ()
    held_out_images: Literal["drop", "void"] = "drop"
    seed: int | None = None
    memory: float = 4.0
    negatives: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_bounds("batch_size", self.batch_size, 1)
        check_bounds("memory", self.memory, 0)
        check_bounds("workers", self.workers, 0)


class FrameStore:
    """Decoded frames kept in memory as far as it is granted, so that an epoch of a small set decodes nothing twice.

    Args:
        frames: The frames; each needs a class map.
        memory: Bytes of decoded frames that are kept.
    """

    def __init__(self, frames: Sequence[Frame], memory: float = 4e9) -> None:
        self.frames, self.memory = list(frames), memory
        self._decoded: dict[int, tuple[UInt8Array, UInt8Array]] = {}
        self._used = 0

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process decodes for itself: frames are many times the size of their names."""
        return {**vars(self), "_decoded": {}, "_used": 0}

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> tuple[UInt8Array, UInt8Array]:
        if index in self._decoded:
            return self._decoded[index]
        frame = self.frames[index]
        classes = frame.classes
        if classes is None:
            raise ConfigError(f"frame {frame.id} has no class map; training needs labelled frames")
        image = frame.image()
        if self._used + image.nbytes + classes.nbytes <= self.memory:
            self._used += image.nbytes + classes.nbytes
            self._decoded[index] = (image, classes)
        return image, classes

    def class_frequencies(self, lookup: UInt8Array, count: int) -> list[float]:
        """Share of labelled pixels of each class over all frames.

        Args:
            lookup: ``(256,)`` uint8, the class of each label, 255 void.
            count: How many classes there are.
        """
        totals = np.zeros(256, np.int64)
        for index in range(len(self)):
            totals += np.bincount(lookup[self[index][1]].ravel(), minlength=256)
        totals[VOID] = 0
        known = totals[:count]
        return [float(share) for share in known / max(int(known.sum()), 1)]


class CropDataset(Dataset[dict[str, Tensor]]):
    """Training crop number ``n`` of a seeded stream: the same for any number of workers and after a resume.

    Args:
        stores: One store of decoded frames a source.
        shares: Relative share of each source.
        table: Translates labels to rows.
        config: How crops are made.
        seed: Seed of the stream.
        paster: What pastes negatives on the images; samples then hold ``outlier`` too: ``(H, W)`` int64, 0 inlier,
            1 pasted, 255 void.
        tries: A crop that shows nothing of what was pasted is cut anew at most so often.
        magnify: Factor of the scale of each source; 1 where not given.
    """

    def __init__(
        self,
        stores: Sequence[FrameStore],
        shares: Sequence[float],
        table: LabelTable,
        config: AugmentConfig,
        seed: int,
        paster: Paster | None = None,
        tries: int = 20,
        magnify: Sequence[float] = (),
    ) -> None:
        self.stores, self.table, self.config, self.seed = list(stores), table, config, seed
        self.paster, self.tries = paster, tries
        self.magnify = list(magnify) or [1.0] * len(self.stores)
        self.probabilities = np.asarray(shares, np.float64) / np.sum(shares)

    def place(self, number: int) -> tuple[int, int]:
        """Source and frame that a crop is cut from."""
        return self._place(np.random.default_rng([self.seed, number]))

    def _place(self, rng: np.random.Generator) -> tuple[int, int]:
        source = int(rng.choice(len(self.stores), p=self.probabilities))
        return source, int(rng.integers(len(self.stores[source])))

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self.seed, number])
        source, frame = self._place(rng)
        whole = self.stores[source][frame]
        if self.paster is None:
            image, classes = augment(*whole, self.config, rng, self.magnify[source])
        else:
            image, classes = self._with_pastes(*paste_on(*whole, self.paster, rng), rng, self.magnify[source])
        pixels = torch.from_numpy(image).permute(2, 0, 1).float().div_(255.0)
        sample = {"image": pixels, "rows": self.table.rows(source, classes)}
        if self.paster is not None:
            sample["outlier"] = torch.from_numpy(outlier_labels(classes)).long()
        return sample

    def _with_pastes(
        self, image: UInt8Array, classes: UInt8Array, rng: np.random.Generator, magnify: float
    ) -> tuple[UInt8Array, UInt8Array]:
        """A crop that shows something of what was pasted, as far as one is found."""
        wanted = bool((classes == PASTED).any())
        for _ in range(self.tries):
            crop = augment(image, classes, self.config, rng, magnify)
            if not wanted or (crop[1] == PASTED).any():
                break
        return crop


def load_source(
    source: SourceConfig,
    roots: Mapping[str, str | None],
    limit: int | None,
    held_out: Sequence[str] = (),
    held_out_images: Literal["drop", "void"] = "void",
    memory: float = 4.0,
) -> FrameStore:
    """Frames of one source.

    Args:
        source: Which.
        roots: Folder of each data set.
        limit: At most so many frames.
        held_out: Classes, by the source's own names, that are not to be learned.
        held_out_images: What becomes of images that show one.
        memory: Gigabytes of decoded frames that are kept.

    Raises:
        ConfigError: Its folder is not given.
        DataError: Its folder cannot be used, or nothing is left of it.
    """
    name = parse_spec(source.benchmark).name
    root = roots.get(name)
    if not root:
        raise ConfigError(f"the recipe needs the folder of {name}: add --roots.{name} DIR")
    frames = load_frames(
        source.benchmark,
        root=root,
        split=source.split,
        limit=limit,
        held_out=held_out,
        held_out_images=held_out_images if held_out else "keep",
    )
    return FrameStore(frames, memory * 1e9)
