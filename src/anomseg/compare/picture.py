"""One picture: the headline figure of every row against the milliseconds that an image takes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from anomseg.compare.table import Record, Table
from anomseg.report.figures import COLOURS, CONTROL_COLOUR

MARKS = {"method": "o", "baseline": "s", "control": "x"}
LEAST_MS = 0.1
"""Times below it are drawn there, since the axis is logarithmic."""


def cost_picture(tables: Sequence[Table]) -> bytes | None:
    """Figures against milliseconds, a panel a benchmark.

    Args:
        tables: The benchmarks.

    Returns:
        A PNG; None where no row has both a figure and a time.
    """
    panels = [(table, points) for table in tables if (points := _points(table))]
    if not panels:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(8.6, 5.4 * len(panels)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (table, points) in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
        _draw(axes, table, points)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _points(table: Table) -> list[tuple[Record, float, float]]:
    points = []
    for one in table.records:
        value, cost = one["figures"].get(one["headline"]), one["cost"] or {}
        if value is not None and cost.get("total_ms") is not None:
            points.append((one, max(float(cost["total_ms"]), LEAST_MS), float(value)))
    return points


def _draw(axes: Any, table: Table, points: Sequence[tuple[Record, float, float]]) -> None:
    colours = {"method": COLOURS[0], "baseline": COLOURS[1], "control": CONTROL_COLOUR}
    for place, (one, across, up) in enumerate(sorted(points, key=lambda point: (point[2], point[1]))):
        colour = colours[one["kind"]]
        limits = one["ci95"].get(one["headline"])
        if limits:
            axes.plot([across, across], list(limits), color=colour, linewidth=0.8, alpha=0.5)
        hollow = one["works"] is False
        face = {} if one["kind"] == "control" else {"facecolors": "none" if hollow else colour, "edgecolors": colour}
        axes.scatter(across, up, marker=MARKS[one["kind"]], s=34, zorder=3, **(face or {"color": colour}))
        # Names to the left and right in turn, so that neighbours cover each other less.
        side = -1 if place % 2 else 1
        align = {"ha": "left" if side > 0 else "right", "va": "center"}
        name = str(one["title"]).replace("$", r"\$")
        axes.annotate(name, (across, up), (6 * side, 0), textcoords="offset points", fontsize=7, **align)
    prevalence = next((one["prevalence"] for one, _, _ in points if one["prevalence"] is not None), None)
    if prevalence is not None:
        axes.axhline(prevalence, color="#444444", linewidth=0.9, linestyle=(0, (1, 2)))
    axes.set_xscale("log")
    axes.margins(x=0.2)
    axes.set(xlabel="milliseconds an image, the network's pass included", ylabel=points[0][0]["headline"])
    axes.set_title(f"{table.title}: round methods, square baselines, crosses controls; hollow: not above all controls",
                   fontsize=9, loc="left")  # fmt: skip
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
