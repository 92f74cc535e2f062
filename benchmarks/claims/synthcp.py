"""Claims S1 and S2 of SynthCP, and P2 and P3 of PAnS against it: docs/claims-synthcp.md.

    python benchmarks/claims/synthcp.py --data DATA --segmenter NETWORK --synthcp DIR --pans DIR [--runs DIR ...]
        [--work runs/claims-synthcp] [--doc docs/claims-synthcp.md] [--page]

DATA holds camvid, idd_lite and anomaly/RoadAnomaly21; NETWORK is the network that the saved detector ``--synthcp``
scores, and ``--pans`` a saved PAnS. ``--runs`` are folders of finished evaluations, of both tasks: S2 is decided on
those of failure detection, against the baselines evaluated beside synthcp. What is measured is kept in WORK and not
measured again; ``--page`` measures nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from claim_record import write_record
from synthcp_failures import failures
from synthcp_page import page
from synthcp_verdicts import entries, evaluated, parts

from anomseg.errors import AnomsegError
from anomseg.files import read_json, write_text

MEASURED = ("tasks", "costs", "clean")
"""What is measured, a file each."""


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--segmenter", help="the network that synthcp scores")
    parser.add_argument("--synthcp", help="a saved detector, with generator and comparator")
    parser.add_argument("--pans", help="a saved detector of PAnS")
    parser.add_argument("--runs", type=Path, nargs="*", default=[], help="folders of finished evaluations")
    parser.add_argument("--work", type=Path, default=Path("runs/claims-synthcp"), help="where figures are kept")
    parser.add_argument("--doc", type=Path, default=Path("docs/claims-synthcp.md"), help="the document")
    parser.add_argument("--page", action="store_true", help="write the document of what was measured before")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, answer, write."""
    options = parsed(arguments)
    try:
        if not options.page:
            measure(options)
        files = {name: options.work / f"{name}.json" for name in MEASURED}
        figures = {name: read_json(path) for name, path in files.items() if path.is_file()}
        runs, compared = evaluated(options.runs), failures(options.runs)
        answers = parts(figures, runs, compared)
        write_text(options.doc, page(figures, answers, runs, compared))
        write_record(options.doc, entries(answers, figures, compared))
    except AnomsegError as error:
        raise SystemExit(str(error)) from error
    for one in answers:
        sys.stdout.write(f"{one.claim} {one.says}: {one.word}\n")
    sys.stdout.write(f"written to {options.doc}\n")
    return 0


def measure(options: argparse.Namespace) -> None:
    """Measure what is not there yet."""
    from synthcp_measure import Rivals, clean, costs, tasks  # noqa: PLC0415 - heavy, and the page needs none of it

    missing = [name for name in ("data", "segmenter", "synthcp", "pans") if getattr(options, name) is None]
    if missing:
        raise SystemExit(f"give --{missing[0]}, or --page to measure nothing")
    rivals = Rivals(options.data, options.segmenter, options.synthcp, options.pans)
    for name, make in zip(MEASURED, (tasks, costs, clean), strict=True):
        target = options.work / f"{name}.json"
        if not target.is_file():
            make(rivals, target)
            sys.stdout.write(f"{name} measured\n")


if __name__ == "__main__":
    raise SystemExit(main())
