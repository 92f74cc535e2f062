"""Claim R4: CIFAR-10 with held-out classes, the same classifier with and without synthetic outliers.

    python benchmarks/claims/cifar10.py --root CIFAR10 [--work runs/claims-cifar10] [--rotations 0 3 6] [--dry]

CIFAR10 is the folder of the data set (train/<class> and test/<class>, or the official binary files). Six classes are
taught and four held out, which a rotation moves on. A flow and a classifier are trained first; then the classifier goes
on for the same number of steps without outliers, with those of the flow as it is (detached), and of a flow that learns
with it (joint). Finished steps are skipped. Every training takes some minutes on one thread.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cifar10_figures import collect

from anomseg.cli.main import run
from anomseg.data.label_space import CIFAR10
from anomseg.errors import AnomsegError
from anomseg.files import write_json
from anomseg.training import load_recipe, train
from anomseg.training.recipe import Recipe

RECIPE = "cifar10-synthetic-outliers"
OUT = 4
STEPS = {"flow": 400, "classifier": 800, "joint": 200}
"""Optimiser steps of the stages: two to five minutes each on one thread."""
TRAININGS: dict[str, dict[str, Any]] = {
    "without": {"weight": 0.0, "detached": True},
    "detached": {"detached": True},
    "joint": {},
}
"""The three ways to go on, as options of the joint stage. Without outliers all else is alike: data, steps, norms."""


@dataclass(frozen=True)
class Rotation:
    """Classes that are held out, and where its results are.

    Attributes:
        first: Index of the first class held out; the next three follow, the first of all after the last.
        work: Folder of all rotations.
        root: Folder of the data.
        seed: Of the trainings.
    """

    first: int
    work: Path
    root: Path
    seed: int = 0

    @property
    def held_out(self) -> tuple[str, ...]:
        """Names of the held-out classes.

        Example:
            >>> Rotation(8, Path("w"), Path("r")).held_out
            ('ship', 'truck', 'airplane', 'automobile')
        """
        return tuple(CIFAR10.names[(self.first + step) % len(CIFAR10)] for step in range(OUT))

    @property
    def folder(self) -> Path:
        """Its results."""
        return self.work / f"rotation-{self.first}"

    @property
    def base(self) -> Path:
        """The training of flow and classifier."""
        return self.folder / "base"

    @property
    def flow(self) -> Path:
        """The flow that likelihood alone has trained."""
        return self.base / "stages" / "flow" / "result"

    def network(self, training: str) -> Path:
        """A trained classifier."""
        return self.folder / training / "networks" / "network"

    def recipe(self) -> Recipe:
        """The recipe with the classes of this rotation and the steps of this study."""
        overrides: dict[str, Any] = {"roots.cifar10": str(self.root), "seed": self.seed}
        for stage, steps in STEPS.items():
            overrides[f"stages.{stage}.data.held_out"] = list(self.held_out)
            overrides[f"stages.{stage}.trainer.steps"] = steps
            overrides[f"stages.{stage}.trainer.validate_every"] = steps
        return load_recipe(RECIPE, overrides)

    def base_recipe(self) -> Recipe:
        """Its first two phases: the flow, the classifier."""
        whole = self.recipe()
        return replace(whole, stages=tuple(one for one in whole.stages if one.name != "joint"))

    def joint_recipe(self, training: str) -> Recipe:
        """Its third phase, one of `TRAININGS`, from the networks of the first two."""
        whole = self.recipe()
        stage = next(one for one in whole.stages if one.name == "joint")
        start = {"start": str(self.base), "flow": str(self.flow)}
        module = {**stage.module, **start, **TRAININGS[training]}
        return replace(whole, stages=(replace(stage, takes=(), module=module),))

    def evaluation(self, training: str) -> list[str]:
        """Arguments of the evaluation of one classifier, and of the flow alone beside the first."""
        words = ["evaluate", "--benchmark", "cifar10", "--root", str(self.root), "--split", "test"]
        words += ["--held-out", ",".join(self.held_out), "--segmenter", str(self.network(training))]
        words += ["--detector", "msp", "--detector", "energy"]
        if training == next(iter(TRAININGS)):
            words += ["--detector", f"flow_likelihood:flow={self.flow};patch=32;stride=32", "--detector", "chance"]
        return [*words, "--no-report", "--quiet", "--out", str(self.run(training))]

    def run(self, training: str) -> Path:
        """Folder of an evaluation."""
        return self.folder / "runs" / training


def steps_of(one: Rotation) -> Iterator[tuple[str, bool]]:
    """Everything that a rotation takes, in order: what it is, and whether it is finished."""
    yield "base", (one.base / "segmenter.json").is_file()
    for training in TRAININGS:
        yield training, (one.folder / training / "detector.json").is_file()
    for training in TRAININGS:
        finished = all((one.run(training) / name / "metrics.json").is_file() for name in ("msp", "energy"))
        yield f"runs/{training}", finished


def do(one: Rotation, step: str) -> None:
    """Do one step.

    Raises:
        AnomsegError: It failed.
    """
    kind, _, training = step.rpartition("/")
    if kind:
        code = run(one.evaluation(training))
        if code:
            raise AnomsegError(f"the evaluation of {training} in {one.folder} ended with {code}")
    elif step == "base":
        train(one.base_recipe(), one.base, quiet=True)
    else:
        train(one.joint_recipe(step), one.folder / step, quiet=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, evaluate, collect."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of CIFAR-10")
    parser.add_argument("--work", type=Path, default=Path("runs/claims-cifar10"), help="where everything is kept")
    first = "indices of the first held-out class; three more follow"
    parser.add_argument("--rotations", type=int, nargs="+", default=[0, 3, 6], help=first)
    parser.add_argument("--seed", type=int, default=0, help="of all trainings")
    parser.add_argument("--dry", action="store_true", help="print what is left, and run nothing")
    options = parser.parse_args(arguments)
    rotations = [Rotation(one, options.work, options.root, options.seed) for one in options.rotations]
    try:
        for one in rotations:
            for step, finished in steps_of(one):
                if not finished:
                    sys.stdout.write(f"rotation {one.first} (without {', '.join(one.held_out)}): {step}\n")
                    sys.stdout.flush()
                    if not options.dry:
                        do(one, step)
        if not options.dry:
            target = options.work / "figures.json"
            found = collect(
                [(one.held_out, one.seed, {name: one.run(name) for name in TRAININGS}) for one in rotations]
            )
            write_json(target, {**found, "steps": STEPS})
            sys.stdout.write(f"written to {target}\n")
    except AnomsegError as error:
        raise SystemExit(str(error)) from error
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
