"""Parametric scores: what cDNP adds to the distance, and the range it is brought to [0, 1] by."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anomseg.detectors.base import Detector
from anomseg.errors import DataError, FrameError, unknown_name
from anomseg.registry import DETECTORS
from anomseg.segmenters.scene import Scene
from anomseg.types import Frame

# The paper's code has names of its own for two registered scores, and adds 1 to one of them.
_PUBLISHED = {"max_softmax": ("msp", 0.0), "logsumexp": ("energy", 1.0)}


class ParametricScore:
    """A score of the logits, at the images' own size.

    Args:
        name: A detector tagged ``posthoc`` (``msp``, ``max_logit``, ``entropy``, ``energy`` ...), or a name of the
            paper's code: ``max_softmax`` is ``msp``, ``logsumexp`` is 1 + ``energy``.

    Raises:
        ConfigError: There is no such score.
    """

    def __init__(self, name: str) -> None:
        known = [*DETECTORS.names("posthoc"), *_PUBLISHED]
        if name not in known:
            raise unknown_name("parametric score", name, known)
        registered, self.offset = _PUBLISHED.get(name, (name, 0.0))
        self.detector: Detector = DETECTORS.create(registered)

    def __call__(self, scene: Scene) -> Tensor:
        """``(B, H, W)`` float32, higher = more anomalous."""
        return self.detector.score(scene) + self.offset


class ScoreRange:
    """Smallest and largest parametric score over all pixels of all frames, void ones too, as published.

    Args:
        score: The score.
    """

    def __init__(self, score: ParametricScore) -> None:
        self.score = score
        self.low, self.high = math.inf, -math.inf

    def update(self, frame: Frame, scene: Scene) -> None:
        """Take a frame's pixels in.

        Raises:
            FrameError: A score is NaN or infinite; the range stays as it was.
        """
        values = self.score(scene)
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise FrameError(f"{frame.id}: the network's logits give scores that are not finite")
        self.low, self.high = min(self.low, low), max(self.high, high)

    def tensor(self, detector: str) -> Tensor:
        """``(2,)`` float32.

        Raises:
            DataError: All pixels have the same score.
        """
        if not self.low < self.high:
            raise DataError(
                f"{detector}: the parametric score is {self.low:g} at every pixel of the frames, so it has no range; "
                "give other frames or another parametric score"
            )
        return torch.tensor([self.low, self.high])
