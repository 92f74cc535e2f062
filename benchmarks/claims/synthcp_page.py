"""docs/claims-synthcp.md out of verdicts and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from knn_tables import number, table
from learned_clean import THRESHOLDS, shares
from synthcp_verdicts import COUNTED, Part, total

Json = Mapping[str, Any]
INTRODUCTION = (
    "S1 and P2 are decided on one frame of CamVid test: what the two uses share, and what each method costs alone with "
    "its network. P3 is supported where the whole 95 % interval of the paired difference lies above 0 on every set "
    "(1000 cluster-bootstrap resamples over blocks of 20 neighbouring frames, seed 0), not supported where one lies "
    "below, else undecided. One training of each, tier cpu. S2 likewise, of the difference in AUPR-Error in every run "
    "given and against every baseline in it.",
    "Recall thresholds come from the ten frames of RoadAnomaly21 val, which is too few to rank methods on. Both "
    "methods score networks of their own, so a difference between them is also one of networks: the row of MSP is of "
    "the network that SynthCP scores.",
)


def page(figures: Json, answers: Sequence[Part], runs: Sequence[Json], compared: Sequence[Json] = ()) -> str:
    """The document.

    Args:
        figures: What was measured, by kind.
        answers: The verdicts.
        runs: Figures of finished evaluations.
        compared: SynthCP and the baselines in runs of failure detection.
    """
    lines = ["# Claims of SynthCP, and of PAnS against it", ""]
    lines += ["Written by `python benchmarks/claims/synthcp.py`; do not edit.", ""]
    for text in INTRODUCTION:
        lines += [text, ""]
    lines += ["## Verdicts", "", "| claim | says | verdict | rests on |", "|---|---|---|---|"]
    lines += [f"| {one.claim} | {one.says} | **{one.word}** | {one.why} |" for one in answers]
    lines += ["", *_tasks(runs), *_failures(compared), *_costs(figures.get("costs")), *_clean(figures.get("clean"))]
    return "\n".join(lines).rstrip() + "\n"


def _tasks(runs: Sequence[Json]) -> list[str]:
    if not runs:
        return []
    body = [
        [
            f"{one['task']}: {one['benchmark']}, {one['row']}",
            str(one["frames"]),
            *(f"{one[name]:.3f}" if one[name] is not None else "-" for name in ("prevalence", "ap", "auroc")),
        ]
        for one in runs
    ]
    head = ["evaluation", "frames", "prevalence", "AP, or AUPR-Error", "AUROC"]
    return ["## Both tasks (S1)", "", "Beside every other detector and the controls in [results](results.md).", "",
            *table(head, body)]  # fmt: skip


def _failures(compared: Sequence[Json]) -> list[str]:
    lines = []
    for one in compared:
        lines += [f"{one['title']}: {one['benchmark']}, {one['frames']} frames, {one['prevalence']:.3f} of the pixels "
                  "wrong:", ""]  # fmt: skip
        body = []
        for name, row in one["rows"].items():
            gap = one["less"].get(name)
            shown = number(gap["value"], gap["ci95"], sign=True) if gap else ""
            body.append([name, number(row["aupr_error"], row["ci95"]), f"{row['auroc']:.3f}", f"{row['fpr95']:.3f}",
                         shown])  # fmt: skip
        lines += table(["detector", "AUPR-Error", "AUROC", "FPR95", "SynthCP less this"], body)
    return ["## Finding wrong pixels (S2)", "", *lines] if lines else []


def _costs(found: Json | None) -> list[str]:
    if found is None:
        return []
    rows = {name: (row, total(row)) for name, row in found["detectors"].items()}
    body = [
        [name, str(row["passes"]), f"{all_of['parameters'] / 1e6:.2f}", f"{row['own'] / 1e6:.2f}",
         f"{all_of['flops'] / 1e9:.2f}", f"{all_of['seconds']:.2f}"]
        for name, (row, all_of) in rows.items()
    ]  # fmt: skip
    high, wide = found["size"]
    head = ["detector alone", "passes of the network", "M parameters in all", "of these beside the network",
            f"G{COUNTED['flops']}", "seconds"]  # fmt: skip
    text = (
        f"One image of {wide}x{high}, {found['threads']} thread, each detector alone with its network; FLOPs of "
        "convolutions and matrix products, a multiplication and an addition being two."
    )
    return ["## Costs (P2)", "", text, "", *table(head, body)]


def _clean(found: Json | None) -> list[str]:
    if found is None:
        return []
    lines = ["## False alarms on frames without anomalies (P3)", ""]
    known = shares(dict(found))
    for kind, text in THRESHOLDS.items():
        titles = {key: f"{one['title']}, {len(one['frames'])} frames" for key, one in found["sets"].items()}
        body = [[name, *(number(own[key][kind]["value"], own[key][kind]["ci95"]) for key in titles)]
                for name, own in known.items()]  # fmt: skip
        lines += [f"Share of pixels at or above the threshold of {text}:", ""]
        lines += table(["detector", *titles.values()], body)
    return lines
