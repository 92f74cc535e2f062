"""Paired differences between rows, from the states that their evaluations left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from anomseg.compare.measures import Measure
from anomseg.errors import DataError
from anomseg.files import read_json, write_json

PAIRED_FILE = "paired.json"
Difference = Mapping[str, Any]
Answer = Literal["yes", "no", "undecided"]


@dataclass
class Pairs:
    """Differences between finished rows; each state is read once and each pair compared once.

    Args:
        measure: Which figure is compared, and how.
        seed: Of the resampling.
        file: Where differences are kept for the next time; None keeps none.
        blocks: See `anomseg.compare.Bench`.
    """

    measure: Measure
    seed: int
    file: Path | None = None
    blocks: int | None = None
    _states: dict[Path, Any] = field(default_factory=dict, init=False)
    _known: dict[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.file is not None and self.file.is_file():
            try:
                self._known = dict(read_json(self.file))
            except (DataError, TypeError, ValueError):
                self._known = {}  # it is made anew

    def of(self, first: tuple[str, Path], second: tuple[str, Path]) -> Difference:
        """First less second.

        Args:
            first: Identity of a row, and the folder of its results.
            second: Of the other.

        Returns:
            ``value``, ``ci95``, ``above`` (the whole interval is above 0), ``reason`` where there is none.
        """
        key = f"{self.measure.key}:{self.seed}:{self.blocks}:{first[0]}:{second[0]}"
        if key not in self._known:
            try:
                self._known[key] = self._compared(first[1], second[1])
            except DataError as error:  # not kept: what is missing or damaged now may be mended the next time
                return {"value": None, "ci95": None, "above": None, "reason": str(error)}
        return dict(self._known[key])

    def intervals(self, folder: Path) -> Mapping[str, Sequence[float]]:
        """Intervals of a row's own figures by key, resampled as differences are; empty where there are none."""
        try:
            return self.measure.intervals(self._state(folder), self.seed) or {}
        except DataError:
            return {}

    def save(self) -> None:
        """Keep what is known."""
        if self.file is not None:
            write_json(self.file, self._known)

    def _compared(self, first: Path, second: Path) -> dict[str, Any]:
        value, limits, reason = self.measure.difference(self._state(first), self._state(second), self.seed)
        above = limits[0] > 0 if limits else None
        return {"value": value, "ci95": list(limits) if limits else None, "above": above, "reason": reason}

    def _state(self, folder: Path) -> Any:
        if folder not in self._states:
            self._states[folder] = self.measure.load(folder, self.blocks)
        return self._states[folder]


def beats(differences: Sequence[Difference]) -> Answer | None:
    """Whether a row lies above all of some others, by the intervals of the paired differences.

    Args:
        differences: The row less each of the others.

    Returns:
        ``yes`` where every interval lies above 0, ``no`` where one lies at or below it, else ``undecided``; None where
        there is nothing to compare with.

    Example:
        >>> beats([{"ci95": [0.1, 0.2]}]), beats([{"ci95": [0.1, 0.2]}, {"ci95": [-0.2, -0.1]}])
        ('yes', 'no')
        >>> beats([{"ci95": [-0.1, 0.2]}]), beats([{"ci95": None}]), beats([])
        ('undecided', 'undecided', None)
    """
    if not differences:
        return None
    limits = [one.get("ci95") for one in differences]
    if all(pair and pair[0] > 0 for pair in limits):
        return "yes"
    return "no" if any(pair and pair[1] <= 0 for pair in limits) else "undecided"
