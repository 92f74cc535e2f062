"""Whole images with their labels, for validation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from anomseg.data.negatives import Paster
from anomseg.segmenters import Segmenter
from anomseg.segmenters.scene import make_scene
from anomseg.training.label_table import LabelTable
from anomseg.training.labelled import FrameStore
from anomseg.training.negatives import outlier_labels, paste_on
from anomseg.types import VOID, UInt8Array


class WholeImages(Dataset[dict[str, Tensor]]):
    """Images as the segmenter prepares them, with labels as rows of the table and as the network's classes.

    Args:
        store: The frames.
        segmenter: Prepares the images.
        table: Translates labels to rows.
        source: Which of the table's sources the frames are of.
        lookup: ``(256,)`` uint8, the network's class of each label, 255 void.
        paster: What pastes negatives on every image, whatever the share of training images that get some; samples
            then hold ``outlier`` too.
        seed: Seed of those pastes.
    """

    def __init__(
        self,
        store: FrameStore,
        segmenter: Segmenter,
        table: LabelTable,
        source: int,
        lookup: UInt8Array,
        paster: Paster | None = None,
        seed: int = 0,
    ) -> None:
        self.store, self.segmenter, self.table, self.source = store, segmenter, table, source
        self.lookup, self.paster, self.seed = lookup, paster, seed

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """``image`` ``(3, h, w)``, ``rows`` ``(h, w)`` of the same size, ``classes`` ``(H, W)`` of the frame's own.

        With a paster also ``outlier`` ``(h, w)`` int64: 0 inlier, 1 pasted, 255 void or padding.
        """
        image, classes = self.store[index]
        if self.paster is not None:
            image, classes = paste_on(image, classes, self.paster, np.random.default_rng([self.seed, index]))
        scene = make_scene([image], [str(index)], self.segmenter)
        batch = scene.images[0]
        sample = {
            "image": batch,
            # Row 0: the padding is void.
            "rows": _padded(self.table.rows(self.source, classes), scene.input_size, batch, 0),
            "classes": torch.from_numpy(self.lookup[classes].astype("int64")),
        }
        if self.paster is not None:
            labels = torch.from_numpy(outlier_labels(classes))
            sample["outlier"] = _padded(labels, scene.input_size, batch, VOID)
        return sample


def _padded(labels: Tensor, size: tuple[int, int], batch: Tensor, padding: int) -> Tensor:
    """Labels brought to the size of an image before padding, and padded like it: ``(h, w)`` int64."""
    inside = F.interpolate(labels[None, None].float(), size, mode="nearest")[0, 0].long()
    padded = torch.full(batch.shape[-2:], padding, dtype=torch.int64)
    padded[: inside.shape[0], : inside.shape[1]] = inside
    return padded
