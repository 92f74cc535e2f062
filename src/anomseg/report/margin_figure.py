"""F1 against the threshold, with the maximal detection margin shaded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from anomseg.report.figures import REFERENCE, Curve, curve_figure


def margin_figure(
    curves: Mapping[str, Curve],
    *,
    title: str = "F1 against the threshold, with the maximal detection margin",
    across: str = "threshold of the score",
    note: str = "",
    controls: Collection[str] | None = None,
) -> bytes:
    """F1 over thresholds of several detectors; the margin of each is shaded and its two ends are printed.

    Args:
        curves: By detector: ``threshold`` and ``f1`` (equally long), ``value`` and ``quality`` of the margin, and its
            ``interval`` (two thresholds, or None where no threshold is good enough).
        title: Above the axes.
        across: What the horizontal axis shows.
        note: The protocol line, printed below.
        controls: Names drawn thin, grey and unshaded; the registered controls when not given.

    Returns:
        A PNG.
    """

    def draw(axes: Any, name: str, curve: Curve, style: Mapping[str, Any]) -> str:
        threshold, f1 = np.asarray(curve["threshold"]), np.asarray(curve["f1"])
        # F1 holds from one threshold to the next, as the margin counts it.
        axes.stairs(f1, np.append(threshold, 1.0), baseline=None, **style)
        ends, quality = curve.get("interval"), float(curve["quality"])
        text = f"{name}  MDM {float(curve['value']):.3f}"
        if not ends:
            return f"{text}  (F1 never above {quality:g}, at most {f1.max(initial=0.0):.3f})"
        if name not in (controls or ()):
            _shade(axes, threshold, f1, ends, quality, style["color"])
        return f"{text}  from {ends[0]:.3f} to {ends[1]:.3f}"

    levels = sorted({float(curve["quality"]) for curve in curves.values()})

    def finish(axes: Any) -> list[tuple[Any, str]]:
        return [(axes.axhline(level, **REFERENCE), f"quality {level:g}") for level in levels]

    return curve_figure(curves, draw, finish, (across, "F1"), title=title, note=note, controls=controls)


def _shade(axes: Any, threshold: Any, f1: Any, ends: Sequence[float], quality: float, colour: str) -> None:
    inside = (threshold >= ends[0] - 1e-9) & (threshold < ends[1] - 1e-9)
    edges = np.append(threshold[inside], ends[1])
    axes.axvspan(*ends, color=colour, alpha=0.07, linewidth=0)
    axes.stairs(f1[inside], edges, baseline=quality, fill=True, color=colour, alpha=0.22, linewidth=0)
    axes.vlines(list(ends), 0, quality, color=colour, linewidth=0.9, linestyle=(0, (2, 2)))
