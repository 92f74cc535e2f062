"""Maskomaly: anomalies are what no confident mask claims, and what queries claim that learned to fire on them.

Ackermann, Sakaridis, Yu: "Maskomaly: Zero-Shot Mask Anomaly Segmentation", BMVC 2023. The order of the steps is that
of the published code; every constant is an argument.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.errors import CompatibilityError

Size = tuple[int, int]

CPU_PIECE, DEVICE_PIECE = 2**16, 2**24
"""Pixels worked on at a time: what stays in a processor's cache, and what keeps an accelerator busy."""

_MARGIN = 1e-5
"""Interpolation never exceeds what it interpolates by more than rounding; this, relative, is far above that."""


@dataclass(frozen=True)
class QueryRoles:
    """What each query takes part in; all ``(B, Q)``.

    Attributes:
        confidence: The largest class probability p, no-object included, in (0, 1].
        known: N: the most probable class is a real one. Two such masks on one pixel make a border.
        rejecting: R and G: confident of a real class, or named as ground. Their masks are no anomaly.
        anomalous: Named as firing on anomalies.
    """

    confidence: Tensor
    known: Tensor
    rejecting: Tensor
    anomalous: Tensor

    @property
    def matter(self) -> Tensor:
        """``(B, Q)`` bool: queries whose masks the score reads at all."""
        return self.known | self.rejecting | self.anomalous


def query_roles(
    class_logits: Tensor,
    ground_queries: Sequence[int] = (),
    anomaly_queries: Sequence[int] = (),
    reject: float = 0.7,
) -> QueryRoles:
    """Sort the queries of each image by what they take part in, before any mask is touched.

    Args:
        class_logits: ``(B, Q, C + 1)`` float, no-object last.
        ground_queries: G, whatever class they predict.
        anomaly_queries: Queries that fire on anomalies.
        reject: A query is confident where its p is above this.

    Raises:
        CompatibilityError: The shape is another, or a query is named that does not exist.

    Example:
        >>> roles = query_roles(torch.tensor([[[4.0, 0, 0], [0, 1.0, 0.5], [0, 0, 5.0]]]))
        >>> roles.known.tolist(), roles.rejecting.tolist(), roles.matter.tolist()
        ([[True, True, False]], [[True, False, False]], [[True, True, False]])
    """
    if class_logits.ndim != 3 or class_logits.shape[2] < 2 or not class_logits.is_floating_point():
        raise CompatibilityError(
            f"class logits are floating point (batch, queries, classes + 1), got {tuple(class_logits.shape)} "
            f"{class_logits.dtype}"
        )
    kind = torch.promote_types(class_logits.dtype, torch.float32)
    confidence, classes = class_logits.to(kind).softmax(2).max(2)
    known = classes != class_logits.shape[2] - 1
    ground = _named("ground", ground_queries, known)
    return QueryRoles(
        confidence, known, (known & (confidence > reject)) | ground, _named("anomaly", anomaly_queries, known)
    )


def _named(what: str, queries: Sequence[int], like: Tensor) -> Tensor:
    """``(B, Q)`` bool, true where a query is named."""
    count = like.shape[1]
    beyond = [query for query in queries if not 0 <= query < count]
    if beyond:
        raise CompatibilityError(
            f"{what} query {beyond[0]} does not exist: this network has {count} queries, numbered from 0"
        )
    named = torch.zeros_like(like)
    named[:, list(queries)] = True
    return named


