"""Time the metric engine against what a user would pick instead, as ratios within one run.

    python benchmarks/speed.py [--pixels 20000000] [--frames 10]

Both sides see the same made-up scores (0.2 % anomalous pixels); figures must agree before a time is printed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from anomseg.metrics import ComponentScore, PixelCurve

Maps = list[tuple[NDArray[np.float32], NDArray[np.uint8]]]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and result of one call."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def make_maps(pixels: int, frames: int, seed: int = 0) -> Maps:
    """Frames of made-up scores with blobs of anomalies."""
    rng = np.random.default_rng(seed)
    height = int(np.sqrt(pixels / frames / 2))
    maps = []
    for _ in range(frames):
        label = np.zeros((height, 2 * height), np.uint8)
        side = max(int(np.sqrt(label.size * 0.002)), 2)
        top, left = (int(rng.integers(0, extent - side)) for extent in label.shape)
        label[top : top + side, left : left + side] = 1
        score = ndimage.gaussian_filter(rng.normal(0, 1, label.shape) + 1.5 * label, 1.0)
        maps.append((score.astype(np.float32), label))
    return maps


def pixel_ours(maps: Maps) -> tuple[float, float, float]:
    """AP, AUROC and FPR95 by the additive state."""
    curve = PixelCurve()
    for index, (score, label) in enumerate(maps):
        curve.update(score, label, frame=str(index))
    result = curve.compute()
    return result.ap, result.auroc, result.fpr95


def pixel_reference(maps: Maps) -> tuple[float, float, float]:
    """The same by scikit-learn."""
    score = np.concatenate([score.ravel() for score, _ in maps])
    label = np.concatenate([label.ravel() for _, label in maps])
    fpr, tpr, _ = roc_curve(label, score, drop_intermediate=False)
    return (
        float(average_precision_score(label, score)),
        float(roc_auc_score(label, score)),
        float(fpr[np.searchsorted(tpr, 0.95)]),
    )


def component_reference(score: NDArray[np.float32], label: NDArray[np.uint8], threshold: float) -> float:
    """Mean sIoU by a plain loop over components, one mask each."""
    square = np.ones((3, 3))
    predicted, count = ndimage.label(score > threshold, square)
    for index in range(1, count + 1):
        if (predicted == index).sum() < 50:
            predicted[predicted == index] = 0
    truth, anomalies = ndimage.label(label == 1, square)
    values = []
    for index in range(1, anomalies + 1):
        own = truth == index
        touching = np.isin(predicted, np.setdiff1d(np.unique(predicted[own]), [0]))
        elsewhere = (touching & (truth > 0) & ~own).sum()
        values.append((own & touching).sum() / (touching.sum() + own.sum() - (own & touching).sum() - elsewhere))
    return float(np.mean(values))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pixels", type=int, default=20_000_000, help="pixels in all")
    parser.add_argument("--frames", type=int, default=10, help="frames that share them")
    options = parser.parse_args()
    maps = make_maps(options.pixels, options.frames)
    ours, figures = timed(lambda: pixel_ours(maps))
    theirs, reference = timed(lambda: pixel_reference(maps))
    if not np.allclose(figures, reference, rtol=0, atol=1e-12):
        raise SystemExit(f"the figures differ: {figures} against {reference}")
    print_row(f"pixel metrics, {options.pixels:.0e} pixels: PixelCurve", ours, "scikit-learn", theirs)
    score, label = maps[0]
    state = ComponentScore(min_prediction=50, min_anomaly=100, threshold=1.0)
    ours, _ = timed(lambda: state.update(score, label, frame="0"))
    theirs, expected = timed(lambda: component_reference(score, label, 1.0))
    if not np.isclose(state.compute().siou, expected, rtol=0, atol=1e-12):
        raise SystemExit(f"sIoU differs: {state.compute().siou} against {expected}")
    print_row(f"components, one map of {label.shape[1]}x{label.shape[0]}: ComponentScore", ours, "plain loop", theirs)


def print_row(text: str, ours: float, other: str, theirs: float) -> None:
    """One line: both times and their ratio."""
    sys.stdout.write(f"{text} {ours:.3f} s, {other} {theirs:.3f} s, ratio {theirs / ours:.1f}\n")


if __name__ == "__main__":
    main()
