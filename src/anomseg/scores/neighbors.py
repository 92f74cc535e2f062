"""Dense nearest-neighbour scores (Galesso, Argus and Brox, ICCV Workshops 2023): DNP, and cDNP, a sum with another."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from anomseg.errors import ConfigError
from anomseg.scores.nearest import centred_bank, nearest

NeighborReduction = Literal["mean", "max"]


def knn_distance(queries: Tensor, bank: Tensor, k: int = 3, reduction: NeighborReduction = "mean") -> Tensor:
    """Distance to the k nearest rows of a bank of in-distribution features (DNP).

    Exact, in bounded memory. For many calls with one bank, an index (`anomseg.detectors.knn.search.build_index`)
    prepares it once.

    Args:
        queries: ``(N, D)`` features, floating point.
        bank: ``(M, D)`` features, floating point.
        k: Neighbours, 1 to M.
        reduction: ``"mean"`` of the k distances, or ``"max"``, the k-th.

    Returns:
        ``(N,)`` at least 0, in the wider of both types and at least float32.

    Raises:
        CompatibilityError: The widths differ.
        ConfigError: k or the reduction cannot be used.
        DataError: The bank is empty or not finite.
        FrameError: The queries are not finite.

    Example:
        >>> import torch
        >>> bank = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
        >>> knn_distance(torch.tensor([[0.0], [4.0], [10.0], [-1.0]]), bank, k=2).tolist()
        [0.5, 2.5, 4.0, 1.5]
    """
    check_reduction(reduction)
    distances, _ = nearest(queries, centred_bank(bank), k)
    return reduce_distances(distances, reduction)


def reduce_distances(distances: Tensor, reduction: NeighborReduction = "mean") -> Tensor:
    """The score of ascending neighbour distances.

    Args:
        distances: ``(N, k)``, ascending.
        reduction: ``"mean"``, or ``"max"``, the k-th.

    Returns:
        ``(N,)``.

    Raises:
        ConfigError: The reduction is unknown.
    """
    check_reduction(reduction)
    return distances.mean(1) if reduction == "mean" else distances[:, -1]


def check_reduction(reduction: str) -> None:
    """Refuse an unknown reduction.

    Raises:
        ConfigError: It is neither ``"mean"`` nor ``"max"``.
    """
    if reduction not in ("mean", "max"):
        raise ConfigError(f"reduction must be mean or max, got {reduction!r}")


def combine_dnp(
    parametric: Tensor,
    distance: Tensor,
    parametric_range: tuple[float, float],
    distance_max: float,
    *,
    weight: float = 1.0,
    clip: bool = False,
) -> Tensor:
    """Sum of a parametric score and a neighbour distance, each divided by its range on in-distribution data (cDNP).

    ``(s - s_min) / (s_max - s_min) + weight d / d_max``. The default, a plain sum without clipping, leaves [0, 2] where
    a score leaves its in-distribution range.

    Args:
        parametric: Any shape, higher is odder.
        distance: The same shape, at least 0.
        parametric_range: Smallest and largest parametric score on in-distribution data.
        distance_max: Largest neighbour distance within the bank (self excluded), above 0.
        weight: Of the distance, against 1 for the parametric score; 0 leaves that score alone.
        clip: Keep each normalised score in [0, 1], so that the sum is in [0, 1 + weight].

    Returns:
        The inputs' shape.

    Raises:
        ConfigError: A range is empty or not finite, or the weight is negative.

    Example:
        >>> import torch
        >>> round(combine_dnp(torch.tensor(-3.0), torch.tensor(2.0), (-10.0, 0.0), 4.0).item(), 6)
        1.2
    """
    low, high = map(float, parametric_range)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(
            f"the parametric score's range must be two finite numbers, low < high, got {low:g} and {high:g}; "
            "fit on frames where the score varies"
        )
    if not (math.isfinite(distance_max) and distance_max > 0):
        raise ConfigError(
            f"the largest distance within the bank must be above 0 and finite, got {distance_max:g}; "
            "fit on frames whose features are not all equal"
        )
    if not (math.isfinite(weight) and weight >= 0):
        raise ConfigError(f"weight must be a number, 0 or above, got {weight!r}")
    score, far = (parametric - low) / (high - low), distance / distance_max
    if clip:
        score, far = score.clamp(0, 1), far.clamp(0, 1)
    return score + weight * far
