"""Reference banks of any size out of the cached feature maps: nested uniform samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from knn_cache import CachedFrame
from numpy.typing import NDArray
from torch import Tensor

from anomseg.detectors.reservoir import frame_draws


@dataclass(frozen=True)
class Rows:
    """Places of feature vectors in the cache, in a random order of which every beginning is a uniform sample.

    Attributes:
        frames: The frames they lie in.
        layer: The feature map.
        frame: ``(M,)`` int32, index of the frame.
        cell: ``(M,)`` int32, cell of its map.
    """

    frames: Sequence[CachedFrame]
    layer: str
    frame: NDArray[np.int32]
    cell: NDArray[np.int32]

    def __len__(self) -> int:
        return self.frame.size

    def first(self, count: int | None) -> Rows:
        """The first so many of them; all when None."""
        return self if count is None else Rows(self.frames, self.layer, self.frame[:count], self.cell[:count])

    def of_images(self, count: int | None, seed: int = 0) -> Rows:
        """Those of so many images, drawn at random; a larger number holds all images of a smaller one."""
        if count is None or count >= len(self.frames):
            return self
        chosen = np.random.default_rng(seed).permutation(len(self.frames))[:count]
        keep = np.isin(self.frame, chosen)
        return Rows(self.frames, self.layer, self.frame[keep], self.cell[keep])

    def vectors(self, start: int = 0, stop: int | None = None) -> Tensor:
        """``(M, D)`` float16, in order."""
        frame, cell = self.frame[start:stop], self.cell[start:stop]
        out: NDArray[np.float16] | None = None
        for index in np.unique(frame):
            own = np.flatnonzero(frame == index)
            features = self.frames[index].features(self.layer)
            if out is None:
                out = np.empty((frame.size, features.shape[1]), np.float16)
            # In the order of the file, which a memory map reads faster.
            order = np.argsort(cell[own])
            out[own[order]] = features[cell[own[order]]]
        assert out is not None
        return torch.from_numpy(out)


def bank_rows(frames: Sequence[CachedFrame], layer: str, seed: int = 0) -> Rows:
    """All valid cells of the frames of a bank, in the order of random numbers.

    The numbers are those of the library's reservoir: which rows a bank holds depends neither on the order of the frames
    nor on how many rows are asked for.

    Args:
        frames: Frames of in-distribution data, extracted.
        layer: The feature map.
        seed: Of the numbers.
    """
    index, cells, keys = [], [], []
    for place, one in enumerate(frames):
        own = np.flatnonzero(one.valid(layer))
        index.append(np.full(own.size, place, np.int32))
        cells.append(own.astype(np.int32))
        keys.append(frame_draws(seed, one.frame.id, own.size))
    order = np.argsort(np.concatenate(keys), kind="stable")
    return Rows(frames, layer, np.concatenate(index)[order], np.concatenate(cells)[order])
