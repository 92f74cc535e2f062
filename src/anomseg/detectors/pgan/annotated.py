"""Which images' labels are used: a support set that shows every class, and how many annotated images in all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from anomseg.errors import ConfigError
from anomseg.segmenters.base import Segmenter
from anomseg.training.label_table import LabelTable
from anomseg.training.labelled import CropDataset, FrameStore
from anomseg.training.labelled_data import LabelledData
from anomseg.training.whole_images import WholeImages
from anomseg.types import Frame

LEAST_PIXELS = 16
"""An image shows a class where at least so many of its pixels are of it."""

Place = tuple[int, int]
"""Source and frame."""


def covering_order(counts: np.ndarray, seed: int) -> list[int]:
    """Images in the order in which they are annotated: first those that show the most classes not shown so far.

    Every beginning of the order is a choice too, so smaller choices lie within larger ones. Ties, and all images once
    nothing new is to be shown, come in random order.

    Args:
        counts: ``(N, K)`` pixels of each class in each image.
        seed: Of the random order.

    Example:
        >>> covering_order(np.array([[99, 0, 0], [99, 99, 0], [0, 0, 99]]), seed=0)
        [1, 2, 0]
    """
    shown = counts >= LEAST_PIXELS
    left = np.random.default_rng(seed).permutation(len(counts)).tolist()
    order: list[int] = []
    missing = np.ones(counts.shape[1], bool)
    while left:
        gains = [int((shown[index] & missing).sum()) for index in left]
        best = int(np.argmax(gains))
        if not gains[best]:
            break
        order.append(left.pop(best))
        missing &= ~shown[order[-1]]
    return order + left


@dataclass(frozen=True)
class Annotations:
    """The images whose labels a training uses.

    Attributes:
        places: Source and frame of each annotated image, in order of annotation.
        counts: ``(N, K)`` pixels of each class in each of them; labels that stand for several classes count for none.
        support: How many of them, the first ones, are the support set.
    """

    places: tuple[Place, ...]
    counts: np.ndarray
    support: int

    def shown(self) -> np.ndarray:
        """``(K,)`` bool: classes that the support set shows."""
        return np.asarray((self.counts[: self.support] >= LEAST_PIXELS).any(0))

    def frequencies(self) -> list[float]:
        """Share of each class among the annotated pixels."""
        totals = self.counts.sum(0)
        return [float(share) for share in totals / max(int(totals.sum()), 1)]


def annotate(data: LabelledData, support: int, annotated: int | None, seed: int) -> Annotations:
    """Choose the images to annotate among the training frames.

    Which classes an image shows is read off all class maps, as whoever picks images to annotate sees it in the images;
    after that the labels of the other images are not read.

    Args:
        data: Training frames and what their labels mean.
        support: Size of the support set; all annotated images where there are fewer.
        annotated: How many images; all of them where not given.
        seed: Of the order in which images are annotated.

    Raises:
        ConfigError: More images are asked for than there are.
        FrameError: A label lies outside of the data set's classes.
    """
    stores = data.stores[:-1]
    places = [(source, index) for source, store in enumerate(stores) for index in range(len(store))]
    if annotated is not None and annotated > len(places):
        raise ConfigError(
            f"{data.stage}: there are {len(places)} training images, so annotated: {annotated} is too many"
        )
    counts = np.stack([_pixels(stores[source].frames[index], data.table, source) for source, index in places])
    order = covering_order(counts, seed)[:annotated]
    return Annotations(tuple(places[one] for one in order), counts[order], min(support, len(order)))


def _pixels(frame: Frame, table: LabelTable, source: int) -> np.ndarray:
    """Pixels of each class in a frame, ``(K,)`` int64; those whose label stands for several are left out."""
    classes = frame.classes
    if classes is None:
        raise ConfigError(f"frame {frame.id} has no class map; training needs labelled frames")
    per_row = torch.bincount(table.rows(source, classes).flatten(), minlength=len(table.sets))
    single = table.sets & (table.sets.sum(1) == 1)[:, None]
    return (single.long() * per_row[:, None]).sum(0).numpy()


def support_samples(data: LabelledData, annotations: Annotations, host: Segmenter) -> Iterator[dict[str, Tensor]]:
    """The support images as the host prepares them, with their labels as rows of the table."""
    void = np.full(256, 255, np.uint8)
    for source, index in annotations.places[: annotations.support]:
        store = FrameStore([data.stores[source].frames[index]])
        yield WholeImages(store, host, data.table, source, void)[0]


def annotated_numbers(data: LabelledData, annotations: Annotations, count: int) -> list[int]:
    """Which of the first ``count`` crops are cut from annotated images.

    Raises:
        ConfigError: None is.
    """
    everything, own = data.crops(), set(annotations.places)
    chosen = [number for number in range(count) if everything.place(number) in own]
    if not chosen:
        raise ConfigError(
            f"none of the {count} crops is cut from one of the {len(own)} annotated images; raise "
            f"{data.stage}.module.crops"
        )
    return chosen


def annotated_crops(data: LabelledData, annotations: Annotations) -> Dataset[dict[str, Tensor]]:
    """Training crops of the annotated images alone, cut anew.

    Args:
        data: The labelled data that the crops are cut from.
        annotations: The annotated images.
    """
    stores = [
        FrameStore([store.frames[index] for place, index in annotations.places if place == source])
        for source, store in enumerate(data.stores[:-1])
    ]
    shares = [one.share if len(store) else 0.0 for one, store in zip(data.sources, stores, strict=True)]
    return CropDataset(stores, shares, data.table, data.augment, data.seed)


def annotated_frames(data: LabelledData, annotations: Annotations) -> list[Frame]:
    """The annotated images themselves."""
    return [data.stores[source].frames[index] for source, index in annotations.places]
