"""A network whose features are the colours of its cells, so that a test knows where each feature comes from."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.segmenters.base import SegmentationOutput, Segmenter
from anomseg.segmenters.scene import Scene, make_scene
from anomseg.types import FeatureInfo, Frame


class ColourCells(Segmenter):
    """Features ``fine`` (stride 2, 3 channels) and ``coarse`` (stride 4, 2 channels); logits are colours times 9."""

    registry_name = "colour_cells"

    def __init__(self, divisor: int = 8) -> None:
        super().__init__(("red", "green", "blue"), divisor=divisor)
        self.gain = nn.Parameter(torch.tensor(9.0))

    @property
    def feature_info(self) -> Mapping[str, FeatureInfo]:
        return {"coarse": FeatureInfo(2, 4), "fine": FeatureInfo(3, 2)}

    def segment(self, batch: Tensor, features: Sequence[str]) -> SegmentationOutput:
        size = (batch.shape[-2], batch.shape[-1])
        maps = {"fine": F.avg_pool2d(batch, 2), "coarse": F.avg_pool2d(batch, 4)[:, :2]}
        return SegmentationOutput(batch * self.gain, size, size, {name: maps[name] for name in features})


def painted(seed: int, size: tuple[int, int] = (21, 30)) -> np.ndarray:
    """Cells of 4x4 pixels, each of one random colour."""
    height, width = size
    cells = np.random.default_rng(seed).integers(0, 200, (-(-height // 4), -(-width // 4), 3), np.uint8)
    return np.ascontiguousarray(np.kron(cells, np.ones((4, 4, 1), np.uint8))[:height, :width])


def frame_of(image: np.ndarray, name: str = "a", classes=None, label=None) -> Frame:
    return Frame(name, lambda: image, classes, label, "", {"dataset": "camvid", "split": "train"})


def painted_frames(count: int = 4, size: tuple[int, int] = (21, 30)) -> list[Frame]:
    return [frame_of(painted(seed, size), f"frame{seed}") for seed in range(count)]


def scene_with(image: np.ndarray, segmenter: Segmenter, name: str = "a") -> Scene:
    return make_scene([image], [name], segmenter, features=tuple(segmenter.feature_info))


def cells(image: np.ndarray, side: int) -> np.ndarray:
    """Mean colour in [0, 1] of all cells that lie wholly in the image, ``(n, 3)``."""
    height, width = (length // side * side for length in image.shape[:2])
    whole = image[:height, :width].astype(np.float64) / 255
    return whole.reshape(height // side, side, width // side, side, 3).mean((1, 3)).reshape(-1, 3)


def rows_of(tensor: Tensor) -> np.ndarray:
    """Rows in an order of their own, for comparing banks as sets."""
    rows = tensor.double().numpy()
    return rows[np.lexsort(np.round(rows, 4).T)]
