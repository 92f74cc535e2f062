"""What a comparator is trained on: predictions of frames that their network did not see, with image and rendering."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from torch.utils.data import Dataset

from anomseg.detectors.synthcp.comparator import to_size
from anomseg.detectors.synthcp.comparator_losses import class_overlap
from anomseg.detectors.synthcp.generator import SPADEGenerator
from anomseg.detectors.synthcp.rendering import render
from anomseg.errors import ConfigError, DataError
from anomseg.files import write_bytes
from anomseg.segmenters.base import Size, weights_hash
from anomseg.training.folds import Folds
from anomseg.types import Frame, UInt8Array


@dataclass(frozen=True)
class Renderer:
    """A generator, and which of its classes each predicted one is."""

    generator: SPADEGenerator
    table: Sequence[int]


class ComparatorSamples:
    """Samples at the comparator's size, a file each, made once.

    Args:
        folder: Where they lie, under a name that tells all that they depend on.
        folds: Predictions.
        frames: Their frames, in the same order.
        lookup: ``(256,)`` uint8, the predicted class of each label.
        size: The comparator's.
        renderer: What renders the predictions; None where no rendering is compared with.
    """

    def __init__(
        self,
        folder: Path,
        folds: Folds,
        frames: Sequence[Frame],
        lookup: UInt8Array,
        size: Size,
        renderer: Renderer | None,
    ) -> None:
        self.folds, self.frames, self.lookup, self.size, self.renderer = folds, list(frames), lookup, size, renderer
        networks = [network["sha256"] for network in folds.record["networks"]]
        prints = [entry["fingerprint"] for entry in folds.record["frames"].values()]
        drawn = None if renderer is None else [weights_hash(renderer.generator), list(renderer.table)]
        text = json.dumps([networks, prints, list(size), drawn, lookup.tolist()])
        self.folder = folder / hashlib.sha256(text.encode()).hexdigest()[:24]

    def __len__(self) -> int:
        return len(self.frames)

    def path(self, index: int) -> Path:
        """The file of a sample."""
        return self.folder / f"{index:06d}.safetensors"

    def make(self, quiet: bool) -> int:
        """Make those that are not there yet, and say how many they were."""
        from rich.progress import track  # noqa: PLC0415 - kept out of start-up

        missing = [index for index in range(len(self)) if not self.path(index).is_file()]
        for index in track(missing, "comparator: samples", disable=quiet or not missing):
            write_bytes(self.path(index), save(self._sample(self.frames[index])))
        return len(missing)

    @torch.no_grad()
    def _sample(self, frame: Frame) -> dict[str, Tensor]:
        classes = frame.classes
        if classes is None:
            raise DataError(f"frame {frame.id} has no class map to compare its prediction with")
        truth = torch.from_numpy(self.lookup[classes]).long()[None]
        size = (truth.shape[-2], truth.shape[-1])
        output = self.folds.output(frame.id)
        probabilities = output.upsample(output.logits, size).softmax(1)
        prediction = probabilities.argmax(1)
        image = torch.from_numpy(frame.image().astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
        sample = {
            "probabilities": to_size(probabilities, self.size)[0].half(),
            "image": _bytes(to_size(image, self.size)[0]),
            "truth": at_centres(truth, self.size)[0].to(torch.uint8),
            "overlap": class_overlap(prediction, truth, probabilities.shape[1])[0],
        }
        if self.renderer is not None:
            rendering = render(self.renderer.generator, prediction, self.renderer.table)
            sample["rendering"] = _bytes(to_size(rendering, self.size)[0])
        return {name: tensor.contiguous() for name, tensor in sample.items()}

    def read(self, index: int, flip: bool = False) -> dict[str, Tensor]:
        """A sample, mirrored on demand.

        Returns:
            ``probabilities`` ``(C, h, w)``, ``image`` and ``rendering`` ``(3, h, w)`` in [-1, 1], ``truth`` ``(h, w)``
            int64 with 255 void, and ``overlap`` ``(C,)``, the intersection over union at the image's own size, NaN
            where a class is not in the truth.

        Raises:
            DataError: Its file is missing or damaged.
        """
        path = self.path(index)
        try:
            stored = load_file(path)
        except (OSError, SafetensorError) as error:
            raise DataError(
                f"{path} is missing or damaged; remove its folder and run the same command again"
            ) from error
        sample = {name: tensor.flip(-1) if flip and name != "overlap" else tensor for name, tensor in stored.items()}
        for name in ("image", "rendering"):
            if name in sample:
                sample[name] = sample[name].float() / 127.5 - 1
        return {**sample, "probabilities": sample["probabilities"].float(), "truth": sample["truth"].long()}


class SampleStream(Dataset[dict[str, Tensor]]):
    """Training sample number ``n`` of a seeded stream; each pass over the samples is in another order.

    Args:
        samples: All samples.
        numbers: Those to train on.
        flip: Probability of a mirrored one.
        seed: Of orders and mirrors.
    """

    def __init__(self, samples: ComparatorSamples, numbers: Sequence[int], flip: float, seed: int) -> None:
        self.samples, self.numbers, self.flip, self.seed = samples, list(numbers), flip, seed

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        turn, place = divmod(number, len(self.numbers))
        order = np.random.default_rng([self.seed, turn]).permutation(len(self.numbers))
        mirrored = bool(np.random.default_rng([self.seed, turn, place]).random() < self.flip)
        return self.samples.read(self.numbers[int(order[place])], mirrored)


class SampleList(Dataset[dict[str, Tensor]]):
    """Some samples in order, for validation."""

    def __init__(self, samples: ComparatorSamples, numbers: Sequence[int]) -> None:
        self.samples, self.numbers = samples, list(numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.samples.read(self.numbers[index])


def last_part(count: int, share: float) -> tuple[list[int], list[int]]:
    """Numbers to train on, and the last ones, to validate on: a block, since neighbours in a video are alike.

    Args:
        count: How many there are.
        share: Of those to validate on; at least one.

    Raises:
        ConfigError: None is left to train on.

    Example:
        >>> last_part(5, 0.3)
        ([0, 1, 2], [3, 4])
    """
    held = max(int(np.ceil(count * share)), 1)
    if held >= count:
        raise ConfigError(f"{count} frames leave none to train on beside {held} to validate on; give more frames")
    return list(range(count - held)), list(range(count - held, count))


def at_centres(maps: Tensor, size: Size) -> Tensor:
    """Class maps ``(B, H, W)`` read at the middle of each cell of a grid, ``(B, *size)``."""
    rows, columns = (
        ((torch.arange(cells) + 0.5) * (side / cells)).long() for cells, side in zip(size, maps.shape[-2:], strict=True)
    )
    return maps[:, rows[:, None], columns]


def _bytes(image: Tensor) -> Tensor:
    return ((image + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