def maskomaly(
    class_logits: Tensor,
    mask_logits: Tensor,
    ground_queries: Sequence[int] = (),
    anomaly_queries: Sequence[int] = (),
    reject: float = 0.7,
    border: float = 0.1,
    weight: float = 0.6,
) -> Tensor:
    """``weight S + (1 - weight) A`` (Ackermann et al., BMVC 2023).

    With p the largest class probability of a query and m the sigmoid of its mask: S is 1 minus the largest p m over
    confident known queries and ground queries, and 0 where two or more known queries have m above ``border``; A is
    the largest p m over anomaly queries. Without anomaly queries A is 0, so the score does not exceed ``weight``.

    Args:
        class_logits: ``(B, Q, C + 1)`` float, no-object last.
        mask_logits: ``(B, Q, H, W)`` float before the sigmoid, at the resolution to score at.
        ground_queries: Queries of road and sidewalk; they reject whatever class they predict.
        anomaly_queries: Queries that fire on anomalies.
        reject: A known query rejects where its p is above this.
        border: Masks overlap where they are above this; 1 turns the rule off.
        weight: Of S against A.

    Returns:
        ``(B, H, W)`` in [0, 1], higher = more anomalous; float32, or float64 from float64 masks.

    Raises:
        CompatibilityError: The shapes do not belong together, or a query is named that does not exist.

    Example:
        >>> queries = torch.tensor([[[0.0, 0, 9], [0, 0, 9]]])
        >>> round(maskomaly(queries, torch.zeros(1, 2, 1, 1)).item(), 4)  # nobody claims anything
        0.6
    """
    size = (mask_logits.shape[-2], mask_logits.shape[-1]) if mask_logits.ndim == 4 else (0, 0)
    roles = query_roles(class_logits, ground_queries, anomaly_queries, reject)
    return maskomaly_resized(roles, mask_logits, size, border=border, weight=weight)


def maskomaly_resized(
    roles: QueryRoles,
    mask_logits: Tensor,
    size: Size,
    crop: Size | None = None,
    border: float = 0.1,
    weight: float = 0.6,
) -> Tensor:
    """`maskomaly` at another resolution than that of the masks, without ever holding them all at that resolution.

    The mask logits are interpolated (bilinear, corners not aligned) band by band and query by query, and only where a
    query can change the score: it must matter at all, its mask must be high enough within the band to raise a maximum
    or to make a border, and where all is border already only anomaly queries are looked at. What is left out changes
    no value.

    Args:
        roles: From `query_roles`.
        mask_logits: ``(B, Q, h, w)`` float, over the padded input.
        size: ``(H, W)`` to score at: the padded input's.
        crop: ``(H', W')``, the part from the top left that is wanted; all of it when not given.
        border: See `maskomaly`.
        weight: See `maskomaly`.

    Returns:
        ``(B, H', W')``.

    Raises:
        CompatibilityError: The shapes do not belong together.
    """
    if mask_logits.ndim != 4 or mask_logits.shape[:2] != roles.known.shape or not mask_logits.is_floating_point():
        raise CompatibilityError(
            f"mask logits are floating point (batch, queries, height, width) of {tuple(roles.known.shape)} queries, "
            f"got {tuple(mask_logits.shape)} {mask_logits.dtype}"
        )
    kind = torch.promote_types(mask_logits.dtype, torch.float32)
    score = mask_logits.new_empty(len(mask_logits), *(crop or size), dtype=kind)
    for row, masks in enumerate(mask_logits):
        queries = _Queries(roles, row, border)
        chosen = masks[torch.tensor(queries.numbers, dtype=torch.int64, device=masks.device)].to(kind)
        for band in _bands(chosen, size, crop or size):
            queries.score(band, weight, score[row, band.start : band.stop])
    return score


@dataclass(frozen=True)
class _Band:
    """Some rows of the map, with the rows of the masks that they are interpolated from.

    Attributes:
        masks: ``(q, r, w)`` logits.
        start: First row.
        stop: Row after the last.
        full: ``(rows, W)`` that ``masks`` are interpolated to; None where they are at that size already.
        skip: Rows of that to leave out at its top.
    """

    masks: Tensor
    start: int
    stop: int
    full: Size | None
    skip: int = 0

    def logits(self, place: int, width: int) -> Tensor:
        """``(stop - start, width)`` of one query."""
        found = self.masks[place]
        if self.full is not None:
            found = F.interpolate(found[None, None], size=self.full, mode="bilinear", align_corners=False)[0, 0]
        return found[self.skip : self.skip + self.stop - self.start, :width]


