"""Train and measure noisy negatives and synthetic outliers beside the same networks without any outliers.

    python benchmarks/outliers.py train --data DATA --weights ERFNET --hosts DIR [--work runs/outliers]
    python benchmarks/outliers.py evaluate|figures --data DATA --weights ERFNET --hosts DIR [--work runs/outliers]

DATA holds anomaly/RoadAnomaly, anomaly/RoadAnomaly21, camvid, idd_lite and negatives; ERFNET is an ERFNet checkpoint
trained on Cityscapes; DIR the networks camvid-no-bicyclist-0 and so on that benchmarks/results.py and
benchmarks/learned.py train. Each step is an ``anomseg`` command that is printed and can be run by hand. Finished steps
are skipped, so the command goes on where it was stopped; started twice, two processes share the work. ``--dry`` prints
the steps. ``figures`` collects what is finished for docs/results.md and docs/claims-outliers.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from learned import chosen
from learned_plan import Step
from learned_steps import run_all, shown
from outliers_plan import evaluations, pasted_step, trainings
from outliers_sets import Paths

from anomseg.files import write_json


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "evaluate", "figures"), help="what to do")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--weights", type=Path, required=True, help="an ERFNet checkpoint trained on Cityscapes")
    parser.add_argument("--hosts", type=Path, required=True, help="folder of networks trained without outliers")
    parser.add_argument("--work", type=Path, default=Path("runs/outliers"), help="where everything is kept")
    only = "steps or sets such as no-bicyclist-0, camvid-0/negatives or '*/synthetic'; may repeat"
    parser.add_argument("--only", action="append", default=[], help=only)
    parser.add_argument("--dry", action="store_true", help="print the commands of what is left, and run nothing")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run or print the steps, or collect their figures."""
    options = parsed(arguments)
    paths = Paths(options.data, options.weights, options.work, options.hosts)

    if options.what == "figures":
        import outliers_figures  # noqa: PLC0415 - heavy, and printing the plan needs none of it

        target = paths.work / outliers_figures.FIGURES_FILE
        write_json(target, outliers_figures.collect(paths))
        sys.stdout.write(f"written to {target}\n")
        return 0

    def plan() -> list[Step]:
        steps = trainings(paths) if options.what == "train" else [pasted_step(paths), *evaluations(paths)]
        return chosen(steps, options.only)

    if options.dry:
        for step in plan():
            if not step.finished:
                sys.stdout.write(f"# {step.name}\n{shown(step)}\n")
        return 0
    from anomseg.cli.main import run  # noqa: PLC0415 - heavy, and printing needs none of it

    failed = run_all(plan, options.work / "locks", run)
    if failed:
        sys.stdout.write(f"not done: {', '.join(failed)}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
