"""docs/performance.md out of what was measured, and the picture of AP against time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from learned_tables import table

from anomseg.files import read_json

Json = Mapping[str, Any]
GIB = 1 << 30
MARKS = {"metrics": 20.0, "memory": 1.0, "components": 100.0, "evaluate": 1.15}
"""Times faster than scikit-learn; GiB of the large set; times faster than the loop; times the bare forward pass."""
CLOSE = 1e-12
"""Figures that differ by less are equal but for the order of a sum in float64."""


def page(results: Mapping[str, Json], picture: str | None) -> str:
    """The document."""
    lines = [
        "# Performance",
        "",
        "Written by `python benchmarks/performance.py`. Every measurement ran in a process of its own; times are of "
        "one machine and mean little by themselves, so read the ratios, which are of one run.",
        "",
    ]
    if results:
        told = next(iter(results.values()))["system"]
        lines += [f"{', '.join(f'{name} {value}' for name, value in told.items())}.", ""]
    lines += pixels(results) + components(results) + evaluation(results) + peer(results)
    if picture:
        lines += [
            "## AP against time",
            "",
            "RoadAnomaly; milliseconds a frame of the passes and of the score itself, as `anomseg evaluate` counts "
            "them. Up and left is better.",
            "",
            f"![AP against milliseconds of every detector]({picture})",
            "",
        ]
    return "\n".join(lines)


def pixels(results: Mapping[str, Json]) -> list[str]:
    """The metric engine against others."""
    found = {name.partition("-")[2]: one for name, one in results.items() if name.startswith("pixels-")}
    ours = found.get("anomseg")
    if ours is None:
        return []
    body = []
    for name, one in found.items():
        apart = max(abs(x - y) for x, y in zip(one["figures"], ours["figures"], strict=True))
        equal = "-" if one is ours else ("equal" if apart <= CLOSE else f"within {apart:.0e}")
        large = name == "large"
        body.append(
            [
                "anomseg" if large else name,
                f"{one['pixels']:.0e}",
                f"{one['seconds']:.2f}",
                "-" if large or one is ours else f"{one['seconds'] / ours['seconds']:.1f}",
                f"{one['peak'] / GIB:.2f}",
                f"{one['grown'] / GIB:.2f}",
                "-" if large else equal,
            ]
        )
    head = ["engine", "pixels", "seconds", "times ours", "peak memory, GiB", "above one map, GiB", "figures"]
    lines = ["## AP, AUROC and FPR95", "", *table(head, body)]
    text = (
        "Made-up maps of 2e6 pixels, 0.2 % anomalous, hardly two scores equal. Ours is `anomseg.metrics.PixelCurve`, "
        "map by map; scikit-learn has all pixels at once; torchmetrics is in its exact mode, on scores that are "
        "brought into [0, 1] first, since it takes others for logits."
    )
    lines = [*lines[:2], text, "", *lines[2:]]
    other, large = found.get("scikit-learn"), found.get("large")
    if other:
        lines += [_mark("times scikit-learn's speed", other["seconds"] / ours["seconds"], MARKS["metrics"], False)]
    if large:
        lines += [_mark("GiB at the large set", large["peak"] / GIB, MARKS["memory"], True)]
    return [*lines, ""]


def components(results: Mapping[str, Json]) -> list[str]:
    """The component metric against a loop."""
    one = results.get("components")
    if one is None:
        return []
    height, width = one["size"]
    predicted, anomalies = one["components"]
    ratio = one["loop"] / one["seconds"]
    return [
        "## Components",
        "",
        f"One map of {width}x{height} with {predicted} predicted components and {anomalies} anomalies: "
        f"`ComponentScore` {one['seconds']:.3f} s, a plain loop that makes a mask of each component "
        f"{one['loop']:.1f} s, equal sIoU ({one['siou']:.4f}).",
        "",
        _mark("times the loop's speed", ratio, MARKS["components"], False),
        "",
    ]


def evaluation(results: Mapping[str, Json]) -> list[str]:
    """`evaluate` against the bare pass, and its memory."""
    one = results.get("evaluate")
    if one is None:
        return []
    height, width = one["size"]
    each = {name: 1000 * one[name] / one["frames"] for name in ("bare", "forward", "evaluate")}
    body = [
        ["bare forward pass, pictures at hand", f"{each['bare']:.0f}"],
        ["forward passes within `evaluate`", f"{each['forward']:.0f}"],
        ["`evaluate`: reading, four scores, all figures, results", f"{each['evaluate']:.0f}"],
    ]
    lines = [
        "## `anomseg evaluate`",
        "",
        f"{one['frames']} frames of RoadAnomaly at {height}x{width}, {one['network']} with {one['classes']} classes, "
        f"{one['threads']} threads; `msp`, `max_logit`, `energy` and `entropy` share the pass. Scores and figures are "
        "of the frames' own size.",
        "",
        *table(["", "ms a frame"], body),
        _mark("times the bare forward pass", one["ratio"], MARKS["evaluate"], True),
    ]
    few, many = results.get("memory-10"), results.get("memory-60")
    if few and many:
        lines += [
            f"- Memory: at most {few['peak'] / GIB:.2f} GiB over {few['frames']} frames, {many['peak'] / GIB:.2f} GiB "
            f"over {many['frames']}."
        ]
    return [*lines, ""]


def peer(results: Mapping[str, Json]) -> list[str]:
    """pytorch-ood on the same logits."""
    one = results.get("pytorch-ood")
    if one is None:
        return []
    body = [
        [
            f"`{name}`",
            f"{1000 * found['anomseg']:.1f}",
            f"{1000 * found['pytorch-ood']:.1f}",
            f"{found['pytorch-ood'] / found['anomseg']:.2f}",
            f"{found['apart']:.0e}",
        ]
        for name, found in one["scores"].items()
    ]
    figures = [
        [name, *(f"{value:.3f}" if place == 0 else f"{value:.5f}" for place, value in enumerate(values))]
        for name, values in one["metrics"].items()
    ]
    return [
        "## pytorch-ood",
        "",
        f"The same made-up logits of 19 classes, five maps, {one['threads']} threads:",
        "",
        *table(["score", "ours, ms a map", "theirs", "ratio", "largest difference"], body),
        f"Figures of the max logit over all {one['pixels']:.1e} pixels. AUPR-OUT there is the area by trapezoids; our "
        "AP is the sum over steps:",
        "",
        *table(["engine", "seconds", "AP or AUPR-OUT", "AUROC", "FPR95"], figures),
        "",
    ]


def _mark(what: str, value: float, mark: float, below: bool) -> str:
    met = value <= mark if below else value >= mark
    bound = "at most" if below else "at least"
    return f"- {value:.2f} {what}; mark: {bound} {mark:g}, {'met' if met else '**missed**'}."


def picture(folder: Path, path: Path) -> bool:
    """Draw AP against milliseconds of all detectors whose cards lie in a folder of RoadAnomaly runs.

    Returns:
        Whether there were any.
    """
    import matplotlib  # noqa: PLC0415 - heavy

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    points = {}
    for file in sorted(folder.rglob("metrics.json")):
        card = read_json(file)
        if card.get("benchmark") == "road_anomaly" and card.get("pixel") and card.get("seconds"):
            seconds = sum(card["seconds"].get(name, 0.0) for name in ("forward", "score"))
            points[str(card.get("title") or file.parent.name)] = (1000 * seconds / card["frames"], card["pixel"]["ap"])
    if not points:
        return False
    figure, axes = pyplot.subplots(figsize=(9, 6), layout="constrained")
    for name, (time, ap) in points.items():
        axes.plot(time, ap, "o", color="tab:blue", markersize=5)
        axes.annotate(name, (time, ap), xytext=(5, 3), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds a frame")
    axes.set_ylabel("AP")
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return True
