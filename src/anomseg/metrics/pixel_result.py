"""Figures of a pooled pixel curve, and the curve thinned for plotting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PixelResult:
    """Pooled figures.

    Attributes:
        ap: Average precision, in [0, 1].
        nap: AP above chance, ``(ap - prevalence) / (1 - prevalence)``.
        auroc: Area under the ROC curve, in [0, 1].
        fpr95: False-positive rate at 95 % recall by the state's rule.
        best_f1: Greatest F1 over thresholds: an oracle, the threshold is chosen on the ground truth.
        best_f1_threshold: Its threshold; ``score >= threshold`` is positive.
        inlier: Inlier pixels.
        anomaly: Anomalous pixels.
        void: Void pixels, which count nowhere.
        prevalence: Share of anomalous among valid pixels, the AP of chance.
        frames: Frames counted.
        fpr95_by_rule: FPR95 by each of the three rules.
    """

    ap: float
    nap: float
    auroc: float
    fpr95: float
    best_f1: float
    best_f1_threshold: float
    inlier: int
    anomaly: int
    void: int
    prevalence: float
    frames: int
    fpr95_by_rule: dict[str, float]


@dataclass(frozen=True)
class CurvePoints:
    """A thinned curve for plotting, by descending threshold; each array ``(n,)`` float64.

    The last point has threshold at the lowest score: recall 1, FPR 1, precision = prevalence.
    """

    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    fpr: NDArray[np.float64]
    threshold: NDArray[np.float64]


@dataclass(frozen=True)
class ScoreRun:
    """Distinct scores of one class, ascending.

    Attributes:
        score: ``(n,)`` float32.
        pixels: ``(n,)`` int64, pixels that have each.
        below: ``(n,)`` int64, valid pixels of either class whose score is lower.
        anomalous: Whether they are of the anomalous pixels.
    """

    score: NDArray[np.float32]
    pixels: NDArray[np.int64]
    below: NDArray[np.int64]
    anomalous: bool
