"""What checking a data set found, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["missing", "extra", "unreadable", "size", "value", "count"]
_HEADINGS: dict[Kind, str] = {
    "count": "wrong number of frames",
    "missing": "missing",
    "extra": "extra (paired with nothing)",
    "unreadable": "unreadable",
    "size": "label and image differ in size",
    "value": "label values outside the table",
}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: what kind, and one line that names the file."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class SplitCount:
    """How many frames a split has here, how many of them have labels, and how many it should have (None: unknown)."""

    split: str
    found: int
    labelled: int
    expected: int | None


@dataclass(frozen=True)
class VerifyReport:
    """What `verify` found.

    Attributes:
        name: The data set.
        root: Where it lies.
        layout: How it lies there.
        counts: Frames by split.
        problems: Everything that is wrong.
        absent: Splits that are not here and need not be, since their ground truth is hidden.
    """

    name: str
    root: Path
    layout: str
    counts: tuple[SplitCount, ...]
    problems: tuple[Problem, ...]
    absent: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def of(self, kind: Kind) -> tuple[str, ...]:
        """The lines of one kind of problem."""
        return tuple(problem.text for problem in self.problems if problem.kind == kind)

    def lines(self, limit: int | None = None) -> list[str]:
        """The report for people, at most ``limit`` lines for each kind of problem."""
        lines = [f"{self.name} in {self.root} ({self.layout} layout)"]
        for count in self.counts:
            expected = "" if count.expected is None else f" of {count.expected}"
            lines.append(f"  {count.split}: {count.found}{expected} frames, {count.labelled} with labels")
        lines += [f"  {split}: not here (its ground truth is hidden)" for split in self.absent]
        for kind, heading in _HEADINGS.items():
            texts = self.of(kind)
            shown = texts if limit is None else texts[:limit]
            lines += [f"{heading}: {len(texts)}"] if texts else []
            lines += [f"  {text}" for text in shown]
            lines += [f"  ... and {len(texts) - len(shown)} more"] if len(shown) < len(texts) else []
        return [*lines, "everything is in order" if self.ok else f"{len(self.problems)} problems"]
