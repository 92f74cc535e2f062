"""The reference bank: a bounded uniform sample of in-distribution features, gathered in one pass over the frames."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor

from anomseg.detectors.reservoir import BalancedReservoir, Reservoir, frame_draws
from anomseg.detectors.targets import ClassTargets, Labels, valid_cells
from anomseg.errors import FrameError
from anomseg.segmenters.base import Segmenter
from anomseg.segmenters.scene import Scene
from anomseg.types import VOID, Frame

Balance = Literal["none", "class"]
HELD_SHARE = 1 / 16
"""Share of the cells that stay out of a bank that will be compressed, to measure by what that costs."""


class BankPass:
    """Gathers the features of valid cells, frame by frame.

    Every cell draws its own number from the seed and its place (see `Reservoir`), so neither the order of the frames
    nor the size of batches changes the bank.

    Args:
        segmenter: The network.
        rows: Cells kept for the bank; 0 keeps all, whatever memory that takes.
        balance: ``"class"``: as many cells of each class as of any other, as far as there are.
        labels: Where the classes come from, see `ClassTargets`.
        seed: Of the samples.
        detector: Who asks, for messages.
        held: Cells to keep out of the bank, of one sixteenth of all.
        spread: Cells in a second uniform sample, of all cells, those held out and those in the bank too.

    Attributes:
        valid: Valid cells seen.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        rows: int,
        balance: Balance = "none",
        labels: Labels = "auto",
        seed: int = 0,
        detector: str = "knn",
        held: int = 0,
        spread: int = 0,
    ) -> None:
        self.seed = seed
        self.valid = 0
        self._targets = ClassTargets(segmenter, labels, detector) if balance == "class" else None
        self._classes = BalancedReservoir(len(segmenter.classes), rows or 2**62, seed) if self._targets else None
        self._rows = Reservoir(rows or None)
        self._held, self._spread = Reservoir(held), Reservoir(spread)
        self._names = segmenter.classes

    def read(self, frame: Frame, scene: Scene, features: Tensor) -> tuple[Tensor, Tensor]:
        """The features of a frame's valid cells, and their classes; nothing is kept yet.

        Args:
            frame: An in-distribution frame.
            scene: Its scene, of this one image.
            features: ``(1, D, h, w)`` over the padded input.

        Returns:
            ``(N, D)`` and ``(N,)`` int64, all 0 where the bank is not balanced.

        Raises:
            FrameError: A map cannot be read, or a feature is NaN or infinite.
        """
        valid = valid_cells(frame, scene.output, (features.shape[-2], features.shape[-1]))
        classes = torch.zeros(valid.shape, dtype=torch.int64)
        if self._targets is not None:
            classes = self._targets.at(frame, scene, (features.shape[-2], features.shape[-1]))
            valid &= classes != VOID
        rows, columns = valid.shape
        vectors = features[0, :, :rows, :columns].permute(1, 2, 0)[valid.to(features.device)]
        if not bool(vectors.isfinite().all()):
            raise FrameError(f"{frame.id}: the network's features hold values that are not finite")
        return vectors, classes[valid]

    def add(self, name: str, vectors: Tensor, classes: Tensor) -> None:
        """Keep what the draw says of a frame's cells, as `read` gave them."""
        self.valid += len(vectors)
        if self._spread.capacity:
            self._spread.offer(frame_draws(self.seed, f"{name}/spread", len(vectors)), vectors)
        if self._held.capacity:
            draws = frame_draws(self.seed, f"{name}/held", len(vectors))
            out = torch.from_numpy(draws < HELD_SHARE)
            self._held.offer(draws[out.numpy()], vectors[out.to(vectors.device)])
            vectors, classes = vectors[~out.to(vectors.device)], classes[~out]
        if self._classes is not None:
            self._classes.update(name, vectors, classes)
        else:
            self._rows.offer(frame_draws(self.seed, name, len(vectors)), vectors)

    def bank(self) -> Tensor:
        """``(M, D)`` float32."""
        return self._classes.balanced() if self._classes is not None else self._rows.sample()

    def held(self) -> Tensor:
        """``(n, D)`` float32 that are not in the bank."""
        return self._held.sample()

    def spread(self) -> Tensor:
        """``(n, D)`` float32, a uniform sample of all valid cells."""
        return self._spread.sample()

    def record(self) -> dict[str, Any]:
        """What to say in ``fitted_on``: how many valid cells there were, and of which class where that was read."""
        if self._targets is None or self._classes is None:
            return {"valid_cells": self.valid}
        seen = zip(self._names, self._classes.count.tolist(), strict=True)
        cells = {name: count for name, count in seen if count}
        return {"valid_cells": self.valid, "cells_of_class": cells, **self._targets.record()}


def chosen_frames(frames: Iterable[Frame], images: int, seed: int) -> Iterable[Frame]:
    """A uniform choice of ``images`` frames, the same in whatever order they come; all of them where that is 0."""
    if not images:
        return frames
    listed = list(frames)
    draws = [float(frame_draws(seed, f"{frame.id}/frame", 1)[0]) for frame in listed]
    chosen = set(sorted(range(len(listed)), key=draws.__getitem__)[:images])
    return [frame for place, frame in enumerate(listed) if place in chosen]


def layer_scale(bank: Tensor, channels: Iterable[int]) -> Tensor:
    """What each channel is multiplied with, so that every layer adds as much to squared distances on average.

    Args:
        bank: ``(M, D)`` float32.
        channels: Channels of each layer, D together.

    Returns:
        ``(D,)`` float32: one over the root of the layer's summed variance; 1 for a layer that never varies.
    """
    mean = bank.mean(0, dtype=torch.float64)
    variance = sum(((part.double() - mean) ** 2).sum(0) for part in bank.split(8192)) / len(bank)
    totals = [float(part.sum()) for part in torch.as_tensor(variance).split(list(channels))]
    return torch.cat(
        [torch.full((count,), total**-0.5 if total > 0 else 1.0) for count, total in zip(channels, totals, strict=True)]
    )


def bank_digest(bank: Tensor, scale: Tensor | None) -> str:
    """SHA-256 of what distances depend on: the rows as they are stored, and the scale of the channels."""
    digest = hashlib.sha256(f"{bank.dtype}{tuple(bank.shape)}".encode())
    for part in (bank, *([scale] if scale is not None else [])):
        digest.update(part.contiguous().numpy().data)
    return digest.hexdigest()
