"""The document that the measured cards become."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results_plan import Suite

from anomseg.evaluation.states import DetectorState
from anomseg.metrics import paired_difference
from anomseg.report import markdown_table

Cards = list[dict[str, Any]]


def against_controls(cards: Cards) -> list[str]:
    """For each detector, whether it beats every control with the interval of the paired difference above 0."""
    lines = []
    for card in cards:
        rows = card.get("comparison") or {}
        if not rows or card["detector"].get("control"):
            continue
        lost = [f"{name} ({row['ap']:+.3f})" for name, row in rows.items() if not row["above"]]
        verdict = "beats every control" if not lost else "does not beat " + ", ".join(lost)
        lines.append(f"- {card['folder']} {verdict}.")
    return lines


def against_untrained(cards: Cards, own: Path, other: Path) -> list[str]:
    """For each fitted detector, whether it works: above every control and above itself on an untrained network."""
    lines = []
    for card in cards:
        name = card["folder"]
        if card["detector"].get("control") or not (other / name).is_dir() or "fitted" not in name:
            continue
        first, second = DetectorState.load(own / name), DetectorState.load(other / name)
        if first is None or second is None:
            continue
        paired = paired_difference(first.per_image, second.per_image)
        limits = paired.intervals.figures["ap"] if paired.intervals.figures else None
        controls = all(row["above"] for row in card["comparison"].values())
        interval = f"[{limits[0]:+.4f}, {limits[1]:+.4f}]" if limits else f"no interval: {paired.intervals.reason}"
        works = controls and limits is not None and limits[0] > 0
        lines.append(
            f"- {name} {'works' if works else 'does not work yet'}: AP {paired.difference['ap']:+.4f} {interval} over "
            f"the same on random weights; {'above' if controls else 'not above'} every control."
        )
    return lines


def explained(cards: Cards) -> list[str]:
    """What rows of one detector with other options, or fitted otherwise, differ in."""
    first: dict[str, dict[str, Any]] = {}
    lines = []
    for card in cards:
        if not card["detector"]:
            continue  # a card of the network alone
        own = card["detector"]["parameters"]
        other = first.setdefault(card["detector"]["name"], own)
        differ = ", ".join(f"{key}={value}" for key, value in own.items() if other.get(key) != value)
        if differ:
            lines.append(f"- {card['folder']} is {card['detector']['name']} with {differ}")
    return lines


def costs(cards: Cards) -> list[str]:
    """Forward passes and seconds a frame of each detector, beside the pass that all share."""
    timed = [card for card in cards if card.get("seconds", {}).get("score") and card.get("frames")]
    if not timed:
        return []
    shared = max(card["seconds"].get("forward", 0.0) / card["frames"] for card in timed)
    lines = [
        f"Cost, in seconds a frame beside the shared pass ({shared:.2f} s with upsampling), other work beside it:",
        "",
        "| detector | forward passes | own seconds |",
        "|---|---:|---:|",
    ]
    for card in timed:
        own = card["seconds"]["score"] / card["frames"]
        lines.append(f"| {card['folder']} | {card['detector']['forward_passes']} | {own:.2f} |")
    return [*lines, ""]


def page(measured: list[tuple[Suite, dict[str, Cards]]], work: Path, arguments: str, first: Sequence[str] = ()) -> str:
    """The document.

    Args:
        measured: Cards of each suite by benchmark.
        work: Folder of the runs.
        arguments: Of the command that wrote it.
        first: Lines that come before the suites.
    """
    lines = [
        "# Results",
        "",
        f"Written by `python benchmarks/results.py {arguments}`; do not edit. Tier cpu; every detector sees the same "
        "first pass. Brackets hold 95 % intervals of a bootstrap over frames (1000 resamples, seed 0; on CamVid over "
        "its sequences). AP means little without the prevalence under each table; nAP is (AP - prevalence) / "
        "(1 - prevalence). RoadAnomaly21's validation split has ten frames: never rank on it.",
        "",
        *first,
    ]
    for suite, results in measured:
        lines += [f"## {suite.title}", "", suite.note, ""]
        for benchmark, cards in results.items():
            lines += [f"### {benchmark}", "", "\n".join([markdown_table(cards).rstrip(), *explained(cards)]), ""]
            verdicts = against_controls(cards)
            if verdicts:
                lines += ["Paired AP differences on the same frames, interval above 0 asked for:", "", *verdicts, ""]
            if suite.untrained:
                own, other = work / suite.key / benchmark, work / suite.untrained / benchmark
                lines += ["What is fitted, on these frames:", "", *against_untrained(cards, own, other), ""]
            lines += costs(cards)
            seconds = [card["seconds"]["total"] for card in cards if card.get("seconds")]
            if seconds:
                lines += [f"Wall time of the run with all detectors: {max(seconds):.0f} s.", ""]
    return "\n".join(lines).rstrip() + "\n"
