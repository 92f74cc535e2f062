"""Verdicts on noisy negatives and synthetic outliers, from the figures of benchmarks/outliers.py and of the studies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from knn_verdicts import Check, exceeds
from learned_verdicts import Part, gain, part, separates

Json = Mapping[str, Any]
NEGATIVES, WHOLE, SYNTHETIC, DETACHED = "negatives", "negatives-whole", "synthetic", "synthetic-detached"
LIKELIHOOD = "flow-likelihood"
WITHOUT = ("msp", "max_logit", "energy")
"""Scores of the network that has seen no outliers."""
REGIMES = {
    "negatives": "without the tested categories",
    "negatives-all": "with the tested categories",
    "negatives-made": "textures and shapes made from a seed, no images at all",
}
ROADS = {"negatives-road10": 10, "negatives-road50": 50}
"""Versions with road images among the negatives, and their share in percent."""
LOST = 0.02
"""Points that noise among the negatives (AP) or outliers (closed accuracy, mIoU) may cost without counting; set before
anything was measured."""


def n1(studies: Sequence[Json]) -> list[Part]:
    """Negatives of a general-purpose set help, although they are noisy."""
    parts = [
        part(
            "N1",
            f"negatives help ({told}): above MSP, max logit and energy of the network without outliers",
            studies,
            lambda one, name=name: tuple(gain(one, name, other) for other in WITHOUT),
        )
        for name, told in REGIMES.items()
    ]
    parts.append(
        part(
            "N1",
            "the images themselves help: above textures made from a seed",
            studies,
            lambda one: (gain(one, NEGATIVES, "negatives-made"),),
        )
    )
    for name, share in ROADS.items():
        parts.append(
            part(
                "N1",
                f"although noisy: with {share} % road images among the negatives still above MSP, max logit and energy",
                studies,
                lambda one, name=name: tuple(gain(one, name, other) for other in WITHOUT),
            )
        )
        parts.append(
            part(
                "N1",
                f"although noisy: {share} % road images cost less than {LOST:g} AP",
                studies,
                lambda one, name=name: (not_lost(one, NEGATIVES, name),),
            )
        )
    return parts


def not_lost(study: Json, first: str, second: str, bar: float = LOST) -> Check | None:
    """A check that the second row's AP is less than a bar below the first's."""
    found = study["differences"].get(f"{first} - {second}")
    if found is None:
        return None
    return turned(f"AP of {second} less {first}, seed {study['seed']}, above -{bar:g}", found["ap"], -bar)


def turned(what: str, difference: Json, bar: float = 0.0) -> Check:
    """A check that the negative of a difference lies above a bar."""
    limits = difference["ci95"]
    return exceeds(what, -difference["value"], (-limits[1], -limits[0]) if limits else (), bar)


def n2(studies: Sequence[Json]) -> list[Part]:
    """Pasting teaches the border between known and unknown."""
    return [
        part(
            "N2",
            "pasted negatives above the same negatives as whole images, all pixels",
            studies,
            lambda one: (gain(one, NEGATIVES, WHOLE),) if WHOLE in one["rows"] else (),
        ),
        part(
            "N2",
            "the same in AP within 10 pixels of objects' borders",
            studies,
            lambda one: (in_band(one, "ap"),),
        ),
        part(
            "N2",
            "lower FPR95 within 10 pixels of objects' borders",
            studies,
            lambda one: (in_band(one, "fpr95"),),
        ),
        part(
            "N2",
            "not the pasting itself: at the threshold of 95 % recall pasted inliers are flagged no more than untouched "
            "pixels of the same classes (control)",
            studies,
            lambda one: (not_the_seam(one, NEGATIVES),),
        ),
    ]


def in_band(study: Json, figure: str) -> Check | None:
    """A check that pasting is better near borders in one figure."""
    found = (study.get("band_differences") or {}).get(f"{NEGATIVES} - {WHOLE}")
    if found is None:
        return None
    if figure == "fpr95":
        return turned(f"FPR95 near borders, whole images less pasted, seed {study['seed']}", found["fpr95"])
    what = f"AP near borders, pasted less whole images, seed {study['seed']}"
    return exceeds(what, found["ap"]["value"], found["ap"]["ci95"])


def not_the_seam(study: Json, name: str) -> Check | None:
    """A check that pasted inliers are not flagged more than untouched ones by `LOST`."""
    found = (study["rows"].get(name) or {}).get("paste_control")
    if not found:
        return None
    what = f"share flagged of untouched inliers less pasted ones, {name}, seed {study['seed']}, above -{LOST:g}"
    return turned(what, found["gap"], -LOST)


def r1(studies: Sequence[Json]) -> list[Part]:
    """Likelihood alone fails."""
    return [
        part(
            "R1",
            "a flow's likelihood alone does not rank anomalies above known pixels: AUROC below .5",
            studies,
            lambda one: (misleads(one),),
        ),
        part(
            "R1",
            "it is below a fixed prior over the image, which sees no pixel",
            studies,
            lambda one: (below_prior(one),),
        ),
        part(
            "R1",
            "the jointly trained network is above the flow's likelihood",
            studies,
            lambda one: (gain(one, SYNTHETIC, LIKELIHOOD),),
        ),
        part(
            "R1",
            "discriminative scores are affected too: synthetic outliers raise MSP of the same steps without outliers",
            studies,
            lambda one: (gain(one, SYNTHETIC, "synthetic-without"),),
        ),
    ]


def below_prior(study: Json) -> Check | None:
    """A check that likelihood's AP lies below that of the position prior."""
    found = study["differences"].get(f"{LIKELIHOOD} - position_prior")
    what = f"AP of position_prior less {LIKELIHOOD}, seed {study['seed']}"
    return None if found is None else turned(what, found["ap"])


