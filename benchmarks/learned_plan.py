"""What is trained and evaluated of PAnS, PGAN and DiCNet: sets, seeds, steps and the commands that do them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from results_plan import CONTROLS

from anomseg.files import read_json

UNTRAINED = "untrained"
KEPT = "pans-network"
"""Folder of the runs whose shared pass is that of PAnS' own network."""


@dataclass(frozen=True)
class Bench:
    """One benchmark that a set is judged on.

    Attributes:
        name: Registered name.
        folder: Its data, below the data folder.
        extra: Further arguments of ``anomseg evaluate``.
    """

    name: str
    folder: str
    extra: tuple[str, ...] = ()


ROAD = (Bench("road_anomaly", "anomaly/RoadAnomaly"), Bench("road_anomaly_21", "anomaly/RoadAnomaly21"))
CLOSED = Bench("camvid", "camvid", ("--split", "test"))
"""CamVid test with all its classes: no anomalies, closed-set figures of the network alone."""


@dataclass(frozen=True)
class TrainingSet:
    """Training images with one class left out, or with none.

    Attributes:
        key: Its name here.
        title: Heading of its tables.
        held_out: Classes that are not taught; images that show them are dropped.
        host: Name of the host network's folder, less the seed.
        host_recipe: Recipe of the host network, with its overrides.
        benches: What it is judged on.
        seeds: Seeds of everything trained on it.
    """

    key: str
    title: str
    held_out: tuple[str, ...]
    host: str
    host_recipe: tuple[str, ...]
    benches: tuple[Bench, ...]
    seeds: tuple[int, ...] = (0, 1, 2)

    @property
    def taught(self) -> str:
        """The held-out classes as an override of a recipe."""
        return f"[{', '.join(self.held_out)}]"


def _held_out(name: str, recipe: tuple[str, ...]) -> TrainingSet:
    bench = Bench("camvid", "camvid", ("--split", "test", "--held-out", name))
    return TrainingSet(f"no-{name}", f"CamVid without {name}", (name,), f"camvid-no-{name}", recipe, (bench,))


SETS = (
    _held_out("bicyclist", ("camvid-no-bicyclist",)),
    _held_out("fence", ("camvid-no-bicyclist", "--stages.segmenter.data.held_out", "[fence]")),
    TrainingSet("camvid", "CamVid, all classes", (), "camvid-erfnet-pyramid", ("camvid-erfnet-pyramid",), ROAD, (0,)),
)


@dataclass(frozen=True)
class Method:
    """One learned method.

    Attributes:
        name: Its folder.
        recipe: The recipe that trains it.
        stage: The stage whose optimiser steps are its training.
        attached: Whether it is trained on, and scores, a host network; without one it brings its own.
    """

    name: str
    recipe: str
    stage: str
    attached: bool


METHODS = (
    Method("pans", "camvid-pans", "pans", attached=False),
    Method("pgan", "camvid-pgan", "pgan", attached=True),
    Method("dicnet", "camvid-dicnet", "student", attached=True),
)
FITS = {
    "mahalanobis-fitted": "mahalanobis:feature=encoder",
    "knn-fitted": "knn:feature=encoder;rows=40000",
    "position_prior-fitted": "position_prior",
}
LOGITS = ("msp", "max_logit")
OF_NETWORKS = ("not_road",)
"""Controls that read a network; the others, whatever the seed, give the same maps."""


@dataclass(frozen=True)
class Paths:
    """Where things lie.

    Attributes:
        data: The data sets.
        weights: The checkpoint whose encoder every network starts from.
        work: Where everything of this plan is kept.
        hosts: Where host networks may be that are trained already.
    """

    data: Path
    weights: Path
    work: Path
    hosts: Path | None = None

    def host(self, one: TrainingSet, seed: int) -> Path:
        """The host network of a set: one that is trained already, else the folder that it is trained in."""
        name = f"{one.host}-{seed}"
        own = self.work / "networks" / name
        given = self.hosts / name if self.hosts else own
        return given if not (own / "segmenter.json").is_file() and (given / "segmenter.json").is_file() else own

    def method(self, one: TrainingSet, seed: int, name: str) -> Path:
        """Folder of a trained method."""
        return self.work / f"{one.key}-{seed}" / name

    def fitted(self, one: TrainingSet, seed: int, name: str) -> Path:
        """Folder of a fitted detector."""
        return self.work / f"{one.key}-{seed}" / "fitted" / name

    def run(self, one: TrainingSet, seed: int, bench: str, network: str = "host") -> Path:
        """Folder of an evaluation."""
        return self.work / "runs" / f"{one.key}-{seed}" / f"{bench}-{network}"


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
            steps += [method_step(method, one, seed, paths) for method in METHODS]
            if untrained and seed == one.seeds[0]:
                steps += [method_step(method, one, seed, paths, untrained=True) for method in METHODS]
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
    """Two evaluations: all detectors that share the host's pass, and those of PAnS' own network.

    What does not depend on the seed, and the untrained versions, are evaluated with the first one only.
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
    for network, segmenter, saved, plain in (
        ("host", host, [*fitted, *trained[True]], (*LOGITS, *controls)),
        (KEPT, own, trained[False], LOGITS),
    ):
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


def row_name(folder: str, network: str) -> str:
    """The name of a row: scores of PAnS' own network are told from those of the host.

    Example:
        >>> row_name("msp", "host"), row_name("msp", KEPT), row_name("pans", KEPT)
        ('msp', 'pans-msp', 'pans')
    """
    return f"pans-{folder}" if network == KEPT and folder in LOGITS else folder


def own_network(folder: Path) -> Path:
    """The network that a saved PAnS carries."""
    return folder / "networks" / "network"


def closed_steps(one: TrainingSet, seed: int, paths: Paths) -> Iterator[Step]:
    """Closed-set figures of the networks that are judged on sets without class labels."""
    networks = {"host": paths.host(one, seed), KEPT: own_network(paths.method(one, seed, "pans"))}
    for name, folder in networks.items():
        out = paths.run(one, seed, "closed", name)
        words = (*evaluate_words(CLOSED, paths, folder, ()), "--out", str(out))
        yield Step(f"{one.key}-{seed}/closed-{name}", words, out, RUN, (folder / "segmenter.json",))
