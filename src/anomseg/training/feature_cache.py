"""Samples whose feature maps were computed once, a file each, and the stream of training crops over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from torch.utils.data import Dataset

from anomseg.errors import DataError
from anomseg.files import write_bytes
from anomseg.segmenters import Segmenter
from anomseg.segmenters.trainable import EncoderNetwork

FEATURES = "features."
"""What begins the names of feature maps in a sample."""
Kind = Literal["crops", "validation"]


class FeatureCache:
    """Samples on disk: features as float16, labels as they are, images as uint8.

    Args:
        folder: Where they lie; written sample by sample, each atomically.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, kind: Kind, index: int) -> Path:
        """The file of a sample."""
        return self.folder / kind / f"{index:06d}.safetensors"

    def write(self, kind: Kind, index: int, sample: Mapping[str, Tensor]) -> None:
        """Store a sample.

        Raises:
            DataError: The file cannot be written.
        """
        path = self.path(kind, index)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, save({name: _packed(name, tensor) for name, tensor in sample.items()}))

    def read(self, kind: Kind, index: int) -> dict[str, Tensor]:
        """Take a sample back; features stay float16.

        Raises:
            DataError: The file is missing or damaged.
        """
        path = self.path(kind, index)
        try:
            stored = load_file(path)
        except (OSError, SafetensorError) as error:
            raise DataError(
                f"{path} is missing or damaged ({' '.join(str(error).split())}); remove the folder of this feature "
                "cache and run the same command again"
            ) from error
        return {name: _unpacked(name, tensor) for name, tensor in stored.items()}


class CachedCrops(Dataset[dict[str, Tensor]]):
    """Training crop number ``n`` of a seeded stream over a cache; each pass over it is in another order.

    Args:
        cache: Where the samples lie.
        numbers: Which of its crops are read.
        seed: Seed of the orders.
    """

    def __init__(self, cache: FeatureCache, numbers: Sequence[int], seed: int) -> None:
        self.cache, self.numbers, self.seed = cache, numbers, seed
        self._order: tuple[int, np.ndarray] | None = None

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        turn, place = divmod(number, len(self.numbers))
        if self._order is None or self._order[0] != turn:
            self._order = turn, np.random.default_rng([self.seed, turn]).permutation(len(self.numbers))
        return self.cache.read("crops", self.numbers[int(self._order[1][place])])


class CachedImages(Dataset[dict[str, Tensor]]):
    """The validation images of a cache, in order."""

    def __init__(self, cache: FeatureCache, count: int) -> None:
        self.cache, self.count = cache, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.cache.read("validation", index)


class HeadMaps(Dataset[dict[str, Tensor]]):
    """Samples with the maps that a network's head makes of its encoder's, which are all that is kept on disk.

    Args:
        samples: Samples with the encoder's maps.
        host: The network; it stays as it is.
        layers: Names of the maps that a sample is to have.
    """

    def __init__(self, samples: CachedCrops | CachedImages, host: EncoderNetwork, layers: Sequence[str]) -> None:
        self.samples, self.host, self.layers = samples, host.eval(), tuple(layers)

    def __len__(self) -> int:
        return len(self.samples) if isinstance(self.samples, CachedImages) else len(self.samples.numbers)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = self.samples[index]
        maps = {name: sample.pop(f"{FEATURES}{name}")[None].float() for name in _layers(sample)}
        with torch.no_grad():
            named = self.host.complete(maps)
        return sample | {f"{FEATURES}{name}": named[name][0] for name in self.layers}


def stored_layers(network: Segmenter, layers: Sequence[str]) -> tuple[str, ...]:
    """Which maps have to be kept, for these layers to be had later.

    Of networks over an encoder only the encoder's own, which do not depend on the head: heads trained apart then share
    what is kept.
    """
    if not isinstance(network, EncoderNetwork):
        return tuple(layers)
    own = {name for name in layers if name in network.encoder_layers}
    made = network.complete_reads if len(own) < len(set(layers)) else ()
    return tuple(sorted(own | set(made)))


def _layers(sample: Mapping[str, Tensor]) -> list[str]:
    return [name.removeprefix(FEATURES) for name in sample if name.startswith(FEATURES)]


def _packed(name: str, tensor: Tensor) -> Tensor:
    if name == "image":
        return (tensor * 255).round().to(torch.uint8).contiguous()  # eight bits are what it was made of
    if tensor.is_floating_point():
        return tensor.half().contiguous()
    return tensor.to(torch.int16).contiguous()


def _unpacked(name: str, tensor: Tensor) -> Tensor:
    if name == "image":
        return tensor.float().div_(255.0)
    return tensor if tensor.is_floating_point() else tensor.long()
