"""Made-up maps of scores and labels, the same for every engine that is measured on them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Map = tuple[NDArray[np.float32], NDArray[np.uint8]]
FRAME = 2_000_000
"""Pixels of one map, about a Cityscapes frame."""
SHARE = 0.002
"""Of anomalous pixels."""


def maps(pixels: int, seed: int = 0) -> Iterator[Map]:
    """Maps of about `FRAME` pixels, one after another, so that an engine which streams holds one of them.

    Scores are smooth noise, higher on square anomalies that cover `SHARE` of a map; hardly two pixels are equal, which
    is the hardest case for an engine that counts.

    Args:
        pixels: In all; at least one map is made.
        seed: Of the noise.
    """
    rng = np.random.default_rng(seed)
    frames = max(1, round(pixels / FRAME))
    height = int(np.sqrt(pixels / frames / 2))
    for _ in range(frames):
        label = np.zeros((height, 2 * height), np.uint8)
        side = max(int(np.sqrt(label.size * SHARE)), 2)
        top, left = (int(rng.integers(0, extent - side)) for extent in label.shape)
        label[top : top + side, left : left + side] = 1
        score = ndimage.gaussian_filter(rng.normal(0, 1, label.shape) + 1.5 * label, 1.0)
        yield score.astype(np.float32), label


def speckled(height: int = 1024, width: int = 2048, blobs: int = 900, seed: int = 0) -> Map:
    """One map on which a threshold of 1 leaves hundreds of components, and a label map with dozens of anomalies."""
    rng = np.random.default_rng(seed)
    score = np.zeros((height, width), np.float32)
    label = np.zeros((height, width), np.uint8)
    for number in range(blobs):
        side = int(rng.integers(8, 24))
        top, left = int(rng.integers(0, height - side)), int(rng.integers(0, width - side))
        score[top : top + side, left : left + side] = 2
        if number % 15 == 0:
            # An anomaly that a prediction hits in part.
            label[top : top + side, max(0, left - side // 3) : left + side // 2] = 1
    return score, label
