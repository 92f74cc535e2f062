"""A few small frames in the common repackaged layout, and a network of one matrix to run on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from anomseg.benchmarks import get_benchmark
from anomseg.segmenters import SegmentationOutput, Segmenter

HEIGHT, WIDTH, COUNT = 32, 40, 7
_OWN = get_benchmark("road_anomaly_21")
# Component sizes that suit so small frames.
BENCHMARK = replace(_OWN, protocol=replace(_OWN.protocol, min_prediction=30, min_anomaly=10))


def write_tree(root: Path, count: int = COUNT, seed: int = 0, clean: Sequence[int] = ()) -> Path:
    """A data set of ``count`` frames: noisy streets with one or two odd blocks each, void at the top."""
    generator = np.random.default_rng(seed)
    for folder in ("images", "labels_masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        image = generator.integers(60, 140, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        label = np.zeros((HEIGHT, WIDTH), np.uint8)
        for _ in range(0 if index in clean else 1 + index % 2):
            top, left = generator.integers(4, 17), generator.integers(0, 22)
            height, width = generator.integers(7, 15), generator.integers(8, 18)
            block = (slice(top, top + height), slice(left, left + width))
            image[block] = np.clip(image[block] + generator.integers(-30, 90, 3), 0, 255)
            label[block] = 1
        label[:3] = 255
        Image.fromarray(image).save(root / "images" / f"{index}.png")
        Image.fromarray(label).save(root / "labels_masks" / f"{index}.png")
    return root


class TinySegmenter(Segmenter):
    """One matrix from colours to four classes, at half resolution; counts its forward passes."""

    registry_name = "tiny"

    def __init__(self, seed: int = 0) -> None:
        super().__init__(("road", "building", "car", "sky"))
        generator = torch.Generator().manual_seed(seed)
        self.matrix = torch.nn.Parameter(torch.randn(4, 3, generator=generator) * 4)
        self.calls = 0

    def segment(self, batch: torch.Tensor, features: Sequence[str]) -> SegmentationOutput:
        self.calls += 1
        small = torch.nn.functional.avg_pool2d(batch, 2)
        size = (batch.shape[-2], batch.shape[-1])
        return SegmentationOutput(torch.einsum("kc,bchw->bkhw", self.matrix, small), size, size)
