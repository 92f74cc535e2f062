"""Steps that train and evaluate PAnS, PGAN and DiCNet, each one command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from learned_sets import (
    ADDED,
    CLOSED,
    FITS,
    FITTED_VARIANTS,
    KEPT,
    LATER,
    LOGITS,
    METHODS,
    OF_NETWORKS,
    OTHER,
    PLACED,
    SETS,
    TRAINED,
    UNTRAINED,
    VARIANTS,
    Bench,
    Method,
    Paths,
    TrainingSet,
    own_network,
)
from results_plan import CONTROLS

from anomseg.files import read_json


@dataclass(frozen=True)
class Step:
    """One ``anomseg`` command.

    Attributes:
        name: What ``--only`` asks for.
        words: Its arguments.
        out: Its result directory.
        result: The file that is there once it is finished, below ``out``.
        needs: Results of other steps that must be there before, as files.
        cache: Name of a cache that it may fill; no two such steps run at once.
    """

    name: str
    words: tuple[str, ...]
    out: Path
    result: str
    needs: tuple[Path, ...] = ()
    cache: str | None = None

    @property
    def finished(self) -> bool:
        """Whether its result is there; of an evaluation, whether all of its cards are."""
        path = self.out / self.result
        if self.result != RUN or not path.is_file():
            return path.is_file()
        run = read_json(path)["run"]
        return all((self.out / name / "metrics.json").is_file() for name in run["detectors"] or ("segmentation",))

    @property
    def ready(self) -> bool:
        """Whether everything that it needs is there."""
        return all(path.is_file() for path in self.needs)


def trainings(paths: Paths, *, untrained: bool = True) -> list[Step]:
    """All trainings, the most telling first: seed 0 of each set with its untrained versions, then the other seeds."""
    steps: list[Step] = []
    for seed in sorted({seed for one in SETS for seed in one.seeds}):
        for one in SETS:
            if seed not in one.seeds:
                continue
            steps.append(host_step(one, seed, paths))
            steps += [method_step(method, one, seed, paths) for method in TRAINED]
            if untrained and seed == one.seeds[0]:
                steps += [method_step(method, one, seed, paths, untrained=True) for method in TRAINED]
    return steps


def host_step(one: TrainingSet, seed: int, paths: Paths) -> Step:
    """The training of a host network."""
    out = paths.host(one, seed)
    start = ("--stages.segmenter.module.encoder_start", str(paths.weights))
    words = (*one.host_recipe, "--roots.camvid", str(paths.data / "camvid"), *start, "--seed", str(seed))
    return Step(f"{one.key}-{seed}/host", ("train", *words, "--out", str(out), "--quiet"), out, "segmenter.json")


def method_step(method: Method, one: TrainingSet, seed: int, paths: Paths, *, untrained: bool = False) -> Step:
    """The training of a method, or its pipeline without any optimiser step."""
    name = f"{method.name}-{UNTRAINED}" if untrained else method.name
    out, host = paths.method(one, seed, name), paths.host(one, seed)
    start = ("module.start", str(host)) if method.attached else ("module.encoder_start", str(paths.weights))
    words = [
        *("train", method.recipe, "--roots.camvid", str(paths.data / "camvid"), "--seed", str(seed)),
        *(f"--stages.features.{start[0]}", start[1]),
        *("--stages.features.data.held_out", one.taught),
        # All networks have the same encoder, whose maps are all that is kept: one set of crops serves all of them.
        *("--stages.features.data.seed", "0", "--stages.features.module.images", "true"),
        *("--stages.features.module.cache", str(paths.work / "features")),
    ]
    if method.attached:
        words += [f"--stages.{method.stage}.module.attached", "true"]
    if untrained:
        words += [f"--stages.{method.stage}.trainer.steps", "0"]
    needs = (host / "segmenter.json",) if method.attached else ()
    words += ["--out", str(out), "--quiet"]
    return Step(f"{one.key}-{seed}/{name}", tuple(words), out, "detector.json", needs, one.key)


def evaluations(paths: Paths) -> list[Step]:
    """All fits and evaluations, in the order of the trainings."""
    steps: list[Step] = []
    for seed in sorted({seed for one in SETS for seed in one.seeds}):
        for one in SETS:
            if seed in one.seeds:
                steps += fit_steps(one, seed, paths)
                steps += [step for bench in one.benches for step in run_steps(bench, one, seed, paths)]
                if not one.held_out:
                    steps += closed_steps(one, seed, paths)
    return steps


def fits_of(one: TrainingSet, seed: int) -> dict[str, str]:
    """What is fitted beside a seed: nothing but for the first, since all seeds share the encoder that is read."""
    return FITS if seed == one.seeds[0] else {}


def fit_steps(one: TrainingSet, seed: int, paths: Paths) -> Iterator[Step]:
    """What is fitted on the host's own training images."""
    host, data = paths.host(one, seed), f"camvid={paths.data / 'camvid'}@train"
    extra = ("--held-out", ",".join(one.held_out)) if one.held_out else ()
    for name, detector in fits_of(one, seed).items():
        out = paths.fitted(one, seed, name)
        words = ("fit", "--detector", detector, "--segmenter", str(host), "--data", data, *extra)
        full = (*words, "--out", str(out), "--quiet")
        yield Step(f"{one.key}-{seed}/{name}", full, out, "detector.json", (host / "segmenter.json",))


