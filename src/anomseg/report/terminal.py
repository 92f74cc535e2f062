"""Result cards on a terminal: a rich table there, plain aligned text anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from anomseg.report.cards import MISSING, best, common_lines, decimals, is_control, ordered, row_names
from anomseg.report.columns import (
    CLASSES,
    COMPONENT,
    FAILURE,
    PER_IMAGE,
    POOLED,
    QUALITY,
    Card,
    Figure,
    bands,
    differences,
    shown,
)

if TYPE_CHECKING:
    from rich.table import Table

MIN_WIDTH = 80


def print_cards(cards: Sequence[Card], *, title: str = "", stream: TextIO | None = None) -> None:
    """Print the comparison of several detectors on one benchmark.

    Detectors stand first, controls apart below them; data, prevalence and protocol are printed under the table.

    Args:
        cards: Contents of ``metrics.json``.
        title: Printed above.
        stream: Standard output when not given; colours and lines only where it is a terminal.
    """
    out = stream or sys.stdout
    if out.isatty():
        _print_rich(ordered(cards), title, out)
    else:
        out.write(plain_table(cards, title=title) + "\n")
    out.flush()


def plain_table(cards: Sequence[Card], *, title: str = "") -> str:
    """The comparison as plain text, columns aligned, no escape codes.

    Args:
        cards: Contents of ``metrics.json``.
        title: First line.
    """
    rows = ordered(cards)
    lines = [title] if title else []
    for heading, part, figures in _parts(rows):
        lines += ["", f"{heading}:"] if heading else []
        lines += _aligned(_table_rows(part, figures), sum(not is_control(card) for card in part))
    return "\n".join([*lines, "", *common_lines(rows)])


def _parts(rows: Sequence[Card]) -> list[tuple[str, Sequence[Card], list[Figure]]]:
    """The tables to print: heading, rows and columns; the first has the title for its heading."""
    compared = [card for card in rows if not is_control(card)]
    parts: list[tuple[str, Sequence[Card], list[Figure]]] = [
        ("", rows, shown((*POOLED, *FAILURE), rows)),
        ("foretold quality of classes (means over classes), and of images", rows, shown(QUALITY, rows)),
        ("components (means over components) and detection margin", rows, shown(COMPONENT, rows)),
        ("misclassified inliers at 95 % recall and among 5 % false alarms; mIoU", rows, shown(CLASSES, rows)),
        ("pixels near the borders of anomalous objects", rows, shown(bands(rows), rows)),
        ("means over images", rows, shown(PER_IMAGE, rows)),
        ("pooled AP less that of each control, paired", compared, shown(differences(compared), compared)),
    ]
    return [part for part in parts if part[2]]


def _cell(figure: Figure, card: Card) -> str:
    limits = figure.interval(card)
    text = decimals(figure.of(card))
    return text if limits is None or text == MISSING else f"{text} [{limits[0]:.3f},{limits[1]:.3f}]"


def _table_rows(cards: Sequence[Card], figures: Sequence[Figure]) -> list[list[str]]:
    head = ["detector", *(figure.label for figure in figures)]
    names = [
        f"{name} (control)" if is_control(card) else name for name, card in zip(row_names(cards), cards, strict=True)
    ]
    body = [[name, *(_cell(figure, card) for figure in figures)] for name, card in zip(names, cards, strict=True)]
    return [head, *body]


def _aligned(rows: Sequence[Sequence[str]], detectors: int) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    rule = "-" * max(map(len, lines))
    head, body = lines[0], lines[1:]
    controls = [rule, *body[detectors:]] if len(body) > detectors else []
    return [head, rule, *body[:detectors], *controls]


def _print_rich(cards: Sequence[Card], title: str, out: TextIO) -> None:
    from rich.console import Console  # noqa: PLC0415 - only on a terminal
    from rich.markup import escape  # noqa: PLC0415

    console = Console(file=out)
    # Below this width rich would cut figures; the terminal wraps lines instead.
    console.width = max(console.width, MIN_WIDTH)
    for heading, part, figures in _parts(cards):
        console.print(_rich_table(part, figures, heading or title))
    for line in common_lines(cards):
        console.print(escape(line), style="dim", highlight=False)


def _rich_table(cards: Sequence[Card], figures: Sequence[Figure], heading: str) -> Table:
    from rich import box  # noqa: PLC0415 - only on a terminal
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=escape(heading) or None, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("detector", overflow="fold")
    for figure in figures:
        table.add_column(figure.label, justify="right", min_width=5, no_wrap=True)
    started = False
    for name, card in zip(row_names(cards), cards, strict=True):
        if is_control(card) and not started:
            started = True
            table.add_section()
            table.add_row("[dim]controls[/dim]")
        table.add_row(escape(name), *(_rich_cell(figure, card, cards) for figure in figures), style=_style(card))
    return table


def _style(card: Card) -> str | None:
    return "italic" if is_control(card) else None


def _rich_cell(figure: Figure, card: Card, cards: Sequence[Card]) -> str:
    value, limits = figure.of(card), figure.interval(card)
    text = decimals(value)
    if value is not None and not is_control(card) and round(value, 3) == best(figure, cards):
        text = f"[bold]{text}[/bold]"
    # The interval goes below its figure and without leading zeros, so that all columns fit 80 characters.
    return text if value is None or limits is None else f"{text}\n[dim]{_short(limits[0])} {_short(limits[1])}[/dim]"


def _short(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}"
