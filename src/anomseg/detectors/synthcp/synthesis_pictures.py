"""Pictures of synthesis: layout, image and rendering side by side."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from anomseg.files import write_bytes
from anomseg.segmenters.base import default_palette
from anomseg.training.pictures import SAMPLES
from anomseg.types import UInt8Array

SHOWN = 6
"""Rows of a picture: validation images, the first ones."""
_GAP = 4


def layout_colours(classes: UInt8Array, palette: Sequence[Sequence[int]] = ()) -> UInt8Array:
    """A class map ``(H, W)`` in colours, ``(H, W, 3)`` uint8; what is not known is black.

    Args:
        classes: Class of every pixel, 255 where it is not known.
        palette: Colour of each class; made up where not given.
    """
    table = np.zeros((256, 3), np.uint8)
    known = np.asarray(palette or default_palette(255), np.uint8)
    table[: len(known)] = known
    return table[classes]


def as_pixels(image: Tensor) -> UInt8Array:
    """An image ``(3, H, W)`` in [-1, 1] as ``(H, W, 3)`` uint8."""
    levels = (image.detach().float().clamp(-1, 1) + 1).mul(127.5).round().byte()
    pixels: UInt8Array = levels.permute(1, 2, 0).cpu().numpy()
    return pixels


class SynthesisPictures:
    """Keeps what validation shows, and writes ``samples/step-<n>.png``: a row each of layout, image and rendering.

    Args:
        folder: The stage's folder.
        palette: Colour of each class.
    """

    def __init__(self, folder: Path, palette: Sequence[Sequence[int]] = ()) -> None:
        self.folder, self.palette = folder, palette
        self._rows: list[UInt8Array] = []

    def keep(self, classes: Tensor, image: Tensor, rendering: Tensor) -> None:
        """Remember an image, as far as it is shown.

        Args:
            classes: ``(H, W)``, 255 where it is not known.
            image: ``(3, H, W)`` in [-1, 1].
            rendering: Of the same kind.
        """
        if len(self._rows) == SHOWN:
            return
        colours = layout_colours(classes.cpu().numpy().astype(np.uint8), self.palette)
        gap = np.full((len(colours), _GAP, 3), 255, np.uint8)
        self._rows.append(np.concatenate([colours, gap, as_pixels(image), gap, as_pixels(rendering)], 1))

    def write(self, step: int) -> None:
        """Write the picture and forget what was kept.

        Args:
            step: Of the training.
        """
        rows, self._rows = self._rows, []
        if not rows:
            return
        gap = np.full((_GAP, rows[0].shape[1], 3), 255, np.uint8)
        stream = io.BytesIO()
        Image.fromarray(np.concatenate([part for row in rows for part in (row, gap)][:-1])).save(stream, "PNG")
        path = self.folder / SAMPLES / f"step-{step:07d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, stream.getvalue())
