"""Detectors that assess segmentations in known ways, and a small data set with class maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from anomseg.detectors.base import FailureDetector
from anomseg.segmenters import Scene
from anomseg.types import FailurePrediction

NAMES = [f"0001TP_{index:06d}" for index in range(3)] + [f"Seq05VD_f{index:05d}" for index in range(2)]
# Classes road, building, car and sky of the tiny network, in CamVid's numbers.
NUMBERS = np.array([3, 1, 8, 0], np.uint8)


def write_camvid(root: Path, shown: tuple[int, ...] = (0, 1, 3, 8, 9, 255)) -> Path:
    """Five frames of noise in two sequences, with class maps of noise."""
    generator = np.random.default_rng(0)
    for folder in ("images/test", "labels/test"):
        (root / folder).mkdir(parents=True)
    for name in NAMES:
        image = generator.integers(0, 255, (16, 20, 3), dtype=np.uint8)
        label = generator.choice(np.array(shown, np.uint8), (16, 20))
        Image.fromarray(image).save(root / "images" / "test" / f"{name}.png")
        Image.fromarray(label).save(root / "labels" / "test" / f"{name}.png")
    return root


def read(root: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Image and class map of a frame."""
    image = np.asarray(Image.open(root / "images" / "test" / f"{name}.png"))
    return image, np.asarray(Image.open(root / "labels" / "test" / f"{name}.png"))


class Doubt(FailureDetector):
    """An error map of one colour channel, and a quality of classes of another's mean."""

    registry_name = "doubt"

    def __init__(self, maps: bool = True, classes: bool = True, measure: str = "iou") -> None:
        super().__init__()
        self.maps, self.classes, self.measure = maps, classes, measure

    def assess(self, scene: Scene) -> FailurePrediction:
        maps = scene.resize(scene.images[:, :1])[:, 0] if self.maps else None
        quality = None
        if self.classes:
            means = scene.images.mean((2, 3))
            quality = torch.cat([means, torch.full((len(means), 1), float("nan"))], 1)
        return FailurePrediction(maps, quality, self.measure)