def _bands(masks: Tensor, size: Size, crop: Size) -> Iterator[_Band]:
    """Cut ``(q, h, w)`` logits into bands; interpolated band by band they give what they give as a whole."""
    height, width = masks.shape[-2:]
    piece = CPU_PIECE if masks.device.type == "cpu" else DEVICE_PIECE
    if not len(masks) or (height, width) == size:
        step = max(1, piece // max(1, size[1]))
        for start in range(0, crop[0], step):
            stop = min(start + step, crop[0])
            yield _Band(masks[:, start:stop], start, stop, None)
        return
    factor, rest = divmod(size[0], height)
    if rest or factor < 1:  # rows of a band would not lie where those of the whole do
        yield _Band(masks, 0, crop[0], size)
        return
    step = max(1, piece // (factor * size[1]))
    for first in range(0, -(-crop[0] // factor), step):
        last = min(first + step, height)
        low, high = max(first - 1, 0), min(last + 1, height)  # a row's neighbours above and below take part
        yield _Band(
            masks[:, low:high],
            first * factor,
            min(last * factor, crop[0]),
            ((high - low) * factor, size[1]),
            (first - low) * factor,
        )


class _Queries:
    """The queries of one image that matter, as plain numbers: asking tensors one by one would wait for the device."""

    def __init__(self, roles: QueryRoles, row: int, border: float) -> None:
        self.numbers: list[int] = roles.matter[row].nonzero()[:, 0].tolist()
        kinds = (roles.confidence, roles.known, roles.rejecting, roles.anomalous)
        confidence, known, rejecting, anomalous = (values[row].tolist() for values in kinds)
        self.confidence = [float(confidence[number]) for number in self.numbers]
        self.known = [bool(known[number]) for number in self.numbers]
        self.rejecting = [bool(rejecting[number]) for number in self.numbers]
        self.anomalous = [bool(anomalous[number]) for number in self.numbers]
        self.border = border

    def score(self, band: _Band, weight: float, out: Tensor) -> None:
        """Write the score of a band ``(rows, W)`` to ``out``."""
        claimed, fired = torch.zeros_like(out), torch.zeros_like(out)
        once, twice = torch.zeros_like(out, dtype=torch.bool), torch.zeros_like(out, dtype=torch.bool)
        highest = self._highest(band)
        least_claimed, least_fired, all_border = 0.0, 0.0, False
        # Those that may claim most go first, so that the rest have little left to change.
        products = [confidence * mask for confidence, mask in zip(self.confidence, highest, strict=True)]
        for place in sorted(range(len(products)), key=lambda place: (not self.rejecting[place], -products[place])):
            mask_at_most, product_at_most = highest[place], products[place]
            overlaps = self.known[place] and not all_border and not mask_at_most <= self.border
            rejects = self.rejecting[place] and not all_border and not product_at_most <= least_claimed
            fires = self.anomalous[place] and not product_at_most <= least_fired
            if not (overlaps or rejects or fires):
                continue
            mask = band.logits(place, out.shape[1]).sigmoid()
            if overlaps:
                over = mask > self.border
                twice |= once & over
                once |= over
                all_border = bool(twice.all())
            mask *= self.confidence[place]
            if rejects:
                torch.maximum(claimed, mask, out=claimed)
                least_claimed = float(claimed.amin())
            if fires:
                torch.maximum(fired, mask, out=fired)
                least_fired = float(fired.amin())
        sure = claimed.neg_().add_(1).masked_fill_(twice, 0)
        torch.add(sure.mul_(weight), fired, alpha=1 - weight, out=out).clamp_(0, 1)

    def _highest(self, band: _Band) -> list[float]:
        """No mask is above this within the band, query by query; NaN where a mask has one."""
        if not self.numbers:
            return []
        least, most = band.masks.flatten(1).aminmax(dim=1)
        bound = most + _MARGIN * (1 + torch.maximum(most, -least))
        return (bound.sigmoid() * (1 + _MARGIN)).tolist()
