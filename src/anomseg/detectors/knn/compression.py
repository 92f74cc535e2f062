"""Smaller banks: k-means centres stand for many rows each, a coreset keeps the rows that cover the bank best.

Both change distances; how much is measured where the bank is made. A uniform sample of the same size is the yardstick.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from anomseg.detectors.options import whole
from anomseg.errors import ConfigError, unknown_name
from anomseg.scores.nearest import CentredBank, centred_bank, nearest

CHUNK = 2**16
"""Bank rows that are worked on at once."""


@torch.no_grad()
def kmeans(bank: Tensor, rows: int, seed: int = 0, iterations: int = 10) -> Tensor:
    """Centres of Lloyd's k-means, started from a uniform sample of the bank.

    A centre without rows moves to the row that is farthest from its own centre. Stops early when no row changes its
    centre.

    Args:
        bank: ``(M, D)`` floating point, possibly a memory map.
        rows: Centres, 1 to M.
        seed: Of the start.
        iterations: At most; each costs a search of the centres for the whole bank.

    Returns:
        ``(rows, D)`` in the bank's type.

    Raises:
        ConfigError: More rows than the bank has, or an option that is not a whole number above 0.
        DataError: The bank is empty or not finite.

    Example:
        >>> kmeans(torch.tensor([[0.0], [2.0], [10.0], [12.0]]), 2).sort(0).values.tolist()
        [[1.0], [11.0]]
    """
    _checked(bank, rows)
    whole("iterations", iterations)
    start = torch.randperm(len(bank), generator=torch.Generator().manual_seed(seed))[:rows].sort().values
    centres = bank[start].float()
    before = torch.full((len(bank),), -1)
    for _ in range(iterations):
        index = centred_bank(centres)
        found = [nearest(part, index, 1) for part in bank.split(CHUNK)]
        distances = torch.cat([part[0][:, 0] for part in found])
        owners = torch.cat([part[1][:, 0] for part in found])
        if torch.equal(owners, before):
            break
        before = owners
        sums = torch.zeros(rows, bank.shape[1], dtype=torch.float64)
        for part, which in zip(bank.split(CHUNK), owners.split(CHUNK), strict=True):
            sums.index_add_(0, which, part.double())
        counts = torch.bincount(owners, minlength=rows)
        empty = (counts == 0).nonzero()[:, 0]
        centres = (sums / counts.clamp(min=1)[:, None]).float()
        centres[empty] = bank[distances.topk(len(empty)).indices].float()
    return centres.to(bank.dtype)


@torch.no_grad()
def coreset(bank: Tensor, rows: int, seed: int = 0, projection: int | None = 64) -> Tensor:
    """Rows chosen greedily, each the farthest from those before it (Gonzalez 1985; Roth et al., CVPR 2022, for banks).

    Args:
        bank: ``(M, D)`` floating point.
        rows: How many, 1 to M.
        seed: Of the first row and of the projection.
        projection: Distances are taken after a random projection to this many channels, which keeps them up to a few
            per cent; None takes all channels.

    Returns:
        ``(rows, D)`` in the bank's type, in the order they were chosen; no row twice.

    Raises:
        ConfigError: More rows than the bank has, or an option that is not a whole number above 0.
        DataError: The bank is empty or not finite.

    Example:
        >>> coreset(torch.tensor([[0.0], [0.1], [9.0], [9.1]]), 2).round().sort(0).values.tolist()
        [[0.0], [9.0]]
    """
    centre = _checked(bank, rows).centre
    generator = torch.Generator().manual_seed(seed)
    width = bank.shape[1]
    turn = None
    if projection is not None and whole("projection", projection) < width:
        turn = torch.randn(width, projection, generator=generator) / projection**0.5
    parts = [part.float() - centre for part in bank.split(CHUNK)]
    points = torch.cat([part if turn is None else part @ turn for part in parts])
    halves = points.square().sum(1) / 2
    nearest_yet = torch.full((len(bank),), torch.inf)
    latest = int(torch.randint(len(bank), (1,), generator=generator))
    chosen = [latest]
    for _ in range(rows - 1):
        torch.minimum(nearest_yet, (halves + halves[latest] - points @ points[latest]).clamp_(min=0), out=nearest_yet)
        nearest_yet[latest] = -1.0  # never again, even where only duplicates are left
        latest = int(nearest_yet.argmax())
        chosen.append(latest)
    return bank[torch.tensor(chosen)].clone()


METHODS: dict[str, Callable[[Tensor, int, int], Tensor]] = {"kmeans": kmeans, "coreset": coreset}
"""Ways of making a bank smaller."""


def compress(bank: Tensor, rows: int, method: str = "kmeans", seed: int = 0) -> Tensor:
    """A bank of fewer rows.

    Args:
        bank: ``(M, D)`` floating point.
        rows: How many shall be left, 1 to M.
        method: ``"kmeans"`` or ``"coreset"``.
        seed: Of the method.

    Returns:
        ``(rows, D)`` in the bank's type.

    Raises:
        ConfigError: The method is unknown, or there are more rows asked than the bank has.
        DataError: The bank is empty or not finite.
    """
    if method not in METHODS:
        raise unknown_name("compression", method, METHODS)
    return METHODS[method](bank, rows, seed)


def _checked(bank: Tensor, rows: int) -> CentredBank:
    if whole("rows", rows) > len(bank):
        raise ConfigError(f"a bank of {len(bank)} rows cannot be compressed to {rows}; ask for fewer")
    return centred_bank(bank)
