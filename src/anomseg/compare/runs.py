"""Evaluations of a comparison: what is finished is found again, what is left runs, what fails is told of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from anomseg.compare.config import Bench, Task
from anomseg.compare.loading import Loaded, by_network, why
from anomseg.errors import AnomsegError, DataError, FrameError
from anomseg.evaluation import Plan, Progress, RunRecord, make_plan, read_record, run_plan
from anomseg.evaluation.cards import CARD_FILE
from anomseg.evaluation.progress import silent
from anomseg.evaluation.run_folder import RUN_FILE, identity_of
from anomseg.evaluation.sources import NetworkSource, Sample
from anomseg.files import read_json
from anomseg.inference.inputs import safe_name

RUNS = "runs"
BY_FOLDER = ("detectors", "unscored_classes")
"""Parts of a run's description that name its rows."""


@dataclass(frozen=True)
class Result:
    """A finished row on one benchmark.

    Attributes:
        run: Folder of the run.
        folder: The row's folder in it.
        card: Its result card.
        identity: Of the row: what decides its figures.
    """

    run: Path
    folder: str
    card: Mapping[str, Any]
    identity: str


@dataclass
class Found:
    """What one benchmark came to.

    Attributes:
        bench: The benchmark.
        results: By title, the rows that are finished.
        failed: By title, why a row has no figures.
    """

    bench: Bench
    results: dict[str, Result] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def silent_words(text: str) -> None:
    """Say nothing."""
    del text


@dataclass
class Evaluator:
    """Runs the rows of a comparison on one benchmark after the other.

    Args:
        out: Folder of the comparison.
        task: What is evaluated.
        seed: Of intervals and detectors that sample.
        device: Where networks run.
        limit: The first frames only.
        say: Told what goes on.
        progress: Makes what is called after each frame of a run.
    """

    out: Path
    task: Task
    seed: int
    device: torch.device
    limit: int | None = None
    say: Callable[[str], None] = silent_words
    progress: Progress = silent

    def evaluate(self, bench: Bench, rows: Sequence[Loaded]) -> Found:
        """Bring all rows up to date on a benchmark; rows of one network share its passes."""
        found = Found(bench)
        for group in by_network(list(rows)).values():
            self._group(found, group)
        return found

    def plan(self, bench: Bench, rows: Mapping[str, Loaded]) -> Plan:
        """The run of some rows that share a network, by their folders in it.

        Raises:
            AnomsegError: The benchmark or one of the rows cannot be used.
        """
        first = next(iter(rows.values()))
        return make_plan(
            bench.name,
            bench.root,
            first.given,
            {folder: one.detector for folder, one in rows.items()},
            split=bench.split,
            held_out=bench.held_out,
            protocol=bench.protocol,
            size=bench.size,
            seed=self.seed,
            limit=self.limit,
            bands=bench.bands,
            task=self.task,
            unknown=bench.unknown,
        )

    def _group(self, found: Found, group: Sequence[Loaded]) -> None:
        named = {one.row.folder: one for one in group}
        planned = self._plan_or_fail(found, named)
        if planned is None:
            return
        named, plan = planned
        identities = dict(zip(named, row_identities(plan.content).values(), strict=True))
        finished = finished_rows(self.out)
        left: dict[str, Loaded] = {}
        for folder, one in named.items():
            if identities[folder] in finished:
                self._take(found, one.row.title, finished[identities[folder]])
            else:
                left[folder] = one
        for run, folders in unfinished_runs(self.out, {identities[folder]: folder for folder in left}):
            again = {theirs: left.pop(own) for theirs, own in folders.items() if own in left}
            if len(again) == len(folders):
                self.say(f"going on with {run.name}")
                self._run(found, again, run)
            else:
                left |= {one.row.folder: one for one in again.values()}
        if left:
            self._run(found, self._tried(found, left))

    def _plan_or_fail(self, found: Found, rows: dict[str, Loaded]) -> tuple[dict[str, Loaded], Plan] | None:
        """The rows that can be planned and their plan; what the others lack is noted."""
        try:
            return rows, self.plan(found.bench, rows)
        except AnomsegError as error:
            if len(rows) == 1:
                self._fail(found, next(iter(rows.values())), error)
                return None
        good = {}
        for folder, one in rows.items():
            try:
                self.plan(found.bench, {folder: one})
                good[folder] = one
            except AnomsegError as error:
                self._fail(found, one, error)
        return (good, self.plan(found.bench, good)) if good else None

    def _tried(self, found: Found, rows: dict[str, Loaded]) -> dict[str, Loaded]:
        """The rows that survive the first frame, so that one that does not stops no run of several."""
        if len(rows) == 1:
            return rows
        plan = self.plan(found.bench, rows)
        good = {}
        for folder, one in rows.items():
            try:
                self._try(one, plan)
                good[folder] = one
            except FrameError:
                good[folder] = one  # the frame is at fault, which the run will tell
            except Exception as error:  # whatever one detector does, the others go on
                self._fail(found, one, error)
        return good

    def _try(self, one: Loaded, plan: Plan) -> None:
        frame = plan.frames[0]
        image = frame.image()
        assess = self.task == "failure"
        source = NetworkSource({"": one.detector}, one.given, plan.size, self.device, seed=self.seed, assess=assess)
        for _ in source.answers(Sample(frame.id, (image.shape[0], image.shape[1]), image), [""]):
            pass

    def _run(self, found: Found, rows: dict[str, Loaded], run: Path | None = None) -> None:
        if not rows:
            return
        plan = self.plan(found.bench, rows)
        target = run or self.out / RUNS / f"{safe_name(found.bench.title)}-{plan.record.identity[:10]}"
        names = ", ".join(one.row.title for one in rows.values())
        self.say(f"{found.bench.title}: {names}")
        try:
            cards = run_plan(plan, target, self.device, on_progress=self.progress)
        except Exception as error:  # whatever one detector does, the others go on
            if len(rows) == 1:
                self._fail(found, next(iter(rows.values())), error)
                return
            self.say(f"{found.bench.title}: {why(error)}; each of these detectors runs alone")
            for folder, one in rows.items():
                self._run(found, {folder: one})
            return
        identities = row_identities(plan.content)
        by_folder = {str(card["folder"]): card for card in cards if card.get("folder")}
        for folder, one in rows.items():
            if folder in by_folder:
                self._take(found, one.row.title, Result(target, folder, by_folder[folder], identities[folder]))
            else:
                self._fail(found, one, DataError("these frames have nothing for detectors to find; see held_out"))

    def _take(self, found: Found, title: str, result: Result) -> None:
        found.results[title] = result

    def _fail(self, found: Found, one: Loaded, error: BaseException) -> None:
        found.failed[one.row.title] = why(error)
        self.say(f"{one.row.title} failed on {found.bench.title}: {why(error)}")


