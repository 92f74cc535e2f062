"""What is exported: padding, network, detector and threshold as one module of tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from anomseg.detectors import Detector
from anomseg.errors import CompatibilityError
from anomseg.segmenters import Scene, SegmentationOutput, Segmenter, Size

INPUTS = ("image", "threshold")
OUTPUTS = ("anomaly_map", "mask", "segmentation")


class GraphScene(Scene):
    """A scene inside a graph: one plain pass, images of one size, and sizes that may be symbols.

    Args:
        images: ``(B, 3, h, w)`` float in [0, 1], padded.
        segmenter: The network.
        input_size: ``(height, width)`` before padding, which is the images' own size too.
        features: Feature maps that the detector reads.
    """

    def __init__(self, images: Tensor, segmenter: Segmenter, input_size: Size, features: tuple[str, ...]) -> None:
        super().__init__(images, ("image",), (input_size,), segmenter, input_size=input_size, features=features)

    @property
    def image_size(self) -> Size:
        """``(H, W)`` of the images."""
        return self.input_size

    def forward(self, images: Tensor | None = None, **request: Any) -> SegmentationOutput:
        """The one pass over the images; see `Scene.forward`.

        Raises:
            CompatibilityError: Another pass was asked for.
        """
        features = request.pop("features", ())
        if self.segmenter is None or images is not None or any(request.values()):
            raise CompatibilityError("one graph holds one plain pass of the network, and this detector asks for more")
        return self.segmenter(self.images, features=features, input_size=self.input_size)


class DetectorGraph(nn.Module):
    """From uint8 images and a threshold to anomaly maps, masks and class maps.

    Args:
        segmenter: The network.
        detector: A detector that scores from one pass.
        size: ``(height, width)`` of the images; None for any.

    Raises:
        CompatibilityError: The network lacks what the detector reads.
    """

    def __init__(self, segmenter: Segmenter, detector: Detector, size: Size | None) -> None:
        super().__init__()
        self.segmenter, self.detector, self.size = segmenter, detector, size
        self.features = detector.needs(segmenter).features

    def forward(self, image: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score a batch.

        Args:
            image: ``(B, 3, H, W)`` uint8 RGB.
            threshold: Scalar float32; scores at or above it are anomalous.

        Returns:
            Anomaly map ``(B, H, W)`` float32, higher = more anomalous; mask ``(B, H, W)`` uint8, 1 = anomalous;
            class map ``(B, H, W)``, uint8 where 256 classes are enough, else int32.
        """
        batch = image.to(torch.float32) / 255.0
        size = self.size or (image.shape[-2], image.shape[-1])
        padded = self.segmenter.pad(batch) if self.size else _pad_any(batch, self.segmenter.divisor)
        scene = GraphScene(padded, self.segmenter, size, self.features)
        if not self.detector.reads_head:
            _ = scene.output  # the class map is wanted anyway: one pass gives it and the features
        score = self.detector.score(scene).to(torch.float32)
        labels = scene.prediction().to(torch.uint8 if len(self.segmenter.classes) <= 256 else torch.int32)
        return score, (score >= threshold).to(torch.uint8), labels


def _pad_any(batch: Tensor, divisor: int) -> Tensor:
    """`Segmenter.pad` for sides that are not known yet: without a branch, by indices that stop at the edge."""
    if divisor == 1:
        return batch
    for axis in (-2, -1):
        length = batch.shape[axis]
        index = torch.arange((length + divisor - 1) // divisor * divisor, device=batch.device)
        batch = batch.index_select(axis, index.clamp(max=length - 1))
    return batch
