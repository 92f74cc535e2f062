"""Ablations and learning curve of the PGAN-style reconstruction (claims G1, G2), by one command: docs/claims-pgan.md.

    python benchmarks/claims/pgan.py --data DATA --host HOST [--held-out bicyclist] [--steps 120] [--seeds 0 1 2]
        [--work runs/claims-pgan] [--cache DIR] [--doc docs/claims-pgan.md] [--only PATTERN] [--page] [--dry]

DATA holds camvid; HOST is a saved network that was not taught the class held out. Each step is an ``anomseg`` command;
finished ones are skipped, so the command goes on where it was stopped, and started twice, two processes share the
trainings. ``--page`` writes the page again without running anything.
"""

from __future__ import annotations

import argparse
import fnmatch
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from claim_record import write_record
from learned_plan import Step
from learned_states import difference, in_blocks, intervals_of, load_states, pooled
from learned_steps import run_all, shown
from pgan_page import entries, page, pairs
from pgan_plan import Setup, all_steps

from anomseg.errors import AnomsegError, ConfigError
from anomseg.files import read_json, write_text
from anomseg.metrics import PerImage

Json = dict[str, Any]


def collect(setup: Setup) -> Json:
    """Figures of every finished version, their differences, and what the host alone gives.

    Raises:
        ConfigError: The evaluation is not finished.
    """
    run = setup.run()
    if not (run / "report.html").is_file():
        raise ConfigError(f"{run} holds no finished evaluation yet; run the command without --page")
    rows: Json = {}
    states: dict[str, PerImage] = {}
    host: Json = {"rows": {}}
    for path in sorted(run.glob("*/metrics.json")):
        card, name = read_json(path), path.parent.name
        states[name] = in_blocks(load_states(path.parent)[0])
        own = card.get("own_segmentation") or {}
        figures = {
            **pooled(states[name]),
            **intervals_of(states[name]),
            "closed_miou": own.get("closed_miou"),
            "open_miou": (own.get("at_tpr95") or {}).get("miou"),
        }
        (rows if own else host["rows"])[name] = figures
        host |= {"frames": figures["frames"], "prevalence": figures["prevalence"], "miou": card["segmentation"]["miou"]}
    ap = {
        f"{first} - {second}": difference(states[first], states[second])["ap"]
        for first, second in pairs(setup)
        if first in states and second in states
    }
    told = {name: read_json(setup.work / "trained" / name / "detector.json")["fitted_on"]["training"] for name in rows}
    return {
        "rows": rows,
        "less": ap,
        "host": host,
        "annotated": {name: one["annotated_images"] for name, one in told.items()},
        "absent": {name: one["absent"] for name, one in told.items()},
    }


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds camvid")
    parser.add_argument("--host", type=Path, required=True, help="a saved network that was not taught the class")
    parser.add_argument("--held-out", default="bicyclist", help="the class that is the anomaly")
    parser.add_argument("--steps", type=int, default=120, help="optimiser steps of each version")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the learning curve; ablations: the first")
    parser.add_argument("--versions", nargs="+", default=["*"], help="patterns of the versions to measure")
    parser.add_argument("--work", type=Path, default=Path("runs/claims-pgan"), help="where everything is kept")
    parser.add_argument(
        "--cache", type=Path, default=None, help="feature cache to share; below the work folder if none"
    )
    parser.add_argument("--doc", type=Path, default=Path("docs/claims-pgan.md"), help="the document")
    parser.add_argument("--only", action="append", default=[], help="steps such as evaluate or 'train/level-*'")
    parser.add_argument("--page", action="store_true", help="write the document and run nothing")
    parser.add_argument("--dry", action="store_true", help="print the commands of what is left, and run nothing")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is left, then write the page."""
    options = parsed(arguments)
    cache = options.cache or options.work / "features"
    seeds, versions = tuple(options.seeds), tuple(options.versions)
    setup = Setup(options.data, options.host, options.held_out, options.work, cache, options.steps, seeds, versions)

    def plan() -> list[Step]:
        return [
            step
            for step in all_steps(setup)
            if not options.only or any(fnmatch.fnmatch(step.name, one) for one in options.only)
        ]

    if options.dry:
        for step in plan():
            if not step.finished:
                sys.stdout.write(f"# {step.name}\n{shown(step)}\n")
        return 0
    failed: list[str] = []
    if not options.page:
        from anomseg.cli.main import run  # noqa: PLC0415 - heavy, and printing needs none of it

        failed = run_all(plan, options.work / "locks", run)
        if failed:
            sys.stdout.write(f"not done: {', '.join(failed)}\n")
    try:
        command = f"python benchmarks/claims/pgan.py --data DATA --host {options.host} --held-out {options.held_out}"
        command += f" --steps {options.steps} --seeds {' '.join(map(str, options.seeds))}"
        if versions != ("*",):
            command += f" --versions {shlex.join(versions)}"
        figures = collect(setup)
        write_text(options.doc, page(setup, figures, command))
        write_record(options.doc, entries(setup, figures))
    except AnomsegError as error:
        sys.stdout.write(f"{error}\n")
        return 1
    sys.stdout.write(f"written to {options.doc}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
