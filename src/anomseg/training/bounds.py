"""Bounds of numbers in a recipe, so that a wrong one is refused when it is read and not hours later."""

from __future__ import annotations

import math
from collections.abc import Sequence

from anomseg.errors import ConfigError


def check_bounds(name: str, value: float | Sequence[float], low: float, high: float = math.inf) -> None:
    """Refuse a number, or a list with a number, outside of ``[low, high]``.

    Args:
        name: What the user calls it.
        value: The number or numbers.
        low: The least that is possible.
        high: The most that is possible.

    Raises:
        ConfigError: It is outside, or not finite.

    Example:
        >>> check_bounds("flip", 1.5, 0, 1)
        Traceback (most recent call last):
        anomseg.errors.ConfigError: flip must be from 0 to 1, got 1.5
    """
    numbers = value if isinstance(value, Sequence) else [value]
    if not all(low <= number <= high and math.isfinite(number) for number in numbers):
        bounds = f"{low:g} or more" if math.isinf(high) else f"from {low:g} to {high:g}"
        shown = list(value) if isinstance(value, Sequence) else value
        raise ConfigError(f"{name} must be {bounds}, got {shown}")
