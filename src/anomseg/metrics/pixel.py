"""Pooled pixel metrics: exact AP, AUROC, FPR95 and best F1 over all pixels of all frames, from an additive state."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np

from anomseg.errors import CompatibilityError, DataError
from anomseg.metrics.counts import Counts, Keys, ScoreCounts, count_scores, keys_at_least, scores_of_keys
from anomseg.metrics.curve import (
    FPR_RULES,
    ApRule,
    Curve,
    FprRule,
    auroc,
    average_precision,
    best_f1,
    check_rules,
    fpr_at_recall,
    scores_at_recall,
)
from anomseg.metrics.frames import FrameLedger
from anomseg.metrics.paged import DEFAULT_BUDGET, PagedCounter
from anomseg.metrics.pixel_result import CurvePoints, PixelResult, ScoreRun
from anomseg.metrics.runs import SortedRuns
from anomseg.metrics.statefile import Content, StateReader, open_state, write_state


class PixelCurve:
    """Additive state of the pooled precision-recall and ROC curves.

    Scores of anomalous pixels are kept exactly, inlier scores are counted in a `PagedCounter`, so memory does not
    grow with inlier pixels. Merged states give the same figures to the last bit as one run over all frames.

    Args:
        fpr_rule: ``"first>="``, ``"first>"`` or ``"nearest"``, see `fpr_at_recall`.
        ap_rule: ``"step"`` or ``"trapezoid"``, see `average_precision`.
        memory_budget: Bytes for inlier counts held in memory; beyond it they are memory-mapped files.

    Raises:
        ConfigError: A rule does not exist.

    Example:
        >>> state = PixelCurve()
        >>> state.update([[0.9, 0.1]], [[1, 0]], "a")
        >>> state.update([[0.05, 0.01]], [[1, 0]], "b")
        >>> round(state.compute().ap, 4)
        0.8333
    """

    def __init__(
        self, fpr_rule: FprRule = "first>=", ap_rule: ApRule = "step", memory_budget: int = DEFAULT_BUDGET
    ) -> None:
        check_rules(fpr_rule, ap_rule)
        self.fpr_rule: FprRule = fpr_rule
        self.ap_rule: ApRule = ap_rule
        self.memory_budget = memory_budget
        self._frames = FrameLedger()
        self._anomaly = SortedRuns()
        self._inlier = PagedCounter(memory_budget)
        self._void = 0

    @property
    def frames(self) -> list[str]:
        """Ids of the counted frames, sorted."""
        return self._frames.ids

    @property
    def inlier(self) -> int:
        """Inlier pixels counted."""
        return self._inlier.total

    @property
    def anomaly(self) -> int:
        """Anomalous pixels counted."""
        return self._anomaly.total

    def update(self, score: Any, label: Any, frame: str | None = None) -> None:
        """Count one frame.

        Args:
            score: Finite scores, higher = more anomalous, NumPy or tensor; converted to float32.
            label: 0 inlier, 1 anomaly, 255 void, same shape.
            frame: Its id; without one a frame counted twice cannot be noticed.

        Raises:
            FrameError: The frame cannot be used; the state is unchanged.
            DataError: The frame was counted before.
        """
        self._frames.check(frame)
        self.add(count_scores(score, label, frame), frame)

    def add(self, counts: ScoreCounts, frame: str | None = None) -> None:
        """Count one frame that has been reduced to counts already, see `update`."""
        self._frames.add(frame)
        self._inlier.add(counts.inlier_keys, counts.inlier_counts)
        self._anomaly.add(counts.anomaly_keys, counts.anomaly_counts)
        self._void += counts.void

    def merge(self, *others: PixelCurve) -> PixelCurve:
        """A new state over the frames of this one and of others, which stay as they are.

        Raises:
            DataError: A frame is in two of them.
            CompatibilityError: Their rules differ.
        """
        merged = PixelCurve(self.fpr_rule, self.ap_rule, self.memory_budget)
        for state in (self, *others):
            if (state.fpr_rule, state.ap_rule) != (self.fpr_rule, self.ap_rule):
                raise CompatibilityError(
                    "states with different FPR or AP rules do not merge; evaluate with one protocol"
                )
            merged._frames = merged._frames.union(state._frames)
            for keys, counts in state._inlier.items():
                merged._inlier.add(keys, counts)
            merged._anomaly.add(*state._anomaly.consolidated())
            merged._void += state._void
        return merged

    def missing(self, expected: Iterable[str]) -> list[str]:
        """Expected frames that have not been counted."""
        return self._frames.missing(expected)

    def _curve(self) -> Curve:
        if self._anomaly.total == 0:
            raise DataError(
                f"no anomalous pixel in {len(self._frames)} frames, so AP, AUROC and FPR95 are undefined; "
                "check the label table or add frames with anomalies"
            )
        if self._inlier.total == 0:
            raise DataError(
                f"no inlier pixel in {len(self._frames)} frames, so AP, AUROC and FPR95 are undefined; "
                "check the label table"
            )
        return self._against(*self._anomaly.consolidated())

    def _against(self, keys: Keys, counts: Counts) -> Curve:
        at_or_above, above = self._inlier.at_or_above(keys)
        return Curve(counts[::-1], at_or_above[::-1], above[::-1], self._inlier.total, scores_of_keys(keys[::-1]))

    def ap_against(self, keys: Keys, counts: Counts) -> float:
        """Average precision of other anomalous pixels against the inliers counted here.

        Args:
            keys: ``(K,)`` uint32, their distinct scores as ascending keys, see `run_lengths`.
            counts: ``(K,)`` how often each occurs.

        Raises:
            DataError: There is no anomalous pixel, or no inlier was counted.
        """
        if keys.size == 0 or self._inlier.total == 0:
            raise DataError("average precision needs anomalous and inlier pixels; check the label table")
        return float(average_precision(self._against(keys, counts), self.ap_rule))

    def ap_of_inliers(self) -> float:
        """Average precision with the roles exchanged: inliers are found, those of the lowest scores first.

        Exact, from the same counts, in memory that does not grow with inlier pixels.

        Raises:
            DataError: There are no anomalous or no inlier pixels.
        """
        keys, counts = self._anomaly.consolidated()
        if keys.size == 0 or self._inlier.total == 0:
            raise DataError("average precision needs anomalous and inlier pixels; check the label table")
        false_alarms = np.concatenate(([0], np.cumsum(counts)))
        parts, seen = [], 0
        for inlier_keys, inlier_counts in self._inlier.items():
            found = seen + np.cumsum(inlier_counts)
            precision = found / (found + false_alarms[np.searchsorted(keys, inlier_keys, side="right")])
            parts.append(float((inlier_counts * precision).sum()))
            seen = int(found[-1]) if found.size else seen
        return math.fsum(parts) / self._inlier.total

    def compute(self) -> PixelResult:
        """The figures.

        Raises:
            DataError: There are no anomalous or no inlier pixels.
        """
        curve = self._curve()
        anomaly, inlier = self._anomaly.total, self._inlier.total
        prevalence = anomaly / (anomaly + inlier)
        ap = float(average_precision(curve, self.ap_rule))
        by_rule: dict[str, float] = {rule: float(fpr_at_recall(curve, rule)) for rule in FPR_RULES}
        f1, threshold = best_f1(curve)
        return PixelResult(
            ap=ap,
            nap=(ap - prevalence) / (1 - prevalence),
            auroc=float(auroc(curve)),
            fpr95=by_rule[self.fpr_rule],
            best_f1=f1,
            best_f1_threshold=threshold,
            inlier=inlier,
            anomaly=anomaly,
            void=self._void,
            prevalence=prevalence,
            frames=len(self._frames),
            fpr95_by_rule=by_rule,
        )

    def counts_at(self, thresholds: Any) -> tuple[Counts, Counts]:
        """True and false positives of ``score >= t``, float32 scores against float64 thresholds.

        Args:
            thresholds: ``(n,)`` float64, any order.

        Returns:
            Two int64 arrays ``(n,)``.
        """
        keys = np.atleast_1d(keys_at_least(thresholds))
        anomaly_keys, anomaly_counts = self._anomaly.consolidated()
        below = np.concatenate(([0], np.cumsum(anomaly_counts)))
        true_positives = below[-1] - below[np.searchsorted(anomaly_keys, keys, side="left")]
        return true_positives.astype(np.int64), self._inlier.count_at(thresholds)

    def threshold_at_recall(self, recall: float = 0.95) -> float:
        """The threshold of FPR95 by the state's rule: the false positives of ``score >= threshold`` are its own.

        Args:
            recall: The level.

        Raises:
            DataError: There are no anomalous or no inlier pixels.
        """
        score, above = scores_at_recall(self._curve(), self.fpr_rule, recall)
        return float(np.nextafter(score, np.float32(np.inf)) if above else score)

    def threshold_at_fpr(self, level: float = 0.05) -> float:
        """The lowest inlier score at or above which at most a share ``level`` of the inliers lies.

        Where the highest scores are tied by more than that, the least number above them all.

        Raises:
            DataError: There is no inlier pixel.
        """
        if self._inlier.total == 0:
            raise DataError("no inlier pixel, so no threshold has a false-positive rate; check the label table")
        return float(scores_of_keys(np.array([self._inlier.lowest_with(int(level * self._inlier.total))]))[0])

    def scores(self) -> Iterator[ScoreRun]:
        """All distinct scores of the inliers, in runs, then those of the anomalous pixels, in one.

        The runs depend on the counted scores alone, so sums over them do not depend on the order of the frames.
        """
        keys, counts = self._anomaly.consolidated()
        hits = np.concatenate(([0], np.cumsum(counts)))
        seen = 0
        for inlier_keys, inlier_counts in self._inlier.items():
            up_to = seen + np.cumsum(inlier_counts)
            below = up_to - inlier_counts + hits[np.searchsorted(keys, inlier_keys)]
            yield ScoreRun(scores_of_keys(inlier_keys), inlier_counts, below, anomalous=False)
            seen = int(up_to[-1]) if up_to.size else seen
        below = hits[:-1] + self._inlier.total - self._inlier.at_or_above(keys)[0]
        yield ScoreRun(scores_of_keys(keys), counts, below, anomalous=True)

    def points(self, count: int = 1000) -> CurvePoints:
        """A curve of about ``count`` points, evenly spaced in recall, for plotting.

        Raises:
            DataError: There are no anomalous or no inlier pixels.
        """
        curve = self._curve()
        recall = curve.recall
        rows = np.unique(np.searchsorted(recall, np.linspace(0, 1, max(count, 2)), side="left"))
        rows = np.minimum(rows, recall.size - 1)
        lowest = self._inlier.lowest()
        assert lowest is not None  # noqa: S101 - there are inliers, or the curve would not exist
        end = min(float(scores_of_keys(np.array([lowest], np.uint32))[0]), float(curve.scores[-1]))
        prevalence = curve.anomalies / (curve.anomalies + curve.inliers)
        return CurvePoints(
            recall=np.append(recall[rows], 1.0),
            precision=np.append(curve.precision[rows], prevalence),
            fpr=np.append(curve.at_or_above[rows] / curve.inliers, 1.0),
            threshold=np.append(curve.scores[rows].astype(np.float64), end),
        )

    def content(self) -> Content:
        """What `save` writes, for states that hold this one."""
        keys, counts = self._anomaly.consolidated()
        meta = {
            "fpr_rule": self.fpr_rule,
            "ap_rule": self.ap_rule,
            "void": self._void,
            "frames": self._frames.to_json(),
        }
        return meta, {"anomaly_keys": keys, "anomaly_counts": counts, "inlier": self._inlier.pieces()}

    def save(self, path: str | Path) -> None:
        """Write the state to one file, atomically.

        Raises:
            DataError: The file cannot be written.
        """
        write_state(path, type(self).__name__, *self.content())

    @classmethod
    def read(cls, reader: StateReader, memory_budget: int = DEFAULT_BUDGET) -> Self:
        """The inverse of `content`."""
        state = cls(reader.meta["fpr_rule"], reader.meta["ap_rule"], memory_budget)
        state._void = int(reader.meta["void"])
        state._frames = FrameLedger.from_json(reader.meta["frames"])
        state._anomaly.add(reader.array("anomaly_keys"), reader.array("anomaly_counts"))
        state._inlier.add_pieces(reader.pieces("inlier"))
        return state

    @classmethod
    def load(cls, path: str | Path, memory_budget: int = DEFAULT_BUDGET) -> Self:
        """Read a state that `save` wrote.

        Raises:
            DataError: The file is missing or damaged.
            CompatibilityError: It holds another kind of state.
        """
        with open_state(path, cls.__name__) as reader:
            return cls.read(reader, memory_budget)
