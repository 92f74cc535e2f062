"""Verdicts on the claims of PAnS, PGAN and DiCNet, from the figures of benchmarks/learned.py. Nothing typed by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from knn_verdicts import Check, Verdict, Word, all_of, exceeds, over_networks

Json = Mapping[str, Any]
NOT_MUCH_WORSE = 0.05
"""CFPR that DiCNet may lose against MSP without counting; set before anything was measured."""
EXISTING = ("msp", "max_logit")


@dataclass(frozen=True)
class Part:
    """One part of a claim, answered on every set.

    Attributes:
        claim: Such as ``P1``.
        says: The part in short.
        verdicts: One a set; all seeds of the set must agree.
        word: What they come to together.
    """

    claim: str
    says: str
    verdicts: tuple[Verdict, ...]
    word: str


def by_set(studies: Sequence[Json]) -> dict[str, list[Json]]:
    """Studies of one set and benchmark, seed by seed, under a title."""
    found: dict[str, list[Json]] = {}
    for one in studies:
        found.setdefault(f"{one['title']}, {one['benchmark']}", []).append(one)
    return found


def part(claim: str, says: str, studies: Sequence[Json], checks: Callable[[Json], Iterable[Check | None]]) -> Part:
    """A part of a claim over all sets that have what it needs.

    Args:
        claim: Such as ``P1``.
        says: The part in short.
        studies: All studies.
        checks: The checks of one study; None where it lacks what a check needs.
    """
    verdicts = []
    for title, own in by_set(studies).items():
        made = [check for one in own for check in checks(one) if check is not None]
        if made:
            word: Word = all_of(check.answer for check in made)
            verdicts.append(Verdict(claim, title, word, tuple(made)))
    return Part(claim, says, tuple(verdicts), together([one.word for one in verdicts]))


def together(words: Sequence[Word]) -> str:
    """One word for several sets.

    Example:
        >>> together([]), together(["supported", "supported"]), together(["supported", "not supported"])
        ('undecided: not measured yet', 'supported', 'undecided: supported on 1, not supported on 1 of 2 sets')
    """
    if not words:
        return "undecided: not measured yet"
    text = over_networks(words).replace("networks", "sets")
    return text.replace(", undecided on 0", "").replace("not supported on 0, ", "")


def gain(study: Json, first: str, second: str, bar: float = 0.0) -> Check | None:
    """A check that the paired AP difference of two rows lies above a bar; open where only the first is there."""
    found = study["differences"].get(f"{first} - {second}")
    what = f"AP of {first} less {second}, seed {study['seed']}"
    if found is None:
        return Check(f"{what} (not measured)", math.nan, (), "?") if first in study["rows"] else None
    return exceeds(what, found["ap"]["value"], found["ap"]["ci95"], bar)


def separates(study: Json, name: str) -> Check | None:
    """A check that a score ranks anomalous pixels above known ones: AUROC above one half."""
    row = study["rows"].get(name)
    if row is None:
        return None
    return exceeds(f"AUROC of {name}, seed {study['seed']}", row["pixel"]["auroc"], row["ci95"].get("auroc", ()), 0.5)


def lower(study: Json, pair: str, figure: str, bar: float = 0.0) -> Check | None:
    """A check that a figure of the first of two rows lies less than a bar above that of the second."""
    found = (study.get("judged") or {}).get(pair, {}).get(figure)
    if found is None:
        return None
    limits = found["ci95"]
    first, _, second = pair.partition(" - ")
    what = f"{figure} of {second} less {first}, seed {study['seed']}" + (f", above -{bar:g}" if bar else "")
    return exceeds(what, -found["value"], (-limits[1], -limits[0]) if limits else (), -bar)


def flags_misclassified(study: Json, name: str) -> Check | None:
    """D1: among a score's false positives the misclassified are more frequent than among all inliers."""
    row = study["rows"].get(name) or {}
    errors = row.get("errors") or {}
    if errors.get("share_less_base") is None:
        return None
    what = f"share of misclassified pixels among false positives of {name} less that among inliers"
    limits = errors["ci95"].get("share_less_base", ())
    return exceeds(f"{what}, seed {study['seed']}", errors["share_less_base"], limits)


def probability(study: Json) -> Check | None:
    """G4: the Brier score of PGAN's probability is below that of always saying the prevalence."""
    found = (study["rows"].get("pgan") or {}).get("probability")
    if not found:
        return None
    what = f"Brier score of the prevalence less that of pgan, seed {study['seed']}"
    return exceeds(what, found["gain"]["value"], found["gain"]["ci95"])


def p1(studies: Sequence[Json]) -> list[Part]:
    """PAnS: unlike every prototype, learned by a cosine classifier, against the other scores of its network."""
    return [
        part(
            "P1",
            "anomalous pixels are less like every prototype than known ones are: AUROC above .5, AP above chance",
            studies,
            lambda one: (separates(one, "pans"), gain(one, "pans", "chance")),
        ),
        part(
            "P1",
            "the prototypes are learned: above the same network untrained",
            studies,
            lambda one: (gain(one, "pans", "pans-untrained"),),
        ),
        part("P1", "above MSP of the same network", studies, lambda one: (gain(one, "pans", "pans-msp"),)),
        part(
            "P1",
            "above max logit of the same network (the same cosines, resized before the maximum instead of after)",
            studies,
            lambda one: (gain(one, "pans", "pans-max_logit"),),
        ),
    ]


def d1(studies: Sequence[Json]) -> list[Part]:
    """DiCNet's complaint about existing scores."""
    return [
        part(
            "D1",
            f"{name} flags misclassified but known pixels: more of them among its false positives (5 % of inliers "
            "flagged) than among inliers",
            studies,
            lambda one, name=name: (flags_misclassified(one, name),),
        )
        for name in EXISTING
    ]


def d2(studies: Sequence[Json]) -> list[Part]:
    """DiCNet against MSP of its teacher."""
    pair = "dicnet - msp"
    return [
        part("D2", "EFPR below that of MSP of the same teacher", studies, lambda one: (lower(one, pair, "efpr95"),)),
        part(
            "D2",
            f"CFPR not much worse than MSP's: less than {NOT_MUCH_WORSE:g} above",
            studies,
            lambda one: (lower(one, pair, "cfpr95", NOT_MUCH_WORSE),),
        ),
        part(
            "D2",
            "EFPR below MSP's where both flag 5 % of inliers (chance passes this: it flags all inliers alike)",
            studies,
            lambda one: (lower(one, pair, "efpr_at_fpr"),),
        ),
    ]


def g4(studies: Sequence[Json]) -> list[Part]:
    """PGAN's anomaly probability."""
    says = "the anomaly probability tells more than the prevalence does (Brier score)"
    return [part("G4", says, studies, lambda one: (probability(one),))]
