"""docs/claims-learned.md out of verdicts and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from knn_tables import deciding, number, table
from knn_verdicts import Verdict
from learned_answers import Answer
from learned_verdicts import NOT_MUCH_WORSE, Part, by_set

Json = Mapping[str, Any]
INTRODUCTION = (
    "Verdicts come from intervals: a part of a claim is supported on a set where every check of every seed holds with "
    "its whole 95 % interval, not supported where one is contradicted with its whole interval, else undecided. "
    "Intervals are percentiles of 1000 cluster-bootstrap resamples (seed 0): over blocks of 20 neighbouring frames on "
    "CamVid, over frames elsewhere; differences are paired over the same resamples. Bars that are not 0 were set "
    f"before anything was measured (CFPR not much worse: {NOT_MUCH_WORSE:g}). Tier cpu; tables with protocol, "
    "network, training and controls in [results](results.md). RoadAnomaly21 val has ten frames and decides nothing.",
    "PGAN is a reconstruction from an abstract: what it does here says nothing about what its authors built.",
)


def page(figures: Json, parts: Sequence[Part], answers: Sequence[Answer]) -> str:
    """The document."""
    lines = [
        "# Claims of PGAN, DiCNet and PAnS",
        "",
        "Written by `python benchmarks/claims/learned.py`; do not edit.",
        "",
    ]
    for text in INTRODUCTION:
        lines += [text, ""]
    lines += [*measured_on(figures["studies"]), "## Verdicts", ""]
    lines += ["| claim | says | verdict | rests on |", "|---|---|---|---|"]
    rows = [(one.claim, one.says, one.word, rests(one)) for one in parts]
    rows += [(one.claim, one.says, one.word, one.why) for one in answers]
    lines += [f"| {claim} | {says} | **{word}** | {why} |" for claim, says, word, why in sorted(rows, key=order)]
    lines += ["", "## Checks, set by set", ""]
    for one in parts:
        if one.verdicts:
            lines += [f"{one.claim}, {one.says}:", "", *checks_table(one.verdicts)]
    lines += probability_section(figures["studies"])
    lines += errors_section(figures["studies"])
    lines += costs_section(figures.get("costs"))
    return "\n".join(lines).rstrip() + "\n"


def order(row: tuple[str, str, str, str]) -> tuple[int, str]:
    """PGAN's claims, then DiCNet's, then PAnS'; parts of one claim stay in their order."""
    return "GDP".index(row[0][0]), row[0]


def rests(part: Part) -> str:
    """How many checks a part rests on."""
    checks = [check for one in part.verdicts for check in one.checks]
    kept = sum(check.answer == "yes" for check in checks)
    return f"{kept} of {len(checks)} checks on {len(part.verdicts)} sets hold" if checks else "no run"


def checks_table(verdicts: Sequence[Verdict]) -> list[str]:
    """One row a set, with the check that decides it; AP is small where anomalies are rare, hence four decimals."""
    rows = []
    for one in verdicts:
        check = deciding(one)
        if check is not None:
            limits = f" [{check.ci95[0]:+.4f}, {check.ci95[1]:+.4f}]" if check.ci95 else ", no interval"
            kept = sum(made.answer == "yes" for made in one.checks)
            shown = f"{check.what}: {check.value:+.4f}{limits}"
            rows.append([one.network, f"**{one.word}**", f"{kept}/{len(one.checks)}", shown])
    return table(["set", "verdict", "checks that hold", "the check that decides"], rows)


def measured_on(studies: Sequence[Json]) -> list[str]:
    """Frames and seeds of every set."""
    lines = []
    for title, own in by_set(studies).items():
        seeds = ", ".join(str(one["seed"]) for one in own)
        row = next(iter(own[0]["rows"].values()))
        lines.append(
            f"- {title}: {own[0]['frames']} frames in {row['groups']} groups, prevalence {row['prevalence']:.4f}, "
            f"seed{'s' if len(own) > 1 else ''} {seeds}, tier cpu"
        )
    return [*lines, ""]


def errors_section(studies: Sequence[Json]) -> list[str]:
    """D1 and D2 for every detector: where the false positives lie."""
    lines = []
    for title, own in by_set(studies).items():
        first = own[0]
        body = []
        for name, row in first["rows"].items():
            errors = row.get("errors")
            if not errors:
                continue
            limits = errors["ci95"]
            body.append(
                [
                    f"*{name}* (control)" if row["kind"] == "control" else name,
                    *(
                        number(errors[key], limits.get(key, ())) if errors.get(key) is not None else "-"
                        for key in ("efpr95", "cfpr95", "efpr_at_fpr", "cfpr_at_fpr", "share")
                    ),
                    number(errors["base"]) if errors.get("base") is not None else "-",
                ]
            )
        if body:
            head = ["detector", "EFPR95", "CFPR95", "EFPR at 5 %", "CFPR at 5 %", "share at 5 %", "share by chance"]
            lines += [f"{title}, seed {first['seed']}:", "", *table(head, body)]
    if not lines:
        return []
    text = (
        "EFPR and CFPR are the false-positive rates over the inliers that the network classifies wrongly and rightly, "
        "at 95 % recall, and where 5 % of all inliers are flagged. The share is that of wrongly classified pixels "
        "among the false positives, beside what it would be by chance."
    )
    return ["## False positives on misclassified pixels (D1, D2)", "", text, "", *lines]


def probability_section(studies: Sequence[Json]) -> list[str]:
    """G4: ECE and Brier score of every score that lies in [0, 1]."""
    lines = []
    for title, own in by_set(studies).items():
        first = own[0]
        body = []
        for name, row in first["rows"].items():
            found = row.get("probability")
            if found:
                figures = [f"{found[key]:.4f}" for key in ("ece", "ece_equal_mass", "brier", "brier_of_prevalence")]
                body.append([f"*{name}* (control)" if row["kind"] == "control" else name, *figures])
        if body:
            head = ["score", "ECE", "ECE, bins of equal mass", "Brier score", "of the prevalence"]
            lines += [f"{title}, seed {first['seed']}:", "", *table(head, body)]
    if not lines:
        return []
    text = (
        "Scores in [0, 1] read as probabilities. PGAN's is the logistic curve of its score that training fits on known "
        "classes alone, each in turn taken for unknown, with a share of anomalies assumed beforehand; the other scores "
        "were not made for it."
    )
    return ["## Scores as probabilities (G4)", "", text, "", *lines]


def costs_section(costs: Json | None) -> list[str]:
    """P2: what every detector costs on one image."""
    if not costs:
        return []
    body = [
        [
            name,
            f"{one['network'] / 1e6:.2f}",
            f"{one['own'] / 1e6:.2f}",
            f"{one['flops'] / 1e9:.2f}",
            f"{one['seconds']:.2f}",
        ]
        for name, one in costs["detectors"].items()
    ]
    high, wide = costs["size"]
    head = ["detector alone", "network, M parameters", "own, M numbers", "GFLOPs", "seconds"]
    text = (
        f"One image of {wide}x{high}, {costs['threads']} thread, each detector alone with its network; FLOPs of "
        "convolutions and matrix products, a multiplication and an addition being two. Own numbers are other networks "
        "and what was fitted, such as a bank."
    )
    return ["## Costs (P2)", "", text, "", *table(head, body)]
