"""Detectors that are one formula on the logits of any segmentation network: no training, one forward pass."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from anomseg import scores
from anomseg.detectors.base import Detector, Upsample
from anomseg.detectors.options import one_of, positive
from anomseg.segmenters.scene import Scene
from anomseg.types import Flags


class LogitDetector(Detector):
    """Base of detectors whose score is a pure function of the logits; subclasses implement `formula`.

    Args:
        upsample: ``"logits"`` brings the logits to the image's size first and scores there, as the published
            figures do; ``"score"`` scores at the network's resolution and resizes the map, which is faster.
        check_logits: Refuse a network whose outputs are probabilities already.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    def __init__(self, upsample: Upsample = "logits", check_logits: bool = True) -> None:
        super().__init__()
        self.upsample = one_of("upsample", upsample, ("logits", "score"))
        self.check_logits = check_logits

    def formula(self, logits: Tensor) -> Tensor:
        """Score ``(B, h, w)`` of logits ``(B, C, h, w)``."""
        raise NotImplementedError(f"{type(self).__name__} has no formula")

    def score(self, scene: Scene) -> Tensor:
        """Anomaly maps ``(B, H, W)`` float32 at the images' own size."""
        if self.upsample == "logits":
            return self.formula(scene.logits())
        return scene.resize(self.formula(scene.output.logits.float())[:, None])[:, 0]


class MSP(LogitDetector):
    """One minus the maximum softmax probability (Hendrycks and Gimpel, 2017), in [0, 1)."""

    registry_name = "msp"
    flags: ClassVar[Flags] = Flags(bounded=True)

    def formula(self, logits: Tensor) -> Tensor:
        """Score ``(B, h, w)`` of logits ``(B, C, h, w)``."""
        return scores.msp(logits, check=self.check_logits)


class MaxLogit(LogitDetector):
    """Minus the maximum logit (Hendrycks et al., 2022), unbounded."""

    registry_name = "max_logit"

    def formula(self, logits: Tensor) -> Tensor:
        """Score ``(B, h, w)`` of logits ``(B, C, h, w)``."""
        return scores.max_logit(logits, check=self.check_logits)


class Entropy(LogitDetector):
    """Entropy of the softmax; divided by ln C, as SegmentMeIfYouCan does, it lies in [0, 1].

    Args:
        normalized: Divide by ln C; without it the score is in nats and not bounded by 1.
        upsample: See `LogitDetector`.
        check_logits: See `LogitDetector`.
    """

    registry_name = "entropy"

    def __init__(self, normalized: bool = True, upsample: Upsample = "logits", check_logits: bool = True) -> None:
        super().__init__(upsample, check_logits)
        self.normalized = normalized

    @property
    def bounded(self) -> bool:
        """Whether the score lies in [0, 1]: only when normalised."""
        return self.normalized

    def formula(self, logits: Tensor) -> Tensor:
        """Score ``(B, h, w)`` of logits ``(B, C, h, w)``."""
        return scores.entropy(logits, self.normalized, check=self.check_logits)


class Energy(LogitDetector):
    """Free energy -T logsumexp(l / T) (Liu et al., 2020), unbounded.

    Args:
        temperature: T > 0.
        upsample: See `LogitDetector`.
        check_logits: See `LogitDetector`.

    Raises:
        ConfigError: The temperature is not positive.
    """

    registry_name = "energy"

    def __init__(self, temperature: float = 1.0, upsample: Upsample = "logits", check_logits: bool = True) -> None:
        super().__init__(upsample, check_logits)
        self.temperature = positive("temperature", temperature)

    def formula(self, logits: Tensor) -> Tensor:
        """Score ``(B, h, w)`` of logits ``(B, C, h, w)``."""
        return scores.energy(logits, self.temperature, check=self.check_logits)
