"""The profile of a network and its detectors, as text on a terminal and as Markdown."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from anomseg.report.tables import escape

Profile = Mapping[str, Any]
HEAD = ("size", "batch", "step", "passes", "p50 ms", "p95 ms", "ms/image", "peak MiB", "images/s")
LEFT = 3  # the first columns are text, the others figures
MISSING = "-"
MIN_WIDTH = 80
NOTE = (
    "A row '+ detector' is what that detector adds to the network's row of the same size and batch; images/s is for "
    "both together. Peak memory is above what stood before the step."
)


def print_profile(profile: Profile, stream: TextIO | None = None) -> None:
    """Print a profile: a table on a terminal, aligned text elsewhere.

    Args:
        profile: Content of ``profile.json``.
        stream: Standard output when not given.
    """
    out = stream or sys.stdout
    if out.isatty():
        _print_rich(profile, out)
    else:
        out.write(profile_text(profile))
    out.flush()


def profile_text(profile: Profile) -> str:
    """A profile as plain text, columns aligned; ends in a newline."""
    rows = [HEAD, *(_cells(row) for row in profile["rows"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = []
    for index, row in enumerate(rows):
        cells = [
            text.ljust(width) if column < LEFT else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join([*cells, _error(profile["rows"], index - 1)]).rstrip())
    lines.insert(1, "-" * max(len(line) for line in lines))
    return "\n".join([*lines, "", *profile_lines(profile)]) + "\n"


def profile_markdown(profile: Profile) -> str:
    """A profile as a Markdown table with what it holds for below; ends in a newline."""
    marks = ["---"] * LEFT + ["---:"] * (len(HEAD) - LEFT)
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "|".join(marks) + "|"]
    for index, row in enumerate(profile["rows"]):
        error = _error(profile["rows"], index)
        cells = [escape(cell) for cell in _cells(row)]
        if error:
            cells[LEFT + 1] = escape(error)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"- {escape(line)}" for line in profile_lines(profile))]) + "\n"


def profile_lines(profile: Profile) -> list[str]:
    """What the figures hold for: network, device, versions, how it was run and how it was measured."""
    network, device, run = profile["segmenter"], profile["device"], profile["execution"]
    tile = f"tiles {'x'.join(map(str, run['tile']))}, overlap {run.get('overlap')}" if run.get("tile") else "no tiles"
    lines = [
        f"network: {network.get('name')}, {profile['weights_mib']} MiB of weights, sha256 {network['sha256'][:12]}",
        f"device: {device['type']} ({device['name']}), {profile['threads']} threads, torch {profile['torch']}",
        f"run: {run['precision']}, {'compiled' if run['compile'] else 'not compiled'}, {tile}",
        f"measured: {profile['repeats']} repeats in turn after {profile['warmup']} to warm up, without reading and "
        "resizing images",
        NOTE,
    ]
    if profile.get("interrupted"):
        lines.append("interrupted: the rows above are what was measured until then")
    return lines


def _cells(row: Mapping[str, Any]) -> list[str]:
    network = row["name"] == "network"
    return [
        "x".join(str(side) for side in row["size"]),
        str(row["batch"]),
        row["name"] if network else f"+ {row['name']}" if row["shares_pass"] else f"{row['name']} alone",
        str(row["passes"]),
        _figure(row["batch_ms"]["p50"]),
        _figure(row["batch_ms"]["p95"]),
        _figure(row["image_ms"]["p50"]),
        _figure(row["peak_mib"], 0),
        _figure(row["images_per_second"], 2),
    ]


def _error(rows: Sequence[Mapping[str, Any]], index: int) -> str:
    return str(rows[index]["error"] or "") if index >= 0 else ""


def _figure(value: float | None, digits: int = 1) -> str:
    return MISSING if value is None else f"{value:.{digits}f}"


def _print_rich(profile: Profile, out: TextIO) -> None:
    from rich import box  # noqa: PLC0415 - only on a terminal
    from rich.console import Console  # noqa: PLC0415
    from rich.markup import escape as plain  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console(file=out)
    console.width = max(console.width, MIN_WIDTH)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column, label in enumerate(HEAD):
        table.add_column(label, justify="left" if column < LEFT else "right", no_wrap=column != 2, overflow="fold")
    last = None
    for index, row in enumerate(profile["rows"]):
        if last not in (None, (row["size"], row["batch"])):
            table.add_section()
        last = (row["size"], row["batch"])
        cells = [plain(cell) for cell in _cells(row)]
        error = _error(profile["rows"], index)
        cells[2] += f"\n[red]{plain(error)}[/red]" if error else ""
        table.add_row(*cells, style="bold" if row["name"] == "network" else None)
    console.print(table)
    for line in profile_lines(profile):
        console.print(plain(line), style="dim", highlight=False)
