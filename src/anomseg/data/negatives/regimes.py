"""Regimes: which negatives may be learned from, so that no tested category is.

``all`` keeps everything; ``minus_test_categories`` leaves out every image that shows an animal the benchmarks test on;
``synthetic_only`` takes made images alone.
"""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Sequence
from typing import Literal, get_args

from anomseg.data.negatives.categories import is_tested
from anomseg.data.negatives.negative import Negative
from anomseg.errors import ConfigError, unknown_name

Regime = Literal["all", "minus_test_categories", "synthetic_only"]
REGIMES: tuple[str, ...] = get_args(Regime)
Half = Literal["even", "odd"]
HALVES: tuple[str, ...] = get_args(Half)

_DIGITS = re.compile(r"\d+")


def split_by_regime(negatives: Sequence[Negative], regime: str) -> tuple[list[Negative], list[Negative]]:
    """Part negatives into those a regime keeps and those it leaves out.

    Args:
        negatives: Of any sources.
        regime: ``all``, ``minus_test_categories`` or ``synthetic_only``. Images of which nothing tells what they show
            are kept by the second with a warning, since their names cannot clear them.

    Returns:
        ``(kept, left out)``, each in the order given.

    Raises:
        ConfigError: There is no such regime.
    """
    if regime not in REGIMES:
        raise unknown_name("regime of negatives", regime, REGIMES)
    kept: list[Negative] = []
    left_out: list[Negative] = []
    for negative in negatives:
        (kept if _keeps(negative, regime) else left_out).append(negative)
    unknown = sum(not negative.categories and negative.source != "synthetic" for negative in kept)
    if regime == "minus_test_categories" and unknown:
        warnings.warn(
            f"nothing tells what {unknown} of {len(kept)} negatives show, so minus_test_categories cannot clear them; "
            "name their folders after what they show",
            stacklevel=2,
        )
    return kept, left_out


def _keeps(negative: Negative, regime: str) -> bool:
    if regime == "synthetic_only":
        return negative.source == "synthetic"
    return regime == "all" or not is_tested(negative.categories)


def take_half(negatives: Sequence[Negative], half: str | None) -> list[Negative]:
    """The half of the negatives whose `image_number` is even or odd; all when ``half`` is None.

    Raises:
        ConfigError: It is neither ``even`` nor ``odd``.
    """
    if half is None:
        return list(negatives)
    if half not in HALVES:
        raise unknown_name("half", half, HALVES)
    parity = HALVES.index(half)
    return [negative for negative in negatives if image_number(negative.id) % 2 == parity]


def image_number(name: str) -> int:
    """The number by which an image belongs to the even or the odd half: the last one in its id, else a checksum.

    Example:
        >>> image_number("000000000139"), image_number("n01440764_10026"), image_number("2007_000032")
        (139, 10026, 32)
    """
    digits = _DIGITS.findall(name)
    return int(digits[-1]) if digits else zlib.crc32(name.encode())


def spread(negatives: Sequence[Negative], limit: int | None) -> list[Negative]:
    """At most ``limit`` negatives, evenly spread over the list, since neighbours in it often show the same thing.

    Raises:
        ConfigError: The limit leaves nothing.
    """
    if limit is None or limit >= len(negatives):
        return list(negatives)
    if limit < 1:
        raise ConfigError(f"a limit of {limit} negatives leaves nothing; give 1 or more")
    return [negatives[index * len(negatives) // limit] for index in range(limit)]
