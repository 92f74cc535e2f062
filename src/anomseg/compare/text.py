"""Tables of a comparison as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from anomseg.compare.table import Record, Table
from anomseg.report.cards import MISSING, decimals
from anomseg.report.tables import escape

SHOWN = ("nAP", "AUPR-Success", "AUROC", "FPR95", "FPR95, mean over images", "MAE", "Pearson")
"""Figures beside the headline in the Markdown table; the others stand in the CSV file and the report."""
WORKS = {True: "works", False: "**does not work yet**", None: MISSING}
RULE = (
    "A row works here where it lies above every control with the whole 95 % interval of the paired difference; it "
    "beats the controls: yes where all intervals lie above 0, no where one lies below, else undecided."
)
COST_NOTE = (
    "own ms: what a row adds to the pass of the shared network, or its whole time where it shares none (marked alone); "
    "with that pass in brackets. Peak MiB is memory above what stood before the row's own step."
)


def table_markdown(table: Table, *, columns: Sequence[str] = SHOWN, costs: bool = True) -> list[str]:
    """Lines of one benchmark: the table, the rows that failed, what it holds for.

    Args:
        table: The benchmark.
        columns: Figures beside the headline; those that no row has are left out.
        costs: Show time and memory where some row has them.
    """
    headline = str(table.records[0]["headline"]) if table.records else ""
    kept = [name for name in columns if any(one["figures"].get(name) is not None for one in table.records)]
    timed = costs and any(one["cost"] for one in table.records)
    head = ["detector", "network", headline, *kept, "beats controls", ""]
    head += [f"{headline} - {table.reference}"] if table.reference else []
    head += ["passes", "own ms", "peak MiB"] if timed else ["passes"]
    lines = ["| " + " | ".join(escape(cell) for cell in head) + " |", "|---|---" + "|---:" * (len(head) - 2) + "|"]
    for one in table.records:
        if one["status"] == "failed":
            cells = [_name(one), escape(str(one["network"])), "failed", *[""] * (len(head) - 3)]
        else:
            cells = _cells(one, headline, kept, table, timed)
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"- {escape(str(one['title']))} failed: {escape(str(one['reason']))}" for one in failed(table)]
    lines += [f"- {escape(str(one['title']))}: {one['note']}" for one in table.records if one["note"]]
    lines += [f"- {escape(line)}" for line in table.conditions]
    return [*lines, ""]


def differences_markdown(table: Table) -> list[str]:
    """Lines on the paired differences of each row from each control; empty where there are none."""
    compared = [one for one in table.records if one["kind"] != "control" and one["differences"]]
    if not compared or not table.controls:
        return []
    head = ["detector", *(f"- {name}" for name in table.controls)]
    lines = ["| " + " | ".join(escape(cell) for cell in head) + " |", "|---" + "|---:" * len(table.controls) + "|"]
    for one in compared:
        cells = [signed(one["differences"].get(name)) for name in table.controls]
        lines.append("| " + " | ".join([escape(str(one["title"])), *cells]) + " |")
    return [*lines, ""]


def failed(table: Table) -> list[Record]:
    """Rows without figures."""
    return [one for one in table.records if one["status"] == "failed"]


def document(tables: Sequence[Table], heading: str = "Comparison", picture: str | None = None) -> str:
    """All tables as one Markdown document.

    Args:
        tables: One a benchmark.
        heading: Its title.
        picture: File of the picture beside it.
    """
    lines = [f"# {heading}", "", RULE, ""]
    if any(one["cost"] for table in tables for one in table.records):
        lines += [COST_NOTE, ""]
    for table in tables:
        lines += [f"## {escape(table.title)}", "", *table_markdown(table)]
        differences = differences_markdown(table)
        if differences:
            lines += [f"Paired differences in {table.records[0]['headline']} from each control:", "", *differences]
    if picture is not None:
        lines += [f"![Figures against milliseconds]({picture})", ""]
    return "\n".join(lines).rstrip() + "\n"


def table_csv(tables: Sequence[Table]) -> str:
    """One line a row and benchmark, undefined figures empty."""
    figures = list(dict.fromkeys(name for table in tables for one in table.records for name in one["figures"]))
    others = list(dict.fromkeys(name for table in tables for one in table.records for name in one["differences"]))
    costs = ("own_ms", "total_ms", "network_ms", "peak_mib", "passes", "shares_pass")
    names = ["benchmark", "detector", "kind", "definition", "network", "own_network", "status", "reason", "frames"]
    names += ["prevalence", "beats_controls", "works", "parameters"]
    names += [f"{name}{ending}" for name in figures for ending in ("", " low", " high")]
    names += [f"less {name}{ending}" for name in others for ending in ("", " low", " high")]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [*names, *costs], restval="", lineterminator="\n")
    writer.writeheader()
    for table in tables:
        for one in table.records:
            writer.writerow(_flat(table, one, figures, costs))
    return stream.getvalue()


def signed(difference: Any) -> str:
    """A paired difference with its interval.

    Example:
        >>> signed({"value": 0.1, "ci95": [0.05, 0.2]}), signed({"value": -0.1, "ci95": None}), signed(None)
        ('+0.100 [+0.050, +0.200]', '-0.100 (no interval)', '-')
    """
    if not difference or difference["value"] is None:
        return MISSING
    limits = difference["ci95"]
    interval = f"[{limits[0]:+.3f}, {limits[1]:+.3f}]" if limits else "(no interval)"
    return f"{difference['value']:+.3f} {interval}"


def _name(one: Record) -> str:
    title = escape(str(one["title"]))
    return f"*{title}* (control)" if one["kind"] == "control" else title


def _cells(one: Record, headline: str, kept: Sequence[str], table: Table, timed: bool) -> list[str]:
    limits = one["ci95"].get(headline)
    shown = decimals(one["figures"].get(headline))
    interval = f" [{limits[0]:.3f}, {limits[1]:.3f}]" if limits and shown != MISSING else ""
    network = escape(str(one["network"])) + (" (own)" if one["own_network"] else "")
    cells = [_name(one), network, shown + interval, *(decimals(one["figures"].get(name)) for name in kept)]
    cells += [one["beats_controls"] or MISSING, WORKS[one["works"]]]
    if table.reference:
        cells.append(signed(one["to_reference"]))
    cost = one["cost"] or {}
    passes = cost.get("passes", one["flags"].get("forward_passes"))
    cells.append(MISSING if passes is None else str(passes))
    return [*cells, milliseconds(cost), decimals(cost.get("peak_mib"), 0)] if timed else cells


def milliseconds(cost: Any) -> str:
    """Time of a row: what it adds, and with the pass that it shares.

    Example:
        >>> milliseconds({"own_ms": 4.0, "total_ms": 104.0, "shares_pass": True})
        '4.0 (104.0)'
        >>> milliseconds({"own_ms": 90.0, "total_ms": 90.0, "shares_pass": False})
        '90.0 alone'
    """
    if not cost or cost.get("own_ms") is None:
        return MISSING
    if not cost["shares_pass"]:
        return f"{cost['own_ms']:.1f} alone"
    return f"{cost['own_ms']:.1f}" + (f" ({cost['total_ms']:.1f})" if cost["total_ms"] is not None else "")


def _flat(table: Table, one: Record, figures: Sequence[str], costs: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"benchmark": table.title, "detector": one["title"], "definition": one["detector"]}
    names = ("kind", "network", "own_network", "status", "reason", "frames", "prevalence", "beats_controls", "works")
    row |= {name: one[name] for name in (*names, "parameters")}
    for name in figures:
        row |= _with_limits(name, one["figures"].get(name), one["ci95"].get(name))
    for name, difference in one["differences"].items():
        row |= _with_limits(f"less {name}", difference["value"], difference["ci95"])
    row |= {name: (one["cost"] or {}).get(name) for name in costs}
    return {key: "" if value is None else value for key, value in row.items()}


def _with_limits(name: str, value: Any, limits: Any) -> dict[str, Any]:
    low, high = limits or (None, None)
    return {name: value, f"{name} low": low, f"{name} high": high}
