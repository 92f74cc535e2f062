"""Markdown tables of measured figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from knn_density import CONTROLS
from knn_verdicts import Check, Verdict

Json = Mapping[str, Any]


def number(value: float, limits: Sequence[float] = (), sign: bool = False) -> str:
    """A figure with its interval.

    Example:
        >>> number(0.1234, (0.1, 0.2)), number(0.5, sign=True)
        ('.123 [.100, .200]', '+.500')
    """
    form = "{:+.3f}" if sign else "{:.3f}"
    parts = [form.format(one).replace("0.", ".", 1) if abs(one) < 1 else form.format(one) for one in (value, *limits)]
    return parts[0] if not limits else f"{parts[0]} [{', '.join(parts[1:])}]"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose first column is text and whose others are figures."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows), ""]


def cells(figures: Json) -> list[str]:
    """AP, nAP, AUROC and FPR95 with their intervals; nAP follows AP's."""
    limits = figures["ci95"]
    found = [number(figures[name], limits.get(name, ())) for name in ("ap", "auroc", "fpr95")]
    return [found[0], number(figures["nap"]), *found[1:]]


def figures_table(figures: Mapping[str, Json], first: str = "score") -> list[str]:
    """Scores by name; controls in italics after the others."""
    names = [name for name in figures if name not in CONTROLS] + [name for name in figures if name in CONTROLS]
    rows = [[f"*{name}* (control)" if name in CONTROLS else name, *cells(figures[name])] for name in names]
    return table([first, "AP", "nAP", "AUROC", "FPR95"], rows)


def protocol_line(protocol: Json, figures: Json | None = None) -> str:
    """What stands under a table."""
    high, wide = protocol["labels"]
    rows, columns = protocol["input"]
    text = (
        f"{protocol['network']}, {protocol['set']}, {protocol['frames']} frames; input {columns}x{rows}, labels "
        f"{wide}x{high}, cells read: {protocol['cells']}; bank: {protocol['bank']}, {protocol['bank_frames']} frames; "
        f"seeds {', '.join(map(str, protocol['seeds']))}"
    )
    if figures:
        text += f"; prevalence {figures['prevalence']:.3f}, intervals over {figures['groups']} groups"
    return f"{text}."


def differences_table(differences: Mapping[str, Json]) -> list[str]:
    """Paired differences in AP and FPR95."""
    rows = []
    for name, found in differences.items():
        ap, fpr = found["ap"], found["fpr95"]
        rows.append([name, number(ap["value"], ap["ci95"], True), number(fpr["value"], fpr["ci95"], True)])
    return table(["difference", "AP", "FPR95"], rows)


def verdict_table(verdicts: Sequence[Verdict]) -> list[str]:
    """One row a claim and network, with the check that decides it."""
    rows = []
    for verdict in verdicts:
        check = deciding(verdict)
        kept = sum(one.answer == "yes" for one in verdict.checks)
        shown = f"{check.what}: {number(check.value, check.ci95, bool(check.ci95))}" if check else "nothing measured"
        rows.append(
            [f"{verdict.claim}, {verdict.network}", f"**{verdict.word}**", f"{kept}/{len(verdict.checks)}", shown]
        )
    return table(["claim, network", "verdict", "checks that hold", "the check that decides"], rows)


def deciding(verdict: Verdict) -> Check | None:
    """The check that speaks most against a claim: contradicted before open before holding, then the least slack."""
    order = {"no": 0, "?": 1, "yes": 2}
    ranked = sorted(verdict.checks, key=lambda check: (order[check.answer], check.slack))
    return ranked[0] if ranked else None


def seconds_table(timing: Json) -> list[str]:
    """Search seconds a frame by rows."""
    rows = [
        [size, f"{median(taken):.2f}", f"{min(taken):.2f} to {max(taken):.2f}"]
        for size, taken in timing["search"].items()
    ]
    taken = timing["forward"]
    rows.append(["*forward pass*", f"{median(taken):.2f}", f"{min(taken):.2f} to {max(taken):.2f}"])
    return table(["rows", "median s a frame", "range"], rows)
