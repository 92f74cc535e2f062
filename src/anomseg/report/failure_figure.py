"""Foretold against true quality of images, as a picture."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from anomseg.report.figures import REFERENCE, Curve, curve_figure


def quality_figure(
    images: Mapping[str, Curve],
    *,
    title: str = "Quality of images: foretold against true mean overlap of their classes",
    note: str = "",
    controls: Collection[str] | None = None,
) -> bytes:
    """One point an image for each of several detectors.

    Args:
        images: By detector: ``predicted`` and ``true`` (equally long, in [0, 1]), ``pearson`` (a number or None).
        title: Above the axes.
        note: The protocol line, printed below.
        controls: Names drawn grey; the registered controls when not given.

    Returns:
        A PNG.
    """

    def draw(axes: Any, name: str, points: Curve, style: Mapping[str, Any]) -> str:
        marks = {**style, "linestyle": "none", "marker": "o", "markersize": 3.5, "alpha": 0.7}
        axes.plot(points["true"], points["predicted"], **marks)
        correlation = points.get("pearson")
        return f"{name}  Pearson {'-' if correlation is None else f'{correlation:.3f}'}"

    def finish(axes: Any) -> list[tuple[Any, str]]:
        (diagonal,) = axes.plot([0, 1], [0, 1], **REFERENCE)
        return [(diagonal, "foretold exactly")]

    return curve_figure(
        images, draw, finish, ("true overlap", "foretold overlap"), title=title, note=note, controls=controls
    )


def quality_points(rows: Sequence[Mapping[str, Any]], pearson: float | None) -> dict[str, Any] | None:
    """What `quality_figure` draws of one detector.

    Args:
        rows: Of its ``per_image.csv``.
        pearson: The correlation that its card tells.

    Returns:
        None where no image has both a foretold and a true quality.
    """
    pairs = [(row.get("predicted_quality"), row.get("true_quality")) for row in rows]
    known = [(guess, true) for guess, true in pairs if guess is not None and true is not None]
    if not known:
        return None
    return {"predicted": [pair[0] for pair in known], "true": [pair[1] for pair in known], "pearson": pearson}
