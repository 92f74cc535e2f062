"""How odd an output is as a log-odds, and the average precision of many of them from counts."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomseg.detectors.noisy_negatives.options import Variant

LIMIT, BINS = 20.0, 4000  # log-odds beyond the limit count as the limit; bins are a hundredth wide


def outlier_odds(variant: Variant, logits: Tensor) -> Tensor:
    """What a variant's own score is before it is brought to [0, 1]; higher is odder.

    Args:
        variant: How the network was trained.
        logits: ``(B, K, H, W)``: of the outlier head of ``two_head``, else of the classes, the extra one last.

    Returns:
        ``(B, H, W)``: ``ln s / (1 - s)`` of the score s.
    """
    if variant == "two_head":
        return logits[:, 1] - logits[:, 0]
    if variant == "sigmoid":
        return -logits.amax(1)
    if variant == "extra_class":
        return logits[:, -1] - torch.logsumexp(logits[:, :-1], 1)
    largest, where = logits.max(1, keepdim=True)
    return (torch.logsumexp(logits.scatter(1, where, -torch.inf), 1, keepdim=True) - largest)[:, 0]


class OddsCounts:
    """Counts of inlier and outlier pixels by log-odds; counts of several devices add up.

    Attributes:
        counts: ``(2, BINS + 1)`` int64.
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros((2, BINS + 1), np.int64)

    def update(self, odds: Tensor, outlier: Tensor) -> None:
        """Count one image's pixels.

        Args:
            odds: ``(H, W)`` float.
            outlier: ``(H, W)``: 0 inlier, 1 outlier, anything else is left out.
        """
        bins = ((odds.float().clamp(-LIMIT, LIMIT) + LIMIT) * (BINS / (2 * LIMIT))).round().long()
        for kind in (0, 1):
            self.counts[kind] += torch.bincount(bins[outlier == kind], minlength=BINS + 1).cpu().numpy()


def average_precision(counts: NDArray[np.int64]) -> float | None:
    """Average precision of counted scores, those of one bin taken as equal.

    Args:
        counts: ``(2, N)`` of inliers and outliers, by rising score.

    Returns:
        Sum over thresholds of precision times the recall gained; None without outliers.

    Example:
        >>> average_precision(np.array([[2, 0, 1], [0, 1, 1]]))   # 1/2 * 1/2 + 2/3 * 1/2
        0.5833333333333333
    """
    falling = counts[:, ::-1].astype(np.float64)
    found = falling.cumsum(1)
    if not found[1, -1]:
        return None
    precision = found[1] / np.maximum(found.sum(0), 1)
    return float((precision * falling[1]).sum() / found[1, -1])
