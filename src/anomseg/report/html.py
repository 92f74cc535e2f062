"""One self-contained ``report.html``: no script, no font, no picture from anywhere else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from anomseg._version import __version__
from anomseg.files import write_text
from anomseg.report.cards import CONDITIONS, MISSING, best, decimals, is_control, one_line, ordered, row_names
from anomseg.report.columns import (
    CLASSES,
    COMPONENT,
    FAILURE,
    OWN_CLASSES,
    PER_IMAGE,
    POOLED,
    PROBABILITY,
    QUALITY,
    Card,
    Figure,
    bands,
    classes_of,
    differences,
    number,
    section,
    shown,
)
from anomseg.report.explorer import explorer_markup, interactive_script, interactive_style
from anomseg.report.image_table import image_tables
from anomseg.report.markup import escape
from anomseg.report.pictures import drawing_url, photo_url
from anomseg.types import UInt8Array

Picture = bytes | UInt8Array
#: Characters that embedded photographs may take; what an explorer embeds is bounded by itself.
PHOTO_CHARACTERS = 7_500_000

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1f23; --soft: #5b6470; --paper: #ffffff; --line: #d5dae0; --tint: #f3f5f8;
  --lead: #0a5bb0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ed; --soft: #9aa4b0; --paper: #15181c; --line: #343b44; --tint: #1e2329; --lead: #7db8f5; }
}
body { margin: 2rem auto; max-width: 84rem; padding: 0 1.25rem; font: 16px/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--paper); }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
.soft, figcaption, caption { color: var(--soft); font-size: .9rem; }
.wide { overflow-x: auto; }
.wide + .wide { margin-top: 1.1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .93rem; }
caption { text-align: left; padding-bottom: .35rem; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead th { background: var(--tint); }
tr.control { font-style: italic; color: var(--soft); }
tr.first-control td, tr.first-control th { border-top: 2px solid var(--soft); }
td .interval { display: block; font-size: .78rem; color: var(--soft); }
td.lead { font-weight: 700; color: var(--lead); }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .25rem 1.1rem; margin: .3rem 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: 1rem 0; }
figure img { max-width: 100%; height: auto; background: #ffffff; border: 1px solid var(--line); }
figcaption { overflow-wrap: anywhere; }
details summary { cursor: pointer; margin: .5rem 0; }
td.text { text-align: left; white-space: normal; overflow-wrap: anywhere; }
"""


_CLASSES_CAPTION = (
    "Against the network's classes: false-positive rates over inliers that it misclassifies (EFPR) and classifies "
    "rightly (CFPR) at 95 % recall; share of misclassified inliers among false positives at 5 % false alarms; mIoU "
    "without anomalies (closed), and with what is flagged at 95 % recall cut out (open)"
)
_FAILURE_CAPTION = (
    "Wrong pixels of the network's own segmentation found by the error map (AUPR-Error), right ones found by its "
    "lowest values (AUPR-Success); pixels of all frames pooled, with 95 % intervals where resampled"
)
_QUALITY_CAPTION = (
    "Foretold against true overlap of each class over the images that show it, means over classes; and of the mean "
    "over each image's classes"
)


def write_report(
    path: str | Path,
    title: str,
    cards: Sequence[Card],
    images: Mapping[str, Picture] | None = None,
    *,
    curves: Mapping[str, bytes] | None = None,
    per_image: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    skipped: Iterable[tuple[str, str]] = (),
    notes: Iterable[str] = (),
    explorer: Mapping[str, Any] | None = None,
) -> None:
    """Write the report of a run as one file that opens anywhere.

    Args:
        path: The file.
        title: Heading of the page.
        cards: Contents of ``metrics.json``, one a detector; nulls are shown as such. May be empty (a demo).
        images: Captions and photograph-like pictures: PNG, JPEG or WebP bytes or ``(H, W, 3)`` uint8 arrays, such
            as frame panels. They are made smaller.
        curves: Captions and PNG drawings, kept as they are.
        per_image: By detector, one row a frame (as in ``per_image.csv``).
        skipped: ``(name, reason)`` of frames that could not be used.
        notes: Paragraphs printed under the title.
        explorer: From `explorer_data`: curves, histograms and frames whose threshold the reader moves.

    Raises:
        DataError: The file cannot be written.
    """
    write_text(
        path,
        report_html(
            title,
            cards,
            images or {},
            curves=curves or {},
            per_image=per_image or {},
            skipped=skipped,
            notes=notes,
            explorer=explorer,
        ),
    )


