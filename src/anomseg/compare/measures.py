"""What a comparison of each task looks at: its headline figure, the columns beside it, the states it is paired from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomseg.compare.config import Task
from anomseg.errors import DataError
from anomseg.evaluation.checkpoint import Checkpoint
from anomseg.evaluation.failure.state import FailureState
from anomseg.evaluation.states import FOLDER, MEMORY
from anomseg.metrics import PerImage, bootstrap_intervals, failure_difference, failure_intervals, paired_difference
from anomseg.report.columns import CLASSES, COMPONENT, POOLED, QUALITY, Figure
from anomseg.report.columns import FAILURE as FAILURE_FIGURES

Limits = tuple[float, float]


@dataclass(frozen=True)
class Measure:
    """What one task is judged by.

    Attributes:
        task: The task.
        key: Name of the headline figure.
        label: What tables call it.
        columns: Figures of the table, the headline first.
        load: Reads the state that figures are resampled from, out of a row's folder of results, in blocks of so many
            neighbouring frames where that is asked for.
        intervals: Of such a state and a seed the 95 % intervals of its figures, by key; None where there are none.
        difference: Of two such states and a seed the headline difference, its interval, and why there is none.
    """

    task: Task
    key: str
    label: str
    columns: Sequence[Figure]
    load: Callable[[Path, int | None], Any]
    intervals: Callable[[Any, int], Mapping[str, Limits] | None]
    difference: Callable[[Any, Any, int], tuple[float, Limits | None, str | None]]

    @property
    def section(self) -> str:
        """The part of a card that the headline stands in, and with it the figures that are resampled."""
        return self.columns[0].section


def in_blocks(images: PerImage, blocks: int | None) -> PerImage:
    """Frames in groups of so many neighbours of one sequence; as they are where none is asked for."""
    if blocks is None:
        return images
    return images.regrouped(lambda place, row: f"{row.group}/{place // blocks}")


def load_images(folder: Path, blocks: int | None = None) -> PerImage:
    """The per-frame histograms of a finished row.

    Raises:
        DataError: There are none.
    """
    found = Checkpoint(folder / FOLDER).read()
    if found is None or "per_image" not in found[1]:
        raise DataError(f"{folder} holds no finished evaluation")
    return in_blocks(PerImage.load(found[1]["per_image"]), blocks)


def ap_difference(first: PerImage, second: PerImage, seed: int) -> tuple[float, Limits | None, str | None]:
    """Difference in pooled AP on the same frames.

    Raises:
        DataError: The frames differ.
    """
    paired = paired_difference(first, second, seed=seed)
    figures = paired.intervals.figures
    return paired.difference["ap"], figures["ap"] if figures else None, paired.intervals.reason


def load_failures(folder: Path, blocks: int | None = None) -> FailureState:
    """The state of failure detection that a finished row left.

    Raises:
        DataError: There is none.
    """
    state = FailureState.load(folder, MEMORY)
    if state is None:
        raise DataError(f"{folder} holds no finished evaluation")
    state.pixels.images = in_blocks(state.pixels.images, blocks)
    return state


def error_difference(first: FailureState, second: FailureState, seed: int) -> tuple[float, Limits | None, str | None]:
    """Difference in pooled AUPR-Error on the same segmentation.

    Raises:
        DataError: They judge other frames or another segmentation, or one of them gives no map.
    """
    if not first.pixels.frames or not second.pixels.frames:
        raise DataError("one of them judges classes, not pixels")
    if first.rows != second.rows:
        raise DataError("they judge other frames, or the segmentation of another network")
    paired = failure_difference(first.pixels, second.pixels, seed=seed)
    figures = paired.intervals.figures
    return paired.difference["aupr_error"], figures["aupr_error"] if figures else None, paired.intervals.reason


def ap_intervals(images: PerImage, seed: int) -> Mapping[str, Limits] | None:
    """Intervals of the pooled figures."""
    return bootstrap_intervals(images, seed=seed).figures


def error_intervals(state: FailureState, seed: int) -> Mapping[str, Limits] | None:
    """Intervals of the figures of failure detection."""
    return failure_intervals(state.pixels, seed=seed).figures if state.pixels.evaluable else None


ANOMALY = Measure("anomaly", "ap", "AP", (*POOLED, *COMPONENT, *CLASSES), load_images, ap_intervals, ap_difference)
FAILURE = Measure(
    "failure",
    "aupr_error",
    "AUPR-Error",
    (*FAILURE_FIGURES, *QUALITY),
    load_failures,
    error_intervals,
    error_difference,
)
MEASURES = {one.task: one for one in (ANOMALY, FAILURE)}


def measure_of(task: Task) -> Measure:
    """What a task is judged by.

    Example:
        >>> measure_of("anomaly").label, measure_of("failure").label
        ('AP', 'AUPR-Error')
    """
    return MEASURES[task]
