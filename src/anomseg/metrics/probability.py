"""How far a score in [0, 1] may be read as the probability that a pixel is anomalous: Brier score, calibration error.

Both are functions of the exact counts that `PixelCurve` holds, so they need no state of their own and are the same to
the last bit for shards in any order.

Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 1950. Naeini, Cooper and
Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015 (ECE).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import CompatibilityError, DataError
from anomseg.metrics.pixel import PixelCurve
from anomseg.metrics.pixel_result import ScoreRun

BINS = 15


@dataclass(frozen=True)
class ProbabilityBin:
    """Pixels with neighbouring scores.

    Attributes:
        low: The bin holds scores >= this ...
        high: ... and below this; the last one holds 1 as well.
        pixels: Valid pixels in it.
        mean_score: Mean score, the forecast; None where it is empty.
        anomalous: Share of anomalous pixels, what came true; None where it is empty.
    """

    low: float
    high: float
    pixels: int
    mean_score: float | None
    anomalous: float | None


@dataclass(frozen=True)
class ProbabilityResult:
    """Figures over all valid pixels.

    Attributes:
        ece: Expected calibration error: the mean over pixels of the gap between mean score and share of anomalous
            pixels in the pixel's bin; bins of equal width.
        ece_equal_mass: The same with bins of about equally many pixels; equal scores stay in one bin.
        brier: Mean of (score - truth)^2.
        brier_of_prevalence: What the prevalence, given for every pixel, would score: prevalence (1 - prevalence).
        bins: Those of equal width.
    """

    ece: float
    ece_equal_mass: float
    brier: float
    brier_of_prevalence: float
    bins: tuple[ProbabilityBin, ...]


class _Bins:
    """Sums of pixels, anomalous pixels and scores by bin."""

    def __init__(self, bins: int) -> None:
        self.pixels = np.zeros(bins, np.int64)
        self.anomalous = np.zeros(bins, np.int64)
        self.scores = np.zeros(bins)

    def add(self, starts: NDArray[np.intp], run: ScoreRun, weighted: NDArray[np.float64]) -> None:
        """Add a run, whose bins begin at ``starts``; ``weighted`` is score times pixels."""
        ends = np.append(starts[1:], run.score.size)
        for row in np.flatnonzero(starts < ends):
            part = slice(starts[row], ends[row])
            pixels = int(run.pixels[part].sum())
            self.pixels[row] += pixels
            self.anomalous[row] += pixels * run.anomalous
            self.scores[row] += weighted[part].sum()

    def error(self) -> float:
        return float(np.abs(self.scores - self.anomalous).sum() / self.pixels.sum())


def probability_figures(curve: PixelCurve, bins: int = BINS) -> ProbabilityResult:
    """Brier score and expected calibration error of scores read as probabilities.

    Args:
        curve: Counts of scores that lie in [0, 1].
        bins: Number of bins.

    Raises:
        DataError: Nothing was counted.
        CompatibilityError: Scores leave [0, 1].

    Example:
        >>> curve = PixelCurve()
        >>> curve.update([0.125, 0.125, 0.75, 0.75], [0, 0, 0, 1])
        >>> figures = probability_figures(curve)
        >>> figures.brier, figures.ece
        (0.1640625, 0.1875)
    """
    total = curve.inlier + curve.anomaly
    if total == 0:
        raise DataError("no valid pixel was counted, so there is nothing to compare with; check the label table")
    # Scores ascend within a run, so a bin is a stretch of it.
    edges = np.arange(bins) / bins
    ranks = -(-np.arange(bins) * total // bins)
    width, mass, squares = _Bins(bins), _Bins(bins), 0.0
    for run in curve.scores():
        if not run.score.size:
            continue
        if run.score[0] < 0 or run.score[-1] > 1:
            raise CompatibilityError(
                f"a probability lies in [0, 1], these scores reach "
                f"{run.score[0] if run.score[0] < 0 else run.score[-1]:.4g}; calibrate the detector first"
            )
        score = run.score.astype(np.float64)
        weighted = score * run.pixels
        squares += float((run.pixels * (run.anomalous - score) ** 2).sum())
        width.add(np.searchsorted(score, edges), run, weighted)
        mass.add(np.searchsorted(run.below, ranks), run, weighted)
    prevalence = curve.anomaly / total
    return ProbabilityResult(
        ece=width.error(),
        ece_equal_mass=mass.error(),
        brier=squares / total,
        brier_of_prevalence=prevalence * (1 - prevalence),
        bins=tuple(_bin(width, row, bins) for row in range(bins)),
    )


def _bin(sums: _Bins, row: int, bins: int) -> ProbabilityBin:
    pixels = int(sums.pixels[row])
    ends = (row / bins, (row + 1) / bins)
    if not pixels:
        return ProbabilityBin(*ends, 0, None, None)
    return ProbabilityBin(*ends, pixels, float(sums.scores[row] / pixels), int(sums.anomalous[row]) / pixels)
