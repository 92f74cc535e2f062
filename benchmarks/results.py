"""Measure what docs/results.md says, and write it.

    python benchmarks/results.py --data DIR [--weights ERFNET.safetensors] [--work runs/results] [--doc docs/results.md]

DIR holds anomaly/RoadAnomaly, anomaly/RoadAnomaly21 and camvid. Each step is an ``anomseg`` command that is printed
and can be run by hand; finished steps are kept, so that the command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from claims_table import claims_section, read_answers, read_claims, short_table
from compare_page import first_part, standing, write_between
from compare_sources import main_tables
from results_learned import section as learned_section
from results_methods import methods
from results_outliers import section as outliers_section
from results_page import Cards, page
from results_plan import CONTROLS, Run, Suite, suites

from anomseg.cli.main import run
from anomseg.errors import DataError
from anomseg.files import read_json, write_text
from anomseg.registry import SEGMENTERS
from anomseg.segmenters import Segmenter, is_segmenter_directory, save_segmenter
from anomseg.training import load_recipe
from anomseg.training.label_table import TaughtClasses


@dataclass(frozen=True)
class Paths:
    """Where data are read and runs are kept, and on how many frames fits may look."""

    data: Path
    work: Path
    limit: int | None = None


def command(*arguments: str | Path) -> None:
    """Run one command, printed as a user would type it."""
    words = [str(word) for word in arguments]
    sys.stdout.write("$ anomseg " + shlex.join(words) + "\n")
    sys.stdout.flush()
    code = run(words)
    if code:
        raise SystemExit(f"the command above ended with {code}")


def networks(suite: Suite, paths: Paths) -> None:
    """Train what the suite needs, or draw it at random; finished trainings are skipped by the command itself."""
    for folder, words in suite.train.items():
        filled = [word.format(data=paths.data, work=paths.work) for word in words]
        command("train", *filled, "--out", paths.work / "networks" / folder)
    for folder, recipe in suite.random.items():
        if not is_segmenter_directory(paths.work / "networks" / folder):
            save_segmenter(untrained_network(recipe), paths.work / "networks" / folder)


def untrained_network(recipe: str) -> Segmenter:
    """The network of a recipe as it is before any training, its encoder random too."""
    stage = load_recipe(recipe).stages[-1]
    taught = TaughtClasses(stage.data["space"], stage.data.get("held_out", ()))
    torch.manual_seed(0)
    return SEGMENTERS.create(stage.module["network"], classes=taught.names, **stage.module["options"])


def fit(suite: Suite, paths: Paths, segmenter: str) -> list[str]:
    """Directories of the suite's fitted detectors."""
    fitted = []
    for one in suite.fits:
        target = paths.work / "fitted" / suite.key / one.name
        if not (target / "detector.json").is_file():
            limit = ("--limit", str(paths.limit)) if paths.limit else ()
            camvid = f"camvid={paths.data / 'camvid'}@{one.split}"
            words = ("--detector", one.detector, "--segmenter", segmenter, "--data", camvid, "--out", target)
            extra = [word.format(data=paths.data, work=paths.work) for word in one.extra]
            command("fit", *words, *extra, *limit)
        fitted.append(str(target))
    return fitted


def evaluate(suite: Suite, one: Run, paths: Paths, segmenter: str, fitted: list[str]) -> Cards:
    """Evaluate, and read the cards."""
    out = paths.work / suite.key / one.benchmark
    words = ["--benchmark", one.benchmark, "--root", paths.data / one.folder, "--segmenter", segmenter, *one.extra]
    for name in (*one.detectors, *fitted, *CONTROLS) if one.detectors else ():
        words += ["--detector", name.format(data=paths.data, work=paths.work)]
    command("evaluate", *words, "--out", out)
    return read_cards(out)


def read_cards(out: Path) -> Cards:
    """The cards of a finished run, in the order of its detectors."""
    folders = json.loads((out / "run.json").read_text("utf-8"))["folders"]
    found = [out / folder / "metrics.json" for folder in folders] or sorted(out.glob("*/metrics.json"))
    return [json.loads(path.read_text("utf-8")) for path in found if path.is_file()]


def measure(suite: Suite, paths: Paths) -> dict[str, Cards]:
    """All figures of one suite: cards by benchmark."""
    networks(suite, paths)
    segmenter = suite.segmenter.format(data=paths.data, work=paths.work)
    fitted = fit(suite, paths, segmenter)
    return {one.benchmark: evaluate(suite, one, paths, segmenter, fitted) for one in suite.runs}


def found(suite: Suite, paths: Paths) -> dict[str, Cards]:
    """The cards of those runs of a suite that are finished."""
    outs = {one.benchmark: paths.work / suite.key / one.benchmark for one in suite.runs}
    return {name: read_cards(out) for name, out in outs.items() if (out / "run.json").is_file()}


def part(work: Path, section: Callable[[Mapping[str, Any]], list[str]]) -> str:
    """A part out of the figures that another command has collected in its folder; empty where it has not."""
    figures = work / "figures.json"
    return "\n" + "\n".join(section(read_json(figures))).rstrip() + "\n" if figures.is_file() else ""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--weights", type=Path, default=None, help="an ERFNet checkpoint trained on Cityscapes")
    parser.add_argument("--work", type=Path, default=Path("runs/results"), help="where runs are kept")
    parser.add_argument("--learned", type=Path, default=Path("runs/learned"), help="folder of benchmarks/learned.py")
    parser.add_argument("--outliers", type=Path, default=Path("runs/outliers"), help="folder of benchmarks/outliers.py")
    parser.add_argument("--synthcp", type=Path, default=Path("runs/synthcp"), help="folder of SynthCP's evaluations")
    compared = "folder of a finished 'anomseg compare', whose tables the document then begins with"
    parser.add_argument("--compare", type=Path, default=Path("runs/compare"), help=compared)
    parser.add_argument("--readme", type=Path, default=Path("README.md"), help="where the short table goes")
    parser.add_argument("--doc", type=Path, default=Path("docs/results.md"), help="the document")
    parser.add_argument("--limit", type=int, default=None, help="fit on the first frames only")
    parser.add_argument("--only", action="append", help="run these suites only, and write no document")
    parser.add_argument("--page", action="store_true", help="write the document from the runs that are there")
    options = parser.parse_args()
    paths = Paths(options.data, options.work, options.limit)
    known = [*suites(options.weights), *methods(options.weights)]
    chosen = [suite for suite in known if not options.only or suite.key in options.only]
    if options.page:
        measured = [(suite, found(suite, paths)) for suite in chosen]
    else:
        measured = [(suite, measure(suite, paths)) for suite in chosen]
    if options.only:
        return
    arguments = "--data DATA" + (" --weights ERFNET" if options.weights else "")
    folders = {name: getattr(options, name) for name in ("work", "learned", "outliers", "synthcp")}
    try:
        tables, notes = main_tables(folders, options.compare)
        answers = read_answers(options.doc.parent, read_claims())
    except DataError as error:
        raise SystemExit(str(error)) from error
    first = [*first_part(tables, notes), *claims_section(answers)]
    parts = part(options.learned, learned_section) + part(options.outliers, outliers_section)
    write_text(options.doc, page(measured, paths.work, arguments, first) + parts)
    if write_between(options.readme, short_table(answers, standing(tables))):
        sys.stdout.write(f"written to {options.readme}\n")
    sys.stdout.write(f"written to {options.doc}\n")


if __name__ == "__main__":
    main()
