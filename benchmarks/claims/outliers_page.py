"""docs/claims-outliers.md out of verdicts and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from knn_tables import number, table
from learned_answers import Answer
from learned_page import checks_table, measured_on, rests
from learned_verdicts import Part
from outliers_verdicts import LOST

Json = Mapping[str, Any]
INTRODUCTION = (
    "Verdicts come from intervals: a part of a claim is supported on a set where every check of every seed holds with "
    "its whole 95 % interval, not supported where one is contradicted with its whole interval, else undecided. "
    "Intervals are percentiles of 1000 cluster-bootstrap resamples (seed 0): over blocks of 20 neighbouring frames on "
    "CamVid, over frames elsewhere, over images on CIFAR-10, over samples where samples of a flow are looked at; "
    f"differences are paired over the same resamples. What may be lost without counting, {LOST:g}, was set before "
    "anything was measured. Tier cpu; tables with protocol, network, training and controls in [results](results.md). "
    "RoadAnomaly21 val has ten frames and decides nothing. The network is that of `erfnet-int8-recovered`, not the "
    "published ERFNet; its encoder was trained on Cityscapes.",
)


def page(
    figures: Json, parts: Sequence[Part], answers: Sequence[Answer], border: Mapping[str, Json], cifar: Json | None
) -> str:
    """The document.

    Args:
        figures: Of benchmarks/outliers.py.
        parts: Parts of claims that rest on sets and seeds.
        answers: The others.
        border: Studies of samples, by name.
        cifar: The study on CIFAR-10.
    """
    lines = [
        "# Claims of noisy negatives and synthetic outliers",
        "",
        "Written by `python benchmarks/claims/outliers.py`; do not edit.",
        "",
    ]
    for text in INTRODUCTION:
        lines += [text, ""]
    studies = [{**one, "benchmark": one["bench"]} for one in figures["studies"]]
    lines += [*measured_on(studies), *cifar_line(cifar), "## Verdicts", ""]
    lines += ["| claim | says | verdict | rests on |", "|---|---|---|---|"]
    rows = [(one.claim, one.says, one.word, rests(one)) for one in parts]
    rows += [(one.claim, one.says, one.word, one.why) for one in answers]
    ordered = sorted(rows, key=lambda row: row[0])
    lines += [f"| {claim} | {says} | **{word}** | {why} |" for claim, says, word, why in ordered]
    lines += ["", "## Checks, set by set", ""]
    for one in parts:
        if one.verdicts:
            lines += [f"{one.claim}, {one.says}:", "", *checks_table(one.verdicts)]
    lines += control_section(studies)
    lines += border_section(border)
    lines += cifar_section(cifar)
    return "\n".join(lines).rstrip() + "\n"


def cifar_line(study: Json | None) -> list[str]:
    """Images and rotations of CIFAR-10."""
    if not study or not study["studies"]:
        return []
    first = study["studies"][0]
    return [
        "- CIFAR-10 (a thousand training and two hundred test images a class, re-encoded as JPEG): "
        f"{first['frames']} test images, {len(study['studies'])} rotations of six classes taught and four held out, "
        f"seed {first['seed']}, tier cpu",
        "",
    ]


def control_section(studies: Sequence[Json]) -> list[str]:
    """N2: what is flagged of pasted inliers."""
    lines = []
    for one in studies:
        body = []
        for name, row in one["rows"].items():
            found = row.get("paste_control")
            if found:
                shares = [found[key] for key in ("pasted", "untouched", "gap")]
                cells = [number(share["value"], share["ci95"]) for share in shares]
                body.append([f"*{name}* (control)" if row["kind"] == "control" else name, *cells])
        if body:
            head = ["detector", "pasted inliers", "untouched, the same classes", "difference"]
            lines += [f"{one['title']}, {one['benchmark']}, seed {one['seed']}:", "", *table(head, body)]
    if not lines:
        return []
    text = (
        "Cars and pedestrians of other frames are pasted where they stood. Shares of their pixels, and of untouched "
        "pixels of the same classes in the same frames, at or above the threshold that finds 95 % of the anomalous "
        "pixels. A detector that finds pasting instead of the unknown flags more of the pasted."
    )
    return ["## The paste control (N2)", "", text, "", *lines]


def border_section(border: Mapping[str, Json]) -> list[str]:
    """R2: samples over training."""
    if not border:
        return []
    text = (
        "Max-softmax is by the network that joint training started from, which took no part in it, and by the one that "
        "came out; distances are to the fifth nearest of the training patches in the feature space of the former, in "
        "units of the mean distance of validation patches. Patches and samples are shown alone, not pasted. "
        "On two moons distances are in the plane, and noise is uniform over it; elsewhere noise is the flow untrained."
    )
    lines = ["## Samples and the border of the data (R2)", "", text, ""]
    for one in border.values():
        head = ["what", "max-softmax, network at the start", "network after joint training", "distance"]
        body = [
            [
                name,
                *(
                    number(row[key]["value"], row[key]["ci95"]) if key in row else "-"
                    for key in ("start", "end", "distance")
                ),
            ]
            for name, row in one["rows"].items()
        ]
        lines += [f"{one['title']}, {one['count']} each, seed {one['seed']}:", "", *table(head, body)]
        body = [
            [name, str(entry["step"]), *(f"{entry[key]:.3f}" if key in entry else "-" for key in LOGGED)]
            for name, entries in one["logged"].items()
            for entry in entries
        ]
        if body:
            lines += ["Logged in validation:", "", *table(["training", "step", *LOGGED.values()], body)]
    return lines


LOGGED = {
    "val_sample_confidence": "max-softmax on samples",
    "val_confidence": "max-softmax on data",
    "val_bits": "bits per dimension of data",
    "val_sample_bits": "bits per dimension of samples",
}
"""Figures that the stage logs, and what the page calls them."""


def cifar_section(study: Json | None) -> list[str]:
    """R4: every rotation."""
    if not study:
        return []
    lines = [
        "## CIFAR-10 (R4)",
        "",
        f"The same small classifier and the same flow for all: {study['steps']['classifier']} steps without outliers, "
        f"then {study['steps']['joint']} steps more: without outliers, with those of a flow that likelihood alone "
        "trains (detached), or of one that is trained jointly. An image is one decision. `likelihood` is the flow's "
        "own score.",
        "",
    ]
    for one in study["studies"]:
        body = []
        for name, row in one["rows"].items():
            cells = [number(row["figures"][key], row["ci95"].get(key, ())) for key in ("ap", "auroc", "fpr95")]
            accuracy = row.get("accuracy")
            body.append([name, *cells, number(accuracy) if accuracy is not None else "-"])
        head = ["training/score", "AP", "AUROC", "FPR95", "closed accuracy"]
        told = f"Held out: {', '.join(one['held_out'])}; prevalence {one['prevalence']:.3f}, seed {one['seed']}:"
        lines += [told, "", *table(head, body)]
    return lines
