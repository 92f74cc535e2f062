"""False positives on inliers that the network classifies rightly and wrongly.

CFPR is the false-positive rate over inlier pixels classified rightly, EFPR that over those classified wrongly, both at
the threshold where 95 % of the anomalous pixels are found. Zhou et al., "DiCNet", IEEE TCSVT (arXiv 2112.09908).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import DataError
from anomseg.metrics.counts import ScoreCounts, count_scores
from anomseg.metrics.frames import FrameLedger
from anomseg.metrics.inputs import as_numpy, check_same_shape, check_values
from anomseg.metrics.paged import DEFAULT_BUDGET, PagedCounter
from anomseg.metrics.pixel import PixelCurve
from anomseg.metrics.statefile import open_state, write_state
from anomseg.types import INLIER, VOID

RIGHT, WRONG, UNJUDGED = 0, 1, VOID
EQUAL_FPR = 0.05


@dataclass(frozen=True)
class FalsePositives:
    """False positives at one threshold, by whether the network classifies the pixel rightly.

    Attributes:
        threshold: ``score >= threshold`` is called anomaly.
        fpr: False-positive rate over all inliers.
        cfpr: The same over the rightly classified; None where there is none.
        efpr: The same over the wrongly classified; None where there is none.
        share: Share of the wrongly classified among the false positives that were judged; None where there is none.
    """

    threshold: float
    fpr: float
    cfpr: float | None
    efpr: float | None
    share: float | None


@dataclass(frozen=True)
class MisclassifiedResult:
    """Figures of a detector with respect to the classes of its network.

    Attributes:
        at_recall: At the threshold of FPR95.
        at_fpr: At the threshold where a given share of all inliers is called anomaly, equal for all detectors.
        right: Inliers classified rightly.
        wrong: Inliers classified wrongly.
        unjudged: Inliers whose class is not known, or is none of the network's.
        base: Share of the wrongly classified among the judged: what ``share`` would be by chance; None without any.
    """

    at_recall: FalsePositives
    at_fpr: FalsePositives
    right: int
    wrong: int
    unjudged: int
    base: float | None


def conditional_fpr(flagged: Any, wrong: Any) -> tuple[float | None, float | None]:
    """False-positive rates over inlier pixels that are classified rightly and wrongly.

    Args:
        flagged: Whether each inlier pixel is called anomaly, any shape.
        wrong: Whether the network misclassifies it, same shape.

    Returns:
        CFPR and EFPR in [0, 1]; None where there is no such pixel.

    Example:
        >>> conditional_fpr([0, 1, 1, 1], wrong=[0, 0, 1, 1])
        (0.5, 1.0)
    """
    alarms, misses = as_numpy(flagged).astype(bool), as_numpy(wrong).astype(bool)
    check_same_shape(alarms, misses, "flagged and wrong")
    return _share(alarms[~misses].sum(), (~misses).sum()), _share(alarms[misses].sum(), misses.sum())


@dataclass(frozen=True)
class JudgedCounts:
    """One frame's inlier scores by whether the network classifies the pixel rightly, beside its anomalous ones.

    Attributes:
        right: Scores of the rightly classified inliers, and of the anomalous pixels.
        wrong: Those of the wrongly classified inliers, and of the anomalous pixels.
        unjudged: Those of the other inliers.
    """

    right: ScoreCounts
    wrong: ScoreCounts
    unjudged: ScoreCounts


def count_judged(
    counts: ScoreCounts, score: NDArray[np.float32], label: NDArray[np.uint8], judged: NDArray[np.uint8]
) -> JudgedCounts:
    """Part the inliers of a frame.

    Args:
        counts: `count_scores` of score and label.
        score: Finite float32 of any shape.
        label: 0 inlier, 1 anomaly, 255 void, same shape.
        judged: 0 rightly classified, 1 wrongly, 255 unjudged, same shape; read at inliers only.
    """
    inlier = label == INLIER
    parts = []
    for value in (WRONG, UNJUDGED):
        part = score[inlier & (judged == value)]
        parts.append(count_scores(part, np.zeros(part.shape, np.uint8)))
    left = counts.inlier_counts.copy()
    for part in parts:
        left[np.searchsorted(counts.inlier_keys, part.inlier_keys)] -= part.inlier_counts
    kept = np.flatnonzero(left)
    anomaly = (counts.anomaly_keys, counts.anomaly_counts)
    void = counts.void + counts.inlier
    right = ScoreCounts(counts.inlier_keys[kept], left[kept], *anomaly, void - int(left.sum()))
    wrong = ScoreCounts(parts[0].inlier_keys, parts[0].inlier_counts, *anomaly, void - parts[0].inlier)
    return JudgedCounts(right, wrong, parts[1])


class Misclassified:
    """Additive state: which scores the wrongly classified inliers have.

    The rightly classified are what is left of all inliers, so the figures are of this state and of the `PixelCurve`
    of the same frames together, exact as that is.

    Args:
        memory_budget: Bytes for counts held in memory; beyond it they are memory-mapped files.

    Example:
        >>> curve, state = PixelCurve(), Misclassified()
        >>> score, label = [0.1, 0.6, 0.7, 0.8, 0.5], [0, 0, 0, 0, 1]
        >>> curve.update(score, label, "a")
        >>> state.update(score, label, [0, 0, 1, 1, 255], "a")
        >>> figures = state.compute(curve).at_recall
        >>> figures.cfpr, figures.efpr, round(figures.share, 3)
        (0.5, 1.0, 0.667)
    """

    def __init__(self, memory_budget: int = DEFAULT_BUDGET) -> None:
        self.memory_budget = memory_budget
        self._frames = FrameLedger()
        self._wrong = PagedCounter(memory_budget)
        self._unjudged = PagedCounter(memory_budget)

    @property
    def frames(self) -> list[str]:
        """Ids of the counted frames, sorted."""
        return self._frames.ids

    def update(self, score: Any, label: Any, judged: Any, frame: str | None = None) -> None:
        """Count one frame.

        Args:
            score: Finite scores, higher = more anomalous, NumPy or tensor; converted to float32.
            label: 0 inlier, 1 anomaly, 255 void, same shape.
            judged: 0 rightly classified, 1 wrongly, 255 unjudged, same shape; read at inliers only.
            frame: Its id.

        Raises:
            FrameError: Shapes differ or a value is not in the table; the state is unchanged.
            DataError: The frame was counted before.
        """
        self._frames.check(frame)
        counts = count_scores(score, label, frame)
        judgement = as_numpy(judged)
        check_same_shape(as_numpy(score), judgement, "score and judgement", frame)
        known = (judgement == RIGHT) | (judgement == WRONG) | (judgement == UNJUDGED)
        check_values(judgement, known, frame, "0 right, 1 wrong, 255 unjudged")
        scores = as_numpy(score).astype(np.float32, copy=False)
        self.add(count_judged(counts, scores, as_numpy(label), judgement), frame)

    def add(self, counts: JudgedCounts, frame: str | None = None) -> None:
        """Count one frame that has been reduced to counts already, see `update`."""
        self._frames.add(frame)
        self._wrong.add(counts.wrong.inlier_keys, counts.wrong.inlier_counts)
        self._unjudged.add(counts.unjudged.inlier_keys, counts.unjudged.inlier_counts)

    def merge(self, *others: Misclassified) -> Misclassified:
        """A new state over the frames of this one and of others.

        Raises:
            DataError: A frame is in two of them.
        """
        merged = Misclassified(self.memory_budget)
        for state in (self, *others):
            merged._frames = merged._frames.union(state._frames)
            for mine, other in ((merged._wrong, state._wrong), (merged._unjudged, state._unjudged)):
                for keys, counts in other.items():
                    mine.add(keys, counts)
        return merged

    def missing(self, expected: Iterable[str]) -> list[str]:
        """Expected frames that have not been counted."""
        return self._frames.missing(expected)

    def compute(self, curve: PixelCurve, recall: float = 0.95, fpr: float = EQUAL_FPR) -> MisclassifiedResult:
        """The figures.

        Args:
            curve: The pooled curve of the same frames; its rule settles the threshold of FPR95.
            recall: The level of EFPR and CFPR.
            fpr: The false-positive rate at which detectors are compared.

        Raises:
            DataError: There are no anomalous or no inlier pixels, or the curve is of other frames.
        """
        wrong, unjudged = self._wrong.total, self._unjudged.total
        at = self.at(curve, (curve.threshold_at_recall(recall), curve.threshold_at_fpr(fpr)))
        right = curve.inlier - wrong - unjudged
        return MisclassifiedResult(at[0], at[1], right, wrong, unjudged, _share(wrong, wrong + right))

    def at(self, curve: PixelCurve, thresholds: Sequence[float]) -> list[FalsePositives]:
        """The figures at thresholds of one's own.

        Args:
            curve: The pooled curve of the same frames.
            thresholds: Any.

        Raises:
            DataError: There are no inlier pixels, or the curve is of other frames.
        """
        if curve.frames != self.frames:
            raise DataError("the curve counts other frames than those judged; count each frame in both")
        if curve.inlier == 0:
            raise DataError("no inlier pixel, so there are no false positives; check the label table")
        inliers, wrong = curve.inlier, self._wrong.total
        right = inliers - wrong - self._unjudged.total
        flagged = curve.counts_at(thresholds)[1]
        on_wrong, on_unjudged = (part.count_at(thresholds) for part in (self._wrong, self._unjudged))
        on_right = flagged - on_wrong - on_unjudged
        return [
            FalsePositives(
                threshold,
                int(flagged[row]) / inliers,
                _share(on_right[row], right),
                _share(on_wrong[row], wrong),
                _share(on_wrong[row], on_wrong[row] + on_right[row]),
            )
            for row, threshold in enumerate(thresholds)
        ]

    def save(self, path: str | Path) -> None:
        """Write the state to one file, atomically.

        Raises:
            DataError: The file cannot be written.
        """
        arrays = {"wrong": self._wrong.pieces(), "unjudged": self._unjudged.pieces()}
        write_state(path, type(self).__name__, {"frames": self._frames.to_json()}, arrays)

    @classmethod
    def load(cls, path: str | Path, memory_budget: int = DEFAULT_BUDGET) -> Self:
        """Read a state that `save` wrote.

        Raises:
            DataError: The file is missing or damaged.
            CompatibilityError: It holds another kind of state.
        """
        with open_state(path, cls.__name__) as reader:
            state = cls(memory_budget)
            state._frames = FrameLedger.from_json(reader.meta["frames"])
            state._wrong.add_pieces(reader.pieces("wrong"))
            state._unjudged.add_pieces(reader.pieces("unjudged"))
        return state


def _share(part: Any, whole: Any) -> float | None:
    return int(part) / int(whole) if whole else None
