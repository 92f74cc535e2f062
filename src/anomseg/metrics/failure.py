"""Failure detection: does an error score find the pixels that a segmentation has wrong?

Positives are the wrong pixels (AUPR-Error), or the right ones ranked the other way round (AUPR-Success). AUPR and AUROC
are pooled over all pixels; FPR95 is a mean over images, as in Xia et al., "Synthesize then Compare", ECCV 2020.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from anomseg.errors import DataError
from anomseg.metrics.counts import ScoreCounts, count_scores
from anomseg.metrics.curve import ApRule, FprRule
from anomseg.metrics.paged import DEFAULT_BUDGET
from anomseg.metrics.per_image import PerImage
from anomseg.metrics.pixel import PixelCurve
from anomseg.metrics.statefile import in_part, open_state, write_state

_PIXELS, _IMAGES = "pixels", "images"


@dataclass(frozen=True)
class FailureResult:
    """Figures of an error score.

    Attributes:
        aupr_error: Average precision of finding the wrong pixels, in [0, 1].
        aupr_success: Average precision of finding the right pixels by the lowest error scores, in [0, 1].
        nap: AUPR-Error above chance, ``(aupr_error - prevalence) / (1 - prevalence)``.
        auroc: The chance that a wrong pixel outscores a right one, ties counted half.
        fpr95: Share of right pixels flagged where 95 % of the wrong ones are: the mean over images that have both.
            None where there is none.
        fpr95_pooled: The same over the pixels of all images together.
        prevalence: Share of wrong among valid pixels: the error rate, and the AUPR-Error of chance.
        right: Right pixels.
        wrong: Wrong pixels.
        void: Pixels that count nowhere.
        frames: Frames counted.
        fpr95_frames: Frames with right and wrong pixels, over which ``fpr95`` is the mean.
    """

    aupr_error: float
    aupr_success: float
    nap: float
    auroc: float
    fpr95: float | None
    fpr95_pooled: float
    prevalence: float
    right: int
    wrong: int
    void: int
    frames: int
    fpr95_frames: int


class FailureDetection:
    """Additive state of failure detection.

    Exact as `PixelCurve`, which it is built on: wrong pixels are its anomalies, right pixels its inliers, so memory
    grows with the distinct scores and not with the pixels. Merged states give the same figures to the last bit.

    Args:
        fpr_rule: See `fpr_at_recall`.
        ap_rule: Of AUPR-Error, see `average_precision`; AUPR-Success is by steps.
        memory_budget: Bytes for counts held in memory; beyond it they are memory-mapped files.

    Raises:
        ConfigError: A rule does not exist.

    Example:
        >>> state = FailureDetection()
        >>> state.update([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2], [1, 0, 1, 0, 0, 1, 0, 0], "a")
        >>> result = state.compute()
        >>> round(result.aupr_error, 4), round(result.auroc, 4), result.fpr95
        (0.7222, 0.7333, 0.6)
    """

    def __init__(
        self, fpr_rule: FprRule = "first>=", ap_rule: ApRule = "step", memory_budget: int = DEFAULT_BUDGET
    ) -> None:
        self.pixels = PixelCurve(fpr_rule, ap_rule, memory_budget)
        self.images = PerImage(fpr_rule, ap_rule)

    @property
    def frames(self) -> list[str]:
        """Ids of the counted frames, sorted."""
        return self.pixels.frames

    @property
    def evaluable(self) -> bool:
        """Whether right and wrong pixels were counted, so that the figures exist."""
        return self.pixels.inlier > 0 and self.pixels.anomaly > 0

    def update(self, error_score: Any, wrong: Any, frame: str, group: str = "") -> None:
        """Count one frame.

        Args:
            error_score: Finite scores of any shape, higher = more likely wrong, NumPy or tensor; converted to float32.
            wrong: 0 or False where the segmentation is right, 1 or True where it is wrong, 255 void; same shape.
            frame: Its id.
            group: Its sequence or scene, the unit of resampling; the frame's own id when empty.

        Raises:
            FrameError: The frame cannot be used; the state is unchanged.
            DataError: The frame was counted before.
        """
        self.add(count_scores(error_score, wrong, frame), frame, group)

    def add(self, counts: ScoreCounts, frame: str, group: str = "") -> None:
        """Count one frame that has been reduced to counts already: wrong pixels are anomalies, right ones inliers.

        Raises:
            DataError: The frame was counted before; the state is unchanged.
        """
        self.pixels.add(counts, frame)
        self.images.add(counts, frame, group)

    def merge(self, *others: FailureDetection) -> FailureDetection:
        """A new state over the frames of this one and of others, which stay as they are.

        Raises:
            DataError: A frame is in two of them.
            CompatibilityError: Their rules differ.
        """
        merged = FailureDetection(self.pixels.fpr_rule, self.pixels.ap_rule, self.pixels.memory_budget)
        merged.pixels = self.pixels.merge(*(other.pixels for other in others))
        merged.images = self.images.merge(*(other.images for other in others))
        return merged

    def missing(self, expected: Iterable[str]) -> list[str]:
        """Expected frames that have not been counted."""
        return self.pixels.missing(expected)

    def compute(self) -> FailureResult:
        """The figures.

        Raises:
            DataError: No pixel was wrong, or none was right.
        """
        if not self.evaluable:
            kind = "wrong" if self.pixels.inlier else "right"
            raise DataError(
                f"no {kind} pixel in {len(self.frames)} frames, so there is no failure to tell from success; add frames"
            )
        pooled, means = self.pixels.compute(), self.images.compute()
        return FailureResult(
            aupr_error=pooled.ap,
            aupr_success=self.pixels.ap_of_inliers(),
            nap=pooled.nap,
            auroc=pooled.auroc,
            fpr95=means.fpr95,
            fpr95_pooled=pooled.fpr95,
            prevalence=pooled.prevalence,
            right=pooled.inlier,
            wrong=pooled.anomaly,
            void=pooled.void,
            frames=pooled.frames,
            fpr95_frames=means.frames,
        )

    def save(self, path: str | Path) -> None:
        """Write the state to one file, atomically.

        Raises:
            DataError: The file cannot be written.
        """
        pixels, images = in_part(_PIXELS, self.pixels.content()), in_part(_IMAGES, self.images.content())
        write_state(path, type(self).__name__, pixels[0] | images[0], pixels[1] | images[1])

    @classmethod
    def load(cls, path: str | Path, memory_budget: int = DEFAULT_BUDGET) -> Self:
        """Read a state that `save` wrote.

        Raises:
            DataError: The file is missing or damaged.
            CompatibilityError: It holds another kind of state.
        """
        with open_state(path, cls.__name__) as reader:
            state = cls(memory_budget=memory_budget)
            state.pixels = PixelCurve.read(reader.part(_PIXELS), memory_budget)
            state.images = PerImage.read(reader.part(_IMAGES))
        return state
