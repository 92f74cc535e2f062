"""What docs/results.md measures: networks, what is fitted or trained for them, and the runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

CONTROLS = ("chance", "position_prior", "local_contrast", "not_road")
LOGITS = ("msp", "max_logit", "entropy", "energy")
PASSES = ("odin", "mc_dropout", "mc_dropout:measure=mutual_information")
ROAD = {"road_anomaly": "anomaly/RoadAnomaly", "road_anomaly_21": "anomaly/RoadAnomaly21"}
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Run:
    """One ``anomseg evaluate``.

    Attributes:
        benchmark: Its name.
        folder: Its data, below the data folder.
        detectors: Detectors that need no fitting; fitted ones of the suite and the controls are added.
        extra: Further arguments.
    """

    benchmark: str
    folder: str
    detectors: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fit:
    """One ``anomseg fit`` on CamVid.

    Attributes:
        name: Name of its folder, and of its rows.
        detector: As written on the command line.
        split: Frames to fit on.
        extra: Further arguments.
    """

    name: str
    detector: str
    split: str = "train"
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suite:
    """A network with everything measured on it.

    Attributes:
        key: Name of its folder.
        title: Heading.
        note: What must be said of it beside every figure.
        segmenter: As written on the command line; ``{work}`` stands for the folder of runs.
        runs: The evaluations.
        fits: Detectors fitted for it.
        train: Arguments of the trainings it needs, by their folder below ``{work}/networks``.
        random: Networks of random weights that it needs, by folder below ``{work}/networks``: the recipe that trains
            such a network.
        untrained: Key of the suite with the same detectors on such a network, to compare with.
    """

    key: str
    title: str
    note: str
    segmenter: str
    runs: tuple[Run, ...]
    fits: tuple[Fit, ...] = ()
    train: dict[str, tuple[str, ...]] = field(default_factory=dict)
    random: dict[str, str] = field(default_factory=dict)
    untrained: str | None = None


def fits(*extra: str, feature: str = "auto") -> tuple[Fit, ...]:
    """What can be fitted on any network. Temperatures are found on frames that no network was trained on."""
    validation = ("--held-out-images", "void") if extra else ()
    return (
        Fit("sml-fitted", "sml", extra=extra),
        Fit("temperature_scaling-fitted", "temperature_scaling", "val", (*extra, *validation)),
        Fit("mahalanobis-shared-fitted", f"mahalanobis:feature={feature}", extra=extra),
        Fit("mahalanobis-class-fitted", f"mahalanobis:precision=class;feature={feature}", extra=extra),
        Fit("gmm-fitted", f"gmm:feature={feature}", extra=extra),
        Fit("position_prior-fitted", "position_prior", extra=extra),
    )


def suites(weights: Path | None) -> list[Suite]:
    """All suites; those that start from an ERFNet checkpoint only where there is one."""
    if weights is None:
        return [bundled()]
    return [erfnet(weights), bundled(), heads(weights), untrained(), no_bicyclist(weights), *encoder_features()]


def erfnet(weights: Path) -> Suite:
    """The real network that was trained on Cityscapes."""
    return Suite(
        "erfnet",
        "ERFNet on Cityscapes' classes",
        "The network is `erfnet-int8-recovered`, recovered from a public int8 file, not the published ERFNet. Images "
        "are resized by Pillow BILINEAR to 1024x512. What is fitted was fitted on CamVid train (the temperature on "
        "CamVid val), a domain other than the network's own; its class maps count where Cityscapes has the class.",
        f"erfnet:{weights}",
        tuple(Run(name, folder, (*LOGITS, "void_class", *PASSES)) for name, folder in ROAD.items()),
        fits(),
    )


def bundled() -> Suite:
    """The network that ships."""
    return Suite(
        "bundled",
        "Bundled network on CamVid's classes",
        'The bundled network saw CamVid and IDD-Lite images in training (IDD\'s "living things" as void). What is '
        "fitted was fitted on CamVid train (the temperature on CamVid val). Its eleven classes know no truck, bus or "
        "terrain.",
        "bundled",
        (
            *(Run(name, folder, LOGITS) for name, folder in ROAD.items()),
            Run("camvid", "camvid", extra=("--split", "test")),
        ),
        fits(),
    )


def recipe(name: str, weights: Path, seed: int) -> tuple[str, ...]:
    """Arguments of a training on CamVid that starts from an ERFNet encoder."""
    start = ("--stages.segmenter.module.encoder_start", str(weights))
    return (name, "--roots.camvid", "{data}/camvid", *start, "--seed", str(seed))


def heads(weights: Path) -> Suite:
    """An ensemble, which takes several networks."""
    networks = {f"camvid-erfnet-pyramid-{seed}": recipe("camvid-erfnet-pyramid", weights, seed) for seed in SEEDS}
    members = "+".join(f"{{work}}/networks/{name}" for name in networks)
    ensembles = tuple(f"ensemble:members={members};measure={one}" for one in ("entropy", "mutual_information"))
    return Suite(
        "heads",
        "Three heads on ERFNet's encoder, CamVid's classes",
        "Recipe `camvid-erfnet-pyramid`, seeds 0, 1 and 2: the encoder of the ERFNet above, frozen, and a pyramid-"
        "pooling head trained on CamVid train (600 steps, 4800 crops, about 9 minutes on one busy core each; "
        "validation mIoU .683, .671, .678). The ensemble is of heads, not of whole networks; single scores are of "
        "seed 0.",
        "{work}/networks/camvid-erfnet-pyramid-0",
        tuple(Run(name, folder, (*LOGITS, *ensembles)) for name, folder in ROAD.items()),
        train=networks,
    )


BICYCLIST = ("--split", "test", "--held-out", "bicyclist")


def no_bicyclist(weights: Path, seed: int = 0) -> Suite:
    """A network whose head was not taught bicyclists, which are then the anomalies."""
    name = f"camvid-no-bicyclist-{seed}"
    return Suite(
        name,
        f"CamVid without bicyclists, seed {seed}",
        "Recipe `camvid-no-bicyclist`: the encoder of the ERFNet above, frozen, and a head trained on the 166 images "
        "of CamVid train that show no bicyclist (600 steps, 4800 crops). The encoder was trained on Cityscapes, which "
        "labels riders and bicycles: bicyclists are unknown to the head alone. What is fitted was fitted on the same "
        "166 images (the temperature on CamVid val, bicyclists void); what reads features reads the bottleneck here. "
        "Why sml falls behind max logit here: bicyclists are mostly called pedestrian, a class of low max logits, so "
        "that standardising by class takes away what tells them apart. Why mahalanobis and gmm do: see the "
        "last table.",
        f"{{work}}/networks/{name}",
        (Run("camvid", "camvid", LOGITS, BICYCLIST),),
        fits("--held-out", "bicyclist", feature="bottleneck"),
        {name: recipe("camvid-no-bicyclist", weights, seed)},
        untrained="untrained",
    )


def untrained() -> Suite:
    """The same pipeline on random weights: what a fit finds without a trained network."""
    return Suite(
        "untrained",
        "CamVid without bicyclists, network of random weights",
        "The network of the next tables before any training; the same fits on the same frames.",
        "{work}/networks/untrained",
        (Run("camvid", "camvid", LOGITS, BICYCLIST),),
        fits("--held-out", "bicyclist", feature="bottleneck"),
        random={"untrained": "camvid-no-bicyclist"},
    )


def encoder_features() -> tuple[Suite, Suite]:
    """A second attempt at what is fitted on features: those of the encoder, not of the bottleneck behind it."""
    extra = ("--held-out", "bicyclist")
    fitted = (
        Fit("mahalanobis-encoder-fitted", "mahalanobis:feature=encoder", extra=extra),
        Fit("gmm-encoder-fitted", "gmm:feature=encoder", extra=extra),
        Fit("position_prior-fitted", "position_prior", extra=extra),
    )
    runs = (Run("camvid", "camvid", ("energy",), BICYCLIST),)
    title = "CamVid without bicyclists, features of the encoder"
    return (
        Suite(
            "encoder-untrained",
            f"{title}, random weights",
            "As the network of random weights above.",
            "{work}/networks/untrained",
            runs,
            fitted,
        ),
        Suite(
            "encoder",
            title,
            "The network of seed 0 above. Its bottleneck mixes in means over the whole image; the encoder before it "
            "does not, and was trained on Cityscapes, riders and bicycles included.",
            "{work}/networks/camvid-no-bicyclist-0",
            runs,
            fitted,
            untrained="encoder-untrained",
        ),
    )
