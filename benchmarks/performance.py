"""Time and memory against what a user would pick instead: docs/performance.md.

    python benchmarks/performance.py [--data ROADANOMALY] [--segmenter bundled] [--cards RUNS] [--only NAME ...]

Every measurement runs in a process of its own, one after another, and is kept in ``--work``: a stopped command goes
on, ``--only NAME`` measures again. Ratios are of one run on one machine. pytorch-ood is measured where it is installed
(``pip install pytorch-ood torchvision``). ``--cards`` is a folder of finished ``anomseg evaluate`` runs, whose
detectors are shown in one picture.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from performance_measures import MEASURES, Settings, system
from performance_page import page, picture

from anomseg.files import read_json, write_json, write_text

RESULT = "result: "
PICTURE = "pictures/ap_against_time.png"


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of RoadAnomaly, for evaluate and its memory")
    parser.add_argument("--segmenter", default="bundled", help="network of those")
    parser.add_argument("--frames", type=int, default=10, help="frames of RoadAnomaly that evaluate is timed on")
    parser.add_argument("--cards", type=Path, help="folder of finished runs of 'anomseg evaluate', for the picture")
    parser.add_argument("--work", type=Path, default=Path("runs/performance"), help="where measurements are kept")
    parser.add_argument("--doc", type=Path, default=Path("docs/performance.md"), help="the document")
    parser.add_argument("--only", action="append", default=[], choices=list(MEASURES), help="measure this again")
    parser.add_argument("--measure", choices=list(MEASURES), help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing, and write the document."""
    options = parsed(arguments)
    settings = Settings(options.data, options.segmenter, options.frames)
    if options.measure:
        sys.stdout.write(f"{RESULT}{json.dumps({**MEASURES[options.measure](settings), 'system': system()})}\n")
        return 0
    failed = []
    for name in options.only or MEASURES:
        target = options.work / f"{name}.json"
        if target.is_file() and not options.only:
            continue
        sys.stdout.write(f"{name} ...\n")
        sys.stdout.flush()
        found = measured(name, options)
        if found is None:
            failed.append(name)
        elif "missing" in found:
            sys.stdout.write(f"{name}: {found['missing']}\n")
        else:
            write_json(target, found)
    results = {name: read_json(path) for name in MEASURES if (path := options.work / f"{name}.json").is_file()}
    drawn = bool(options.cards) and picture(options.cards, options.doc.parent / PICTURE)
    write_text(options.doc, page(results, PICTURE if drawn or (options.doc.parent / PICTURE).is_file() else None))
    sys.stdout.write(f"written to {options.doc}\n")
    if failed:
        sys.stdout.write(f"not measured: {', '.join(failed)}\n")
    return 1 if failed else 0


def measured(name: str, options: argparse.Namespace) -> dict[str, object] | None:
    """One measurement in a fresh process; None where that failed, whose errors are printed."""
    words = [sys.executable, __file__, "--measure", name, "--segmenter", options.segmenter]
    words += ["--frames", str(options.frames), *(("--data", str(options.data)) if options.data else ())]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    told = [line for line in done.stdout.splitlines() if line.startswith(RESULT)]
    if done.returncode or not told:
        return None
    found: dict[str, object] = json.loads(told[-1].removeprefix(RESULT))
    return found


if __name__ == "__main__":
    raise SystemExit(main())
