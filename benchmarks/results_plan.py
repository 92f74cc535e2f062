"""What docs/results.md measures: networks, what is fitted or trained for them, and the runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

CONTROLS = ("chance", "position_prior", "local_contrast", "not_road")
LOGITS = ("msp", "max_logit", "entropy", "energy")
PASSES = ("odin", "mc_dropout", "mc_dropout:measure=mutual_information")
FITTED = ("sml", "temperature_scaling", "mahalanobis", "gmm", "position_prior")
ROAD = {"road_anomaly": "anomaly/RoadAnomaly", "road_anomaly_21": "anomaly/RoadAnomaly21"}


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
class Suite:
    """A network with everything measured on it.

    Attributes:
        key: Name of its folder.
        title: Heading.
        note: What must be said of it beside every figure.
        segmenter: As written on the command line; ``{work}`` and ``{data}`` are filled in.
        runs: The evaluations.
        fitted: Detectors fitted for it, on CamVid train.
        fit_extra: Further arguments of the fits.
        train: Recipes to train before, with their arguments, by the folder below ``{work}/networks``.
    """

    key: str
    title: str
    note: str
    segmenter: str
    runs: tuple[Run, ...]
    fitted: tuple[str, ...] = ()
    fit_extra: tuple[str, ...] = ()
    train: dict[str, tuple[str, ...]] = field(default_factory=dict)


def suites(weights: Path | None) -> list[Suite]:
    """All suites; those that start from an ERFNet checkpoint only where there is one."""
    found = [bundled()]
    if weights is not None:
        found = [erfnet(weights), *found]
    return found


def erfnet(weights: Path) -> Suite:
    """The real network that was trained on Cityscapes."""
    return Suite(
        "erfnet",
        "ERFNet on Cityscapes' classes",
        "The network is `erfnet-int8-recovered`, recovered from a public int8 file, not the published ERFNet. Images "
        "are resized by Pillow BILINEAR to 1024x512. What is fitted was fitted on CamVid train, a domain other than "
        "the network's own; its class maps count where Cityscapes has the class.",
        f"erfnet:{weights}",
        tuple(Run(name, folder, (*LOGITS, "void_class", *PASSES)) for name, folder in ROAD.items()),
        FITTED,
    )


def bundled() -> Suite:
    """The network that ships."""
    return Suite(
        "bundled",
        "Bundled network on CamVid's classes",
        'The bundled network saw CamVid and IDD-Lite images in training (IDD\'s "living things" as void). What is '
        "fitted was fitted on CamVid train. Its eleven classes know no truck, bus or terrain.",
        "bundled",
        (
            *(Run(name, folder, (*LOGITS, *PASSES)) for name, folder in ROAD.items()),
            Run("camvid", "camvid", extra=("--split", "test")),
        ),
        FITTED,
    )
