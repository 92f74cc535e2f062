"""What compressing a bank costs, measured on features that were kept out of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anomseg.detectors.knn.search import build_index
from anomseg.scores.neighbors import NeighborReduction, reduce_distances

HELD = 2000
"""Features that are kept out of a bank for it, at most."""


def compression_loss(
    held: Tensor, bank: Tensor, small: Tensor, k: int, reduction: NeighborReduction = "mean"
) -> dict[str, Any]:
    """Compare distances to a compressed bank with those to the whole one.

    Args:
        held: ``(n, D)`` features of neither.
        bank: ``(M, D)``.
        small: ``(m, D)`` what it was compressed to.
        k: Neighbours.
        reduction: Of their distances.

    Returns:
        JSON-ready: rows before and after, features measured on, the mean distance to the whole bank, the mean
        ``|difference|`` of the distances, and their rank correlation (Spearman; None where it is not defined).
    """
    from scipy.stats import rankdata  # noqa: PLC0415 - only a fit that compresses needs it

    told: dict[str, Any] = {"rows_before": len(bank), "rows_after": len(small), "held_back": len(held)}
    if len(held) < 2:
        return {**told, "mean_distance": None, "mean_difference": None, "rank_correlation": None}
    before, after = (reduce_distances(build_index(one).distances(held, k), reduction).double() for one in (bank, small))
    ranks = torch.stack([torch.from_numpy(rankdata(one.numpy())) for one in (before, after)])
    correlation = float(torch.corrcoef(ranks)[0, 1])
    return {
        **told,
        "mean_distance": float(before.mean()),
        "mean_difference": float((after - before).abs().mean()),
        "rank_correlation": correlation if correlation == correlation else None,  # noqa: PLR0124 - all ranks equal
    }
