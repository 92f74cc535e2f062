"""Failure detection in generated CT phantoms: SynthCP against direct prediction and a shape model, three seeds.

    python benchmarks/claims/phantoms.py [--work runs/phantoms] [--seeds 0 1 2] [--count 200] [--deep] [--dry]

For each seed, generator and comparator, the same comparator without a rendering, and an autoencoder of shapes are
trained on phantoms of their own; then all are evaluated on the same test phantoms. ``--deep`` adds the variant in three
dimensions. Finished trainings and evaluations are skipped. Every training takes some minutes on one thread. The page is
docs/claims-phantoms.md, with the record of claim S3 beside it. Figures of the real slices, if
benchmarks/pancreas_slices.py has left them in the same folder, stand on it too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from claim_record import Entry, write_record
from phantoms_page import CLAIM, phantom_page, summarise

from anomseg.data.volumes import load_cases
from anomseg.detectors.synthcp.volumes import load_volume_detector
from anomseg.errors import AnomsegError
from anomseg.evaluation.volumes import evaluate_cases
from anomseg.files import read_json, write_json, write_text
from anomseg.training import train

DOC = Path(__file__).parents[2] / "docs" / "claims-phantoms.md"
SYSTEMS = {"synthcp": "phantom-synthcp", "direct": "phantom-direct", "shape": "phantom-shape"}
"""Name of each system in the results, and the recipe that trains it."""
DEEP = {"synthcp_3d": "phantom-synthcp-3d"}
FIGURES, SLICES = "figures.json", "slices.json"


def measure(work: Path, seeds: Sequence[int], count: int, systems: Mapping[str, str]) -> list[dict[str, Any]]:
    """Train and evaluate whatever is not done yet.

    Args:
        work: Folder of the runs: ``seed-<n>/<system>`` and ``seed-<n>/results``.
        seeds: Of the trainings.
        count: Test phantoms.
        systems: Recipe of each system.

    Returns:
        The cards of each seed, ``{"seed": n, "cards": [...]}``.
    """
    benchmark = f"phantoms:count={count}"
    cases = load_cases(benchmark)
    found = []
    for seed in seeds:
        folder = work / f"seed-{seed}"
        for system, recipe in systems.items():
            train(recipe, folder / system, {"seed": seed}, quiet=True)
        detectors = {system: load_volume_detector(folder / system) for system in systems}
        cards = evaluate_cases(cases, detectors, folder / f"results-{count}", benchmark=benchmark)
        found.append({"seed": seed, "cards": cards})
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/phantoms"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--deep", action="store_true", help="also in three dimensions")
    parser.add_argument("--dry", action="store_true", help="only write the page, of what is there")
    parser.add_argument("--doc", type=Path, default=DOC)
    options = parser.parse_args(arguments)
    systems = {**SYSTEMS, **(DEEP if options.deep else {})}
    path = options.work / FIGURES
    try:
        if not options.dry:
            write_json(path, measure(options.work, options.seeds, options.count, systems))
        runs = read_json(path)
    except AnomsegError as error:
        sys.stderr.write(f"phantoms: {error}\n")
        return error.exit_code
    slices = options.work / SLICES
    summary = summarise(runs)
    write_text(options.doc, phantom_page(runs, summary, read_json(slices) if slices.is_file() else None))
    entry = Entry(
        "S3",
        CLAIM,
        "not tested here",
        f"MSD cannot be had here; on {summary['cases']} generated phantoms, which show the plumbing only, the mean "
        f"Pearson correlation over {len(summary['seeds'])} seeds is {summary['pearson']['synthcp']:.3f}, and "
        f"{summary['pearson']['direct']:.3f} without the rendering",
        frames={"phantoms": summary["cases"]},
        seeds=tuple(summary["seeds"]),
    )
    write_record(options.doc, [entry])
    return 0


if __name__ == "__main__":
    sys.exit(main())
