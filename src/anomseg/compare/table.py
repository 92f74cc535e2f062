"""The table of one benchmark: for each row its figures, whether it beats the controls, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anomseg.compare.measures import Measure
from anomseg.compare.paired import Difference, Pairs, beats
from anomseg.compare.rows import KINDS, Kind
from anomseg.report.columns import Card, section

Record = Mapping[str, Any]
"""One row as ``compare.json`` holds it."""


@dataclass(frozen=True)
class Entry:
    """One row before it is compared with the others.

    Attributes:
        title: Its name.
        kind: What it stands for.
        detector: What names the detector.
        network: What its network is called.
        own_network: It scores a network of its own, not that of the comparison.
        card: Its result card; None where there is none.
        folder: Where its results lie; None where there are none.
        identity: What tells its results from others'.
        cost: Time and memory, see `anomseg.compare.costs.cost_of`; None where they were not measured.
        failed: Why it has no figures.
        note: What must be said beside it.
    """

    title: str
    kind: Kind
    detector: str
    network: str
    own_network: bool = False
    card: Card | None = None
    folder: Path | None = None
    identity: str = ""
    cost: Mapping[str, Any] | None = None
    failed: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Table:
    """All rows on one benchmark.

    Attributes:
        title: Its heading.
        task: What was evaluated.
        records: The rows, methods first, then baselines, then controls.
        reference: Title of the row that the others are compared with; None for none.
        conditions: What all figures hold for, one line each.
        cards: Result cards of the finished rows by title.
    """

    title: str
    task: str
    records: Sequence[Record]
    reference: str | None = None
    conditions: Sequence[str] = ()
    cards: Mapping[str, Card] = field(default_factory=dict)

    @property
    def controls(self) -> list[str]:
        """Titles of the controls that have figures."""
        return [str(one["title"]) for one in self.records if one["kind"] == "control" and one["status"] == "done"]

    def as_dict(self) -> dict[str, Any]:
        """The table, ready for JSON."""
        return {
            "title": self.title,
            "task": self.task,
            "reference": self.reference,
            "conditions": list(self.conditions),
            "rows": [dict(one) for one in self.records],
        }


def make_table(
    title: str,
    entries: Sequence[Entry],
    measure: Measure,
    pairs: Pairs,
    *,
    reference: str | None = None,
    conditions: Sequence[str] = (),
) -> Table:
    """Compare the rows of one benchmark with its controls and with the reference.

    Args:
        title: Heading.
        entries: The rows in any order.
        measure: What the task is judged by.
        pairs: Compares two rows.
        reference: Title of the row that the others are compared with.
        conditions: What all figures hold for.
    """
    ordered = sorted(entries, key=lambda one: KINDS.index(one.kind))
    done = {one.title: one for one in ordered if one.card is not None and one.folder is not None}
    controls = [one for one in done.values() if one.kind == "control"]
    records = []
    for entry in ordered:
        against: dict[str, Difference] = {}
        wanted = [*controls, *([done[reference]] if reference in done else [])]
        for other in wanted if entry.title in done else ():
            if other.title != entry.title and other.title not in against:
                against[other.title] = _difference(entry, other, pairs)
        records.append(_record(entry, measure, pairs, against, [one.title for one in controls], reference))
    cards = {name: one.card for name, one in done.items() if one.card is not None}
    return Table(title, measure.task, records, reference, conditions, cards)


def _difference(entry: Entry, other: Entry, pairs: Pairs) -> Difference:
    """From the entry's own card where it has been compared there with the same run's control, else computed."""
    told = section(section(entry.card or {}, "comparison"), other.folder.name if other.folder else "")
    same = entry.folder is not None and other.folder is not None and entry.folder.parent == other.folder.parent
    if pairs.blocks is None and same and told and (entry.card or {}).get("seed") == pairs.seed:
        return {"value": told["ap"], "ci95": told["ci95"], "above": told["above"], "reason": told["reason"]}
    assert entry.folder is not None  # noqa: S101 - only finished rows are compared
    assert other.folder is not None  # noqa: S101
    return pairs.of((entry.identity, entry.folder), (other.identity, other.folder))


def _intervals(entry: Entry, measure: Measure, pairs: Pairs) -> dict[str, list[float]]:
    """Intervals of a row's figures: those of its card, which resamples sequences, or over blocks where asked for."""
    card = entry.card or {}
    if pairs.blocks is None or entry.folder is None:
        return {one.label: list(pair) for one in measure.columns if (pair := one.interval(card)) is not None}
    found = pairs.intervals(entry.folder)
    own = [one for one in measure.columns if one.section == measure.section]
    return {one.label: list(found[one.key]) for one in own if one.key in found and one.of(card) is not None}


def _record(
    entry: Entry,
    measure: Measure,
    pairs: Pairs,
    against: Mapping[str, Difference],
    controls: Sequence[str],
    reference: str | None,
) -> Record:
    card = entry.card or {}
    control = entry.kind == "control"
    answer = None if control or entry.card is None else beats([against[name] for name in controls if name in against])
    detector = section(card, "detector")
    if measure.task == "failure" and "passes" in detector:  # one whose two uses differ
        detector = {**detector, "forward_passes": detector["passes"]["assess"]}
    return {
        "title": entry.title,
        "kind": entry.kind,
        "detector": entry.detector,
        "network": entry.network,
        "own_network": entry.own_network,
        "status": "failed" if entry.card is None else "done",
        "reason": entry.failed,
        "note": entry.note,
        "frames": card.get("frames"),
        "skipped": len(card.get("skipped") or ()),
        "prevalence": card.get("prevalence"),
        "figures": {figure.label: figure.of(card) for figure in measure.columns},
        "ci95": _intervals(entry, measure, pairs),
        "headline": measure.label,
        "differences": {name: dict(one) for name, one in against.items()},
        "to_reference": dict(against[reference]) if reference is not None and reference in against else None,
        "beats_controls": answer,
        "works": None if answer is None else answer == "yes",
        "flags": {
            name: detector.get(name)
            for name in ("uses_anomaly_labels", "uses_negatives", "forward_passes", "needs_fit")
            if name in detector
        },
        "parameters": section(card, "parameter_counts").get("total"),
        "cost": dict(entry.cost) if entry.cost else None,
        "results": str(entry.folder) if entry.folder is not None else None,
    }
