"""Claims N1 to N4 and R1 to R5 of noisy negatives and synthetic outliers: docs/claims-outliers.md.

    python benchmarks/claims/outliers.py --work runs/outliers [--border runs/claims-border]
        [--cifar10 runs/claims-cifar10] [--doc docs/claims-outliers.md]

WORK is the folder of benchmarks/outliers.py, whose ``figures`` were collected; the others are those of
benchmarks/claims/border.py and benchmarks/claims/cifar10.py. What is missing is said to be undecided.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from claim_record import of_answer, of_part, write_record
from outliers_answers import exact, published
from outliers_page import page
from outliers_verdicts import cifar_studies, n1, n2, r1, r2, r4, sample_studies

from anomseg.errors import AnomsegError
from anomseg.files import read_json, write_text

FIGURES_FILE = "figures.json"
TOO_FEW = ("road_anomaly_21",)
"""Benchmarks that decide nothing: ten frames."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Read, answer, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/outliers"), help="folder of benchmarks/outliers.py")
    parser.add_argument("--border", type=Path, default=Path("runs/claims-border"), help="folder of border.py, for R2")
    parser.add_argument(
        "--cifar10", type=Path, default=Path("runs/claims-cifar10"), help="folder of cifar10.py, for R4"
    )
    parser.add_argument("--doc", type=Path, default=Path("docs/claims-outliers.md"), help="the document")
    options = parser.parse_args(arguments)
    try:
        figures = read_json(options.work / FIGURES_FILE)
        kept = [one for one in figures["studies"] if one["bench"] not in TOO_FEW]
        studies = [{**one, "benchmark": one["bench"]} for one in kept]
        border = {path.stem: read_json(path) for path in sorted(options.border.glob("*.json"))}
        file = options.cifar10 / FIGURES_FILE
        cifar = read_json(file) if file.is_file() else None
        parts = [*n1(studies), *n2(studies), *r1(studies), *r2(border), *r4(cifar)]
        answers = [*exact(), *published()]
        write_text(options.doc, page({**figures, "studies": kept}, parts, answers, border, cifar))
        measured = [*studies, *sample_studies(border), *cifar_studies(cifar)]
        write_record(options.doc, [*(of_part(one, measured) for one in parts), *map(of_answer, answers)])
    except AnomsegError as error:
        raise SystemExit(str(error)) from error
    for one in (*parts, *answers):
        sys.stdout.write(f"{one.claim} {one.says}: {one.word}\n")
    sys.stdout.write(f"written to {options.doc}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
