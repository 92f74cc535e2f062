"""Train and measure PAnS, PGAN and DiCNet beside what post-hoc scores make of the same networks.

    python benchmarks/learned.py train --data DATA --weights ERFNET [--hosts DIR] [--work runs/learned]
    python benchmarks/learned.py evaluate --data DATA --weights ERFNET [--hosts DIR] [--work runs/learned]
    python benchmarks/learned.py clean|costs|figures --data DATA --weights ERFNET [--hosts DIR] [--work runs/learned]

DATA holds anomaly/RoadAnomaly, anomaly/RoadAnomaly21, camvid and idd_lite; ERFNET is an ERFNet checkpoint trained on
Cityscapes. Each step is an ``anomseg`` command that is printed and can be run by hand. Finished steps are skipped, so
the command goes on where it was stopped; started twice, two processes share the work. ``--dry`` prints the steps.
``clean`` counts false alarms on frames without anomalies and ``costs`` what each detector costs, once the networks of
all CamVid classes are evaluated; ``figures`` collects what is finished for docs/results.md and docs/claims-learned.md.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections.abc import Sequence
from pathlib import Path

from learned_plan import Step, evaluations, trainings
from learned_sets import SETS, UNTRAINED, Paths
from learned_steps import run_all, shown
from learned_variants import make_variants

from anomseg.files import write_json


def chosen(steps: Sequence[Step], only: Sequence[str]) -> list[Step]:
    """Steps whose name, or whose part before the slash, fits one of some patterns; all without patterns."""
    if not only:
        return list(steps)
    return [
        step
        for step in steps
        if any(fnmatch.fnmatch(name, one) for one in only for name in (step.name, step.name.partition("/")[0]))
    ]


def measured(what: str, paths: Paths) -> int:
    """Measure or collect something out of finished runs."""
    import learned_clean  # noqa: PLC0415 - these load networks, and printing the plan needs none
    import learned_costs  # noqa: PLC0415
    import learned_figures  # noqa: PLC0415

    if what == "figures":
        write_json(paths.work / learned_figures.FIGURES_FILE, learned_figures.collect(paths))
        sys.stdout.write(f"written to {paths.work / learned_figures.FIGURES_FILE}\n")
    else:
        (learned_clean if what == "clean" else learned_costs).measure(paths)
    return 0


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "evaluate", "clean", "costs", "figures"), help="what to do")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--weights", type=Path, required=True, help="an ERFNet checkpoint trained on Cityscapes")
    parser.add_argument("--work", type=Path, default=Path("runs/learned"), help="where everything is kept")
    parser.add_argument("--hosts", type=Path, default=None, help="folder of host networks that are trained already")
    only = "steps or sets such as no-bicyclist-0, no-fence-0/pgan or '*/pans'; may repeat"
    parser.add_argument("--only", action="append", default=[], help=only)
    parser.add_argument("--untrained", action="store_true", help="of the trainings only those without optimiser steps")
    parser.add_argument("--dry", action="store_true", help="print the commands of what is left, and run nothing")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run or print the steps."""
    options = parsed(arguments)
    paths = Paths(options.data, options.weights, options.work, options.hosts)
    if options.what in ("clean", "costs", "figures"):
        return measured(options.what, paths)

    def plan() -> list[Step]:
        steps = chosen(trainings(paths) if options.what == "train" else evaluations(paths), options.only)
        return [step for step in steps if not options.untrained or step.name.endswith(f"-{UNTRAINED}")]

    if options.dry:
        for step in plan():
            if not step.finished:
                sys.stdout.write(f"# {step.name}\n{shown(step)}\n")
        return 0
    from anomseg.cli.main import run  # noqa: PLC0415 - heavy, and printing needs none of it

    if options.what == "evaluate":
        wanted = {step.name.partition("/")[0] for step in plan()}
        for one in SETS:
            for seed in one.seeds:
                if f"{one.key}-{seed}" in wanted:
                    make_variants(one, seed, paths)
    failed = run_all(plan, options.work / "locks", run)
    if failed:
        sys.stdout.write(f"not done: {', '.join(failed)}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
