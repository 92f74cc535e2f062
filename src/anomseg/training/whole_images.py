"""Whole images with their labels, for validation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from anomseg.segmenters import Segmenter
from anomseg.segmenters.scene import make_scene
from anomseg.training.label_table import LabelTable
from anomseg.training.labelled import FrameStore
from anomseg.types import UInt8Array


class WholeImages(Dataset[dict[str, Tensor]]):
    """Images as the segmenter prepares them, with labels as rows of the table and as the network's classes.

    Args:
        store: The frames.
        segmenter: Prepares the images.
        table: Translates labels to rows.
        source: Which of the table's sources the frames are of.
        lookup: ``(256,)`` uint8, the network's class of each label, 255 void.
    """

    def __init__(
        self, store: FrameStore, segmenter: Segmenter, table: LabelTable, source: int, lookup: UInt8Array
    ) -> None:
        self.store, self.segmenter, self.table, self.source = store, segmenter, table, source
        self.lookup = lookup

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """``image`` ``(3, h, w)``, ``rows`` ``(h, w)`` of the same size, ``classes`` ``(H, W)`` of the frame's own."""
        image, classes = self.store[index]
        scene = make_scene([image], [str(index)], self.segmenter)
        rows = self.table.rows(self.source, classes)
        batch = scene.images[0]
        inside = F.interpolate(rows[None, None].float(), scene.input_size, mode="nearest")[0, 0].long()
        rows = inside.new_zeros(batch.shape[-2:])  # row 0: the padding is void
        rows[: inside.shape[0], : inside.shape[1]] = inside
        return {"image": batch, "rows": rows, "classes": torch.from_numpy(self.lookup[classes].astype("int64"))}
