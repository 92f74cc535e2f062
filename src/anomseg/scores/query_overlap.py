"""How well the queries of a mask transformer cover a region: what Maskomaly picks its queries by.

Reconstruction after Ackermann, Sakaridis, Yu: "Maskomaly", BMVC 2023. All sets are taken on valid pixels only; the
published script takes the whole picture's count of ignored pixels off the union instead, which makes far too large
an IoU possible.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from anomseg.errors import CompatibilityError


class QueryOverlap:
    """Overlap of each query's mask with a region, added up over images.

    A query's IoU is the mean over the images that show the region, as published; images that do not show it count for
    nothing. Masks that fire beside the region are told by `share`, over all images.

    Args:
        queries: Q.

    Example:
        >>> overlap = QueryOverlap(1)
        >>> mask, region = torch.tensor([[1, 1, 0, 1, 0, 0]]), torch.tensor([1, 1, 1, 0, 0, 0])
        >>> overlap.update(mask.bool(), region.bool(), torch.ones(6, dtype=torch.bool))
        >>> overlap.iou.tolist()
        [0.5]
    """

    def __init__(self, queries: int) -> None:
        self.images = 0
        self.iou_sum = torch.zeros(queries, dtype=torch.float64)
        self.inside = torch.zeros(queries, dtype=torch.int64)
        self.covered = torch.zeros(queries, dtype=torch.int64)

    def update(self, masks: Tensor, region: Tensor, valid: Tensor) -> None:
        """Add one image.

        Args:
            masks: ``(Q, *S)`` bool.
            region: ``S`` bool.
            valid: ``S`` bool; other pixels take part in nothing.

        Raises:
            CompatibilityError: The shapes do not belong together.
        """
        if masks.shape[1:] != region.shape or region.shape != valid.shape or len(masks) != len(self.inside):
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (masks, region, valid))
            raise CompatibilityError(f"masks (queries, *S), region S and valid S do not belong together: {shapes}")
        region = region & valid
        inside, covered = torch.zeros_like(self.inside), torch.zeros_like(self.covered)
        for number, mask in enumerate(masks.unbind()):  # one at a time: all masks at an image's size are large
            covered[number] = (mask & valid).sum()
            inside[number] = (mask & region).sum()
        self.add_counts(inside, covered, int(region.sum()))

    def add_counts(self, inside: Tensor, covered: Tensor, region: int) -> None:
        """Add one image of which the pixels have been counted.

        Args:
            inside: ``(Q,)`` int64, valid pixels of each mask that lie in the region.
            covered: ``(Q,)`` int64, valid pixels of each mask.
            region: Valid pixels of the region.
        """
        self.inside += inside
        self.covered += covered
        if region:
            self.images += 1
            self.iou_sum += inside.to(torch.float64) / (covered + region - inside)

    def merge(self, other: QueryOverlap) -> QueryOverlap:
        """Both together, as a new one."""
        merged = QueryOverlap(len(self.inside))
        merged.images = self.images + other.images
        for name in ("iou_sum", "inside", "covered"):
            setattr(merged, name, getattr(self, name) + getattr(other, name))
        return merged

    @property
    def iou(self) -> Tensor:
        """``(Q,)`` float64 in [0, 1]: mean over the images that show the region; 0 where none does."""
        return self.iou_sum / max(1, self.images)

    @property
    def share(self) -> Tensor:
        """``(Q,)`` float64 in [0, 1]: the part of a mask's pixels, over all images, that lies in the region."""
        return self.inside.to(torch.float64) / self.covered.clamp(min=1)

    def best(self, min_iou: float = 0.25, top_k: int = 4) -> list[int]:
        """The queries of largest IoU, best first, the lower number first where they are equal.

        Args:
            min_iou: Those below are left out.
            top_k: At most so many.
        """
        iou = self.iou
        order: list[int] = iou.argsort(descending=True, stable=True)[:top_k].tolist()
        return [query for query in order if iou[query] >= min_iou]


def fit_anomaly_queries(
    masks: Iterable[Tensor],
    gts: Iterable[Tensor],
    valid: Iterable[Tensor],
    t_mask: float = 0.9,
    min_iou: float = 0.25,
    top_k: int = 4,
) -> list[int]:
    """Pick the queries that fire on anomalies, from a few labelled images.

    Args:
        masks: ``(Q, *S)`` float in [0, 1] of each image.
        gts: ``S`` bool of each, true on anomalies.
        valid: ``S`` bool of each, false where the label is void.
        t_mask: A mask is what lies above this.
        min_iou: Queries of a smaller mean IoU are left out.
        top_k: At most so many are picked.

    Returns:
        Numbers of queries, best first; maybe none.

    Raises:
        CompatibilityError: There is no image, or shapes do not belong together.

    Example:
        >>> mask, gt = torch.tensor([[1.0, 1, 0, 1, 0, 0]]), torch.tensor([1, 1, 1, 0, 0, 0]).bool()
        >>> fit_anomaly_queries([mask], [gt], [torch.ones(6).bool()]), fit_anomaly_queries([mask], [~gt], [gt])
        ([0], [])
    """
    overlap: QueryOverlap | None = None
    for mask, gt, known in zip(masks, gts, valid, strict=True):
        overlap = overlap or QueryOverlap(len(mask))
        overlap.update(mask > t_mask, gt.bool(), known.bool())
    if overlap is None:
        raise CompatibilityError("no image was given to pick queries on")
    return overlap.best(min_iou, top_k)


def fit_ground_queries(
    masks: Iterable[Tensor],
    gts: Iterable[Tensor],
    valid: Iterable[Tensor],
    t_mask: float = 0.9,
    min_iou: float = 0.25,
    top_k: int = 2,
) -> list[int]:
    """Pick the queries of the ground, from in-distribution images: the same with ``gts`` true on road and sidewalk.

    The published code names two queries and not how they were found; this is a reconstruction. See
    `fit_anomaly_queries`.
    """
    return fit_anomaly_queries(masks, gts, valid, t_mask, min_iou, top_k)
