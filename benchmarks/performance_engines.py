"""The same figures by several engines: ours, and what a user would pick instead."""

# ruff: noqa: PLC0415 - one engine's memory must not hold another's

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from performance_maps import Map
from scipy import ndimage

Figures = tuple[float, float, float]
"""AP, AUROC and FPR95."""
Timed = Callable[[Callable[[], Any]], Any]
"""Runs a piece of work and counts its seconds; what is outside of it is not counted."""


def ours(maps: Iterator[Map], timed: Timed) -> Figures:
    """`anomseg.metrics.PixelCurve`, map by map."""
    from anomseg.metrics import PixelCurve

    curve = PixelCurve()
    for number, (score, label) in enumerate(maps):
        timed(partial(curve.update, score, label, str(number)))
    result = timed(curve.compute)
    return result.ap, result.auroc, result.fpr95


def scikit_learn(maps: Iterator[Map], timed: Timed) -> Figures:
    """scikit-learn's functions on all pixels at once."""
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

    score, label = _joined(maps)
    ap, auroc = (float(timed(partial(one, label, score))) for one in (average_precision_score, roc_auc_score))
    fpr, tpr, _ = timed(partial(roc_curve, label, score, drop_intermediate=False))
    return ap, auroc, float(fpr[np.searchsorted(tpr, 0.95)])


def torchmetrics(maps: Iterator[Map], timed: Timed) -> Figures:
    """torchmetrics' exact binary metrics, map by map."""
    import torch
    from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision, BinaryROC

    metrics = BinaryAveragePrecision(), BinaryAUROC(), BinaryROC()
    for score, label in maps:
        # They take scores outside [0, 1] for logits, and round those that a sigmoid makes equal.
        values = torch.from_numpy(((score + 10) / 30).ravel())
        truth = torch.from_numpy(label.ravel().astype(np.int64))
        for metric in metrics:
            timed(partial(metric.update, values, truth))
    ap, auroc = (float(timed(metric.compute)) for metric in metrics[:2])
    fpr, tpr, _ = timed(metrics[2].compute)
    return ap, auroc, float(fpr[int(torch.searchsorted(tpr, 0.95))])


def _joined(maps: Iterator[Map]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    parts = [(score.ravel(), label.ravel()) for score, label in maps]
    return np.concatenate([score for score, _ in parts]), np.concatenate([label for _, label in parts])


ENGINES: dict[str, Callable[[Iterator[Map], Timed], Figures]] = {
    "anomseg": ours,
    "scikit-learn": scikit_learn,
    "torchmetrics": torchmetrics,
}


def component_loop(score: NDArray[np.float32], label: NDArray[np.uint8], threshold: float, least: int) -> float:
    """Mean sIoU by a plain loop over components, one mask each.

    Args:
        score: The map.
        label: 0 and 1.
        threshold: Scores above it are predicted.
        least: Pixels of the smallest predicted component that counts.
    """
    square = np.ones((3, 3))
    predicted, count = ndimage.label(score > threshold, square)
    for index in range(1, count + 1):
        if (predicted == index).sum() < least:
            predicted[predicted == index] = 0
    truth, anomalies = ndimage.label(label == 1, square)
    values = []
    for index in range(1, anomalies + 1):
        own = truth == index
        touching = np.isin(predicted, np.setdiff1d(np.unique(predicted[own]), [0]))
        elsewhere = (touching & (truth > 0) & ~own).sum()
        values.append((own & touching).sum() / (touching.sum() + own.sum() - (own & touching).sum() - elsewhere))
    return float(np.mean(values))
