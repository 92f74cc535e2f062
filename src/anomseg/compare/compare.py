"""`compare`: all rows of a configuration on its benchmarks, from frames to one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from anomseg._version import __version__
from anomseg.compare.config import CompareConfig
from anomseg.compare.costs import Cost, measured
from anomseg.compare.loading import Loaded, Loader, why
from anomseg.compare.measures import measure_of
from anomseg.compare.page import comparison_page, sheet_of
from anomseg.compare.paired import PAIRED_FILE, Pairs
from anomseg.compare.picture import cost_picture
from anomseg.compare.rows import Row
from anomseg.compare.runs import Evaluator, Found, silent_words
from anomseg.compare.table import Entry, Table, make_table
from anomseg.compare.text import document, table_csv
from anomseg.errors import EXIT_ERROR, EXIT_OK, EXIT_PARTIAL, DataError
from anomseg.evaluation import Progress
from anomseg.evaluation.progress import silent
from anomseg.files import read_json, write_bytes, write_json, write_text
from anomseg.inference.predictor import find_device
from anomseg.inference.provenance import plain
from anomseg.report import write_run_report
from anomseg.report.cards import common_lines
from anomseg.report.run_report import SHEET_FILE
from anomseg.segmenters.catalog import load_segmenter

SCHEMA = 1
TABLE_FILE, JSON_FILE, TEXT_FILE, PAGE_FILE = "table.csv", "compare.json", "compare.md", "report.html"
PICTURE_FILE = "figures_over_time.png"


@dataclass(frozen=True)
class Comparison:
    """What a comparison came to.

    Attributes:
        tables: One a benchmark.
        code: Exit code: 0 all rows have figures, 1 some failed or frames were skipped, 2 none has.
    """

    tables: tuple[Table, ...]
    code: int


def compare(
    config: CompareConfig,
    out: str | Path,
    *,
    device: str | torch.device = "cpu",
    limit: int | None = None,
    pictures: bool = True,
    say: Callable[[str], None] = silent_words,
    progress: Progress = silent,
) -> Comparison:
    """Evaluate every row on every benchmark, measure what it costs, compare it with the controls and write it all.

    Rows of one network share its passes. What an earlier call with the same ``out`` has finished is not done again,
    also where rows or benchmarks were added since; an interrupted run goes on where it was. A row that fails stops no
    other one.

    Args:
        config: The comparison, see `read_config`.
        out: Folder of the results: ``table.csv``, ``compare.json``, ``compare.md``, ``report.html``, a picture, and
            the runs in ``runs/``.
        device: Where networks run.
        limit: The first frames of each benchmark only.
        pictures: Draw the best and worst frames of each row.
        say: Told in one line what goes on.
        progress: Called after each frame.

    Returns:
        The tables, and whether all went well.

    Raises:
        DataError: A file cannot be written.
    """
    folder = Path(out)
    target = find_device(device)
    loader = Loader(config, folder, say)
    rows, unusable = loader.load_all()
    evaluator = Evaluator(folder, config.task, config.seed, target, limit, say, progress)
    found = [evaluator.evaluate(bench, rows) for bench in config.benchmarks]
    if pictures:
        for one in found:
            _draw(evaluator, one, rows, target, say)
    scored = [one for one in rows if any(one.row.title in each.results for each in found)]
    costs = measured(config, scored, folder, str(target), say)
    measure = measure_of(config.task)
    tables = []
    for one in found:
        say(f"comparing on {one.bench.title}")
        pairs = Pairs(measure, config.seed, folder / PAIRED_FILE, one.bench.blocks)
        entries = [_entry(row, rows, one, unusable, costs, config) for row in config.rows]
        conditions = common_lines([result.card for result in one.results.values()])
        if one.bench.blocks is not None:
            conditions.append(f"intervals: over blocks of {one.bench.blocks} neighbouring frames")
        tables.append(
            make_table(one.bench.title, entries, measure, pairs, reference=config.reference, conditions=conditions)
        )
        pairs.save()
    _write(folder, config, tables, found)
    return Comparison(tuple(tables), _code(found, unusable))


def read_tables(out: str | Path) -> list[Table]:
    """The tables that a finished comparison left.

    Raises:
        DataError: There are none, or they are damaged.
    """
    path = Path(out) / JSON_FILE
    content = read_json(path)
    try:
        return [
            Table(one["title"], one["task"], one["rows"], one["reference"], one["conditions"])
            for one in content["benchmarks"]
        ]
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is no comparison; run 'anomseg compare' again") from error


def _entry(
    row: Row,
    rows: Sequence[Loaded],
    found: Found,
    unusable: Mapping[str, str],
    costs: Mapping[str, Cost],
    config: CompareConfig,
) -> Entry:
    loaded = next((one for one in rows if one.row.title == row.title), None)
    result = found.results.get(row.title)
    failed = unusable.get(row.title) or found.failed.get(row.title)
    card = result.card if result is not None else None
    if card is not None and not card.get("frames"):
        skipped = card.get("skipped") or [{"reason": "no frame was counted"}]
        card, failed = None, f"no frame could be used: {skipped[0]['reason']}"
    named = row.segmenter or config.segmenter
    network = _network_name(loaded, named)
    elsewhere = row.segmenter is not None and not (loaded is not None and loaded.owns)
    note = f"scored on {named}, not on the network of the other rows" if elsewhere else ""
    return Entry(
        title=row.title,
        kind=row.kind,
        detector=loaded.text if loaded is not None else row.detector,
        network=network,
        own_network=loaded is not None and loaded.owns,
        card=card,
        folder=result.run / result.folder if result is not None and card is not None else None,
        identity=result.identity if result is not None else "",
        cost=costs.get(row.title),
        failed=failed,
        note=note,
    )


def _network_name(loaded: Loaded | None, named: str) -> str:
    if loaded is not None and loaded.scored is not None and not loaded.detector.needs(loaded.scored).forward:
        return "none"
    if loaded is None or not loaded.owns:
        return Path(named).name if Path(named).is_dir() else named
    network = loaded.scored
    return network.registry_name if network is not None else "none"


def _draw(
    evaluator: Evaluator, found: Found, rows: Sequence[Loaded], device: torch.device, say: Callable[[str], None]
) -> None:
    """Reports of the runs whose pictures are missing; a picture that fails is no reason to lose the figures."""
    loaded = {one.row.title: one for one in rows}
    runs: dict[Path, dict[str, str]] = {}
    for title, result in found.results.items():
        runs.setdefault(result.run, {})[result.folder] = title
    for run, folders in runs.items():
        if all((run / folder / SHEET_FILE).is_file() for folder in folders):
            continue
        say(f"pictures of {', '.join(folders.values())}")
        try:
            plan = evaluator.plan(found.bench, {folder: loaded[title] for folder, title in folders.items()})
            write_run_report(run, [found.results[title].card for title in folders.values()], plan=plan, device=device)
        except Exception as error:
            say(f"no pictures of {run.name}: {why(error)}")


def _write(folder: Path, config: CompareConfig, tables: Sequence[Table], found: Sequence[Found]) -> None:
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "library_version": __version__,
        "task": config.task,
        "segmenter": _identity(config.segmenter),
        "seed": config.seed,
        "reference": config.reference,
        "benchmarks": [table.as_dict() for table in tables],
    }
    write_json(folder / JSON_FILE, plain(content))
    write_text(folder / TABLE_FILE, table_csv(tables))
    picture = cost_picture(tables)
    if picture is not None:
        write_bytes(folder / PICTURE_FILE, picture)
    heading = f"Comparison: {', '.join(table.title for table in tables)}"
    write_text(folder / TEXT_FILE, document(tables, heading, PICTURE_FILE if picture is not None else None))
    sheets = {
        one.bench.title: {
            row.title: path
            for row in config.rows
            if row.kind != "control" and row.title in one.results
            for result in [one.results[row.title]]
            if (path := sheet_of(result.run / result.folder)) is not None
        }
        for one in found
    }
    write_text(folder / PAGE_FILE, comparison_page(heading, tables, picture, sheets))


def _identity(text: str) -> Any:
    with suppress(Exception):
        return {"text": text, **load_segmenter(text).identity()}
    return {"text": text}


def _code(found: Sequence[Found], unusable: Mapping[str, str]) -> int:
    done = [result.card for one in found for result in one.results.values() if result.card.get("frames")]
    if not done:
        return EXIT_ERROR
    lost = unusable or any(one.failed for one in found) or any(card.get("skipped") for card in done)
    return EXIT_PARTIAL if lost else EXIT_OK
