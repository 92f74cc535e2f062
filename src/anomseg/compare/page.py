"""The report of a comparison: one self-contained page with tables that sort and the best and worst frames of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anomseg.compare.table import Record, Table
from anomseg.compare.text import COST_NOTE, RULE, failed, milliseconds, signed
from anomseg.report.cards import MISSING, decimals
from anomseg.report.html import escape, html_document
from anomseg.report.pictures import drawing_url, photo_url
from anomseg.report.run_report import SHEET_FILE

SCRIPT = """
for (const head of document.querySelectorAll("table.sortable thead th")) {
  head.tabIndex = 0;
  const sort = () => {
    const body = head.closest("table").tBodies[0], place = head.cellIndex;
    const falling = head.getAttribute("aria-sort") !== "descending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const key = row => row.cells[place].dataset.value ?? row.cells[place].textContent;
    const missing = text => text === "" || text === "-";
    const order = (one, two) => {
      const a = key(one), b = key(two);
      if (missing(a) || missing(b)) return missing(a) - missing(b);
      const apart = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
      return falling ? -apart : apart;
    };
    body.append(...[...body.rows].sort(order));
  };
  head.addEventListener("click", sort);
  head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
}
"""
STYLE = """
table.sortable th { cursor: pointer; }
table.sortable th[aria-sort="descending"]::after { content: " \\2193"; }
table.sortable th[aria-sort="ascending"]::after { content: " \\2191"; }
"""


def comparison_page(
    heading: str,
    tables: Sequence[Table],
    picture: bytes | None,
    sheets: Mapping[str, Mapping[str, Path]],
) -> str:
    """The page as text.

    Args:
        heading: Its title.
        tables: One a benchmark.
        picture: Figures against milliseconds, a PNG.
        sheets: By benchmark's and row's title, the contact sheet of its best and worst frames.
    """
    body = [f"<h1>{escape(heading)}</h1>", f'<p class="soft">{escape(RULE)} Click a heading to sort by it.</p>']
    if any(one["cost"] for table in tables for one in table.records):
        body.append(f'<p class="soft">{escape(COST_NOTE)}</p>')
    for table in tables:
        body += _table(table)
    if picture is not None:
        text = "Figures against the milliseconds of an image"
        body += ["<h2>Figures and time</h2>", _figure(drawing_url(picture), text)]
    for title, of_rows in sheets.items():
        body += _frames(title, of_rows)
    return html_document(heading, body, style=STYLE, script=SCRIPT)


def _table(table: Table) -> list[str]:
    figures = [
        name
        for name in dict.fromkeys(name for one in table.records for name in one["figures"])
        if any(one["figures"].get(name) is not None for one in table.records)
    ]
    head = ["detector", "kind", "network", *figures, "beats controls", "works"]
    head += [f"less {table.reference}"] if table.reference else []
    head += [f"less {name}" for name in table.controls if name != table.reference]
    head += ["passes", "own ms", "peak MiB", "parameters"]
    lines = [f"<h2>{escape(table.title)}</h2>", '<div class="wide"><table class="sortable">', "<thead><tr>"]
    lines += [f'<th scope="col">{escape(name)}</th>' for name in head]
    lines += ["</tr></thead>", "<tbody>"]
    lines += [_row(one, figures, table) for one in table.records if one["status"] == "done"]
    lines += ["</tbody></table></div>"]
    lines += [
        f'<p class="failed"><strong>{escape(one["title"])}</strong> failed: {escape(one["reason"])}</p>'
        for one in failed(table)
    ]
    noted = [one for one in table.records if one["note"]]
    lines += [f'<p class="soft">{escape(one["title"])}: {escape(one["note"])}</p>' for one in noted]
    return [*lines, "<ul>", *(f'<li class="soft">{escape(line)}</li>' for line in table.conditions), "</ul>"]


def _row(one: Record, figures: Sequence[str], table: Table) -> str:
    network = f"{one['network']}{' (own)' if one['own_network'] else ''}"
    cells = [f"<td>{escape(one['kind'])}</td>", f"<td>{escape(network)}</td>"]
    for name in figures:
        limits = one["ci95"].get(name)
        interval = f'<span class="interval">{limits[0]:.3f} to {limits[1]:.3f}</span>' if limits else ""
        cells.append(_cell(one["figures"].get(name), decimals(one["figures"].get(name)) + interval))
    works = {True: "yes", False: "does not work yet", None: MISSING}[one["works"]]
    cells += [f"<td>{escape(one['beats_controls'] or MISSING)}</td>", f"<td>{works}</td>"]
    others = [table.reference] if table.reference else []
    for name in [*others, *(name for name in table.controls if name != table.reference)]:
        difference = one["differences"].get(name)
        cells.append(_cell((difference or {}).get("value"), escape(signed(difference))))
    cost = one["cost"] or {}
    passes = cost.get("passes", one["flags"].get("forward_passes"))
    cells.append(_cell(passes, MISSING if passes is None else str(passes)))
    cells.append(_cell(cost.get("own_ms"), escape(milliseconds(cost))))
    cells.append(_cell(cost.get("peak_mib"), decimals(cost.get("peak_mib"), 0)))
    count = one["parameters"]
    cells.append(_cell(count, MISSING if count is None else f"{count:,}"))
    kind = ' class="control"' if one["kind"] == "control" else ""
    return f'<tr{kind}><th scope="row">{escape(one["title"])}</th>{"".join(cells)}</tr>'


def _cell(value: Any, shown: str) -> str:
    return f'<td data-value="{"" if value is None else escape(value)}">{shown}</td>'


def _figure(url: str, text: str) -> str:
    return f'<figure><img src="{url}" alt="{escape(text)}"><figcaption>{escape(text)}</figcaption></figure>'


def _frames(title: str, sheets: Mapping[str, Path]) -> list[str]:
    lines = [f"<h2>Best and worst frames: {escape(title)}</h2>"] if sheets else []
    for name, path in sheets.items():
        picture = _figure(photo_url(path.read_bytes()), f"{name}: best and worst frames")
        lines += [f"<details><summary>{escape(name)}</summary>", picture, "</details>"]
    return lines


def sheet_of(folder: Path) -> Path | None:
    """The contact sheet of a row's results; None where it was not drawn."""
    path = folder / SHEET_FILE
    return path if path.is_file() else None
