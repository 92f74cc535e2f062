"""Claims that rest on something else than sets and seeds: tiny networks, other pages, commands for those with data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from anomseg.errors import ConfigError, unknown_name
from anomseg.training import recipe_names

Json = Mapping[str, Any]
NO_RIVAL = "undecided: SynthCP has no figures beside it yet"


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


def rivals(figures: Json) -> list[Answer]:
    """P2 and P3 as far as they go without SynthCP: what PAnS costs, and its false alarms on clean frames."""
    measured = figures.get("costs") or {}
    costs = (measured.get("detectors") or {}).get("pans")
    told = "not measured yet"
    if costs:
        told = (
            f"PAnS: {(costs['network'] + costs['own']) / 1e6:.2f} M parameters, {costs['flops'] / 1e9:.1f} GFLOPs (a "
            f"multiplication and an addition are two) and {costs['seconds']:.2f} s a frame; "
            f"threads: {measured['threads']}"
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
            train, out = recipe_command(recipe).rpartition("--out ")[0], f"runs/{recipe}"
            benchmark = recipe.rpartition("-")[0].replace("-", "_")
            name = detector.format(out=out)
            lines += [
                f"`{train}--out {out}`",
                f"`anomseg evaluate --benchmark {benchmark} --root DIR --detector '{name}' --protocol caos "
                f"--device cuda --out {out}-results`",
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
