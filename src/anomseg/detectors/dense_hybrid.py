"""Hybrid of the density under the classifier and the posterior of an outlier head (Grcić et al., ECCV 2022)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from anomseg import scores
from anomseg.detectors.base import Detector, Upsample
from anomseg.detectors.options import one_of
from anomseg.errors import CompatibilityError
from anomseg.segmenters.base import Segmenter
from anomseg.segmenters.scene import Scene
from anomseg.types import Needs


class DenseHybrid(Detector):
    """Free energy plus the log-probability that an outlier head gives: ``-logsumexp(l) + ln P(outlier | x)``.

    The network must have been trained with such a head, on negatives.

    Args:
        head_only: Score by the head alone, ``P(outlier | x)`` in [0, 1].
        upsample: ``"logits"`` (the published figures) brings both logits to the image's size first, ``"score"``
            scores at the network's.
        check_logits: Refuse a network whose outputs are probabilities already.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "dense_hybrid"

    def __init__(self, head_only: bool = False, upsample: Upsample = "logits", check_logits: bool = True) -> None:
        super().__init__()
        self.head_only = head_only
        self.upsample = one_of("upsample", upsample, ("logits", "score"))
        self.check_logits = check_logits

    @property
    def bounded(self) -> bool:
        """Whether the score lies in [0, 1]: only that of the head alone."""
        return self.head_only

    def needs(self, segmenter: Segmenter | None) -> Needs:
        """The outlier head, and the class logits unless the head scores alone."""
        return self.ask(segmenter, Needs(logits=not self.head_only, outlier_head=True))

    def score(self, scene: Scene) -> Tensor:
        """Anomaly maps ``(B, H, W)`` float32 at the images' own size."""
        head = scene.output.outlier_logits
        if head is None:
            raise CompatibilityError("dense_hybrid reads an inlier/outlier head, and this output has none")
        if self.upsample == "logits":
            pair = scene.upsampled("outlier", lambda: head)
            return self._formula(None if self.head_only else scene.logits(), pair)
        if self.head_only:
            return scene.resize(self._formula(None, head)[:, None])[:, 0].clamp(0, 1)
        logits = scene.output.logits.float()
        pair = F.interpolate(head.float(), logits.shape[-2:], mode="bilinear", align_corners=False)
        return scene.resize(self._formula(logits, pair)[:, None])[:, 0]

    def _formula(self, logits: Tensor | None, pair: Tensor) -> Tensor:
        if logits is None:
            return scores.outlier_head(pair, check=self.check_logits)
        return scores.dense_hybrid(logits, pair, check=self.check_logits)
