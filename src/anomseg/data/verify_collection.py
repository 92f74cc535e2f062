"""Checking a data set of whole images that are sorted into classes."""

from __future__ import annotations

from pathlib import Path

from anomseg.data.classified import Collect
from anomseg.data.dataset import DatasetSpec
from anomseg.data.verify_report import Problem, SplitCount, VerifyReport
from anomseg.errors import DataError, FrameError


def verify_collection(
    spec: DatasetSpec, collect: Collect, root: Path, split: str | None = None, layout: str | None = None
) -> VerifyReport:
    """Read every image and say what is wrong; see `verify`.

    Args:
        spec: The data set.
        collect: Finds its images.
        root: The folder that holds it.
        split: Only this part.
        layout: How it lies on disk; found out when None.

    Raises:
        DataError: Nothing of it is there.
    """
    problems: list[Problem] = []
    counts: list[SplitCount] = []
    found_layout = ""
    failures: list[DataError] = []
    checked: set[str] = set()  # splits may overlap
    for name in [spec.split(split).name] if split else [part.name for part in spec.splits]:
        try:
            found = collect(root, name, layout)
        except DataError as error:
            failures.append(error)
            problems.append(Problem("missing", f"split {name}: {error}"))
            continue
        found_layout, number = found.layout, len(found.images)
        counts.append(SplitCount(name, number, number, found.expected))
        if found.expected is not None and number != found.expected:
            problems.append(Problem("count", f"{name}: {number} frames instead of {found.expected}"))
        for one in found.images:
            if one.id in checked:
                continue
            checked.add(one.id)
            try:
                one.image()
            except FrameError as error:
                problems.append(Problem("unreadable", str(error)))
    if not counts:
        raise failures[0]
    return VerifyReport(spec.name, root, found_layout, tuple(counts), tuple(problems))
