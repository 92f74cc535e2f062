"""All systems side by side as docs/results.md begins with them, and in short for the README."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anomseg.compare import Table, table_markdown
from anomseg.compare.text import COST_NOTE, RULE, differences_markdown
from anomseg.files import write_text

SYSTEMS = {
    "Maskomaly": ("Maskomaly",),
    "k-NN": ("k-NN",),
    "PGAN (reconstruction)": ("PGAN (reconstruction)", "PGAN"),
    "DiCNet": ("DiCNet",),
    "PAnS": ("PAnS",),
    "noisy negatives": ("noisy negatives",),
    "synthetic outliers": ("synthetic outliers",),
    "SynthCP": ("SynthCP",),
}
"""By system the titles that its row may have in the first table."""
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
"""Between these lines of the README stands what this command writes there."""


def first_part(tables: Sequence[Table], notes: Sequence[str]) -> list[str]:
    """Lines of the first tables: all systems side by side."""
    lines: list[str] = []
    for table in tables:
        lines += [f"## All systems: {table.title}", "", RULE, ""]
        for note in [*([COST_NOTE] if any(one["cost"] for one in table.records) else []), *notes]:
            lines += [note, ""]
        lines += table_markdown(table)
        differences = differences_markdown(table)
        if differences:
            lines += [f"Paired differences in {table.records[0]['headline']} from each control:", "", *differences]
    return lines


def standing(tables: Sequence[Table]) -> dict[str, str]:
    """By system what it comes to in the first table, in a few words."""
    rows = {str(one["title"]): one for table in tables[:1] for one in table.records if one["status"] == "done"}
    found = {}
    for system, titles in SYSTEMS.items():
        row = next((rows[title] for title in titles if title in rows), None)
        if row is not None:
            value, name = row["figures"][row["headline"]], row["headline"]
            short = [
                control
                for control, difference in row["differences"].items()
                if control in tables[0].controls and not difference["above"]
            ]
            verdict = "above every control" if row["works"] else f"not above {', '.join(short)}"
            found[system] = f"{name} {value:.3f}, {verdict}" if value is not None else verdict
    return found


def write_between(path: Path, lines: Sequence[str]) -> bool:
    """Put lines between the markers of a document; False where it has none."""
    if not path.is_file():
        return False
    before, begin, rest = path.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        return False
    write_text(path, f"{before}{begin}\n\n" + "\n".join(lines).strip() + f"\n\n{end}{after}")
    return True
