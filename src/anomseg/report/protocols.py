"""The same scores under several protocols, as one Markdown table that is read on a terminal too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anomseg.report.cards import decimals
from anomseg.report.tables import escape

_LABELS = {"ap": "AP", "auroc": "AUROC", "fpr95": "FPR95"}
_RULES = ("aggregation", "clean_images", "void", "fpr_rule", "ap_rule", "score_storage", "threshold_source")
_HEADINGS = ("averaged", "clean images", "left out", "FPR95 at recall", "AP", "scores as", "thresholds from")
_WORDS = {
    "per_image": "over images",
    "first>=": "first >= .95",
    "first>": "first > .95",
    "nearest": "nearest to .95",
    "smiyc": "float16, percentile bins",
    "best_f1": "best F1 (oracle)",
    "other_half": "the other half",
    "none": "no threshold",
}


def protocols_text(table: Mapping[str, Any]) -> str:
    """The table and the rules below it, in Markdown.

    Args:
        table: The content of ``protocols.json``.

    Example:
        >>> rows = [{"detector": "msp", "protocol": "caos", "ap": 0.5, "auroc": 0.5, "fpr95": 1.0, "frames": 2}]
        >>> print(protocols_text({"rows": rows, "protocols": {}}).splitlines()[2])
        | msp | caos | 0.500 | 0.500 | 1.000 | 2 | - |
    """
    lines = ["| detector | protocol | AP | AUROC | FPR95 | frames | prevalence |", "|---|---|---:|---:|---:|---:|---:|"]
    for row in table["rows"]:
        figures = [decimals(row[name]) for name in _LABELS]
        cells = [escape(row["detector"]), row["protocol"], *figures, str(row["frames"])]
        lines.append(_row([*cells, decimals(row.get("prevalence"))]))
    if table["protocols"]:
        lines += ["", _row(["protocol", *_HEADINGS]), "|---" * (1 + len(_HEADINGS)) + "|"]
        lines += [_row([name, *_rules(protocol)]) for name, protocol in table["protocols"].items()]
    return "\n".join(lines) + "\n"


def spreads(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each detector and figure, the lowest and the highest value over the protocols and which they are of.

    Args:
        table: The content of ``protocols.json``.
    """
    found = []
    for detector in dict.fromkeys(row["detector"] for row in table["rows"]):
        for figure in _LABELS:
            rows = [row for row in table["rows"] if row["detector"] == detector and row[figure] is not None]
            if rows:
                low, high = (choose(rows, key=lambda row: row[figure]) for choose in (min, max))
                ends = {"low": low[figure], "high": high[figure], "lowest": low["protocol"]}
                found.append({"detector": detector, "figure": figure, **ends, "highest": high["protocol"]})
    return found


def spread_text(table: Mapping[str, Any]) -> str:
    """`spreads` as a Markdown table."""
    lines = ["| detector | figure | lowest | highest | difference |", "|---|---|---:|---:|---:|"]
    for row in spreads(table):
        ends = [f"{decimals(row[end])} ({row[name]})" for end, name in (("low", "lowest"), ("high", "highest"))]
        difference = decimals(row["high"] - row["low"])
        lines.append(_row([escape(row["detector"]), _LABELS[row["figure"]], *ends, difference]))
    return "\n".join(lines) + "\n"


def ranks(table: Mapping[str, Any], figure: str = "ap") -> dict[str, list[str]]:
    """Detectors from the best to the worst under each protocol.

    Args:
        table: The content of ``protocols.json``.
        figure: ``ap``, ``auroc`` (higher is better) or ``fpr95`` (lower is).
    """
    orders = {}
    for name in dict.fromkeys(row["protocol"] for row in table["rows"]):
        rows = [row for row in table["rows"] if row["protocol"] == name and row[figure] is not None]
        best_first = sorted(rows, key=lambda row: row[figure], reverse=figure != "fpr95")
        orders[name] = [row["detector"] for row in best_first]
    return orders


def _rules(protocol: Mapping[str, Any]) -> list[str]:
    cells = []
    for key in _RULES:
        value = protocol[key]
        if key == "void":
            cells.append(", ".join(map(str, value)) if value else "nothing: void counts as inlier")
        elif key == "clean_images":
            cells.append("kept" if value == "keep" else "dropped")
        else:
            cells.append(_WORDS.get(str(value), str(value)))
    return cells


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
