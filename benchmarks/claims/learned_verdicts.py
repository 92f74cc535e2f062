"""Verdicts on the claims of PAnS, PGAN and DiCNet, from the figures of benchmarks/learned.py. Nothing typed by hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from knn_verdicts import Check, Verdict, Word, all_of, exceeds, over_networks

from anomseg.errors import ConfigError, unknown_name
from anomseg.training import recipe_names

Json = Mapping[str, Any]
NOT_MUCH_WORSE = 0.05
"""CFPR that DiCNet may lose against MSP without counting; set before anything was measured."""
EXISTING = ("msp", "max_logit")
NO_RIVAL = "undecided: SynthCP is not built yet"


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


@dataclass(frozen=True)
class Answer:
    """A claim that rests on something else than sets and seeds.

    Attributes:
        claim: Such as ``D4``.
        says: The claim in short.
        word: The verdict.
        why: What it rests on.
    """

    claim: str
    says: str
    word: str
    why: str


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
    """A check that the paired AP difference of two rows lies above a bar."""
    found = study["differences"].get(f"{first} - {second}")
    if found is None:
        return None
    what = f"AP of {first} less {second}, seed {study['seed']}"
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
            "EFPR below MSP's where both flag 5 % of inliers",
            studies,
            lambda one: (lower(one, pair, "efpr_at_fpr"),),
        ),
    ]


def g4(studies: Sequence[Json]) -> list[Part]:
    """PGAN's anomaly probability."""
    says = "the anomaly probability tells more than the prevalence does (Brier score)"
    return [part("G4", says, studies, lambda one: (probability(one),))]


def rivals(figures: Json) -> list[Answer]:
    """P2 and P3 as far as they go without SynthCP: what PAnS costs, and its false alarms on clean frames."""
    costs = ((figures.get("costs") or {}).get("detectors") or {}).get("pans")
    told = "not measured yet"
    if costs:
        told = (
            f"PAnS: {(costs['network'] + costs['own']) / 1e6:.2f} M parameters, {costs['flops'] / 1e9:.1f} GFLOPs (a "
            f"multiplication and an addition are two) and {costs['seconds']:.2f} s a frame, one thread"
        )
    clean = figures.get("clean") or {}
    shares = (clean.get("shares") or {}).get("pans")
    alarms = "not measured yet"
    if shares:
        alarms = "PAnS at the threshold of 95 % recall on RoadAnomaly21 flags " + ", ".join(
            f"{one['recall']['value']:.3f} of {clean['titles'][key]}" for key, one in shares.items()
        )
    return [
        Answer("P2", "cheaper than generative approaches (against SynthCP)", NO_RIVAL, told),
        Answer("P3", "generated artifacts create false anomalies, SynthCP against PAnS", NO_RIVAL, alarms),
    ]


def exact(hosts: Mapping[str, bool | None], headless: bool) -> list[Answer]:
    """G3 and D4, which tiny networks decide.

    Args:
        hosts: By kind of network whether PGAN attaches to it; None where its library is not installed.
        headless: Whether DiCNet scores without a call of its teacher's classifiers.
    """
    ran = [name for name, good in hosts.items() if good]
    refused = [name for name, good in hosts.items() if good is False]
    missing = [name for name, good in hosts.items() if good is None]
    why = f"run here on tiny networks, logits bit-equal with and without it: {', '.join(ran) or 'none'}"
    why += f"; not on {', '.join(refused)}" if refused else ""
    why += f"; not installed here: {', '.join(missing)}" if missing else ""
    return [
        Answer("G3", "integrates into most segmentation networks", "not supported" if refused else "supported", why),
        Answer(
            "D4",
            "no classification head at inference",
            "supported" if headless else "not supported",
            "run here on a tiny teacher with a hook on its classifiers",
        ),
    ]


