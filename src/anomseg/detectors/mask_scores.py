"""Detectors that read the queries of a mask transformer: no training, one forward pass."""

from __future__ import annotations

import torch
from torch import Tensor

from anomseg import scores
from anomseg.detectors.base import Detector, Upsample
from anomseg.detectors.options import one_of
from anomseg.errors import CompatibilityError
from anomseg.segmenters.base import SegmentationOutput, Segmenter
from anomseg.segmenters.scene import Scene
from anomseg.types import Needs

PIECE = 2**23
"""Values of upsampled masks held at a time (32 MiB in float32)."""


class MaskDetector(Detector):
    """Base of detectors whose score is a sum over queries and then a function of each pixel.

    A network that has learned a negative class gives it as one more column, before no-object.

    Args:
        upsample: ``"logits"`` brings the masks to the image's size first, some queries at a time, and scores there,
            as the published figures do; ``"score"`` scores at the masks' resolution and resizes the map, which is
            much faster.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    negative_needed = False

    def __init__(self, upsample: Upsample = "logits") -> None:
        super().__init__()
        self.upsample = one_of("upsample", upsample, ("logits", "score"))

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """Masks and their classes."""
        return self.ask(segmenter, Needs(logits=False, masks=True, negative=self.negative_needed))

    def sums(self, class_logits: Tensor, mask_logits: Tensor, negative: bool) -> Tensor:
        """Sums ``(B, K, h, w)`` over some of the queries; those over all are what `formula` takes.

        Args:
            class_logits: ``(B, q, C + 1)``, or ``(B, q, C + 2)`` with a negative class before no-object.
            mask_logits: ``(B, q, h, w)``.
            negative: Whether there is a negative class.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what it adds up")

    def formula(self, sums: Tensor) -> Tensor:
        """Score ``(B, h, w)`` of sums ``(B, K, h, w)`` over all queries."""
        raise NotImplementedError(f"{type(self).__name__} has no formula")

    def score(self, scene: Scene) -> Tensor:
        """Anomaly maps ``(B, H, W)`` float32 at the images' own size."""
        class_logits, masks, negative = _queries(self.registry_name, scene.output)
        if self.upsample == "score":
            return scene.resize(self.formula(self.sums(class_logits, masks, negative))[:, None])[:, 0]
        height, width = scene.image_size
        # All masks of a large image at its size would be gigabytes.
        step = max(1, PIECE // (height * width))
        total: Tensor | None = None
        for first in range(0, masks.shape[1], step):
            some = slice(first, first + step)
            part = self.sums(class_logits[:, some], scene.resize(masks[:, some]), negative)
            total = part if total is None else total.add_(part)
        if total is None:
            raise CompatibilityError(f"{self.registry_name} reads the queries of a mask transformer; there are none")
        return self.formula(total)


class RbA(MaskDetector):
    """Rejected by all known classes (Nayal et al., RbA, ICCV 2023), in (-C, 0]: ``-sum_c tanh(L_c)``."""

    registry_name = "rba"

    def sums(self, class_logits: Tensor, mask_logits: Tensor, negative: bool) -> Tensor:
        """How much the queries claim each pixel for each known class."""
        claims = scores.mask_semantic(class_logits, mask_logits)
        return claims[:, :-1] if negative else claims

    def formula(self, sums: Tensor) -> Tensor:
        """Score ``(B, h, w)`` of claims ``(B, C, h, w)``."""
        return 0.0 - sums.tanh().sum(1)


class EAM(MaskDetector):
    """Masks weighted by how sure of a class they are (Grcić et al., 2023): ``1 - sum_q sigmoid(m_q) max_c p_qc``.

    A negative class, where the network has one, takes part in the maximum.
    """

    registry_name = "eam"

    def sums(self, class_logits: Tensor, mask_logits: Tensor, negative: bool) -> Tensor:
        """One minus what these queries leave of the score."""
        del negative
        return 1 - scores.eam(class_logits, mask_logits)[:, None]

    def formula(self, sums: Tensor) -> Tensor:
        """Score ``(B, h, w)`` of sums ``(B, 1, h, w)``."""
        return 1 - sums[:, 0]


class UNO(MaskDetector):
    """Uncertainty and negative objectness together (Delić et al., BMVC 2024), unbounded.

    ``-sum_q sigmoid(m_q) [max_c p_qc - p_q,negative]``; the network must have learned a negative class.
    """

    registry_name = "uno"
    negative_needed = True

    def sums(self, class_logits: Tensor, mask_logits: Tensor, negative: bool) -> Tensor:
        """The score that these queries give."""
        if not negative:
            raise CompatibilityError("uno reads a negative class, and this output has none")
        return scores.uno(class_logits, mask_logits)[:, None]

    def formula(self, sums: Tensor) -> Tensor:
        """Score ``(B, h, w)`` of sums ``(B, 1, h, w)``."""
        return sums[:, 0]


def _queries(name: str, output: SegmentationOutput) -> tuple[Tensor, Tensor, bool]:
    """Class logits with the negative column, where there is one, before the last; mask logits; whether there is."""
    classes, masks, negative = output.class_logits, output.mask_logits, output.negative_class_logits
    if classes is None or masks is None:
        raise CompatibilityError(f"{name} reads the queries of a mask transformer, and this output has none")
    if negative is not None:
        classes = torch.cat([classes[..., :-1], negative.to(classes.dtype), classes[..., -1:]], 2)
    return classes, masks, negative is not None
