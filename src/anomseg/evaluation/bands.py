"""Figures on the pixels near the borders of anomalous objects: their additive state, and the card's part on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import CompatibilityError
from anomseg.metrics import ApRule, FprRule, PerImage, PixelCurve, band_label, bootstrap_intervals, count_scores
from anomseg.types import Frame, UInt8Array

NOTHING = "no pixel of a band was counted: no anomaly, or nothing but void beside it"
_FIGURES = ("ap", "nap", "auroc", "fpr95")


@dataclass
class BandState:
    """Additive states of one detector on a band around anomalous objects.

    Attributes:
        width: Pixels to either side of an object's border, see `anomseg.metrics.border_band`.
        curve: Pooled pixel curve of the band.
        images: Histograms of each frame, for intervals.
    """

    width: int
    curve: PixelCurve
    images: PerImage

    @classmethod
    def empty(cls, width: int, fpr_rule: FprRule, ap_rule: ApRule, memory: int) -> Self:
        """A state without frames.

        Args:
            width: Pixels.
            fpr_rule: Of the protocol.
            ap_rule: Of the protocol.
            memory: Bytes that counts may take in memory.
        """
        return cls(width, PixelCurve(fpr_rule, ap_rule, memory), PerImage(fpr_rule, ap_rule))

    def update(self, frame: Frame, score: NDArray[np.float32], label: UInt8Array) -> None:
        """Count one frame.

        Args:
            frame: For its id and group.
            score: ``(H, W)`` finite float32.
            label: ``(H, W)`` 0 inlier, 1 anomaly, 255 void; of the whole frame.
        """
        counts = count_scores(score, band_label(label, self.width), frame.id)
        self.curve.add(counts, frame.id)
        self.images.add(counts, frame.id, frame.group)

    def merge(self, *others: BandState) -> BandState:
        """A new state over the frames of this one and of others.

        Raises:
            DataError: A frame is in two of them.
            CompatibilityError: Their widths or rules differ.
        """
        if any(other.width != self.width for other in others):
            raise CompatibilityError("bands of different widths do not merge; evaluate all shards with one --band")
        return BandState(
            self.width,
            self.curve.merge(*(other.curve for other in others)),
            self.images.merge(*(other.images for other in others)),
        )

    def parts(self) -> dict[str, Callable[[Path], None]]:
        """For each part the function that writes it to a path."""
        return {f"band{self.width}": self.curve.save, f"band{self.width}_images": self.images.save}

    @classmethod
    def load(cls, width: int, paths: Mapping[str, Path], memory: int) -> Self:
        """Read what was written.

        Args:
            width: Pixels.
            paths: Files of `parts`.
            memory: Bytes that counts may take in memory.

        Raises:
            DataError: A file is missing or damaged.
        """
        curve, images = (paths[name] for name in (f"band{width}", f"band{width}_images"))
        return cls(width, PixelCurve.load(curve, memory), PerImage.load(images))

    def card(self, seed: int) -> dict[str, Any]:
        """The figures of the band, pooled over its pixels whatever the protocol averages.

        Args:
            seed: Of the resampling.
        """
        if not self.curve.anomaly or not self.curve.inlier:
            return {**dict.fromkeys(_FIGURES), "reason": NOTHING}
        result = self.curve.compute()
        intervals = bootstrap_intervals(self.images, seed=seed)
        limits = {name: list(interval) for name, interval in (intervals.figures or {}).items()}
        return {
            "pixels": {"inlier": result.inlier, "anomaly": result.anomaly},
            "prevalence": result.prevalence,
            **{name: getattr(result, name) for name in _FIGURES},
            "ci95": {**limits, "samples": intervals.samples, "groups": intervals.groups} if limits else None,
            "ci95_reason": intervals.reason,
            "reason": None,
        }


def band_cards(bands: Sequence[BandState], seed: int) -> dict[str, Any] | None:
    """The ``bands`` of a card, by width; None where the run has none."""
    return {str(band.width): band.card(seed) for band in bands} or None