ELSEWHERE = {
    "G1": ("prototypes from limited annotated images", "claims-pgan.md"),
    "G2": ("hierarchical category semantics, similarity measures optimise prototypes", "claims-pgan.md"),
}
"""Claims with a page of their own: what they say, and the page."""


def elsewhere(docs: Path) -> list[Answer]:
    """The verdicts that other generated pages give, as they give them.

    Args:
        docs: The folder of the pages.
    """
    answers = []
    for claim, (says, name) in ELSEWHERE.items():
        text = (docs / name).read_text("utf-8") if (docs / name).is_file() else ""
        rows = re.findall(rf"^\| {claim}\b[^|]*\|([^|]*)\|\s*\*\*(.+?)\*\*\s*\|([^|]*)\|$", text, re.MULTILINE)
        for told, word, why in rows:
            answers.append(Answer(claim, told.strip(), word, f"{why.strip()}; [{name}]({name})"))
        if not rows:
            answers.append(Answer(claim, says, "undecided: not measured yet", "no run"))
    return answers


def d3(studies: Mapping[str, Json]) -> list[Answer]:
    """D3 on every network that benchmarks/claims/dicnet.py has measured.

    Args:
        studies: What it left, by network's name.
    """
    says = "features agree on known, disagree on unknown classes"
    if not studies:
        return [Answer("D3", says, "undecided: not measured yet", "no run")]
    answers = []
    for name, one in studies.items():
        shown = ", ".join(
            f"{value:.3f}" + (f" [{limits[0]:.3f}, {limits[1]:.3f}]" if limits else "") + f" by {key}"
            for key, value in one["exceeds"].items()
            for limits in [one["ci95"].get(key)]
            if value is not None
        )
        why = f"chance that a held-out pixel is odder than a known one: {shown}; [claims-dicnet.md](claims-dicnet.md)"
        answers.append(Answer("D3", f"{says}: {name}", one["verdict"], why))
    return answers


PUBLISHED = {
    "G5": (
        "mIoU 53.4 on StreetHazards",
        ("street-hazards-pgan",),
        "{out}",
        "the abstract does not say which mIoU: closed and open mIoU are both in its metrics.json",
    ),
    "D5": (
        "+6.3 AUPR and -5.2 FPR95 on StreetHazards, and better on BDD-Anomaly",
        ("street-hazards-dicnet", "bdd-anomaly-dicnet"),
        "{out}",
        "means over images",
    ),
    "P4": (
        "the results on StreetHazards",
        ("street-hazards-pans",),
        "pans:network={out};scales=published",
        "means over images",
    ),
}
"""By claim: what it says, the recipes, the detector as it is evaluated, and a note."""


def published() -> list[Answer]:
    """What needs data that cannot be had: the commands for whoever has them."""
    answers = []
    for claim, (says, recipes, detector, note) in PUBLISHED.items():
        lines = []
        for recipe in recipes:
            train = recipe_command(recipe)
            benchmark = recipe.rpartition("-")[0].replace("-", "_")
            name = detector.format(out=train.rpartition("--out ")[2])
            lines += [
                f"`{train}`",
                f"`anomseg evaluate --benchmark {benchmark} --root DIR --detector '{name}' --protocol caos "
                f"--device cuda --out runs/{recipe}`",
            ]
        answers.append(Answer(claim, says, "not tested here", f"{', then '.join(lines)}; {note}"))
    return answers


def recipe_command(name: str) -> str:
    """The command that the head of a recipe gives.

    Raises:
        ConfigError: There is no such recipe, or it gives none.
    """
    if name not in recipe_names():
        raise unknown_name("recipe", name, recipe_names())
    text = resources.files("anomseg.training").joinpath("recipes", f"{name}.yaml").read_text("utf-8")
    found = re.search(rf"^# (anomseg train {name} .*(?:\n#   .*)*)", text, re.MULTILINE)
    if found:
        return " ".join(found[1].replace("\n#", " ").split())
    raise ConfigError(f"the head of recipe {name} gives no command that runs it")
