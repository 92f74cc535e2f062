"""Intervals of means over images, for protocols that average; those of pooled figures are in `anomseg.metrics`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anomseg.metrics import ImageFigures, Intervals

_FIGURES = ("ap", "auroc", "fpr95")


def intervals_of_means(
    figures: Sequence[ImageFigures], samples: int = 1000, seed: int = 0, level: float = 0.95
) -> Intervals:
    """Percentile intervals of mean AP, AUROC and FPR95 by cluster bootstrap: whole groups are resampled.

    Args:
        figures: Frames whose figures are defined.
        samples: Resamples.
        seed: Of the resampling.
        level: Coverage.

    Returns:
        The intervals, or the reason why there are none: fewer than two groups.
    """
    names = sorted({row.group for row in figures})
    if len(names) < 2:
        reason = f"{len(names)} group of frames with anomalies; an interval needs at least 2"
        return Intervals(None, reason, level, 0, 0, len(names))
    member = np.array([[row.group == name for row in figures] for name in names], np.float64)
    draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=samples)
    counts = draws @ member.sum(axis=1)
    tail = (1 - level) / 2
    intervals = {}
    for name in _FIGURES:
        sums = member @ np.array([getattr(row, name) for row in figures])
        low, high = np.quantile((draws @ sums) / counts, [tail, 1 - tail])
        intervals[name] = (float(low), float(high))
    return Intervals(intervals, None, level, samples, 0, len(names))
