"""Result cards on a terminal: a rich table there, plain aligned text anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

from anomseg.report.cards import (
    COMPONENT,
    MISSING,
    PER_IMAGE,
    POOLED,
    Card,
    Figure,
    best,
    common_lines,
    decimals,
    is_control,
    ordered,
    row_names,
    shown,
)


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
    figures = shown((*POOLED, *COMPONENT), rows)
    lines = [title] if title else []
    lines += _aligned(_table_rows(rows, figures), sum(not is_control(card) for card in rows))
    per_image = shown(PER_IMAGE, rows)
    if per_image:
        lines += ["", "means over images:"]
        lines += _aligned(_table_rows(rows, per_image), sum(not is_control(card) for card in rows))
    return "\n".join([*lines, "", *common_lines(rows)])


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
    from rich.table import Table  # noqa: PLC0415

    console = Console(file=out)
    figures = shown((*POOLED, *COMPONENT), cards)
    per_image = shown(PER_IMAGE, cards)
    for heading, columns in ((title, figures), ("means over images", per_image)):
        if not columns and heading != title:
            continue
        table = Table(title=escape(heading) or None, title_justify="left")
        table.add_column("detector", no_wrap=True)
        for figure in columns:
            table.add_column(figure.label, justify="right")
        names = row_names(cards)
        for index, (name, card) in enumerate(zip(names, cards, strict=True)):
            control = is_control(card)
            cells = []
            for figure in columns:
                # The interval goes below its figure, so that ten columns fit an ordinary terminal.
                value, _, limits = _cell(figure, card).partition(" ")
                leads = (
                    not control
                    and figure.of(card) is not None
                    and round(figure.of(card) or 0, 3) == best(figure, cards)
                )
                cells.append(
                    (f"[bold]{value}[/bold]" if leads else value) + (f"\n[dim]{escape(limits)}[/dim]" if limits else "")
                )
            last_detector = not control and index + 1 < len(cards) and is_control(cards[index + 1])
            label = f"{escape(name)}\n[dim]control[/dim]" if control else escape(name)
            table.add_row(label, *cells, style="italic" if control else None, end_section=last_detector)
        console.print(table)
    for line in common_lines(cards):
        console.print(escape(line), style="dim", highlight=False)
