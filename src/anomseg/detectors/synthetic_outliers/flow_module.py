"""The Lightning module that trains a flow by maximum likelihood, and its pictures of samples."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from anomseg.detectors.synthetic_outliers.flow import FlowDivergedError, RealNVP
from anomseg.files import write_bytes
from anomseg.training.base_module import DivergenceError, Sample, TrainingModule
from anomseg.training.options import OptimiserConfig
from anomseg.training.pictures import SAMPLES
from anomseg.types import UInt8Array

SHOWN = 8
"""Samples of each size in a picture, beside as many patches of the data."""
_GAP = 4


class FlowModule(TrainingModule):
    """Bits per dimension of dequantised crops; in validation, of the same patches with the same noise each time.

    After each validation ``samples/step-<n>.png`` shows, for every size, a row of validation patches and two rows of
    samples, whose latents stay the same.

    Args:
        flow: The flow.
        sizes: Sides of the square crops.
        optimiser: How to train.
        seed: Seed of whatever is drawn.
        folder: The stage's folder.
    """

    def __init__(
        self, flow: RealNVP, sizes: Sequence[int], optimiser: OptimiserConfig, seed: int, folder: Path
    ) -> None:
        super().__init__(optimiser, seed)
        self.flow, self.sizes, self.folder = flow, tuple(sizes), folder
        self._patches: dict[int, list[Tensor]] = {}

    @property
    def trained(self) -> nn.Module:
        """The flow."""
        return self.flow

    def loss_of(self, batch: Sample) -> Tensor:
        """Bits per dimension, the mean over the crops."""
        return self.flow.bits_per_dimension(batch["image"]).mean()

    def validation_step(self, batch: Sample, index: int) -> None:
        """Bits per dimension of the patches of one image: each size's as ``val_bits_<s>``, their mean as the loss."""
        del index
        bits = []
        for side in self.sizes:
            patches = batch[f"patches.{side}"][0]
            # Half precision is for steps only: figures are those of the flow that is written.
            with torch.autocast(patches.device.type, enabled=False):
                noise = torch.Generator(patches.device).manual_seed(int(batch["number"]) + 1_000_003 * self.seed)
                bits.append(self.flow.bits_per_dimension(patches, noise).mean())
            self.tell(f"val_bits_{side}", bits[-1])
            kept = self._patches.setdefault(side, [])
            if len(kept) < SHOWN:
                kept.append(patches[0].cpu())
        self.tell("val_loss", torch.stack(bits).mean())

    def on_validation_epoch_end(self) -> None:
        """Log the figures and write the picture of samples."""
        super().on_validation_epoch_end()
        patches, self._patches = self._patches, {}
        if not self.trainer.is_global_zero or not patches:
            return
        path = self.folder / SAMPLES / f"step-{self.trainer.global_step:07d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = io.BytesIO()
        Image.fromarray(self._picture(patches)).save(stream, "PNG")
        write_bytes(path, stream.getvalue())

    @torch.no_grad()
    def _picture(self, patches: dict[int, list[Tensor]]) -> UInt8Array:
        rows = []
        for side in self.sizes:
            generator = torch.Generator(self.device).manual_seed(self.seed)
            try:
                with torch.autocast(self.device.type, enabled=False):
                    drawn = self.flow.sample(2 * SHOWN, (side, side), generator).cpu()
            except FlowDivergedError as error:
                raise DivergenceError(f"samples became infinite at step {self.global_step}") from error
            rows += [_row(patches[side]), _row(list(drawn[:SHOWN])), _row(list(drawn[SHOWN:]))]
        width = max(row.shape[1] for row in rows)
        padded = [np.pad(row, ((0, _GAP), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
        return np.concatenate(padded)[:-_GAP]


def _row(images: Sequence[Tensor]) -> UInt8Array:
    """Images ``(3, s, s)`` in [0, 1] side by side, uint8 ``(s, w, 3)``."""
    parts = [image.mul(255).round().byte().permute(1, 2, 0).numpy() for image in images]
    gap = np.full((parts[0].shape[0], _GAP, 3), 255, np.uint8)
    return np.concatenate([piece for part in parts for piece in (part, gap)][:-1], 1)
