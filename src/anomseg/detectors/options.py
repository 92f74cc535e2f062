"""Checks of constructor options, so that a wrong one fails when it is given and not in the middle of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

from anomseg.errors import ConfigError

T = TypeVar("T")


def one_of(name: str, value: T, choices: Sequence[T]) -> T:
    """Return ``value`` if it is one of ``choices``.

    Raises:
        ConfigError: It is not.

    Example:
        >>> one_of("upsample", "logits", ("logits", "score"))
        'logits'
    """
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")
    return value


def positive(name: str, value: float) -> float:
    """Return ``value`` if it is a finite number above 0.

    Raises:
        ConfigError: It is not.

    Example:
        >>> positive("temperature", 0.0)
        Traceback (most recent call last):
        anomseg.errors.ConfigError: temperature must be a number above 0, got 0.0
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not (value > 0 and math.isfinite(value)):
        raise ConfigError(f"{name} must be a number above 0, got {value!r}")
    return value


def not_negative(name: str, value: float) -> float:
    """Return ``value`` if it is a finite number, 0 or above.

    Raises:
        ConfigError: It is not.

    Example:
        >>> not_negative("epsilon", 0.0)
        0.0
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not (value >= 0 and math.isfinite(value)):
        raise ConfigError(f"{name} must be a number, 0 or above, got {value!r}")
    return value


def whole(name: str, value: int) -> int:
    """Return ``value`` if it is a whole number above 0.

    Raises:
        ConfigError: It is not.

    Example:
        >>> whole("passes", 10)
        10
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} must be a whole number above 0, got {value!r}")
    return value


def whole_or_zero(name: str, value: int) -> int:
    """Return ``value`` if it is a whole number, 0 or above.

    Raises:
        ConfigError: It is not.

    Example:
        >>> whole_or_zero("rows", 0)
        0
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{name} must be a whole number, 0 or above, got {value!r}")
    return value


def fraction(name: str, value: float) -> float:
    """Return ``value`` if it is a number in [0, 1].

    Raises:
        ConfigError: It is not.

    Example:
        >>> fraction("shrinkage", 0.5)
        0.5
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigError(f"{name} must be a number from 0 to 1, got {value!r}")
    return value
