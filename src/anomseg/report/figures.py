"""Curves as PNG, drawn without global state: the same numbers give the same bytes."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomseg.detectors.catalog import detector_names

# Okabe and Ito's colours, distinct under the common kinds of colour blindness; yellow is left out on white paper.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STYLES = ("-", "--", "-.", ":")
CONTROL_COLOUR = "#8a8a8a"
REFERENCE = {"color": "#444444", "linewidth": 1.0, "linestyle": (0, (1, 2))}
MAX_POINTS = 4000
Curve = Mapping[str, Any]


def pr_curve_figure(
    curves: Mapping[str, Curve],
    *,
    title: str = "Precision and recall, pixels of all frames pooled",
    note: str = "",
    controls: Collection[str] | None = None,
) -> bytes:
    """Precision over recall of several detectors.

    Args:
        curves: By detector: ``recall`` and ``precision`` (equally long, recall rising or falling), ``ap`` and
            ``prevalence`` (numbers or None).
        title: Above the axes.
        note: The protocol line, printed below.
        controls: Names drawn thin and grey; the registered controls when not given.

    Returns:
        A PNG.
    """

    def draw(axes: Any, name: str, curve: Curve, style: Mapping[str, Any]) -> str:
        recall, precision = _thinned(curve["recall"], curve["precision"])
        # Precision holds from one recall to the next, so average precision is the area under these steps.
        axes.plot(recall, precision, drawstyle="steps-pre", **style)
        return f"{name}  AP {_number(curve.get('ap'))}"

    levels = [float(curve["prevalence"]) for curve in curves.values() if curve.get("prevalence") is not None]

    def finish(axes: Any) -> list[tuple[Any, str]]:
        # Named in the legend, since text beside the line would lie on the curves' ends.
        return [
            (axes.axhline(level, **REFERENCE), f"prevalence {level:.3f}")
            for level in sorted({round(level, 3) for level in levels})
        ]

    return curve_figure(curves, draw, finish, ("recall", "precision"), title=title, note=note, controls=controls)


def roc_curve_figure(
    curves: Mapping[str, Curve],
    *,
    title: str = "Receiver operating characteristic, pixels of all frames pooled",
    note: str = "",
    controls: Collection[str] | None = None,
) -> bytes:
    """True over false positive rate of several detectors.

    Args:
        curves: By detector: ``fpr`` and ``tpr`` (equally long), ``auroc`` and ``fpr95`` (numbers or None).
        title: Above the axes.
        note: The protocol line, printed below.
        controls: Names drawn thin and grey; the registered controls when not given.

    Returns:
        A PNG.
    """

    def draw(axes: Any, name: str, curve: Curve, style: Mapping[str, Any]) -> str:
        axes.plot(*_thinned(curve["fpr"], curve["tpr"]), **style)
        return f"{name}  AUROC {_number(curve.get('auroc'))}  FPR95 {_number(curve.get('fpr95'))}"

    def finish(axes: Any) -> list[tuple[Any, str]]:
        (diagonal,) = axes.plot([0, 1], [0, 1], **REFERENCE)
        level = axes.axhline(0.95, color="#444444", linewidth=0.8, linestyle=(0, (6, 3)))
        return [(diagonal, "guessing"), (level, "true positive rate 0.95")]

    axes_labels = ("false positive rate", "true positive rate")
    return curve_figure(curves, draw, finish, axes_labels, title=title, note=note, controls=controls)


def curve_figure(
    curves: Mapping[str, Curve],
    draw: Callable[[Any, str, Curve, Mapping[str, Any]], str],
    finish: Callable[[Any], list[tuple[Any, str]]],
    labels: tuple[str, str],
    *,
    title: str,
    note: str,
    controls: Collection[str] | None,
) -> bytes:
    """Curves of several detectors in unit axes, named in a legend beside them.

    Args:
        curves: By detector.
        draw: Draws one curve into the axes in a style and says what the legend calls it.
        finish: Draws the lines that belong to all, and names them.
        labels: Of both axes.
        title: Above the axes.
        note: Printed below.
        controls: Names drawn thin and grey; the registered controls when not given.

    Returns:
        A PNG.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.lines import Line2D  # noqa: PLC0415

    greys = set(detector_names("control") if controls is None else controls)
    figure = Figure(figsize=(9.6, 5.6), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    handles, texts = [], []
    for name, curve, style in zip(curves, curves.values(), _styles(list(curves), greys), strict=True):
        texts.append(_literal(draw(axes, _shortened(name), curve, style)))
        handles.append(Line2D([], [], **style))
    for handle, text in finish(axes):
        handles.append(handle)
        texts.append(text)
    axes.set(xlim=(0, 1), ylim=(0, 1.005), xlabel=labels[0], ylabel=labels[1], box_aspect=1)
    axes.set_title(_literal(title), fontsize=11, loc="left")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    if handles:
        # Beside the axes, where it covers no curve.
        axes.legend(handles, texts, loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False, fontsize=9)
    if note:
        figure.supxlabel(_literal(_wrapped(note, 130)), fontsize=7.5, color="#444444")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None}, bbox_inches="tight", pad_inches=0.15)
    return stream.getvalue()


def _styles(names: Sequence[str], controls: Collection[str]) -> list[dict[str, Any]]:
    styles = []
    drawn = {True: 0, False: 0}
    for name in names:
        control = name in controls
        index = drawn[control]
        drawn[control] += 1
        styles.append(
            {
                "color": CONTROL_COLOUR if control else COLOURS[index % len(COLOURS)],
                "linestyle": STYLES[(index + 1 if control else index // len(COLOURS)) % len(STYLES)],
                "linewidth": 1.2 if control else 1.8,
                "zorder": 2.0 if control else 3.0,
            }
        )
    return styles


def _thinned(across: Any, up: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most `MAX_POINTS` points, evenly over the horizontal axis, ends kept, in rising order."""
    x, y = np.asarray(across, dtype=np.float64).ravel(), np.asarray(up, dtype=np.float64).ravel()
    if x.size > 1 and x[0] > x[-1]:
        x, y = x[::-1], y[::-1]
    if x.size > MAX_POINTS:
        picks = np.searchsorted(x, np.linspace(x[0], x[-1], MAX_POINTS))
        keep = np.unique(np.concatenate([[0, x.size - 1], np.clip(picks, 0, x.size - 1)]))
        x, y = x[keep], y[keep]
    return x, y


def _number(value: Any) -> str:
    return "-" if value is None else f"{float(value):.3f}"


def _literal(text: str) -> str:
    # A dollar sign would start a formula; a leading underscore would hide a legend entry.
    text = "".join(character if character.isprintable() or character == "\n" else "?" for character in text)
    return (" " + text if text.startswith("_") else text).replace("$", r"\$")


def _shortened(name: str, length: int = 28) -> str:
    return name if len(name) <= length else f"{name[: length // 2 - 1]}...{name[-(length // 2 - 2) :]}"


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width))
