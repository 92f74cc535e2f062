"""A small random network and made frames, for tests of detectors."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.segmenters.base import SegmentationOutput, Segmenter
from anomseg.segmenters.scene import Scene, make_scene
from anomseg.types import FeatureInfo, Frame

CLASSES = ("sky", "road", "car", "tree", "wall")
SPACE = "camvid"
QUERIES = 7
ALL_OUTPUTS = frozenset({"logits", "features", "masks", "void", "outlier_head", "negative", "dropout", "gradient"})


class TinySegmenter(Segmenter):
    """Two random convolutions at stride 2, padded to multiples of 8, with every output that a network may have."""

    registry_name = "tiny"

    def __init__(self, seed: int = 2, size: tuple[int, int] | None = None, classes: Sequence[str] = CLASSES) -> None:
        super().__init__(classes, size=size, divisor=8)
        generator = torch.Generator().manual_seed(seed)
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.dropout = nn.Dropout2d(0.3)
        self.head = nn.Conv2d(6, len(classes) + 1, 3, padding=1)
        self.outliers = nn.Conv2d(6, 2, 3, padding=1)
        self.masks = nn.Conv2d(6, QUERIES, 3, padding=1)
        self.queries = nn.Embedding(QUERIES, len(classes) + 2)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        self.passes = 0
        self.eval()

    provides = ALL_OUTPUTS

    @property
    def feature_info(self) -> Mapping[str, FeatureInfo]:
        return {"stem": FeatureInfo(6, 2)}

    def segment(self, batch: Tensor, features: Sequence[str]) -> SegmentationOutput:
        self.passes += 1
        stem = torch.relu(self.stem(batch))
        logits = self.head(self.dropout(stem))
        size, classes = (batch.shape[-2], batch.shape[-1]), len(self.classes)
        queries = self.queries.weight.expand(len(batch), -1, -1)
        return SegmentationOutput(
            logits[:, :classes],
            size,
            size,
            dict.fromkeys(features, stem),
            mask_logits=self.masks(stem),
            class_logits=queries[..., 1:],
            negative_class_logits=queries[..., :1],
            void_logits=logits[:, classes:],
            outlier_logits=self.outliers(stem),
        )


class FixedSegmenter(Segmenter):
    """Gives the same logits at every pixel of every image, whatever it shows."""

    registry_name = "fixed"

    def __init__(self, values: Sequence[float], classes: Sequence[str] = CLASSES) -> None:
        super().__init__(classes)
        self.values = nn.Parameter(torch.tensor(values))

    def segment(self, batch: Tensor, features: Sequence[str]) -> SegmentationOutput:
        size = (batch.shape[-2], batch.shape[-1])
        return SegmentationOutput(self.values.view(1, -1, 1, 1).expand(len(batch), -1, *size), size, size)


class IdentitySegmenter(Segmenter):
    """Its images are the logits already; query q claims what class q does, nothing is void, no pixel an outlier."""

    registry_name = "identity"
    provides = ALL_OUTPUTS

    @property
    def feature_info(self) -> Mapping[str, FeatureInfo]:
        return {"logits": FeatureInfo(len(self.classes), 1)}

    def segment(self, batch: Tensor, features: Sequence[str]) -> SegmentationOutput:
        size, count = (batch.shape[-2], batch.shape[-1]), len(self.classes)
        return SegmentationOutput(
            batch,
            size,
            size,
            dict.fromkeys(features, batch),
            mask_logits=batch,
            class_logits=8 * torch.eye(count, count + 1).expand(len(batch), -1, -1),
            negative_class_logits=torch.zeros(len(batch), count, 1),
            void_logits=torch.zeros(len(batch), 1, *size),
            outlier_logits=torch.zeros(len(batch), 2, *size),
        )


def made_image(seed: int, size: tuple[int, int]) -> np.ndarray:
    """Soft random colours, uint8 (H, W, 3)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 5, 6, generator=generator)
    noise = 0.1 * torch.rand(1, 3, *size, generator=generator)
    image = F.interpolate(coarse, size=size, mode="bilinear") * 0.9 + noise
    return (image[0] * 255).to(torch.uint8).permute(1, 2, 0).numpy().copy()


def made_frames(
    count: int = 4, size: tuple[int, int] = (45, 61), start: int = 100, classes: bool = False
) -> list[Frame]:
    """Frames of soft random colours; with ``classes`` the lower half is CamVid's road, its lowest row void."""
    frames = []
    for index in range(start, start + count):
        image = made_image(index, size)
        labels = np.zeros(size, np.uint8)
        labels[size[0] // 2 :] = 3
        labels[-1] = 255
        meta = {"dataset": "camvid", "split": "train"}
        frames.append(Frame(f"frame{index}", lambda image=image: image, labels if classes else None, None, "", meta))
    return frames


def scene_of(segmenter: Segmenter | None, sizes: Sequence[tuple[int, int]] = ((45, 61),), start: int = 0) -> Scene:
    """A scene of made images, whose first pass gives all feature maps there are."""
    images = [made_image(start + row, size) for row, size in enumerate(sizes)]
    features = tuple(segmenter.feature_info) if segmenter is not None else ()
    return make_scene(images, [f"image{start + row}" for row in range(len(sizes))], segmenter, features=features)


def scene_with_logits(logits: Tensor, classes: Sequence[str] = CLASSES) -> Scene:
    """A scene whose network answers with these logits, at the image's own size, in this pass and any further one."""
    batch, _, height, width = logits.shape
    ids = [f"image{row}" for row in range(batch)]
    return Scene(logits, ids, [(height, width)] * batch, IdentitySegmenter(classes))
