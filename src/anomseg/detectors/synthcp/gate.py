"""Where the gate stands: a confidence that a named share of in-distribution pixels does not exceed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anomseg.detectors.seeding import frame_seed
from anomseg.errors import DataError
from anomseg.types import INLIER, VOID, Frame


@dataclass
class GateFit:
    """Collects the network's confidence on in-distribution frames, a sample of each.

    Attributes:
        share: Of the in-distribution pixels, how many are to be compared with the rendering.
        pixels: Most pixels drawn from a frame, at random but always the same ones.
    """

    share: float
    pixels: int
    drawn: list[Tensor] = field(default_factory=list)

    def add(self, frame: Frame, confidence: Tensor) -> None:
        """Draw from one frame what is neither void nor anomalous.

        Args:
            frame: The frame.
            confidence: Largest softmax probability ``(H, W)`` at its own size.
        """
        valid = torch.ones(confidence.shape, dtype=torch.bool)
        classes, label = frame.classes, frame.label
        if classes is not None:
            valid &= torch.from_numpy(np.asarray(classes) != VOID)
        if label is not None:
            valid &= torch.from_numpy(np.asarray(label) == INLIER)
        values = confidence.detach().float().cpu()[valid]
        generator = torch.Generator().manual_seed(frame_seed(0, [frame.id]))
        self.drawn.append(values[torch.randperm(len(values), generator=generator)[: self.pixels]])

    def result(self) -> tuple[float, Mapping[str, Any]]:
        """The gate, and what to say of it: the share that does not pass it, and of how many pixels.

        It is a confidence that occurs: the lowest that at least the share of the drawn pixels does not exceed. Where
        more than that share is as sure as a number can say, all of those are compared.

        Raises:
            DataError: No pixel was drawn.
        """
        values = torch.cat(self.drawn).sort().values if self.drawn else torch.empty(0)
        if not len(values):
            raise DataError("no pixel of these frames is in-distribution, so there is no gate; give other frames")
        place = int(np.ceil(self.share * len(values))) - 1
        gate = float(values[min(max(place, 0), len(values) - 1)])
        below = float((values <= gate).double().mean())
        return gate, {"gate": gate, "share": self.share, "compared": below, "pixels": len(values)}
