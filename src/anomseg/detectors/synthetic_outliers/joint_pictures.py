"""Pictures of joint training: samples, the data they are to border on, and pasted crops."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from anomseg.detectors.synthetic_outliers.pasting import PastedPatches
from anomseg.files import write_bytes
from anomseg.segmenters.base import Size
from anomseg.training.pictures import SAMPLES
from anomseg.types import UInt8Array

SHOWN = 4
_GAP, _HEIGHT = 4, 180


class JointPictures:
    """Keeps what validation shows, and writes ``samples/patches-<step>.png``.

    The first row are samples, whose latents are the same in each picture; the second row is what pasted samples cover;
    the third row images with pasted samples.
    """

    def __init__(self) -> None:
        self._kept: list[PastedPatches] = []

    @property
    def size(self) -> Size | None:
        """Of the images that were kept; None where none was."""
        return (self._kept[0].images.shape[-2], self._kept[0].images.shape[-1]) if self._kept else None

    def keep(self, pasted: PastedPatches) -> None:
        """Remember some images, as far as they are shown."""
        if len(self._kept) < SHOWN:
            kept = (pasted.images[:1], pasted.covered[:1], pasted.content[:1])
            self._kept.append(PastedPatches(*(part.detach().cpu() for part in kept)))

    def write(self, folder: str | Path, step: int, samples: Tensor) -> None:
        """Write the picture and forget what was kept.

        Args:
            folder: The stage's folder.
            step: Of the training.
            samples: ``(N, 3, h, w)`` in [0, 1].
        """
        kept, self._kept = self._kept, []
        if not kept:
            return
        rows = [
            _row(list(samples.detach().cpu())),
            _row([one.content[0] for one in kept]),
            _row([one.images[0] for one in kept]),
        ]
        width = max(row.shape[1] for row in rows)
        padded = [np.pad(row, ((0, _GAP), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
        stream = io.BytesIO()
        Image.fromarray(np.concatenate(padded)[:-_GAP]).save(stream, "PNG")
        path = Path(folder) / SAMPLES / f"patches-{step:07d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, stream.getvalue())


def _row(images: Sequence[Tensor]) -> UInt8Array:
    """Images ``(3, h, w)`` in [0, 1] side by side at the top, large ones made smaller; uint8 ``(h, w, 3)``."""
    parts = []
    for image in images:
        pixels = image.float().clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
        height = min(pixels.shape[0], _HEIGHT)
        width = max(1, round(pixels.shape[1] * height / pixels.shape[0]))
        parts.append(np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)))
    tallest = max(part.shape[0] for part in parts)
    return np.concatenate(
        [np.pad(part, ((0, tallest - part.shape[0]), (0, _GAP), (0, 0)), constant_values=255) for part in parts], 1
    )[:, :-_GAP]
