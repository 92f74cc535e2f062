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

    def add(
        self, index: NDArray[np.intp], score: NDArray[np.float64], inlier: NDArray[np.int64], hits: NDArray[np.int64]
    ) -> None:
        pixels = inlier + hits
        size = self.pixels.size
        self.pixels += np.bincount(index, pixels, minlength=size).astype(np.int64)
        self.anomalous += np.bincount(index, hits, minlength=size).astype(np.int64)
        self.scores += np.bincount(index, score * pixels, minlength=size)

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
    total = sum(int(inlier.sum() + hits.sum()) for _, inlier, hits in curve.scores())
    if total == 0:
        raise DataError("no valid pixel was counted, so there is nothing to compare with; check the label table")
    edges = np.arange(bins) / bins
    width, mass = _Bins(bins), _Bins(bins)
    squares, seen, anomalies = 0.0, 0, 0
    for values, inlier, hits in curve.scores():
        if values[0] < 0 or values[-1] > 1:
            raise CompatibilityError(
                f"a probability lies in [0, 1], these scores reach {values[0] if values[0] < 0 else values[-1]:.4g}; "
                "calibrate the detector first"
            )
        score = values.astype(np.float64)
        squares += float((inlier * score**2 + hits * (1 - score) ** 2).sum())
        anomalies += int(hits.sum())
        width.add(np.searchsorted(edges, score, side="right") - 1, score, inlier, hits)
        before = seen + np.cumsum(inlier + hits) - (inlier + hits)
        mass.add(before * bins // total, score, inlier, hits)
        seen += int((inlier + hits).sum())
    prevalence = anomalies / total
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
