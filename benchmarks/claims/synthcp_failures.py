"""S2: finding wrong pixels, SynthCP against every baseline of the same run, from finished evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from learned_states import difference, in_blocks, intervals_of

from anomseg.evaluation.failure.state import FailureState
from anomseg.files import read_json

SYNTHCP = "synthcp"
BASELINES = ("msp", "entropy", "mc_dropout", "tcp", "direct_prediction")
"""Registered names of what the publication compares with."""
MEMORY = 2**28
Json = dict[str, Any]


def failures(runs: Sequence[Path]) -> list[Json]:
    """AUPR-Error of SynthCP and of the baselines in every finished run of failure detection, and their differences.

    Intervals are over blocks of 20 neighbouring frames, paired.

    Args:
        runs: As ``anomseg evaluate --task failure --out`` was given; others are passed over.
    """
    found = []
    for run in runs:
        cards = {path.parent.name: read_json(path) for path in sorted(run.glob("*/metrics.json"))}
        cards = {name: card for name, card in cards.items() if card["task"] == "failure" and card["failure"]}
        ours = [name for name, card in cards.items() if card["detector"]["name"] == SYNTHCP]
        rivals = {name: str(card["detector"]["name"]) for name, card in cards.items()}
        found += [_compared(run, row, cards, {name: own for name, own in rivals.items() if own in BASELINES})
                  for row in ours]  # fmt: skip
    return found


def _compared(run: Path, row: str, cards: Mapping[str, Json], rivals: Mapping[str, str]) -> Json:
    own = cards[row]
    frames = {name: in_blocks(_state(run / name).pixels.images) for name in (row, *rivals)}
    rows = {name: {"detector": cards[name]["detector"]["name"], "aupr_error": cards[name]["failure"]["aupr_error"],
                   "auroc": cards[name]["failure"]["auroc"], "fpr95": cards[name]["failure"]["fpr95"],
                   "ci95": intervals_of(images)["ci95"].get("ap", [])}
            for name, images in frames.items()}  # fmt: skip
    less = {name: difference(frames[row], frames[name])["ap"] for name in rivals}
    kept = {name: own[name] for name in ("benchmark", "frames", "prevalence")}
    title = f"{run.name}, {row}"
    return {**kept, "title": title, "row": row, "rows": rows, "less": less}


def _state(folder: Path) -> FailureState:
    found = FailureState.load(folder, MEMORY)
    if found is None:
        raise SystemExit(f"{folder} holds no states; give the folder of an evaluation that kept them")
    return found
