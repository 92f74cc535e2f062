"""Plots of the sweeps: the same numbers give the same picture, and no picture shows a data set's images."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Any

from knn_cache import PARAMETRIC
from PIL import Image

from anomseg.report.figures import COLOURS

Json = Mapping[str, Any]
Studies = Mapping[str, Json]


def _drawn(panels: int, draw: Callable[[Sequence[Any]], None], height: float = 3.0) -> bytes:
    """A small PNG of some axes side by side, without global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - heavy
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(3.6 * panels + 0.6, height), layout="constrained")
    FigureCanvasAgg(figure)
    draw(list(figure.subplots(1, panels, squeeze=False)[0]))
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=80, metadata={"Software": None})
    small = io.BytesIO()
    # A plot has few colours, and a palette of them is a third of the size.
    Image.open(stream).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return small.getvalue()


def _band(axes: Any, points: Sequence[tuple[float, Json]], label: str, colour: str) -> None:
    """AP with its interval over some quantity."""
    x = [place for place, _ in points]
    axes.plot(x, [own["ap"] for _, own in points], marker="o", markersize=3, color=colour, label=label)
    limits = [own["ci95"].get("ap") for _, own in points]
    if all(limits):
        axes.fill_between(x, [one[0] for one in limits], [one[1] for one in limits], color=colour, alpha=0.15)


def images_figure(studies: Studies) -> bytes:
    """AP over images in the bank, one line a draw."""

    def draw(axes: Sequence[Any]) -> None:
        for own, (title, study) in zip(axes, studies.items(), strict=True):
            for colour, (draw_, counts) in zip(COLOURS, study["images"]["draws"].items(), strict=False):
                points = [(int(count), found["figures"]) for count, found in counts.items()]
                if draw_ == "0":
                    _band(own, points, "draw 0, 95 %", colour)
                else:
                    own.plot(*zip(*[(x, y["ap"]) for x, y in points], strict=True), color=colour, label=f"draw {draw_}")
            own.set(xscale="log", xlabel="images in the bank", title=title)
            own.legend(fontsize=7, framealpha=0.5)
        axes[0].set_ylabel("AP")

    return _drawn(len(studies), draw)


def rows_figure(studies: Studies) -> bytes:
    """AP over rows of the bank for each k."""

    def draw(axes: Sequence[Any]) -> None:
        for own, (title, study) in zip(axes, studies.items(), strict=True):
            figures = {tuple(map(int, key.split("/"))): value for key, value in study["rows_k"]["figures"].items()}
            for colour, k in zip(COLOURS, sorted({k for _, k in figures}), strict=False):
                points = sorted((size, value["ap"]) for (size, other), value in figures.items() if other == k)
                own.plot(*zip(*points, strict=True), marker="o", markersize=3, color=colour, label=f"k={k}")
            own.set(xscale="log", xlabel="rows in the bank", title=title)
            own.legend(fontsize=7, ncols=2)
        axes[0].set_ylabel("AP")

    return _drawn(len(studies), draw)


def seconds_figure(studies: Studies) -> bytes:
    """Seconds of search over rows of the bank, beside the forward pass."""

    def draw(axes: Sequence[Any]) -> None:
        for colour, (title, study) in zip(COLOURS, studies.items(), strict=False):
            timing = study["timing"]
            points = sorted((int(size), mean(taken)) for size, taken in timing["search"].items())
            axes[0].plot(*zip(*points, strict=True), marker="o", markersize=3, color=colour, label=title)
            axes[0].axhline(mean(timing["forward"]), color=colour, linestyle=":")
        axes[0].set(xscale="log", yscale="log", xlabel="rows in the bank", ylabel="seconds a frame")
        axes[0].set_title("exact search; dotted: forward pass", fontsize=9)
        axes[0].legend(fontsize=7)

    return _drawn(1, draw)


def gains_figure(studies: Studies) -> bytes:
    """Gain of the sum over each parametric score and over k-NN, with intervals."""

    def draw(axes: Sequence[Any]) -> None:
        for own, (title, study) in zip(axes, studies.items(), strict=True):
            for shift, colour, part in ((-0.12, COLOURS[0], None), (0.12, COLOURS[1], "knn")):
                values = [
                    study["headline"]["differences"][f"cdnp:{name} - {part or name}"]["ap"] for name in PARAMETRIC
                ]
                errors = [
                    [value["value"] - value["ci95"][0] for value in values if value["ci95"]],
                    [value["ci95"][1] - value["value"] for value in values if value["ci95"]],
                ]
                x = [place + shift for place in range(len(values))]
                y = [value["value"] for value in values]
                bars = errors if len(errors[0]) == len(values) else None
                own.errorbar(x, y, bars, fmt="o", color=colour, label=f"over {part or 'the score alone'}", capsize=2)
            own.axhline(0, color="#444444", linewidth=0.8)
            own.set_xticks(range(len(PARAMETRIC)), PARAMETRIC, fontsize=7)
            own.set_title(title, fontsize=9)
            own.legend(fontsize=7, framealpha=0.5)
        axes[0].set_ylabel("gain in AP of cDNP")

    return _drawn(len(studies), draw)


FIGURES: Mapping[str, tuple[str, Callable[[Studies], bytes]]] = {
    "knn-images": ("images", images_figure),
    "knn-rows": ("rows_k", rows_figure),
    "knn-seconds": ("timing", seconds_figure),
    "knn-gains": ("headline", gains_figure),
}
"""By name: the unit that a network must have to be in the picture, and what draws it."""
