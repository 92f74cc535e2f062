"""Training and validation patches of a flow: crops of one size a step, and fixed patches of every validation image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from anomseg.errors import ConfigError
from anomseg.training.labelled import FrameStore
from anomseg.training.labelled_data import LabelledData


class SizedCrops(Dataset[dict[str, Tensor]]):
    """Crops cut down to the size of their step, the same for all crops of a step; their labels are left out.

    Args:
        crops: Numbered crops with an ``image`` that is at least as large as every size.
        sizes: Sides of the square crops.
        batch_size: Crops a step, of all devices together.
        seed: Of sizes and places.
    """

    def __init__(self, crops: Dataset[dict[str, Tensor]], sizes: Sequence[int], batch_size: int, seed: int) -> None:
        self.crops, self.sizes, self.batch_size, self.seed = crops, tuple(sizes), batch_size, seed

    def size_of(self, step: int) -> int:
        """Side of the crops of a step."""
        return int(np.random.default_rng([self.seed, 1, step]).choice(self.sizes))

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        """``image`` ``(3, s, s)`` in [0, 1]."""
        side = self.size_of(number // self.batch_size)
        image = self.crops[number]["image"]
        rng = np.random.default_rng([self.seed, 2, number])
        return {"image": cut(image, side, rng).clone()}


class FixedPatches(Dataset[dict[str, Tensor]]):
    """A few patches of every size of each validation image, at seeded places.

    Images that are smaller than a size repeat their edges.

    Args:
        store: The images.
        sizes: Sides of the square patches.
        count: Patches of each size and image.
        seed: Of their places.
    """

    def __init__(self, store: FrameStore, sizes: Sequence[int], count: int, seed: int) -> None:
        self.store, self.sizes, self.count, self.seed = store, tuple(sizes), count, seed

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """``patches.<s>`` ``(count, 3, s, s)`` in [0, 1] of every size s, and ``number``, the image's."""
        pixels = self.store[index][0]
        missing = [max(max(self.sizes) - side, 0) for side in pixels.shape[:2]]
        pixels = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
        image = torch.from_numpy(pixels).permute(2, 0, 1).float().div_(255.0)
        rng = np.random.default_rng([self.seed, 3, index])
        patches = {
            f"patches.{side}": torch.stack([cut(image, side, rng) for _ in range(self.count)]) for side in self.sizes
        }
        return {**patches, "number": torch.tensor(index)}


def cut(image: Tensor, side: int, rng: np.random.Generator) -> Tensor:
    """A square of an image ``(C, H, W)`` at a random place."""
    top, left = (int(rng.integers(0, length - side + 1)) for length in image.shape[-2:])
    return image[:, top : top + side, left : left + side]


def require_inliers(data: LabelledData, stage: str) -> None:
    """Refuse data with pixels that a flow must not learn: it learns every pixel of a patch, void or not.

    Args:
        data: What the flow is to learn from.
        stage: The stage's name, for messages.

    Raises:
        ConfigError: Held-out classes are void instead of dropped, or negatives are pasted.
    """
    if data.config.held_out and data.config.held_out_images == "void":
        raise ConfigError(
            f"{stage}.data.held_out_images: a flow would learn held-out classes, void or not; choose drop"
        )
    if data.negatives is not None:
        raise ConfigError(f"{stage}.data.negatives: a flow would learn what is pasted; leave them out")
