"""How a long evaluation tells its caller where it is; nothing here prints."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called after each unit of work.

    Args:
        done: Units finished so far in this phase.
        total: Units of this phase.
        text: The phase and its current item, such as ``"score street_01"``.
    """

    def __call__(self, done: int, total: int, text: str) -> None:
        """Report progress."""


def silent(done: int, total: int, text: str) -> None:
    """Report nothing."""
    del done, total, text
