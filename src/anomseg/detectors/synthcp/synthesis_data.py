"""Whole frames at the generator's size, layout and image: a seeded stream for training, each once for validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from anomseg.segmenters.base import Size
from anomseg.training.labelled import FrameStore
from anomseg.types import UInt8Array


def layout_and_image(image: UInt8Array, classes: UInt8Array, size: Size) -> tuple[UInt8Array, UInt8Array]:
    """Both stretched to a size: classes nearest, the image antialiased.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        classes: ``(H, W)`` uint8.
        size: ``(height, width)``.

    Returns:
        Class map and image.
    """
    wide = (size[1], size[0])
    picture = Image.fromarray(image).resize(wide, Image.Resampling.BILINEAR)
    layout = Image.fromarray(classes).resize(wide, Image.Resampling.NEAREST)
    return np.asarray(layout), np.asarray(picture)


class LayoutImages(Dataset[dict[str, Tensor]]):
    """Every frame of a store once.

    Args:
        store: The frames.
        lookup: ``(256,)`` uint8, the generator's class of each label; 255 where it is not known.
        size: ``(height, width)``.
    """

    def __init__(self, store: FrameStore, lookup: UInt8Array, size: Size) -> None:
        self.store, self.lookup, self.size = store, lookup, size

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """``classes`` ``(h, w)`` int64, 255 where not known, and ``image`` ``(3, h, w)`` in [-1, 1]."""
        return self.sample(index)

    def sample(self, index: int, flip: bool = False) -> dict[str, Tensor]:
        """The same, mirrored on demand."""
        image, classes = self.store[index]
        layout, picture = layout_and_image(image, self.lookup[classes], self.size)
        if flip:
            layout, picture = layout[:, ::-1], picture[:, ::-1]
        return {
            "classes": torch.from_numpy(layout.astype(np.int64)),
            "image": torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1).div(127.5).sub(1),
        }


class LayoutStream(Dataset[dict[str, Tensor]]):
    """Sample number ``n`` of a seeded stream: the same for any number of workers and after a resume.

    Args:
        sources: Frames to draw from.
        shares: Relative share of each source.
        flip: Probability of a mirrored sample.
        seed: Seed of the stream.
    """

    def __init__(self, sources: Sequence[LayoutImages], shares: Sequence[float], flip: float, seed: int) -> None:
        self.sources, self.flip, self.seed = list(sources), flip, seed
        self.probabilities = np.asarray(shares, np.float64) / np.sum(shares)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """As `LayoutImages` gives them."""
        rng = np.random.default_rng([self.seed, number])
        source = self.sources[int(rng.choice(len(self.sources), p=self.probabilities))]
        return source.sample(int(rng.integers(len(source))), bool(rng.random() < self.flip))


def evenly(store: FrameStore, count: int) -> FrameStore:
    """Some frames of a store, evenly drawn; all of them where ``count`` is 0 or not below their number."""
    if not 0 < count < len(store):
        return store
    places = np.linspace(0, len(store) - 1, count).round().astype(int)
    return FrameStore([store.frames[place] for place in places], store.memory)
