"""Exact nearest neighbours of feature vectors by chunked matrix products, with a proof of exactness for each query.

The matrix product gives ``|x|^2 / 2 - q x``, half the squared distance but for a term of the query alone. It is fast,
and inexact where the distance is small against the features' length: a vector's distance to itself can come out as
.14 (768 channels of deviation 5), which is why `torch.cdist` cannot be used here. So

1. features are centred, which takes away what they have in common;
2. the product only nominates: of every `GROUP` bank rows the smallest value is kept, and the `SPARE` + k groups with
   the smallest values are kept for each query. The k nearest rows lie in at most k groups;
3. all rows of these groups are ranked by exact differences;
4. a row that was not nominated could belong to the k nearest only if rounding had moved its value further than the
   gap between the k-th distance found and the first group left out. Where the gap is not above a bound of the
   rounding (duplicates, tight clusters far from the rest), that query is searched again in float64.

The rows are read in order, chunk by chunk, so a memory-mapped bank is never held as a whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from anomseg.errors import CompatibilityError, ConfigError, DataError, FrameError

CHUNK = 1024
"""Bank rows of one matrix product."""

BLOCK = 1024
"""Queries of one matrix product, whose result (4 MiB in float32) then stays near the processor."""

GROUP = 8
"""Bank rows that share one minimum."""

SPARE = 3
"""Groups kept beyond k, so that rounding seldom calls for a second search."""

BUDGET = 2**26
"""Bytes that a search may take for its work, whatever the bank and however many the queries."""

ROUNDOFF = {"highest": 2.0**-24, "high": 2.0**-11, "medium": 2.0**-8}
"""Unit roundoff of a float32 product for each `torch.get_float32_matmul_precision`."""


@dataclass(frozen=True)
class CentredBank:
    """A bank of features, and what its search needs to know beforehand.

    Attributes:
        rows: ``(M, D)`` float16, bfloat16, float32 or float64, as they were given; possibly a memory map.
        centre: ``(D,)`` amid the rows, exactly representable in float32.
        half_norms: ``(M,)`` float64, half the squared length of each centred row.
        longest: The largest length of a centred row.
    """

    rows: Tensor
    centre: Tensor
    half_norms: Tensor
    longest: float

    @property
    def size(self) -> int:
        """Number of rows."""
        return self.rows.shape[0]

    @property
    def width(self) -> int:
        """Channels of a row."""
        return self.rows.shape[1]


@torch.no_grad()
def centred_bank(rows: Tensor) -> CentredBank:
    """Check a bank and prepare it for `nearest`; it is read once, in order, and not copied.

    Args:
        rows: ``(M, D)`` floating point.

    Raises:
        CompatibilityError: It is not a table of floating-point numbers.
        DataError: It is empty, or a value is not finite.
    """
    if rows.ndim != 2 or not rows.is_floating_point():
        raise CompatibilityError(f"a bank must be a (rows, channels) table of floats, got {describe(rows)}")
    if not rows.numel():
        raise DataError(f"the bank is empty {tuple(rows.shape)}; collect features of at least one frame")
    some = rows[:: max(1, len(rows) // 4096)].double()
    centre = some.median(0).values.float().nan_to_num()  # no single wild row moves it, as it would move the mean
    chunk = max(1, BUDGET // 64 // rows.shape[1])
    # Filled in place: small results kept between large temporaries would spread the heap over hundreds of MB.
    half_norms = torch.empty(len(rows), dtype=torch.float64, device=rows.device)
    for first in range(0, len(rows), chunk):
        part = rows[first : first + chunk].double() - centre
        half_norms[first : first + chunk] = part.square_().sum(1) / 2
    if not bool(half_norms.isfinite().all()):
        bad = int((~half_norms.isfinite()).nonzero()[0])
        raise DataError(f"row {bad} of the bank holds NaN or infinity; fit on frames whose features are finite")
    return CentredBank(rows, centre, half_norms, math.sqrt(2 * float(half_norms.max())))


@torch.no_grad()
def nearest(queries: Tensor, bank: CentredBank, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest bank rows of each query, by Euclidean distance.

    Args:
        queries: ``(N, D)`` floating point.
        bank: From `centred_bank`.
        k: How many, at most the bank's size.

    Returns:
        Distances ``(N, k)``, ascending, in the wider of both types and at least float32, and rows ``(N, k)`` int64.
        Among rows at the same distance any may be given.

    Raises:
        CompatibilityError: The queries' width is not the bank's.
        ConfigError: k is not from 1 to the bank's size.
        FrameError: A query holds NaN or infinity.

    Example:
        >>> bank = centred_bank(torch.tensor([[0.0], [1.0], [2.0], [10.0]]))
        >>> distances, rows = nearest(torch.tensor([[4.0]]), bank, 2)
        >>> distances.tolist(), rows.tolist()
        ([[2.0, 3.0]], [[2, 1]])
    """
    check_queries(queries, bank.width, bank.size, k)
    kind = torch.promote_types(torch.promote_types(queries.dtype, bank.rows.dtype), torch.float32)
    distances = queries.new_empty(len(queries), k, dtype=kind)
    rows = torch.empty(len(queries), k, dtype=torch.int64, device=queries.device)
    piece = max(1, BUDGET // 4 // (8 * bank.width))
    for first in range(0, len(queries), piece):
        part = queries[first : first + piece].to(kind)
        found, which, sure = _search(part, bank, k)
        if kind == torch.float32 and not bool(sure.all()):
            again = (~sure).nonzero()[:, 0]
            wide, which[again], _ = _search(part[again].double(), bank, k)
            found[again] = wide.to(kind)
        distances[first : first + piece], rows[first : first + piece] = found, which
    return distances, rows


@torch.no_grad()
def distances_to(queries: Tensor, bank: Tensor, rows: Tensor) -> Tensor:
    """Distances from each query to chosen rows of a bank by exact differences, in bounded memory.

    Args:
        queries: ``(N, D)`` float32 or float64.
        bank: ``(M, D)``.
        rows: ``(N, C)`` int64, from 0 to M - 1; other values stand for no row.

    Returns:
        ``(N, C)`` in the queries' type; infinity where there is no row.
    """
    count = max(1, BUDGET // 4 // (queries.element_size() * max(1, queries.shape[1] * rows.shape[1])))
    distances = queries.new_empty(rows.shape)
    for first in range(0, len(rows), count):
        part, which = queries[first : first + count], rows[first : first + count]
        taken = bank[which.clamp(0, len(bank) - 1).flatten()].to(part.dtype)
        taken = taken.view(*which.shape, bank.shape[1]).sub_(part[:, None])
        distances[first : first + count] = torch.linalg.vector_norm(taken, dim=2)
    return distances.masked_fill_((rows < 0) | (rows >= len(bank)), math.inf)


def check_queries(queries: Tensor, width: int, size: int, k: int) -> None:
    """Refuse queries that a bank of this width and size cannot answer.

    Raises:
        CompatibilityError: Their width is another.
        ConfigError: k is not from 1 to the size.
        FrameError: A value is NaN or infinite.
    """
    if queries.ndim != 2 or queries.shape[1] != width or not queries.is_floating_point():
        raise CompatibilityError(
            f"the bank holds features of {width} channels, but the queries are {describe(queries)}; "
            "use the network and layers that the bank was made with"
        )
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ConfigError(f"k must be a whole number above 0, got {k!r}")
    if k > size:
        raise ConfigError(f"k={k} neighbours of a bank of {size} rows; give a smaller k or a larger bank")
    if not bool(queries.isfinite().all()):
        raise FrameError("the features hold NaN or infinity; the network cannot score this frame")


def describe(table: Tensor) -> str:
    """Shape and type of a tensor, for a message."""
    return f"{tuple(table.shape)} {str(table.dtype).removeprefix('torch.')}"


def _search(queries: Tensor, bank: CentredBank, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Distances, rows and whether they are proven to be the nearest, all worked out in the queries' type."""
    kind = queries.dtype
    centred = queries - bank.centre.to(kind)
    values, groups, width = _nominate(centred, bank, k + SPARE)
    members = groups[:, :, None] // width * (width * GROUP) + groups[:, :, None] % width
    members = (members + width * torch.arange(GROUP, device=queries.device)).flatten(1)
    members.masked_fill_(values.isinf().repeat_interleave(GROUP, 1), -1)
    distances, order = distances_to(queries, bank.rows, members).topk(k, dim=1, largest=False)
    return distances, members.gather(1, order), _proven(centred, bank.longest, values[:, -1], distances[:, -1])


def _nominate(centred: Tensor, bank: CentredBank, keep: int) -> tuple[Tensor, Tensor, int]:
    """The ``keep`` groups of bank rows with the smallest product value: values, groups, and groups in a chunk.

    Rows ``j, j + width, j + 2 width, ...`` of a chunk form a group, so that minima run along whole vectors.
    """
    kind, device = centred.dtype, centred.device
    width = max(1, min(CHUNK, BUDGET // 8 // (centred.element_size() * bank.width), bank.size) // GROUP)
    chunk = width * GROUP
    buffer = torch.zeros(chunk, bank.width, dtype=kind, device=device)
    halves = torch.empty(chunk, dtype=kind, device=device)
    product = torch.empty(min(BLOCK, len(centred)), chunk, dtype=kind, device=device)
    values = torch.full((len(centred), keep), math.inf, dtype=kind, device=device)
    groups = torch.zeros(len(centred), keep, dtype=torch.int64, device=device)
    numbers = torch.arange(width, device=device)
    centre = bank.centre.to(kind)
    for index, first in enumerate(range(0, bank.size, chunk)):
        count = min(chunk, bank.size - first)
        torch.sub(bank.rows[first : first + count], centre, out=buffer[:count])
        halves.fill_(math.inf)[:count] = bank.half_norms[first : first + count]
        for start in range(0, len(centred), BLOCK):
            part = centred[start : start + BLOCK]
            result = torch.addmm(halves, part, buffer.T, alpha=-1, out=product[: len(part)])
            minima = result.view(len(part), GROUP, width).amin(1)
            block = slice(start, start + len(part))
            better = (minima.amin(1) < values[block, -1]).nonzero()[:, 0]
            if not len(better):
                continue
            # Few queries still improve after the first chunks, and only they are sorted.
            where = better + start
            pool = torch.cat([values[where], minima[better]], 1)
            names = torch.cat([groups[where], (numbers + index * width).expand(len(better), -1)], 1)
            values[where], order = pool.topk(keep, dim=1, largest=False)
            groups[where] = names.gather(1, order)
    return values, groups, width


def _proven(centred: Tensor, longest: float, left_out: Tensor, farthest: Tensor) -> Tensor:
    """Whether no row outside the nominated groups can be nearer than the k-th distance found.

    A row that is nearer is no longer than ``|q| + d_k``, so the product's error for it is at most of the order of
    ``u |q| (|q| + d_k)`` with u the unit roundoff. The factor grows with the root of the number of terms, not with the
    number (Higham and Mary, SIAM J. Sci. Comput. 2019), and is taken generously.
    """
    factor = 8 + 2 * math.sqrt(centred.shape[1])
    length = torch.linalg.vector_norm(centred, dim=1).double()
    reach = (length + farthest).clamp(max=longest)
    unit = ROUNDOFF[torch.get_float32_matmul_precision()]
    error = unit * factor * (length * reach + reach.square() + farthest.double().square())
    return farthest.double().square() / 2 - length.square() / 2 <= left_out.double() - error
