"""The part of a report that answers: what its script is given, and the elements that the script fills."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anomseg.inference.colour import colour_table
from anomseg.report.cards import is_control
from anomseg.report.columns import Card, number, section
from anomseg.report.figures import COLOURS, CONTROL_COLOUR
from anomseg.report.threshold_table import ThresholdTable

_SCRIPTS = ("dom.js", "figures.js", "charts.js", "frames.js", "explorer.js", "sorting.js", "start.js")
# Black is no colour on a dark page.
_COLOURS = (*COLOURS[:-1], "#8c6bb1")

_CHARTS = (
    ("chart-pr", "Precision and recall"),
    ("chart-roc", "Receiver operating characteristic"),
    ("chart-f1", "F1 against the threshold"),
    ("chart-histogram", "Scores of inlier and of anomalous pixels"),
)
_READOUT = (
    ("tpr", "true positive rate"),
    ("fpr", "false positive rate"),
    ("precision", "precision"),
    ("f1", "F1"),
    ("flagged", "share of pixels flagged"),
)


def explorer_data(
    cards: Mapping[str, Card],
    tables: Mapping[str, ThresholdTable],
    frames: Sequence[Mapping[str, Any]] = (),
    *,
    classes: Mapping[str, Sequence[str]] | None = None,
    figures: Mapping[str, Mapping[str, float | None]] | None = None,
) -> dict[str, Any] | None:
    """What the script is given, JSON-ready; None where no detector has a table.

    Args:
        cards: By detector folder.
        tables: By detector folder, of the detectors that can be explored.
        frames: From `ShownFrames.listed`, whose maps come in the order of ``tables``.
        classes: By detector folder, the class names of its network.
        figures: By detector folder and frame, AP within the frame.
    """
    if not tables:
        return None
    colours = iter(_COLOURS * (1 + len(tables) // len(_COLOURS)))
    detectors = []
    for folder, table in tables.items():
        control = is_control(cards[folder])
        detectors.append(
            {
                "name": folder,
                "control": control,
                "colour": CONTROL_COLOUR if control else next(colours),
                "thresholds": table.thresholds.tolist(),
                "tp": table.true_positives.tolist(),
                "fp": table.false_positives.tolist(),
                "anomaly": table.anomaly,
                "inlier": table.inlier,
                "best_f1": table.best_f1,
                "recall95": table.recall95,
                "histogram": {
                    "edges": table.edges.tolist(),
                    "anomaly": table.anomaly_bins.tolist(),
                    "inlier": table.inlier_bins.tolist(),
                },
                "margin": _margin(cards[folder]),
                "sizes": _sizes(cards[folder]),
                "classes": list((classes or {}).get(folder, ())) or None,
            }
        )
    named = next((one for card in cards.values() if (one := card.get("object_sizes"))), None)
    told = figures or {}
    return {
        "heat": "".join(f"{red:02x}{green:02x}{blue:02x}" for red, green, blue in colour_table().tolist()),
        "sizes": [_share(part["share"]) for part in named] if named else [],
        "detectors": detectors,
        "frames": [
            {**frame, "ap": [told.get(folder, {}).get(str(frame["id"])) for folder in tables]} for frame in frames
        ],
    }


def explorer_markup(data: Mapping[str, Any]) -> list[str]:
    """The elements of the section, and the data beside them; all text comes later, through the script, as text."""
    charts = [_chart(name, title) for name, title in _CHARTS]
    if data["sizes"]:
        charts.append(_chart("chart-sizes", "AP by the size of objects"))
    readout = "".join(f'<div><dt>{title}</dt><dd id="explorer-{name}">-</dd></div>' for name, title in _READOUT)
    return [
        '<section id="explorer">',
        "<h2>Explore</h2>",
        '<p class="soft">Choose a detector and move its threshold. The figures are those of all counted pixels at that '
        "threshold, exactly: a score at or above it is flagged. The threshold of best F1 is an oracle, read from the "
        "ground truth. Dashed lines mark chance, or the level that is named beside them.</p>",
        "<noscript><p>This section needs JavaScript; tables and pictures on this page do not.</p></noscript>",
        '<div id="explorer-tabs" role="group" aria-label="detector"></div>',
        '<div id="explorer-control">',
        '<label for="explorer-threshold">threshold</label>',
        '<input type="range" id="explorer-threshold" min="0" max="0" step="1" value="0">',
        '<output id="explorer-value" for="explorer-threshold">-</output>',
        '<button type="button" id="explorer-best">best F1 (oracle)</button>',
        '<button type="button" id="explorer-recall">95 % recall</button>',
        "</div>",
        f'<dl id="explorer-figures">{readout}</dl>',
        *(_frames() if data["frames"] else []),
        '<div class="charts">',
        *charts,
        "</div>",
        f'<script type="application/json" id="explorer-data">{inert_json(data)}</script>',
        "</section>",
    ]


def inert_json(value: Any) -> str:
    """JSON that can end no script element and open no comment, whatever its strings hold.

    Example:
        >>> "<" in inert_json({"name": "</script><!--"})
        False
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def interactive_script() -> str:
    """The script of a report: sorting tables, and the explorer where there is one."""
    parts = "\n".join(_read(name) for name in _SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}}})();\n'


def interactive_style() -> str:
    """The style rules of what the script works on."""
    return _read("explorer.css")


def _read(name: str) -> str:
    return Path(__file__).with_name("interactive").joinpath(name).read_text("utf-8")


def _chart(name: str, title: str) -> str:
    drawing = f'<svg id="{name}" role="img" aria-label="{title}"></svg>'
    return f'<figure class="chart"><figcaption>{title}</figcaption>{drawing}</figure>'


def _frames() -> list[str]:
    return [
        '<div id="explorer-views">',
        '<canvas id="explorer-photo" aria-label="frame with what is flagged"></canvas>',
        '<canvas id="explorer-heat" aria-label="score of each pixel"></canvas>',
        "</div>",
        '<p class="soft" id="explorer-frame"></p>',
        '<p class="soft" id="explorer-choices">'
        '<label><input type="checkbox" id="explorer-show-mask" checked> flagged (red; white in the heat map)</label>'
        '<label><input type="checkbox" id="explorer-show-truth" checked> ground truth (cyan)</label></p>',
        '<p class="soft">Void is pale. The heat map is coloured by rank among the thresholds, dark to bright. Point at '
        "a pixel for its score, class and component.</p>",
        '<div id="explorer-strip"></div>',
        '<div id="explorer-tip" role="status" hidden></div>',
    ]


def _margin(card: Card) -> dict[str, float | None] | None:
    """The ends of the detection margin on the raw score: of the margin itself, else of the calibrated one.

    An end is None where every score lies on the inner side of it, as at a calibrated threshold that none can reach.
    """
    raw, calibrated = section(card, "mdm"), section(card, "mdm_calibrated")
    for part, ends in ((raw, raw.get("interval")), (calibrated, calibrated.get("interval_raw"))):
        if ends and number(part.get("quality")) is not None:
            return {"low": number(ends[0]), "high": number(ends[1]), "quality": float(part["quality"])}
    return None


def _sizes(card: Card) -> list[dict[str, Any]] | None:
    parts = card.get("object_sizes")
    return [{key: part.get(key) for key in ("ap", "chance", "objects", "pixels")} for part in parts] if parts else None


def _share(ends: Sequence[float]) -> str:
    low, high = (f"{100 * end:g} %" for end in ends)
    if ends[0] <= 0:
        return f"under {high}"
    return f"over {low}" if ends[1] >= 1 else f"{low[:-2]} to {high}"