def report_html(
    title: str,
    cards: Sequence[Card],
    images: Mapping[str, Picture],
    *,
    curves: Mapping[str, bytes],
    per_image: Mapping[str, Sequence[Mapping[str, Any]]],
    skipped: Iterable[tuple[str, str]],
    notes: Iterable[str],
    explorer: Mapping[str, Any] | None = None,
) -> str:
    """The page that `write_report` writes, as text."""
    rows = ordered(cards)
    body = [f"<h1>{escape(title)}</h1>"]
    body += [f'<p class="soft">{escape(note)}</p>' for note in notes]
    if rows:
        body += _results(rows)
    if explorer:
        body += explorer_markup(explorer)
    if rows:
        body += _conditions(rows)
    drawn = _figures("Curves", {caption: drawing_url(data) for caption, data in curves.items()})
    body += _folded("Curves as pictures", drawn[1:]) if explorer else drawn
    body += _photographs(images)
    body += _skipped(list(skipped))
    tables = image_tables(per_image)
    body += tables
    if explorer or tables:
        return html_document(title, body, style=interactive_style(), script=interactive_script())
    return html_document(title, body)


def html_document(title: str, body: Sequence[str], *, style: str = "", script: str = "") -> str:
    """A page that fetches nothing: only pictures within it are shown, and no script runs but the one given here.

    Args:
        title: Of the page, as plain text.
        body: Its lines, as markup.
        style: Further style rules.
        script: A script of ours; nothing that a file name smuggles in runs beside it.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    allowed = f"; script-src 'sha256-{digest}'" if script else ""
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'{allowed}"
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}{style}</style>",
        "</head>",
        "<body>",
        *body,
        f'<p class="soft">anomseg {escape(__version__)}. Score: higher = more anomalous.</p>',
        *([f"<script>{script}</script>"] if script else []),
        "</body>",
        "</html>",
        "",
    ]
    return "\n".join(lines)


def _results(rows: Sequence[Card]) -> list[str]:
    lines = ["<h2>Results</h2>"]
    lines += _table(rows, shown(POOLED, rows), "Pixels of all frames pooled, with 95 % intervals where resampled")
    lines += _table(rows, shown(FAILURE, rows), _FAILURE_CAPTION)
    lines += _table(rows, shown(QUALITY, rows), _QUALITY_CAPTION)
    for key, label in (("mae", "mean absolute error"), ("pearson", "correlation")):
        lines += _table(rows, shown(classes_of(key, rows), rows), f"Foretold quality of each class: {label}")
    lines += _table(rows, shown(COMPONENT, rows), "Components (means over components) and maximal detection margin")
    lines += _table(rows, shown(PER_IMAGE, rows), "Means over images, each image counting alike")
    lines += _table(rows, shown((*CLASSES, *OWN_CLASSES), rows), _CLASSES_CAPTION)
    lines += _table(rows, shown(bands(rows), rows), "Pixels near the borders of anomalous objects")
    lines += _table(rows, shown(PROBABILITY, rows), "Scores in [0, 1] read as the probability of an anomaly")
    compared = [card for card in rows if not is_control(card)]
    lines += _table(compared, shown(differences(compared), compared), "Pooled AP less that of each control, paired")
    if any(is_control(card) for card in rows):
        lines.append(
            '<p class="soft">Controls (in italics) see no network, or no more than a class map. A method works on this '
            "data when it beats them with the interval of the paired difference above 0.</p>"
        )
    return lines


def _table(rows: Sequence[Card], figures: Sequence[Figure], caption: str) -> list[str]:
    if not figures:
        return []
    head = "".join(
        f'<th scope="col">{escape(figure.label)}{" &darr;" if figure.lower_is_better else ""}</th>'
        for figure in figures
    )
    lines = ['<div class="wide"><table>', f"<caption>{escape(caption)}</caption>"]
    lines += [f'<thead><tr><th scope="col">detector</th>{head}</tr></thead>', "<tbody>"]
    before = False
    for name, card in zip(row_names(rows), rows, strict=True):
        control = is_control(card)
        kind = "control first-control" if control and not before else "control" if control else ""
        before = control
        cells = "".join(_cell(figure, card, rows) for figure in figures)
        lines.append(f'<tr class="{kind}"><th scope="row">{escape(name)}</th>{cells}</tr>')
    return [*lines, "</tbody></table></div>"]


def _cell(figure: Figure, card: Card, rows: Sequence[Card]) -> str:
    value, limits = figure.of(card), figure.interval(card)
    leads = value is not None and not is_control(card) and round(value, 3) == best(figure, rows)
    interval = (
        f'<span class="interval">{limits[0]:.3f} to {limits[1]:.3f}</span>' if limits and value is not None else ""
    )
    kind = ' class="lead"' if leads else ""
    return f"<td{kind}>{decimals(value)}{interval}</td>"


def _conditions(rows: Sequence[Card]) -> list[str]:
    entries: list[tuple[str, str]] = []
    for heading, line_of in CONDITIONS:
        entries += [(heading.capitalize(), line) for line in dict.fromkeys(line_of(card) for card in rows) if line]
    seeds = dict.fromkeys(one_line(card.get("seed")) for card in rows if card.get("seed") is not None)
    entries += [("Seed", seed) for seed in seeds]
    for name, card in zip(row_names(rows), rows, strict=True):
        detector = section(card, "detector")
        flags = {key: value for key, value in detector.items() if key not in ("name", "control") and value is not None}
        entries.append((f"Detector {name}", one_line(flags) or MISSING))
        counts = section(card, "parameter_counts")
        if counts:
            entries.append((f"Parameters, {name}", one_line(counts)))
        seconds = section(card, "seconds")
        if any(number(value) is not None for value in seconds.values()):
            entries.append((f"Seconds, {name}", one_line(seconds)))
    pairs = "".join(f"<dt>{escape(heading)}</dt><dd>{escape(text)}</dd>" for heading, text in entries)
    return ["<h2>Conditions</h2>", f"<dl>{pairs}</dl>"]


def _figures(heading: str, urls: Mapping[str, str]) -> list[str]:
    if not urls:
        return []
    lines = [f"<h2>{escape(heading)}</h2>"]
    for caption, url in urls.items():
        text = escape(caption)
        lines.append(f'<figure><img src="{url}" alt="{text}"><figcaption>{text}</figcaption></figure>')
    return lines


def _folded(summary: str, lines: Sequence[str]) -> list[str]:
    return [f"<details><summary>{escape(summary)}</summary>", *lines, "</details>"] if lines else []


def _photographs(images: Mapping[str, Picture]) -> list[str]:
    urls: dict[str, str] = {}
    taken = 0
    for caption, picture in images.items():
        url = photo_url(picture)
        taken += len(url)
        if taken > PHOTO_CHARACTERS:
            break
        urls[caption] = url
    left = len(images) - len(urls)
    note = f'<p class="soft">{left} more are in the pictures contact_sheet.png beside this page.</p>'
    return _figures("Frames", urls) + ([note] if left else [])


def _skipped(skipped: Sequence[tuple[str, str]]) -> list[str]:
    if not skipped:
        return []
    rows = [
        f'<tr><th scope="row">{escape(name)}</th><td class="text">{escape(reason)}</td></tr>'
        for name, reason in skipped
    ]
    return [
        f"<h2>Skipped frames: {len(skipped)}</h2>",
        '<div class="wide"><table><thead><tr><th scope="col">frame</th><th scope="col">reason</th></tr></thead><tbody>',
        *rows,
        "</tbody></table></div>",
    ]
