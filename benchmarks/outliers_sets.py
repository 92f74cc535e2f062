"""What teaches with outliers is trained and judged on, in which versions, and where everything lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

UNTRAINED = "untrained"
NEGATIVES, SYNTHETIC = "camvid-noisy-negatives", "camvid-synthetic-outliers"
HEADLINE = "negatives"
"""The version that stands for noisy negatives: two heads, negatives without any tested category."""
WITHOUT = "synthetic-without"
"""The steps of synthetic outliers without the divergence: patches are pasted, but nothing is learned from them."""
WHOLE = "negatives-whole"
"""The version of claim N2: the same negatives as whole images, never pasted."""


@dataclass(frozen=True)
class Bench:
    """One benchmark that a set is judged on.

    Attributes:
        name: Its name here.
        benchmark: Registered name.
        folder: Its data; below the data folder, or below the work folder where it begins with ``made/``.
        extra: Further arguments of ``anomseg evaluate``.
    """

    name: str
    benchmark: str
    folder: str
    extra: tuple[str, ...] = ()


BAND = 10
"""Pixels to either side of an object's border in which claim N2 asks for figures of their own."""
_BAND = ("--band", str(BAND))
PASTED = Bench("pasted", "pasted", "made/pasted", _BAND)
CLOSED = Bench("closed", "camvid", "camvid", ("--split", "test"))
"""CamVid test with all its classes: no anomalies, closed-set figures of the network alone."""


@dataclass(frozen=True)
class TrainingSet:
    """Training images with one class left out, or with none.

    Attributes:
        key: Its name here.
        title: Heading of its tables.
        held_out: Classes that are not taught; images that show them are dropped.
        host: Name of the host network's folder, less the seed: trained without any outliers.
        benches: What it is judged on.
    """

    key: str
    title: str
    held_out: tuple[str, ...]
    host: str
    benches: tuple[Bench, ...]

    @property
    def taught(self) -> str:
        """The held-out classes as an override of a recipe."""
        return f"[{', '.join(self.held_out)}]"


SETS = (
    TrainingSet(
        "no-bicyclist",
        "CamVid without bicyclist",
        ("bicyclist",),
        "camvid-no-bicyclist",
        (Bench("camvid", "camvid", "camvid", ("--split", "test", "--held-out", "bicyclist")),),
    ),
    TrainingSet(
        "camvid",
        "All classes of CamVid",
        (),
        "camvid-erfnet-pyramid",
        (
            PASTED,
            Bench("road_anomaly", "road_anomaly", "anomaly/RoadAnomaly", _BAND),
            Bench("road_anomaly_21", "road_anomaly_21", "anomaly/RoadAnomaly21", _BAND),
        ),
    ),
)


@dataclass(frozen=True)
class Version:
    """One training with outliers.

    Attributes:
        name: Its folder and row.
        recipe: The recipe.
        stage: The stage whose steps are the training.
        overrides: What differs from the recipe; ``{data}`` stands for the data folder.
        cache: Whose cached crops it shares; of versions that read none empty.
        seeds: Seeds that it is trained with.
        sets: Keys of the sets that it is trained on.
    """

    name: str
    recipe: str
    stage: str
    overrides: tuple[tuple[str, str], ...] = ()
    cache: str = ""
    seeds: tuple[int, ...] = (0, 1, 2)
    sets: tuple[str, ...] = ("no-bicyclist", "camvid")


def _negatives(name: str, cache: str = "minus", *overrides: tuple[str, str], **more: tuple[Any, ...]) -> Version:
    return Version(name, NEGATIVES, "heads", overrides, cache, **more)


def _variant(name: str) -> Version:
    return _negatives(name.replace("_", "-"), "minus", ("stages.heads.module.variant", name))


def _mixed(share: int) -> Version:
    """Negatives of which a share, in percent, shows nothing but roads as they are known: images of CamVid train."""
    road = f"{{negatives: folder, root: {{data}}/camvid/images/train, share: {share / 100}}}"
    sources = f"[{{negatives: imagenet, share: {1 - share / 100}}}, {road}]"
    name = f"road{share}"
    return _negatives(f"{HEADLINE}-{name}", name, (f"{DATA}.sources", sources), seeds=(0,), sets=("camvid",))


DATA = "stages.features.data.negatives"
ROAD_SHARES = (10, 50)
VERSIONS = (
    _negatives(HEADLINE),
    Version("synthetic", SYNTHETIC, "joint"),
    Version("synthetic-detached", SYNTHETIC, "joint", (("stages.joint.module.detached", "true"),)),
    Version(WITHOUT, SYNTHETIC, "joint", (("stages.joint.module.weight", "0"),)),
    _negatives("negatives-all", "all", (f"{DATA}.regime", "all")),
    _negatives(
        "negatives-made",
        "made",
        (f"{DATA}.regime", "synthetic_only"),
        (f"{DATA}.sources", "[{negatives: synthetic}]"),
    ),
    _variant("extra_class"),
    _variant("sigmoid"),
    _variant("outlier_exposure"),
    _negatives(WHOLE, "whole", (f"{DATA}.paste.share", "0.0"), (f"{DATA}.paste.pure", "0.5"), sets=("camvid",)),
    # Claim N1: how noisy negatives may be.
    *(_mixed(share) for share in ROAD_SHARES),
)
MEASURES = {"product": "product", "hybrid": "hybrid", "msp": "msp"}
"""Other scores of the headline version's network: the row's ending, and the detector's ``measure``."""
FITS = {"knn-fitted": "knn:feature=encoder;rows=40000", "position_prior-fitted": "position_prior"}
LOGITS = ("msp", "max_logit", "energy")
LIKELIHOOD = "flow-likelihood"
"""The row of what a flow alone thinks of an image (claim R1)."""
DENSITY = "flow_likelihood:flow={flow};stride=32"
"""Its detector. Patches that touch, where its own default lets them overlap by half: a fourth of the time."""


@dataclass(frozen=True)
class Paths:
    """Where things lie.

    Attributes:
        data: The data sets.
        weights: The checkpoint whose encoder every network starts from.
        work: Where everything of this plan is kept.
        hosts: Where the host networks are.
    """

    data: Path
    weights: Path
    work: Path
    hosts: Path

    @property
    def imagenet(self) -> Path:
        """The negatives that are pasted while training."""
        return self.data / "negatives" / "imagenet_sample"

    @property
    def coco(self) -> Path:
        """The objects that are pasted for testing."""
        return self.data / "negatives" / "coco_panoptic"

    def root(self, bench: Bench) -> Path:
        """The folder of a benchmark."""
        made = bench.folder.removeprefix("made/")
        return self.work / "made" / made if made != bench.folder else self.data / bench.folder

    def host(self, one: TrainingSet, seed: int) -> Path:
        """The network of a set that has seen no outliers."""
        return self.hosts / f"{one.host}-{seed}"

    def flow(self, one: TrainingSet) -> Path:
        """The flow of a set, trained once."""
        return self.work / f"{one.key}-flow"

    def version(self, one: TrainingSet, seed: int, name: str) -> Path:
        """Folder of a trained version."""
        return self.work / f"{one.key}-{seed}" / name

    def run(self, one: TrainingSet, seed: int, bench: str, network: str) -> Path:
        """Folder of an evaluation."""
        return self.work / "runs" / f"{one.key}-{seed}" / f"{bench}-{network}"
