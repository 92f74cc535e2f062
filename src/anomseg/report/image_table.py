"""The figures of each image as tables that sort by any column."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from anomseg.report.cards import MISSING, decimals
from anomseg.report.columns import number
from anomseg.report.markup import escape


def image_tables(per_image: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """A section with one folded table a detector, as lines of markup; nothing where there are no rows.

    Args:
        per_image: By detector, one row a frame (as in ``per_image.csv``).
    """
    lines: list[str] = []
    for name, rows in per_image.items():
        if not rows:
            continue
        columns = list(dict.fromkeys(key for row in rows for key in row))
        head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
        lines += [
            f"<details><summary>{escape(name)}: {len(rows)} frames</summary>",
            f'<div class="wide"><table class="sortable"><thead><tr>{head}</tr></thead><tbody>',
        ]
        for row in rows:
            lines.append("<tr>" + "".join(_sorted_cell(row.get(column)) for column in columns) + "</tr>")
        lines.append("</tbody></table></div></details>")
    hint = '<p class="soft">Click a heading to sort by it.</p>'
    return ["<h2>Each image</h2>", hint, *lines] if lines else []


def _sorted_cell(value: Any) -> str:
    # What is shown is rounded; rows are sorted by the value itself.
    key = "" if value is None or (isinstance(value, float) and number(value) is None) else str(value)
    return f'<td data-value="{escape(key)}">{escape(_value(value))}</td>'


def _value(value: Any) -> str:
    if value is None or value == "":
        return MISSING
    if isinstance(value, str):
        # Rows read back from a CSV file hold numbers as text.
        try:
            return decimals(number(float(value))) if re.search(r"[.eE]", value) else value
        except ValueError:
            return value
    if isinstance(value, float):
        return decimals(number(value))
    return str(value)
