"""Tables that turn the values stored in label files into the values the package speaks in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from anomseg.errors import ConfigError, FrameError
from anomseg.types import ANOMALY, INLIER, VOID, UInt8Array


@dataclass(frozen=True)
class ValueTable:
    """What each stored label value means; values that are not listed are refused.

    Attributes:
        name: What the table belongs to, for messages.
        pairs: ``(stored value, meaning)``, both 0..255; for anomaly labels the meanings are 0, 1 and 255.
        mend: What to do when a value is not in the table, for messages.

    Example:
        >>> table = ValueTable("halves", ((0, 0), (9, 1)))
        >>> table.apply(np.array([[0, 9]], np.uint8), "a.png").tolist()
        [[0, 1]]
    """

    name: str
    pairs: tuple[tuple[int, int], ...]
    mend: str = ""

    @cached_property
    def lookup(self) -> np.ndarray:
        """``(256,)`` int16: the meaning of every stored value, -1 where it has none."""
        table = np.full(256, -1, np.int16)
        for stored, meaning in self.pairs:
            table[stored] = meaning
        table.setflags(write=False)
        return table

    def unknown(self, stored: UInt8Array) -> list[int]:
        """The stored values that the table does not list, ascending."""
        present = np.bincount(stored.ravel(), minlength=256) > 0
        return np.flatnonzero(present & (self.lookup < 0)).tolist()

    def apply(self, stored: UInt8Array, where: str) -> UInt8Array:
        """Translate a label map.

        Args:
            stored: ``(H, W)`` uint8 as it lies in the file.
            where: The file, for the message.

        Returns:
            ``(H, W)`` uint8.

        Raises:
            FrameError: A value is not in the table.
        """
        unknown = self.unknown(stored)
        if unknown:
            mend = f"; {self.mend}" if self.mend else ""
            raise FrameError(
                f"label {where} has values {_ranges(unknown)} outside the table {self.name} ({self}){mend}"
            )
        return self.lookup.astype(np.uint8)[stored]

    def __str__(self) -> str:
        """The table as a user would write it: ``0:0,2-255:1``."""
        meanings = dict.fromkeys(meaning for _, meaning in self.pairs)
        parts = []
        for meaning in meanings:
            stored = sorted(value for value, other in self.pairs if other == meaning)
            parts += [f"{run}:{meaning}" for run in _ranges(stored).split(", ")]
        return ",".join(parts)


def _ranges(values: Iterable[int]) -> str:
    """``[2, 3, 4, 9]`` as ``2-4, 9``."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def class_table(name: str, count: int, void: Iterable[int] = (VOID,)) -> ValueTable:
    """The table of a class map: 0 to ``count - 1`` stand for themselves, the ``void`` values for 255."""
    return ValueTable(name, (*((value, value) for value in range(count)), *((value, VOID) for value in void)))


def parse_value_table(text: str, name: str = "given") -> ValueTable:
    """Read an anomaly table that a user wrote.

    Args:
        text: ``stored:meaning`` separated by commas; ``stored`` is a number or a range ``2-254``, ``meaning`` is
            0 (inlier), 1 (anomaly) or 255 (void).
        name: What to call the table in messages.

    Returns:
        The table.

    Raises:
        ConfigError: It cannot be read, a value is out of range, or one is given twice.

    Example:
        >>> print(parse_value_table("0:0, 2-255:1"))
        0:0,2-255:1
    """
    usage = "write pairs stored:meaning such as 0:0,1:1,255:255, the meanings being 0 (inlier), 1 (anomaly), 255 (void)"
    pairs: dict[int, int] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        stored, _, meaning = item.partition(":")
        first, _, last = stored.partition("-")
        try:
            low, high, target = int(first), int(last or first), int(meaning)
        except ValueError as error:
            raise ConfigError(f"label values {text!r}: {item!r} is not a pair; {usage}") from error
        if not 0 <= low <= high <= 255 or target not in (INLIER, ANOMALY, VOID):
            raise ConfigError(f"label values {text!r}: {item!r} is out of range; {usage}")
        for value in range(low, high + 1):
            if pairs.setdefault(value, target) != target:
                raise ConfigError(f"label values {text!r}: {value} is given two meanings; {usage}")
    if not pairs:
        raise ConfigError(f"label values {text!r} hold no pair; {usage}")
    return ValueTable(name, tuple(sorted(pairs.items())))


BINARY_VOID = ValueTable("binary", ((0, INLIER), (1, ANOMALY), (255, VOID)))
