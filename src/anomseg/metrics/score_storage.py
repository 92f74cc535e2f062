"""How scores are stored before they are compared: exactly, or as SegmentMeIfYouCan's evaluation keeps them.

Chan et al., "SegmentMeIfYouCan: A Benchmark for Anomaly Segmentation", NeurIPS 2021 datasets and benchmarks. Its
evaluation exchanges float16 maps and reduces each frame to percentile bins before it pools them.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from anomseg.errors import FrameError, unknown_name
from anomseg.metrics.counts import Counts, Keys, ScoreCounts, count_scores, score_keys, scores_of_keys
from anomseg.metrics.inputs import as_numpy, check_finite, frame_name

Storage = Literal["float32", "smiyc"]
STORAGES: tuple[Storage, ...] = get_args(Storage)
#: Quantiles of each class in one frame, at most.
QUANTILES = 384


def stored_counts(score: Any, label: Any, frame: str | None = None, storage: Storage = "float32") -> ScoreCounts:
    """The counts of one frame as a protocol stores its scores.

    Args:
        score: Finite scores of any shape, higher = more anomalous, NumPy or tensor.
        label: 0 inlier, 1 anomaly, 255 void, same shape.
        frame: Id for messages.
        storage: ``float32``: exactly; ``smiyc``: rounded to float16, then each score lowered to the greatest of the
            frame's quantiles that it reaches, see `percentile_bins`.

    Raises:
        FrameError: See `count_scores`; or float16 cannot hold the scores.
        ConfigError: There is no such storage.

    Example:
        >>> counts = stored_counts([[0.1, 0.5]], [[0, 1]], storage="smiyc")
        >>> scores_of_keys(counts.inlier_keys).tolist()
        [0.0999755859375]
    """
    if storage == "float32":
        return count_scores(score, label, frame)
    if storage != "smiyc":
        raise unknown_name("score storage", storage, STORAGES)
    exact = as_numpy(score)
    check_finite(exact, frame)
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float16)
    if not np.isfinite(rounded).all():
        raise FrameError(f"{frame_name(frame)}: scores reach beyond float16 (65504), which this protocol stores")
    return percentile_bins(count_scores(rounded.astype(np.float32), label, frame))


def percentile_bins(counts: ScoreCounts, quantiles: int = QUANTILES) -> ScoreCounts:
    """Lower every score to the greatest edge that it reaches.

    The edges of a frame are up to ``quantiles`` evenly spaced quantiles of its inlier scores and as many of its
    anomalous ones, its lowest and highest score among them, interpolated linearly between neighbouring scores.

    Args:
        counts: Of one frame.
        quantiles: At most so many of each class, no more than it has pixels.

    Returns:
        The counts at the edges.
    """
    classes = ((counts.inlier_keys, counts.inlier_counts), (counts.anomaly_keys, counts.anomaly_counts))
    edges = np.unique(np.concatenate([_quantiles(*part, quantiles) for part in classes]))
    return ScoreCounts(*_lowered(*classes[0], edges), *_lowered(*classes[1], edges), void=counts.void)


def _quantiles(keys: Keys, counts: Counts, quantiles: int) -> Keys:
    """Keys of evenly spaced quantiles of counted scores; none of no score."""
    total = int(counts.sum())
    if total == 0:
        return np.zeros(0, np.uint32)
    scores, upto = scores_of_keys(keys).astype(np.float64), np.cumsum(counts)
    ranks = np.linspace(0, 1, min(quantiles, total)) * (total - 1)
    below = np.floor(ranks).astype(np.int64)
    above = np.minimum(below + 1, total - 1)
    low, high = (scores[np.searchsorted(upto, rank, side="right")] for rank in (below, above))
    return score_keys((low + (high - low) * (ranks - below)).astype(np.float32))


def _lowered(keys: Keys, counts: Counts, edges: NDArray[np.uint32]) -> tuple[Keys, Counts]:
    if keys.size == 0:
        return keys, counts
    # Rounding of an interpolated edge may lift it a little above the lowest score.
    row = np.maximum(np.searchsorted(edges, keys, side="right") - 1, 0)
    found, start = np.unique(row, return_index=True)
    return edges[found], np.add.reduceat(counts, start).astype(np.int64)
