"""Which frames a metric state has counted, so that none is counted twice or forgotten."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from anomseg.errors import DataError


class FrameLedger:
    """Ids of counted frames, plus how many had none.

    Example:
        >>> ledger = FrameLedger()
        >>> ledger.add("a")
        >>> ledger.add("a")
        Traceback (most recent call last):
        anomseg.errors.DataError: frame 'a' is counted twice; each frame may be in one shard only
    """

    def __init__(self, ids: Iterable[str] = (), anonymous: int = 0) -> None:
        self._ids = set(ids)
        self._anonymous = anonymous

    def __len__(self) -> int:
        return len(self._ids) + self._anonymous

    @property
    def ids(self) -> list[str]:
        """Ids of the counted frames, sorted."""
        return sorted(self._ids)

    def check(self, frame: str | None) -> None:
        """Refuse a frame that is there already; called before anything is counted.

        Raises:
            DataError: The frame was counted before.
        """
        if frame is not None and frame in self._ids:
            raise _twice([frame])

    def add(self, frame: str | None) -> None:
        """Enter a frame; None enters one without an id, which cannot be told from another.

        Raises:
            DataError: The frame was counted before.
        """
        self.check(frame)
        if frame is None:
            self._anonymous += 1
        else:
            self._ids.add(frame)

    def union(self, other: FrameLedger) -> FrameLedger:
        """Both ledgers in one.

        Raises:
            DataError: Some frame is in both.
        """
        both = self._ids & other._ids
        if both:
            raise _twice(sorted(both))
        return FrameLedger(self._ids | other._ids, self._anonymous + other._anonymous)

    def missing(self, expected: Iterable[str]) -> list[str]:
        """Expected frames that have not been counted, in the order given."""
        return [frame for frame in expected if frame not in self._ids]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {"ids": self.ids, "anonymous": self._anonymous}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> FrameLedger:
        """The inverse of `to_json`."""
        return cls(value["ids"], int(value["anonymous"]))


def _twice(frames: list[str]) -> DataError:
    listed = ", ".join(repr(frame) for frame in frames[:5]) + (
        f" and {len(frames) - 5} more" if len(frames) > 5 else ""
    )
    plural = "frames" if len(frames) > 1 else "frame"
    verb = "are" if len(frames) > 1 else "is"
    return DataError(f"{plural} {listed} {verb} counted twice; each frame may be in one shard only")
