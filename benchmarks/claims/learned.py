"""Claims G1 to G5, D1 to D5 and P1 to P4 of PGAN, DiCNet and PAnS, from finished runs: docs/claims-learned.md.

    python benchmarks/claims/learned.py --work runs/learned [--dicnet runs/claims-dicnet] [--doc docs/claims-learned.md]

WORK is the folder of benchmarks/learned.py, whose ``figures`` were collected; verdicts on G1 and G2 are taken from
claims-pgan.md beside the document. What is missing is said to be undecided.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from claim_record import of_answer, of_part, write_record
from learned_answers import d3, elsewhere, exact, published, rivals
from learned_hosts import headless, hosts
from learned_page import page
from learned_verdicts import d1, d2, g4, p1

from anomseg.errors import AnomsegError
from anomseg.files import read_json, write_text

FIGURES_FILE = "figures.json"
TOO_FEW = ("road_anomaly_21",)
"""Benchmarks that decide nothing: ten frames."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Read, answer, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/learned"), help="folder of benchmarks/learned.py")
    dicnet = "work folder of benchmarks/claims/dicnet.py, for D3"
    parser.add_argument("--dicnet", type=Path, default=Path("runs/claims-dicnet"), help=dicnet)
    parser.add_argument("--doc", type=Path, default=Path("docs/claims-learned.md"), help="the document")
    options = parser.parse_args(arguments)
    try:
        figures = read_json(options.work / FIGURES_FILE)
        studies = [one for one in figures["studies"] if one["benchmark"] not in TOO_FEW]
        parts = [*g4(studies), *d1(studies), *d2(studies), *p1(studies)]
        of_classes = {path.stem: read_json(path) for path in sorted(options.dicnet.glob("*.json"))}
        answers = [*elsewhere(options.doc.parent), *d3(of_classes), *exact(hosts(), headless())]
        answers += [*rivals(figures), *published()]
        write_text(options.doc, page({**figures, "studies": studies}, parts, answers))
        write_record(options.doc, [*(of_part(one, studies) for one in parts), *map(of_answer, answers)])
    except AnomsegError as error:
        raise SystemExit(str(error)) from error
    for one in (*parts, *answers):
        sys.stdout.write(f"{one.claim} {one.says}: {one.word}\n")
    sys.stdout.write(f"written to {options.doc}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
