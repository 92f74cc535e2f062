"""Controls that see no network, or only where it sees road: what any method has to beat before it counts as working.

Each stands in every table, since sets of odd objects are rarely neutral: objects lie in the middle of the picture,
stand out against what is around them, and are not road.
"""

from __future__ import annotations

import hashlib
import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg import scores
from anomseg.detectors.base import Detector, Upsample
from anomseg.detectors.options import one_of, positive
from anomseg.detectors.road import road_classes
from anomseg.segmenters.base import Segmenter
from anomseg.segmenters.scene import Scene
from anomseg.types import Flags, Needs


class Chance(Detector):
    """Uniform noise in [0, 1); its average precision is the prevalence of anomalies.

    The noise depends on the seed, the frame's id and the image's size alone, never on the batch it comes in.

    Args:
        seed: Any integer.
    """

    registry_name = "chance"
    flags: ClassVar[Flags] = Flags(bounded=True, forward_passes=0)

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """Nothing of the network."""
        del segmenter
        return Needs(logits=False)

    def score(self, scene: Scene) -> Tensor:
        """Noise ``(B, H, W)`` float32 at the images' own size."""
        maps = [self._noise(frame_id, scene.image_size) for frame_id in scene.frame_ids]
        return torch.from_numpy(np.stack(maps)).to(scene.images.device)

    def _noise(self, frame_id: str, size: tuple[int, int]) -> np.ndarray:
        digest = hashlib.sha256(f"{self.seed}\n{frame_id}".encode()).digest()
        generator = np.random.Generator(np.random.PCG64(np.frombuffer(digest, "<u4")))
        return generator.random(size, dtype=np.float32)


class LocalContrast(Detector):
    """How far each place's grey value lies from its surroundings: |grey - local mean|, smoothed, in [0, 1].

    Both Gaussians are measured against the height of the image as prepared, so the score hardly depends on its
    resolution; beyond the image the edge is repeated.

    Args:
        surroundings: Standard deviation of the local mean, as a fraction of the height.
        smoothing: Standard deviation of the final smoothing, as a fraction of the height.

    Raises:
        ConfigError: A standard deviation is not above 0.
    """

    registry_name = "local_contrast"
    flags: ClassVar[Flags] = Flags(bounded=True, forward_passes=0)

    def __init__(self, surroundings: float = 0.1, smoothing: float = 0.02) -> None:
        super().__init__()
        self.surroundings = positive("surroundings", surroundings)
        self.smoothing = positive("smoothing", smoothing)

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """Nothing of the network."""
        del segmenter
        return Needs(logits=False)

    def score(self, scene: Scene) -> Tensor:
        """Anomaly maps ``(B, H, W)`` float32 at the images' own size."""
        height, width = scene.input_size
        images = scene.images[..., :height, :width].float()
        # One by one: a convolution rounds differently in a larger batch, and maps must not depend on theirs.
        contrast = torch.cat([self._contrast(image[None]) for image in images])
        return F.interpolate(contrast, size=scene.image_size, mode="bilinear", align_corners=False)[:, 0].clamp(0, 1)

    def _contrast(self, image: Tensor) -> Tensor:
        """Contrast ``(1, 1, H, W)`` of an image ``(1, 3, H, W)``."""
        red, green, blue = image.split(1, dim=1)
        grey = 0.299 * red + 0.587 * green + 0.114 * blue  # luma of ITU-R BT.601
        height = image.shape[-2]
        contrast = (grey - _blur(grey, self.surroundings * height)).abs()
        return _blur(contrast, self.smoothing * height)


class NotRoad(Detector):
    """One minus the probability that the network gives to road, in [0, 1].

    Args:
        upsample: ``"logits"`` scores at the image's size, ``"score"`` at the network's.
        check_logits: Refuse a network whose outputs are probabilities already.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "not_road"
    flags: ClassVar[Flags] = Flags(bounded=True)

    def __init__(self, upsample: Upsample = "logits", check_logits: bool = True) -> None:
        super().__init__()
        self.upsample = one_of("upsample", upsample, ("logits", "score"))
        self.check_logits = check_logits

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """Logits, of a network that has a class for the road."""
        if segmenter is not None:
            road_classes(segmenter.classes)
        return Needs(logits=True)

    def score(self, scene: Scene) -> Tensor:
        """Anomaly maps ``(B, H, W)`` float32 at the images' own size."""
        road = road_classes(scene.segmenter.classes if scene.segmenter is not None else ())
        logits = scene.logits() if self.upsample == "logits" else scene.output.logits.float()
        if self.check_logits:
            scores.check_logits(logits)
        score = (1 - logits.softmax(1)[:, road].sum(1)).clamp(0, 1)
        return score if self.upsample == "logits" else scene.resize(score[:, None])[:, 0]


def _blur(maps: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of maps ``(B, 1, H, W)``, cut at three standard deviations, edges repeated."""
    reach = max(1, math.ceil(3 * sigma))
    offsets = torch.arange(-reach, reach + 1, device=maps.device, dtype=maps.dtype)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    maps = F.conv2d(F.pad(maps, (0, 0, reach, reach), mode="replicate"), kernel.view(1, 1, -1, 1))
    return F.conv2d(F.pad(maps, (reach, reach, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
