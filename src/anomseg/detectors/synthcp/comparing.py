"""A scene against its rendering: how sure the network is of each pixel, and how alike both are to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from anomseg import scores
from anomseg.detectors.scales import scaled_sizes
from anomseg.detectors.synthcp.cells import Features, mean_cosine
from anomseg.errors import FrameError
from anomseg.segmenters.base import SegmentationOutput, Segmenter, Size
from anomseg.segmenters.scene import Scene


@dataclass(frozen=True)
class Comparison:
    """How image and rendering are compared.

    Attributes:
        names: Feature maps that are read.
        factors: Scales, as factors of the working size; 1 is the plain pass.
        stride: Pixels of the working size between the cells that are compared.
        check_logits: Refuse a network whose outputs are probabilities already.
    """

    names: tuple[str, ...]
    factors: tuple[float, ...] = (1.0,)
    stride: int = 4
    check_logits: bool = True

    @property
    def forward_passes(self) -> int:
        """One a scale over image and rendering, and the plain one for the class map, where it is none of them."""
        return 2 * len(self.factors) + (0 if 1.0 in self.factors else 1)


@dataclass(frozen=True)
class Compared:
    """What a scene comes to before the gate, at the images' own size.

    Attributes:
        confidence: ``(B, H, W)`` largest softmax probability, averaged over the scales before the maximum.
        cosine: ``(B, H, W)`` of the features of image and rendering.
    """

    confidence: Tensor
    cosine: Tensor


class MeanSoftmax:
    """Softmax at the images' own size, averaged over passes; one running sum.

    Args:
        size: The images' size.
        check_logits: Refuse probabilities.
    """

    def __init__(self, size: Size, check_logits: bool = True) -> None:
        self.size, self.check_logits, self.count = size, check_logits, 0
        self.total: Tensor | None = None

    def add(self, output: SegmentationOutput) -> None:
        """Add a pass, whose logits are resized first."""
        logits = output.upsample(output.logits.float(), self.size)
        if self.check_logits and self.count == 0:
            scores.check_logits(logits)
        part = logits.softmax(1)
        self.count += 1
        self.total = part if self.total is None else self.total.add_(part)

    def highest(self) -> Tensor:
        """Largest mean probability ``(B, H, W)``."""
        assert self.total is not None  # noqa: S101 - there is at least one pass
        return self.total.amax(1) / self.count


def confidence(scene: Scene, segmenter: Segmenter, how: Comparison) -> Tensor:
    """Largest softmax probability ``(B, H, W)``, averaged over the scales before the maximum; no features are read."""
    mean = MeanSoftmax(scene.image_size, how.check_logits)
    for output in _passes(scene, segmenter, None, how.factors, ()):
        mean.add(output)
    return mean.highest()


def compare(scene: Scene, segmenter: Segmenter, picture: Tensor, how: Comparison) -> Compared:
    """Confidence of the scene, and the cosine of its features and those of another picture.

    Args:
        scene: Images of one size.
        segmenter: Its network.
        picture: ``(B, 3, h, w)`` in [0, 1], the size of the scene's images without their padding.
        how: Features, scales and grid.

    Raises:
        FrameError: A feature is NaN or infinite.
    """
    mean = MeanSoftmax(scene.image_size, how.check_logits)
    seen: list[Features] = []
    for output in _passes(scene, segmenter, None, how.factors, how.names):
        mean.add(output)
        seen.append(_finite(Features.of(output, how.names), scene))
    padded = segmenter.pad(picture)
    rendered = [
        _finite(Features.of(output, how.names), scene)
        for output in _passes(scene, segmenter, padded, how.factors, how.names)
    ]
    grid = (-(-scene.input_size[0] // how.stride), -(-scene.input_size[1] // how.stride))
    cosine = mean_cosine(seen, rendered, grid)[:, None]
    cosine = F.interpolate(cosine, scene.image_size, mode="bilinear", align_corners=False)[:, 0]
    return Compared(mean.highest(), cosine)


def _passes(
    scene: Scene, segmenter: Segmenter, images: Tensor | None, factors: Sequence[float], names: Sequence[str]
) -> Iterator[SegmentationOutput]:
    """Passes over the scene's images, or over others of their prepared shape, one after the other."""
    for factor, size in zip(factors, scaled_sizes(scene.input_size, factors, segmenter.divisor), strict=True):
        if factor != 1.0:
            yield scene.forward(images, size=size, features=names)
        elif images is None and all(name in scene.output.features for name in names):
            yield scene.output
        else:
            yield scene.forward(images, features=names)


def _finite(features: Features, scene: Scene) -> Features:
    for frame, finite in zip(scene.frame_ids, features.finite, strict=True):
        if not finite:
            raise FrameError(f"{frame}: the network's features hold values that are not finite")
    return features
