"""The report of a run: tables, curves, contact sheets of the best and worst frames, one self-contained page."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anomseg.detectors import network_of
from anomseg.errors import AnomsegError
from anomseg.evaluation import MapSource, Plan, load_curve, open_source
from anomseg.files import write_bytes
from anomseg.report.cards import is_control, one_line, protocol_line
from anomseg.report.columns import Card, section
from anomseg.report.explorer import explorer_data
from anomseg.report.failure_figure import quality_figure, quality_points
from anomseg.report.failure_panels import FailurePanels
from anomseg.report.figures import pr_curve_figure, roc_curve_figure
from anomseg.report.gallery import Choice, choose_frames, draw_frames
from anomseg.report.html import write_report
from anomseg.report.margin_figure import margin_figure
from anomseg.report.panels import contact_sheet
from anomseg.report.shown_frames import SHOWN, ShownFrames, spread_frames
from anomseg.report.threshold_table import ThresholdTable, threshold_table
from anomseg.types import UInt8Array

REPORT_FILE, SHEET_FILE = "report.html", "contact_sheet.png"
CURVE_FILES = {
    "PR curve": "pr_curve.png",
    "ROC curve": "roc_curve.png",
    "Foretold quality": "quality.png",
    "Detection margin": "margin_curve.png",
    "Detection margin, calibrated": "margin_calibrated_curve.png",
}


def write_run_report(
    out: str | Path,
    cards: Sequence[Card],
    *,
    plan: Plan | None = None,
    device: torch.device | str = "cpu",
    title: str | None = None,
    notes: Sequence[str] = (),
    frames_shown: int = SHOWN,
) -> Path:
    """Write ``report.html``, the curves as pictures of their own, and each detector's ``contact_sheet.png``.

    The curves are ``pr_curve.png``, ``roc_curve.png``, and where there is a detection margin ``margin_curve.png`` or,
    on the scale of a calibration, ``margin_calibrated_curve.png``.

    Args:
        out: Folder of the run's results.
        cards: The run's cards.
        plan: The run, for pictures of frames; without it (merged shards) there are none.
        device: Where networks run that score the shown frames again.
        title: Heading; names the benchmark when not given.
        notes: Further paragraphs under the title.
        frames_shown: Frames whose masks follow the threshold on the page, at most 100.

    Returns:
        The page.
    """
    folder = Path(out)
    failures = bool(cards) and cards[0].get("task") == "failure"
    about = "failure detection" if failures else "anomaly segmentation"
    heading = title or f"{cards[0]['benchmark'] if cards else 'No results'}: {about}"
    scored = [card for card in cards if card.get("task") in ("anomaly", "failure")]
    folders = {str(card["folder"]): card for card in scored}
    rows = {name: read_per_image(folder / name / "per_image.csv") for name in folders}
    curves = {**_curves(folder, folders), **_quality(folders, rows)}
    for caption, picture in curves.items():
        write_bytes(folder / CURVE_FILES[caption], picture)
    tables = {} if failures else _tables(folder, folders)
    images: dict[str, UInt8Array] = {}
    shown: list[dict[str, Any]] = []
    classes: dict[str, Sequence[str]] = {}
    if plan is not None and folders:
        images, shown = _frames(folder, folders, rows, plan, device, tables, frames_shown)
        classes = _class_names(plan, tables)
    figures = {name: {str(row["frame"]): row.get("ap") for row in rows[name]} for name in tables}
    skipped = {(str(item["frame"]), str(item["reason"])) for card in cards for item in card.get("skipped", [])}
    write_report(
        folder / REPORT_FILE,
        heading,
        cards,
        images,
        curves=curves,
        per_image=rows,
        skipped=sorted(skipped),
        notes=notes,
        explorer=explorer_data(folders, tables, shown, classes=classes, figures=figures),
    )
    return folder / REPORT_FILE


def read_per_image(path: str | Path) -> list[dict[str, Any]]:
    """Rows of a ``per_image.csv``; numbers as numbers, empty cells as None, nothing where there is no file."""
    file = Path(path)
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as stream:
        return [{key: _value(key, text) for key, text in row.items()} for row in csv.DictReader(stream)]


def _value(key: str, text: str) -> Any:
    if key in ("frame", "group", "reason", "status"):
        return text
    if text == "":
        return None
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _curves(out: Path, cards: Mapping[str, Card]) -> dict[str, bytes]:
    curves: dict[str, dict[str, Any]] = {}
    raw: dict[str, dict[str, Any]] = {}
    calibrated: dict[str, dict[str, Any]] = {}
    for folder, card in cards.items():
        file = out / folder / "curve.npz"
        pixel = card.get("pixel") or _as_pixel(section(card, "failure"))
        if not file.is_file() or not pixel:
            continue
        with np.load(file, allow_pickle=False) as points:
            curves[folder] = {key: points[key] for key in ("recall", "precision", "fpr")}
            for margins, key, name in (
                (raw, "mdm", "margin_f1"),
                (calibrated, "mdm_calibrated", "margin_f1_calibrated"),
            ):
                if name in points and section(card, key):
                    margins[folder] = {**card[key], "threshold": points["margin_threshold"], "f1": points[name]}
        curves[folder] |= {"tpr": curves[folder]["recall"], "prevalence": card.get("prevalence"), **pixel}
    if not curves:
        return {}
    note = one_line(protocol_line(next(iter(cards.values()))))
    controls = [folder for folder in curves if is_control(cards[folder])]
    drawn = {
        "PR curve": pr_curve_figure(curves, note=note, controls=controls),
        "ROC curve": roc_curve_figure(curves, note=note, controls=controls),
    }
    if raw:
        drawn["Detection margin"] = margin_figure(raw, note=note, controls=controls)
    if calibrated:
        across = "threshold of the calibrated score: one false alarm in 10^(decades x threshold)"
        title = "F1 against the threshold, scores calibrated on in-distribution frames"
        drawn["Detection margin, calibrated"] = margin_figure(
            calibrated, title=title, across=across, note=note, controls=controls
        )
    return drawn


def _as_pixel(failure: Mapping[str, Any]) -> dict[str, Any]:
    """The pooled figures of failure detection under the names of those of anomalies."""
    names = {"ap": "aupr_error", "auroc": "auroc", "fpr95": "fpr95_pooled"}
    return {name: failure.get(key) for name, key in names.items()} if failure else {}


def _quality(cards: Mapping[str, Card], rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, bytes]:
    images = {}
    for folder, card in cards.items():
        pearson = section(section(card, "class_quality"), "image").get("pearson")
        points = quality_points(rows[folder], pearson)
        if points is not None:
            images[folder] = points
    if not images:
        return {}
    note = one_line(protocol_line(next(iter(cards.values()))))
    controls = [folder for folder in images if is_control(cards[folder])]
    return {"Foretold quality": quality_figure(images, note=note, controls=controls)}


def _tables(out: Path, cards: Mapping[str, Card]) -> dict[str, ThresholdTable]:
    """By folder, detectors before controls, what each threshold means; without those whose state cannot be read."""
    tables = {}
    for folder in sorted(cards, key=lambda name: is_control(cards[name])):
        with suppress(AnomsegError):
            curve = load_curve(out / folder)
            table = threshold_table(curve) if curve is not None else None
            if table is not None:
                tables[folder] = table
    return tables


def _class_names(plan: Plan, folders: Iterable[str]) -> dict[str, Sequence[str]]:
    networks = {name: network_of(plan.detectors[name], plan.segmenter) for name in folders if name in plan.detectors}
    return {name: network.classes for name, network in networks.items() if network is not None}


def _frames(
    out: Path,
    cards: Mapping[str, Card],
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    plan: Plan,
    device: torch.device | str,
    tables: Mapping[str, ThresholdTable],
    count: int,
) -> tuple[dict[str, UInt8Array], list[dict[str, Any]]]:
    """Contact sheets as files, their panels for the page, and the frames whose masks follow the threshold."""
    values = {folder: {str(row["frame"]): worth(row) for row in rows[folder]} for folder in cards}
    choices = {folder: choose_frames(values[folder]) for folder in cards}
    captions = {folder: {str(row["frame"]): caption_of(row) for row in rows[folder]} for folder in cards}
    bounded = [folder for folder, card in cards.items() if card["detector"].get("bounded")]
    segmenter, source = plan.segmenter, open_source(plan, device, segment=True)
    shown = _shown(choices, rows, plan, source, tables, count)
    drawn = draw_frames(
        plan.frames,
        source,
        choices,
        classes=segmenter.classes if segmenter is not None else None,
        palette=segmenter.palette if segmenter is not None else None,
        captions=captions,
        bounded=bounded,
        draw=FailurePanels(plan, source, captions) if plan.task == "failure" else None,
        shown=shown,
    )
    images: dict[str, UInt8Array] = {}
    for folder, card in cards.items():
        groups = _grouped(choices[folder], drawn[folder])
        note = one_line(protocol_line(card))
        write_bytes(out / folder / SHEET_FILE, contact_sheet(groups, f"{folder}: best and worst frames", note))
        if not is_control(card):
            for heading, panels in groups.items():
                images |= {f"{folder}, {heading}, {position}": panel for position, panel in enumerate(panels, 1)}
    return images, shown.listed() if shown is not None else []


def _shown(
    choices: Mapping[str, Choice],
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    plan: Plan,
    source: MapSource,
    tables: Mapping[str, ThresholdTable],
    count: int,
) -> ShownFrames | None:
    if not tables:
        return None
    counted = {str(row["frame"]) for folder in tables for row in rows[folder]}
    order = [frame.id for frame in plan.frames if frame.id in counted]
    telling = [
        [one for pair in zip_longest(choices[folder].best, choices[folder].worst) for one in pair if one is not None]
        for folder in tables
    ]
    return ShownFrames(spread_frames(telling, order, count), tables, source.prediction)


def worth(row: Mapping[str, Any]) -> float | None:
    """What frames are chosen by: AP, or where single pixels are not judged how close the foretold quality is."""
    ap, guess, true = (row.get(key) for key in ("ap", "predicted_quality", "true_quality"))
    if ap is None and guess is not None and true is not None:
        return -abs(guess - true)
    return None if ap is None else float(ap)


def caption_of(row: Mapping[str, Any]) -> str:
    """A frame's name with its figures."""
    named = (("AP", "ap"), ("foretold overlap", "predicted_quality"), ("true overlap", "true_quality"))
    told = [f"{label} {row[key]:.3f}" for label, key in named if row.get(key) is not None]
    return "   ".join([str(row["frame"]), *told])


def _grouped(choice: Choice, drawn: Mapping[str, UInt8Array]) -> dict[str, list[UInt8Array]]:
    return {
        "best frames": [drawn[frame] for frame in choice.best if frame in drawn],
        "worst frames": [drawn[frame] for frame in choice.worst if frame in drawn],
    }
