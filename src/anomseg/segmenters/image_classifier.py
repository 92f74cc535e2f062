"""A small residual classifier of whole images, as a segmenter: its logits are one cell that covers the image.

Residual blocks after He et al., CVPR 2016; the widths are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.errors import ConfigError
from anomseg.segmenters.base import SegmentationOutput, Segmenter, Size
from anomseg.segmenters.resnet import BasicBlock
from anomseg.types import FeatureInfo

MEAN, DEVIATION = 0.47, 0.25  # of RGB values in natural images; one pair for all channels


class ImageClassifier(Segmenter):
    """Three stages of residual blocks at strides 1, 2 and 4, their mean over the image, a linear classifier.

    Logits are ``(B, C, 1, 1)``, so that whatever works on pixels works on images: each pixel gets its image's class.

    Args:
        classes: Class names.
        palette: One RGB triple a class.
        size: Working size ``(height, width)``; None keeps each image's own.
        widths: Channels of the three stages.
        blocks: Residual blocks of each stage.
        dropout: Share of the pooled channels dropped in training.

    Raises:
        ConfigError: ``widths`` are not three numbers, or there is no block.

    Example:
        >>> import torch
        >>> network = ImageClassifier(["cat", "dog"], widths=(4, 8, 8)).eval()
        >>> network(torch.rand(5, 3, 32, 32)).logits.shape
        torch.Size([5, 2, 1, 1])
    """

    registry_name: ClassVar[str] = "image_classifier"
    smallest_batch: ClassVar[int] = 1

    def __init__(
        self,
        classes: Sequence[str],
        palette: Sequence[Sequence[int]] | None = None,
        size: Size | None = (32, 32),
        widths: Sequence[int] = (32, 64, 128),
        blocks: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(classes, palette, size, divisor=4)
        if len(widths) != 3 or min(widths) < 1 or blocks < 1:
            raise ConfigError(
                f"widths are the channels of three stages, of at least one block: got {list(widths)}, {blocks}"
            )
        self.widths, self.blocks, self.dropout_share = tuple(widths), blocks, dropout
        self.stem = nn.Sequential(
            nn.Conv2d(3, self.widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(self.widths[0]), nn.ReLU()
        )
        stages, inputs = [], self.widths[0]
        for index, width in enumerate(self.widths):
            first = BasicBlock(inputs, width, 2 if index else 1, 1, 0.0)
            stages.append(nn.Sequential(first, *(BasicBlock(width, width, 1, 1, 0.0) for _ in range(blocks - 1))))
            inputs = width
        self.stages = nn.ModuleList(stages)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(inputs, len(self.classes))

    @property
    def feature_info(self) -> Mapping[str, FeatureInfo]:
        """Maps of the stages, and ``pooled``: one cell that covers the image."""
        stages = {f"stage{2**index}": FeatureInfo(width, 2**index) for index, width in enumerate(self.widths)}
        return {**stages, "pooled": FeatureInfo(self.widths[-1], min(self.size or (32, 32)))}

    def segment(self, batch: Tensor, features: Sequence[str]) -> SegmentationOutput:
        """Classify the images; see `Segmenter.forward`."""
        named, x = {}, self.stem((batch - MEAN) / DEVIATION)
        for index, stage in enumerate(self.stages):
            x = named[f"stage{2**index}"] = stage(x)
        named["pooled"] = F.adaptive_avg_pool2d(x, 1)
        logits = self.classifier(self.dropout(named["pooled"].flatten(1)))[..., None, None]
        size = (batch.shape[-2], batch.shape[-1])
        return SegmentationOutput(logits, size, size, {name: named[name] for name in features})

    def config(self) -> dict[str, object]:
        """Options that rebuild this network, without weights."""
        return {
            **super().config(),
            "classes": list(self.classes),
            "palette": [list(colour) for colour in self.palette],
            "widths": list(self.widths),
            "blocks": self.blocks,
            "dropout": self.dropout_share,
        }
