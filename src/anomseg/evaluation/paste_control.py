"""The paste control of a run: a state of pasted and untouched inliers, and the card's part on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from anomseg.metrics import (
    EQUAL_FPR,
    FalsePositives,
    JudgedImages,
    Misclassified,
    PerImage,
    PixelCurve,
    ScoreCounts,
    count_judged,
    judged_intervals,
    pasted_or_untouched,
)
from anomseg.metrics.misclassified import UNJUDGED
from anomseg.types import Frame, UInt8Array

NO_CONTROL = "the frames have no map of pasted inliers"
NO_PASTED = "no frame with a pasted inlier was evaluated"
_PARTS = ("pasted", "untouched_images", "pasted_images")


@dataclass
class PasteControl:
    """Additive states of one detector on pasted inliers, beside untouched ones of their classes in the same frames.

    Attributes:
        scores: Scores of both kinds; what counts there as wrongly classified is the pasted.
        images: Histograms of each frame, for intervals.
    """

    scores: Misclassified
    images: JudgedImages

    @classmethod
    def empty(cls, images: JudgedImages, memory: int) -> Self:
        """A state without frames.

        Args:
            images: An empty state with the rules of the run.
            memory: Bytes that counts may take in memory.
        """
        return cls(Misclassified(memory), images)

    def update(
        self,
        frame: Frame,
        score: NDArray[np.float32],
        label: UInt8Array,
        counts: ScoreCounts,
        control: tuple[UInt8Array, UInt8Array] | None,
    ) -> None:
        """Count one frame.

        Args:
            frame: For its id and group.
            score: ``(H, W)`` finite float32.
            label: ``(H, W)`` 0 inlier, 1 anomaly, 255 void.
            counts: `count_scores` of both.
            control: ``(H, W)`` 1 where an inlier was pasted, and the class map; None for a frame without.
        """
        parts = np.full(label.shape, UNJUDGED, np.uint8) if control is None else pasted_or_untouched(*control)
        judged = count_judged(counts, score, label, parts)
        self.scores.add(judged, frame.id)
        self.images.add(judged, frame.id, frame.group)

    def merge(self, *others: PasteControl) -> PasteControl:
        """A new state over the frames of this one and of others.

        Raises:
            DataError: A frame is in two of them.
            CompatibilityError: Their rules differ.
        """
        return PasteControl(
            self.scores.merge(*(other.scores for other in others)),
            self.images.merge(*(other.images for other in others)),
        )

    def parts(self) -> dict[str, Callable[[Path], None]]:
        """For each part the function that writes it to a path."""
        saves = (self.scores.save, self.images.right.save, self.images.wrong.save)
        return dict(zip(_PARTS, saves, strict=True))

    @classmethod
    def load(cls, paths: Mapping[str, Path], memory: int) -> Self | None:
        """Read what was written; None where nothing was.

        Args:
            paths: Files of `parts`.
            memory: Bytes that counts may take in memory.

        Raises:
            DataError: A file is missing or damaged.
        """
        if _PARTS[0] not in paths:
            return None
        scores, untouched, pasted = (paths[name] for name in _PARTS)
        return cls(Misclassified.load(scores, memory), JudgedImages(PerImage.load(untouched), PerImage.load(pasted)))

    def card(self, curve: PixelCurve, best_f1_threshold: float, seed: int) -> dict[str, Any] | None:
        """The ``paste_control`` of a card.

        Args:
            curve: The pooled curve of the same frames.
            best_f1_threshold: Its oracle threshold.
            seed: Of the resampling.

        Returns:
            Shares of pasted and of untouched inliers at or above three thresholds: where 95 % of the anomalous pixels
            are found, where 5 % of all inliers are flagged, and that of the best F1; intervals of the first. None
            where no pasted inlier was counted.
        """
        result = self.scores.compute(curve)
        if not result.wrong:
            return None
        best = self.scores.at(curve, [best_f1_threshold])[0]
        intervals = judged_intervals(self.images, seed=seed)
        limits = {
            name: list(intervals.figures[figure])
            for name, figure in (("pasted", "efpr95"), ("untouched", "cfpr95"))
            if intervals.figures and figure in intervals.figures
        }
        return {
            "pixels": {"pasted": result.wrong, "untouched": result.right},
            "at_tpr95": _told(result.at_recall),
            "at_tpr95_ci95": limits or None,
            "at_tpr95_ci95_reason": intervals.reason,
            "at_fpr": {"level": EQUAL_FPR, **_told(result.at_fpr)},
            "at_best_f1": {**_told(best), "oracle": True},
        }


def _told(point: FalsePositives) -> dict[str, Any]:
    return {"threshold": point.threshold, "pasted": point.efpr, "untouched": point.cfpr, "all_inliers": point.fpr}
