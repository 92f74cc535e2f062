"""What PAnS, PGAN and DiCNet are trained and judged on, which methods there are, and where everything lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

UNTRAINED = "untrained"
KEPT = "pans-network"
"""Folder of the runs whose shared pass is that of PAnS' own network."""
OTHER = "variants"
"""Folder of the runs of `VARIANTS`."""
LATER = "added"
"""Folder of the runs of `ADDED`."""
PLACED = "by-place"
"""Folder of the runs of `FITTED_VARIANTS`."""


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
ADDED = (Method("dicnet-activated", "camvid-dicnet-activated", "student", attached=True),)
"""Methods with recipes of ours for a published one, evaluated beside what was evaluated before."""
TRAINED = (*METHODS, *ADDED)
VARIANTS = {"dicnet-max": ("dicnet", {"distance": "max"})}
"""Trained methods that score in another way: the method, and the options of the detector that differ."""
FITTED_VARIANTS = {"dicnet-by-place": ("dicnet-activated", {"by_place": 8.0})}
"""Variants that are fitted on the training images of their method, with every seed."""
ALL_VARIANTS = {**VARIANTS, **FITTED_VARIANTS}
SCORED = (
    *TRAINED,
    Method("dicnet-max", "camvid-dicnet", "student", attached=True),
    Method("dicnet-by-place", "camvid-dicnet-activated", "student", attached=True),
)
"""Rows that are judged by the project's rule."""
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
