"""What a comparison consists of, once it is read and checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from anomseg.compare.rows import Row
from anomseg.errors import unknown_name
from anomseg.evaluation.failure.judging import Unknown
from anomseg.segmenters.base import Size

Task = Literal["anomaly", "failure"]
TASKS = ("anomaly", "failure")


@dataclass(frozen=True)
class Bench:
    """One benchmark of a comparison.

    Attributes:
        title: Heading of its table; unique.
        name: As `evaluate` takes it, options included.
        root: Folder of its data.
        split: Part of the data; the benchmark's own where None.
        held_out: Classes that count as anomalies.
        protocol: Name of the rules.
        size: Working size ``(height, width)``; None leaves it to the protocol and the network.
        unknown: What pixels count as in the task ``failure`` that the network has no class for: ``void`` or ``wrong``.
        blocks: So many neighbouring frames of a sequence are resampled together; None takes whole sequences, of which a
            video has few.
        bands: Widths in pixels of bands around anomalous objects that get figures of their own.
    """

    title: str
    name: str
    root: Path
    split: str | None = None
    held_out: tuple[str, ...] = ()
    protocol: str = "default"
    size: Size | None = None
    bands: tuple[int, ...] = ()
    unknown: Unknown = "void"
    blocks: int | None = None


@dataclass(frozen=True)
class FitData:
    """In-distribution frames for detectors that have to be fitted first.

    Attributes:
        data: ``NAME=ROOT[@SPLIT]`` each, roots resolved.
        held_out: Classes that stay unseen: images that show one are left out.
        limit: The first frames of each set only.
    """

    data: tuple[str, ...]
    held_out: tuple[str, ...] = ()
    limit: int | None = None


@dataclass(frozen=True)
class CostRules:
    """How time and memory are measured.

    Attributes:
        size: ``(height, width)`` of the images; the network's working size where None.
        repeats: Timed runs of each step.
        warmup: Runs before them.
    """

    size: Size | None = None
    repeats: int = 5
    warmup: int = 1


@dataclass(frozen=True)
class CompareConfig:
    """A comparison.

    Attributes:
        segmenter: The network that all detectors score which do not own theirs.
        benchmarks: At least one.
        rows: At least one; titles are unique.
        task: ``anomaly`` or ``failure``.
        seed: Of intervals and of detectors that sample.
        reference: Title of the row that all others are compared with; None for none.
        fit: Frames to fit detectors on that have not been; None where there are none.
        costs: How time and memory are measured; None where they are not.
    """

    segmenter: str
    benchmarks: tuple[Bench, ...]
    rows: tuple[Row, ...]
    task: Task = "anomaly"
    seed: int = 0
    reference: str | None = None
    fit: FitData | None = None
    costs: CostRules | None = field(default_factory=CostRules)

    def row(self, title: str) -> Row:
        """The row of a title.

        Raises:
            ConfigError: There is none.
        """
        found = {one.title: one for one in self.rows}
        if title not in found:
            raise unknown_name("row", title, found)
        return found[title]
