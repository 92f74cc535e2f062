"""Markdown tables of result cards, for the generated pages of the documentation."""

from __future__ import annotations

from collections.abc import Sequence

from anomseg.report.cards import best, common_lines, decimals, is_control, ordered, row_names
from anomseg.report.columns import FIGURES, Card, Figure, shown


def markdown_table(cards: Sequence[Card], figures: Sequence[Figure] = FIGURES, *, intervals: bool = True) -> str:
    """A comparison of detectors on one benchmark as a Markdown table.

    Detectors come first, controls after them in italics; the best detector of a column is bold.

    Args:
        cards: Contents of ``metrics.json``.
        figures: Columns; those that no card has are left out.
        intervals: Print 95 % intervals where there are any.

    Returns:
        The table and the lines on data, protocol and network below it, ending in a newline.

    Example:
        >>> card = {"detector": {"name": "msp"}, "pixel": {"ap": 0.5}}
        >>> print(markdown_table([card]).splitlines()[2])
        | msp | **0.500** |
    """
    rows = ordered(cards)
    columns = shown(figures, rows)
    if not columns:
        return "\n".join(f"- {escape(line)}" for line in common_lines(rows)) + "\n"
    lines = [
        "| " + " | ".join(["detector", *(figure.label for figure in columns)]) + " |",
        "|---" + "|---:" * len(columns) + "|",
    ]
    for name, card in zip(row_names(rows), rows, strict=True):
        label = f"*{escape(name)}* (control)" if is_control(card) else escape(name)
        cells = [_cell(figure, card, rows, intervals) for figure in columns]
        lines.append("| " + " | ".join([label, *cells]) + " |")
    lines.append("")
    lines += [f"- {escape(line)}" for line in common_lines(rows)]
    return "\n".join(lines) + "\n"


def _cell(figure: Figure, card: Card, cards: Sequence[Card], intervals: bool) -> str:
    value = figure.of(card)
    text = decimals(value)
    if value is not None and not is_control(card) and round(value, 3) == best(figure, cards):
        text = f"**{text}**"
    limits = figure.interval(card) if intervals and value is not None else None
    return text if limits is None else f"{text} [{limits[0]:.3f}, {limits[1]:.3f}]"


def escape(text: str) -> str:
    r"""Text without meaning to Markdown or HTML.

    Example:
        >>> print(escape("a|b<c>"))
        a\|b&lt;c&gt;
    """
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for mark in ("\\", "|", "*", "`", "["):
        text = text.replace(mark, f"\\{mark}")
    return text