def run_steps(bench: Bench, one: TrainingSet, seed: int, paths: Paths) -> Iterator[Step]:
    """All detectors that share the host's pass, those of PAnS' own network, and variants of trained ones.

    What does not depend on the seed, the untrained versions and the variants are evaluated with the first one only.
    """
    first = seed == one.seeds[0]
    versions = ("", f"-{UNTRAINED}") if first else ("",)
    controls = CONTROLS if first else OF_NETWORKS
    trained = {
        attached: [
            paths.method(one, seed, f"{method.name}{version}")
            for version in versions
            for method in METHODS
            if method.attached is attached
        ]
        for attached in (True, False)
    }
    fitted = [paths.fitted(one, seed, name) for name in fits_of(one, seed)]
    host, own = paths.host(one, seed), own_network(paths.method(one, seed, "pans"))
    others = [paths.method(one, seed, f"{name}{version}") for name in VARIANTS for version in versions] if first else []
    added = [paths.method(one, seed, f"{method.name}{version}") for version in versions for method in ADDED]
    placed = [paths.method(one, seed, f"{name}{version}") for name in FITTED_VARIANTS for version in versions]
    runs: list[tuple[str, Path, list[Path], tuple[str, ...]]] = [
        ("host", host, [*fitted, *trained[True]], (*LOGITS, *controls)),
        (KEPT, own, trained[False], LOGITS),
        *([(OTHER, host, others, ())] if others else []),
        (LATER, host, added, ()),
        (PLACED, host, placed, ()),
    ]
    for network, segmenter, saved, plain in runs:
        out = paths.run(one, seed, bench.name, network)
        words = evaluate_words(bench, paths, segmenter, [*map(str, saved), *plain])
        needs = (segmenter / "segmenter.json", *(folder / "detector.json" for folder in saved))
        yield Step(f"{one.key}-{seed}/{bench.name}-{network}", (*words, "--out", str(out)), out, RUN, needs)


RUN = "run.json"
"""What ``anomseg evaluate`` writes first; it names the cards that it is going to write."""


def evaluate_words(bench: Bench, paths: Paths, segmenter: Path, detectors: Sequence[str]) -> tuple[str, ...]:
    """Arguments of an evaluation, less where it goes."""
    words = ["evaluate", "--benchmark", bench.name, "--root", str(paths.data / bench.folder), *bench.extra]
    for name in detectors:
        words += ["--detector", name]
    return (*words, "--segmenter", str(segmenter), "--no-report", "--quiet")


def closed_steps(one: TrainingSet, seed: int, paths: Paths) -> Iterator[Step]:
    """Closed-set figures of the networks that are judged on sets without class labels."""
    networks = {"host": paths.host(one, seed), KEPT: own_network(paths.method(one, seed, "pans"))}
    for name, folder in networks.items():
        out = paths.run(one, seed, "closed", name)
        words = (*evaluate_words(CLOSED, paths, folder, ()), "--out", str(out))
        yield Step(f"{one.key}-{seed}/closed-{name}", words, out, RUN, (folder / "segmenter.json",))
