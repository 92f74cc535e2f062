"""docs/claims-phantoms.md out of the cards of all seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

Json = Mapping[str, Any]
CLAIM = "better prediction of tumour Dice on MSD pancreas (+10 % correlation; another text recalls +7 % Pearson)"
MARK = 0.7
TITLES = {
    "synthcp": "SynthCP, slices with neighbours (2.5-D)",
    "synthcp_3d": "SynthCP, volumes (3-D)",
    "direct": "direct prediction, no rendering (2.5-D)",
    "shape": "shape autoencoder, 3-D",
}
INTRODUCTION = (
    "Claim S3 is about real scans that cannot be had here. What follows shows on generated phantoms that the parts "
    "work together: it says nothing about tumours of patients.",
    "Each phantom is a CT-like slab of an abdomen with an organ and a tumour; its predicted mask has failed in one of "
    "nine known ways, to a degree drawn evenly. Generator, comparator and test see different phantoms, the same ones "
    "for every system and seed. Foretold against true Dice of the tumour; intervals are 95 % percentile intervals of "
    "1000 bootstrap resamples over phantoms. The uncertainty baseline needs the probabilities of a segmenter, which "
    "made masks do not have: see the real slices below.",
)


def summarise(runs: Sequence[Json]) -> dict[str, Any]:
    """Means over seeds and how the marks are met.

    Args:
        runs: ``{"seed": n, "cards": [...]}`` each.

    Returns:
        ``cases``, ``seeds``, mean ``pearson`` of each system, and ``marks``: whether it is at least `MARK` on every
        seed, and above direct prediction with the whole interval of the paired difference on every seed.
    """
    names = [card["folder"] for card in runs[0]["cards"]]
    by_seed = [{card["folder"]: card for card in run["cards"]} for run in runs]
    pearson = {name: fmean(_pearson(cards[name]) for cards in by_seed) for name in names}
    reached = [_pearson(cards["synthcp"]) >= MARK for cards in by_seed]
    above = [_difference(cards["synthcp"]) for cards in by_seed]
    return {
        "cases": runs[0]["cards"][0]["frames"],
        "seeds": [run["seed"] for run in runs],
        "pearson": pearson,
        "marks": {
            "reached": reached,
            "above": [limits is not None and limits[0] > 0 for _, limits in above],
            "higher": [value is not None and value > 0 for value, _ in above],
        },
    }


def phantom_page(runs: Sequence[Json], summary: Json, slices: Json | None) -> str:
    """The page in Markdown."""
    seeds = ", ".join(map(str, summary["seeds"]))
    lines = ["# Failure detection in generated CT phantoms", ""]
    for paragraph in INTRODUCTION:
        lines += [paragraph, ""]
    lines += [
        f"{summary['cases']} test phantoms, seeds {seeds}, tier cpu. Written by `benchmarks/claims/phantoms.py`.",
        "",
    ]
    lines += ["## Marks", "", *_marks(summary), "", "## Figures", "", *_figures(runs), ""]
    lines += ["## SynthCP less direct prediction", "", *_differences(runs), ""]
    lines += ["## By kind of failure", "", *_kinds(runs)]
    if slices is not None:
        lines += ["", "## The fifteen real slices", "", *_slices(slices)]
    return "\n".join(lines) + "\n"


def _marks(summary: Json) -> list[str]:
    marks, count = summary["marks"], len(summary["seeds"])
    return [
        f"- Pearson of at least {MARK}: on {sum(marks['reached'])} of {count} seeds "
        f"(mean {summary['pearson']['synthcp']:.3f}).",
        f"- Above direct prediction (mean {summary['pearson']['direct']:.3f}): on {sum(marks['higher'])} of {count} "
        f"seeds, with the whole interval of the paired difference on {sum(marks['above'])}.",
    ]


def _figures(runs: Sequence[Json]) -> list[str]:
    lines = [
        "| system | seed | MAE | STD | Pearson | Spearman | AUPR-Error of voxels |",
        "|---|---|---|---|---|---|---|",
    ]
    for place, first in enumerate(runs[0]["cards"]):
        for run in runs:
            card = run["cards"][place]
            quality, limits = card["class_quality"], card["class_quality"].get("ci95") or {}
            voxels = (card.get("voxels") or {}).get("aupr_error")
            cells = [
                TITLES.get(first["folder"], first["folder"]),
                str(run["seed"]),
                _with(quality["mae"], limits.get("mae")),
                _number(quality["std"]),
                _with(quality["pearson"], limits.get("pearson")),
                _with(quality["spearman"], limits.get("spearman")),
                _number(voxels),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _differences(runs: Sequence[Json]) -> list[str]:
    lines = ["| seed | Pearson | MAE |", "|---|---|---|"]
    for run in runs:
        card = next(card for card in run["cards"] if card["folder"] == "synthcp")
        told = card["comparison"].get("direct") or {}
        cells = [
            _with((told.get(name) or {}).get("difference"), (told.get(name) or {}).get("ci95"))
            for name in ("pearson", "mae")
        ]
        lines.append(f"| {run['seed']} | {' | '.join(cells)} |")
    return lines


def _kinds(runs: Sequence[Json]) -> list[str]:
    """Mean absolute error of each kind, the mean over seeds."""
    names = [card["folder"] for card in runs[0]["cards"]]
    kinds = sorted({kind for run in runs for card in run["cards"] for kind in card["by_kind"]})
    lines = [f"| kind | phantoms | {' | '.join(f'MAE {name}' for name in names)} |", "|---" * (2 + len(names)) + "|"]
    for kind in kinds:
        found = [[card["by_kind"].get(kind) for card in run["cards"]] for run in runs]
        count = next(one["frames"] for row in found for one in row if one)
        cells = [_number(fmean(row[place]["mae"] for row in found if row[place])) for place in range(len(names))]
        lines.append(f"| {kind.replace('_', ' ')} | {count} | {' | '.join(cells)} |")
    return lines


def _slices(slices: Json) -> list[str]:
    told = slices["uncertainty"]
    return [
        "A small MONAI UNet by leave-one-stack-out on three stacks of five neighbouring CT slices, whose scans are not "
        "known: figures of three stacks, and no claim.",
        "",
        "| what | figure [95 %, over three stacks] |",
        "|---|---|",
        f"| Dice of the pancreas, mean over slices | {_with(slices['dice']['mean'], slices['dice']['ci95'])} |",
        *(f"| Dice of {name} | {_number(value)} |" for name, value in slices["dice"]["stacks"].items()),
        f"| Dice foretold from uncertainty: MAE | {_with(told['mae'], (told['ci95'] or {}).get('mae'))} |",
        f"| Dice foretold from uncertainty: Pearson | {_with(told['pearson'], (told['ci95'] or {}).get('pearson'))} |",
    ]


def _pearson(card: Json) -> float:
    """The correlation; none at all counts as 0."""
    return float(card["class_quality"]["pearson"] or 0.0)


def _difference(card: Json) -> tuple[float | None, Sequence[float] | None]:
    told = (card["comparison"].get("direct") or {}).get("pearson") or {}
    return told.get("difference"), told.get("ci95")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _with(value: float | None, limits: Sequence[float] | None) -> str:
    return _number(value) + (f" [{limits[0]:.3f}, {limits[1]:.3f}]" if value is not None and limits else "")