def row_identities(content: Mapping[str, Any]) -> dict[str, str]:
    """For each detector of a run, by folder, the hash of everything that decides its figures, its name aside."""
    shared = {key: value for key, value in content.items() if key not in BY_FOLDER}
    return {
        folder: identity_of({**shared, **{key: content[key].get(folder) for key in BY_FOLDER if key in content}})
        for folder in content["detectors"]
    }


def finished_rows(out: Path) -> dict[str, Result]:
    """Rows with a result card in the runs of a comparison, by identity."""
    found = {}
    for run, record in _records(out):
        for folder, identity in row_identities(record.content).items():
            with suppress(DataError):
                found[identity] = Result(run, folder, read_json(run / folder / CARD_FILE), identity)
    return found


def unfinished_runs(out: Path, wanted: Mapping[str, str]) -> list[tuple[Path, dict[str, str]]]:
    """Runs that were stopped, all of whose rows are wanted.

    Args:
        out: Folder of the comparison.
        wanted: By identity what a row is called now.

    Returns:
        Each with, by its own folders, what they are called now.
    """
    found = []
    for run, record in _records(out):
        identities = row_identities(record.content)
        stopped = not any((run / folder / CARD_FILE).is_file() for folder in identities)
        if stopped and all(identity in wanted for identity in identities.values()):
            found.append((run, {folder: wanted[identity] for folder, identity in identities.items()}))
    return found


def _records(out: Path) -> list[tuple[Path, RunRecord]]:
    found = []
    for path in sorted((out / RUNS).glob(f"*/{RUN_FILE}")):
        with suppress(DataError):  # a damaged one is no help, and is not in the way
            record = read_record(path.parent)
            if record is not None:
                found.append((path.parent, record))
    return found
