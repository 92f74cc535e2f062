"""Working sizes of the passes over one image at several scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from anomseg.errors import ConfigError
from anomseg.segmenters.base import Size

PUBLISHED = tuple(float(Fraction(part)) for part in ("5/12", "25/48", "5/8", "35/48", "25/32"))
"""The factors of the published code: 300, 375, 450, 525 and 562.5 of 720 rows."""


def scale_factors(scales: Sequence[float] | str) -> tuple[float, ...]:
    """The factors that an option stands for.

    Args:
        scales: Factors, or their text with ``+`` between them; ``published`` is `PUBLISHED`; empty is none.

    Raises:
        ConfigError: It is something else, or a factor is not a positive number.

    Example:
        >>> scale_factors("0.75+1"), scale_factors(""), len(scale_factors("published"))
        ((0.75, 1.0), (), 5)
    """
    if scales == "published":
        return PUBLISHED
    parts = [part for part in scales.split("+") if part.strip()] if isinstance(scales, str) else scales
    try:
        factors = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        factors = (math.nan,)
    if not all(0.01 <= factor <= 100 for factor in factors):
        raise ConfigError(
            "scales must be 'published', or factors of the working size from 0.01 to 100 such as 0.75+1+1.25, "
            f"got {scales!r}"
        )
    return factors


def scaled_sizes(size: Size, factors: Sequence[float], divisor: int) -> list[Size]:
    """Working sizes at several scales, each side rounded up to a multiple of what the network divides by.

    Rounding stretches an image by at most a few percent, as the published code does.

    Args:
        size: ``(height, width)`` at scale 1.
        factors: Scales.
        divisor: Sides become multiples of it.

    Example:
        >>> scaled_sizes((720, 1280), PUBLISHED, 8)
        [(304, 536), (376, 672), (456, 800), (528, 936), (568, 1000)]
    """

    def rounded(side: float) -> int:
        # A hair below, so that 0.3 * 80 = 24.000000000000004 stays 24.
        return max(math.ceil(side / divisor - 1e-9), 1) * divisor

    return [(rounded(size[0] * factor), rounded(size[1] * factor)) for factor in factors]
