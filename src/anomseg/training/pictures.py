"""Sample pictures while training: some validation images, their labels and what is predicted, after validations."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image

from anomseg.files import write_bytes
from anomseg.segmenters.base import default_palette
from anomseg.training.base_module import Sample, TrainingModule
from anomseg.types import VOID, UInt8Array

SAMPLES = "samples"
"""Folder of the pictures, in a stage's folder."""
_GAP = 4


class SamplePictures(Callback):
    """Writes ``samples/step-<n>.png``: a row for each of the first images, with image, labels and prediction.

    Where a training has more validations than pictures are wanted, every so many of them is pictured, the last one
    always. Stages that predict no class map get none.

    Args:
        folder: The stage's folder.
        images: Rows of a picture.
        pictures: At most so many of them, that of the start not counted.
        height: Pixels that a row is high at most.
    """

    def __init__(self, folder: Path, images: int = 4, pictures: int = 12, height: int = 180) -> None:
        self.folder, self.images, self.pictures, self.height = folder, images, pictures, height
        self._rows: list[UInt8Array] = []

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Sample,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep a row."""
        del outputs, dataloader_idx
        if batch_idx < self.images and _due(trainer, self.pictures) and isinstance(module, TrainingModule):
            row = self._row(batch, module)
            self._rows += [row] if row is not None else []

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Write the picture."""
        del module
        rows, self._rows = self._rows, []
        if not rows:
            return
        width = max(row.shape[1] for row in rows)
        padded = [np.pad(row, ((0, _GAP), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
        picture = np.concatenate(padded)[:-_GAP]
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "PNG")
        path = self.folder / SAMPLES / f"step-{trainer.global_step:07d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, stream.getvalue())
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(SAMPLES, picture, trainer.global_step, dataformats="HWC")

    def _row(self, batch: Sample, module: TrainingModule) -> UInt8Array | None:
        """Image (where the samples hold it), labels and prediction side by side."""
        if module.shown is None:
            return None
        classes = batch["classes"][0].cpu().numpy().astype(np.uint8)
        colours = _colours(module.palette, int(module.shown.max()), int(classes[classes != VOID].max(initial=0)))
        parts = [colours[classes], colours[module.shown]]
        if "image" in batch:
            pixels = batch["image"][0].float().clamp(0, 1).mul(255).round().byte()
            parts.insert(0, pixels.permute(1, 2, 0).cpu().numpy())
        height = min(self.height, classes.shape[0])
        size = (max(1, round(classes.shape[1] * height / classes.shape[0])), height)
        gap = np.full((height, _GAP, 3), 255, np.uint8)
        row: list[UInt8Array] = []
        for part in parts:
            row += [np.asarray(Image.fromarray(part).resize(size, Image.Resampling.NEAREST)), gap]
        return np.concatenate(row[:-1], 1)


def _due(trainer: lightning.Trainer, pictures: int) -> bool:
    """Whether this validation is one of those that are pictured, here."""
    if not trainer.is_global_zero:
        return False
    if not trainer.max_epochs or trainer.state.fn != "fit":
        return True
    every = -(-trainer.max_epochs // pictures)
    left = trainer.max_epochs - 1 - trainer.current_epoch
    return left % every == 0


def _colours(palette: Sequence[Sequence[int]], *classes: int) -> UInt8Array:
    """``(256, 3)`` uint8, the colour of each class; void is black."""
    count = max(*classes, len(palette) - 1) + 1
    known = palette if len(palette) >= count else default_palette(count)
    table = np.zeros((256, 3), np.uint8)
    table[: len(known)] = np.asarray(known, np.uint8)
    return table
