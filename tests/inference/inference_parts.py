"""A small network and detectors whose answers are known, for tests of prediction."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from anomseg.detectors.base import Detector
from anomseg.segmenters.base import SegmentationOutput, Segmenter
from anomseg.segmenters.scene import Scene
from anomseg.types import Flags, Needs


class BrightnessSegmenter(Segmenter):
    """Class 0 dark, 1 medium, 2 bright: logits that anybody can check by eye."""

    registry_name = "brightness"

    def __init__(self, size: tuple[int, int] | None = None, divisor: int = 1) -> None:
        super().__init__(("dark", "medium", "bright"), ((0, 0, 80), (0, 160, 0), (250, 250, 0)), size, divisor)
        self.batches: list[tuple[int, ...]] = []

    def segment(self, batch: Tensor, features: Sequence[str]) -> SegmentationOutput:
        self.batches.append(tuple(batch.shape))
        grey = batch.mean(1, keepdim=True)
        logits = torch.cat([-(grey - centre).abs() * 10 for centre in (0.1, 0.5, 0.9)], 1)
        return SegmentationOutput(logits, tuple(batch.shape[-2:]), tuple(batch.shape[-2:]))


class Darkness(Detector):
    """Minus the largest logit: unbounded and positive where the image fits no class."""

    registry_name = "darkness"

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__()
        self.offset = offset

    def score(self, scene: Scene) -> Tensor:
        return self.offset - scene.logits().max(1).values


class BoundedDarkness(Darkness):
    registry_name = "bounded_darkness"
    flags = Flags(bounded=True)

    def score(self, scene: Scene) -> Tensor:
        return 1 - scene.logits().softmax(1).max(1).values


class NotANumber(Darkness):
    """NaN in one pixel of the frames it is told."""

    registry_name = "nan"

    def __init__(self, bad: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.bad = bad

    def score(self, scene: Scene) -> Tensor:
        score = super().score(scene)
        for row, name in enumerate(scene.frame_ids):
            if name in self.bad or not self.bad:
                score[row, 0, 0] = float("nan")
        return score


class Noise(Detector):
    """Uses torch's global generator and no network."""

    registry_name = "noise"

    def needs(self, segmenter: Segmenter | None) -> Needs:
        return Needs(logits=False)

    def score(self, scene: Scene) -> Tensor:
        return torch.rand(len(scene.frame_ids), *scene.image_size)


class Constant(Darkness):
    registry_name = "constant"

    def score(self, scene: Scene) -> Tensor:
        return torch.full((len(scene.frame_ids), *scene.image_size), self.offset)


class Interrupting(Darkness):
    """The user presses Ctrl-C while this frame is scored."""

    registry_name = "darkness"

    def __init__(self, at: str = "") -> None:
        super().__init__()
        self.at = at

    def get_params(self) -> dict[str, object]:
        return {"offset": 0.0}

    def score(self, scene: Scene) -> Tensor:
        if self.at in scene.frame_ids:
            raise KeyboardInterrupt
        return super().score(scene)


def picture(seed: int = 0, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 256, (5, 6, 3)), np.ones((-(-size[0] // 5), -(-size[1] // 6), 1))).astype(np.uint8)[
        : size[0], : size[1]
    ]


def write_pictures(
    folder: Path, names: Sequence[str] = ("a", "b", "c"), size: tuple[int, int] = (40, 60)
) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png" for name in names]
    for index, path in enumerate(paths):
        Image.fromarray(picture(index, size)).save(path)
    return paths


def leftovers(folder: Path) -> list[str]:
    """Temporary files that a reader could mistake for results."""
    return [path.name for path in folder.rglob("*") if path.name.startswith(".") or path.suffix == ".part"]