def misleads(study: Json) -> Check | None:
    """A check that likelihood's AUROC lies below one half."""
    found = separates(study, LIKELIHOOD)
    if found is None:
        return None
    limits = (0.5 - found.ci95[1], 0.5 - found.ci95[0]) if found.ci95 else ()
    return exceeds(f"one half less AUROC of {LIKELIHOOD}, seed {study['seed']}", 0.5 - found.value, limits)


def sample_studies(studies: Mapping[str, Json]) -> list[Json]:
    """What benchmarks/claims/border.py has left, as studies of sets."""
    return [{"title": one["title"], "benchmark": "samples", "seed": one["seed"], **one} for one in studies.values()]


def cifar_studies(study: Json | None) -> list[Json]:
    """What benchmarks/claims/cifar10.py has collected, as studies of sets; none where it has not run."""
    return [
        {**one, "title": f"CIFAR-10 without {', '.join(one['held_out'])}", "benchmark": "cifar10"}
        for one in (study or {}).get("studies", ())
    ]


def r2(studies: Mapping[str, Json]) -> list[Part]:
    """Jointly trained samples lie at the border of the distribution.

    Args:
        studies: What benchmarks/claims/border.py has left, by name, and the two moons; empty where nothing was run.
    """
    made = sample_studies(studies)

    def of(*names: str) -> Any:
        return lambda one: tuple(
            exceeds(f"{name}, seed {one['seed']}", one["gaps"][name]["value"], one["gaps"][name]["ci95"])
            for name in names
            if name in one["gaps"]
        )

    return [
        part(
            "R2",
            "the network is less sure of joint samples than of data",
            made,
            of("max-softmax on data less that on joint samples"),
        ),
        part(
            "R2",
            "joint training moves them there: less sure of them than of samples of the flow alone, by the network that "
            "took no part",
            made,
            of("max-softmax on samples of the flow alone less joint ones"),
        ),
        part(
            "R2",
            "the divergence moves them, not likelihood: less sure of them than of detached ones, by the network that "
            "took no part",
            made,
            of("max-softmax on detached samples less joint ones"),
        ),
        part(
            "R2",
            "it moves them outwards: farther from the data than samples of the flow alone",
            made,
            of("distance of joint samples less that of the flow alone"),
        ),
        part("R2", "they lie outside the data", made, of("distance of joint samples less that of data")),
        part("R2", "and near it: nearer than noise", made, of("distance of noise less that of joint samples")),
    ]


def r4(study: Json | None) -> list[Part]:
    """CIFAR-10 with held-out classes.

    Args:
        study: What benchmarks/claims/cifar10.py has collected; None where it has not run.
    """
    studies = cifar_studies(study)
    parts = []
    for score in ("msp", "energy"):
        for first, other in (("joint", "without"), ("detached", "without"), ("joint", "detached")):
            names = f"{first}/{score}", f"{other}/{score}"
            says = f"{first} above {'the same steps without outliers' if other == 'without' else other}, {score}"
            parts.append(part("R4", says, studies, lambda one, names=names: (gain(one, *names),)))
    says = f"closed-set accuracy of joint training less than {LOST:g} below the same steps without outliers"
    parts.append(part("R4", says, studies, lambda one: (accuracy(one),)))
    return parts


def accuracy(study: Json) -> Check | None:
    """A check that joint training keeps the known classes."""
    found = (study.get("accuracy") or {}).get("joint - without")
    if found is None:
        return None
    what = f"accuracy of joint less without, seed {study['seed']}, above -{LOST:g}"
    return exceeds(what, found["value"], found["ci95"], -LOST) if found["ci95"] else Check(what, math.nan, (), "?")
