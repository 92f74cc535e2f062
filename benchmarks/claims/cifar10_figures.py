"""Figures of the CIFAR-10 study out of its finished evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anomseg.errors import DataError
from anomseg.evaluation.checkpoint import Checkpoint
from anomseg.evaluation.states import FOLDER
from anomseg.files import read_json
from anomseg.metrics import PerImage, bootstrap_intervals, paired_difference

Json = dict[str, Any]
SCORES = ("msp", "energy")
PAIRS = (("joint", "without"), ("detached", "without"), ("joint", "detached"))
ALONE = {"flow_likelihood": "likelihood", "chance": "chance"}
"""Detectors that read no classifier: their row."""


def collect(rotations: Sequence[tuple[Sequence[str], int, Mapping[str, Path]]]) -> Json:
    """Rows, paired differences and accuracies of every rotation.

    Args:
        rotations: Held-out classes, the seed, and the folder of each training's evaluation.
    """
    return {"schema": 1, "tier": "cpu", "studies": [study_of(*one) for one in rotations]}


def study_of(held_out: Sequence[str], seed: int, runs: Mapping[str, Path]) -> Json:
    """One rotation."""
    rows: Json = {}
    states: dict[str, PerImage] = {}
    for training, folder in runs.items():
        for path in sorted(folder.glob("*/metrics.json")):
            card = read_json(path)
            if card.get("detector") is None:
                continue
            name = ALONE.get(path.parent.name, f"{training}/{path.parent.name}")
            states[name] = state_of(path.parent)
            rows[name] = row_of(card, states[name], of_classifier=name not in ALONE.values())
    pairs = [(f"{first}/{score}", f"{second}/{score}") for score in SCORES for first, second in PAIRS]
    first = next(iter(rows.values()))
    return {
        "held_out": list(held_out),
        "seed": seed,
        "frames": first["frames"],
        "prevalence": first["prevalence"],
        "rows": rows,
        "differences": {f"{one} - {other}": apart(states[one], states[other]) for one, other in pairs},
        "accuracy": {f"{one} - {other}": accuracy_gap(rows, one, other) for one, other in PAIRS},
    }


def state_of(folder: Path) -> PerImage:
    """The per-image histograms of finished results.

    Raises:
        DataError: There are none.
    """
    found = Checkpoint(folder / FOLDER).read()
    if found is None:
        raise DataError(f"{folder} holds no finished evaluation")
    return PerImage.load(found[1]["per_image"])


def row_of(card: Mapping[str, Any], state: PerImage, *, of_classifier: bool) -> Json:
    """Figures of one score; every pixel of an image has its image's score, so pixels count images."""
    limits = bootstrap_intervals(state)
    classes = card.get("open_set") or {}
    return {
        "frames": card["frames"],
        "prevalence": card["prevalence"],
        "figures": {name: card["pixel"][name] for name in ("ap", "auroc", "fpr95")},
        "ci95": {name: list(found) for name, found in (limits.figures or {}).items()},
        "accuracy": classes.get("closed_accuracy") if of_classifier else None,
    }


def apart(first: PerImage, second: PerImage) -> Json:
    """First less second, paired over resampled images."""
    paired = paired_difference(first, second)
    limits = paired.intervals.figures or {}
    return {name: {"value": value, "ci95": list(limits.get(name, ()))} for name, value in paired.difference.items()}


def accuracy_gap(rows: Mapping[str, Json], first: str, second: str) -> Json | None:
    """First less second in closed accuracy; its interval is that of two independent proportions, wider than paired."""
    found = [rows[f"{name}/msp"] for name in (first, second)]
    if any(row["accuracy"] is None for row in found):
        return None
    known = round(found[0]["frames"] * (1 - found[0]["prevalence"]))
    spread = 1.96 * sum(row["accuracy"] * (1 - row["accuracy"]) / known for row in found) ** 0.5
    value = found[0]["accuracy"] - found[1]["accuracy"]
    return {"value": value, "ci95": [value - spread, value + spread]}
