"""Claims D3 and D4 of DiCNet: do teacher and student agree on known and disagree on unknown classes, without a head?

Measures one detector at a time, resumably, and writes the page out of all that was measured:

    python benchmarks/claims/dicnet.py --detector DIR [--segmenter TEACHER] --name NAME --camvid DIR \\
        --held-out bicyclist --work DIR [--page docs/claims-dicnet.md]
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from claim_record import Entry, write_record
from dicnet_study import BINS, BLOCK, Histograms, measure, quantile, study
from PIL import Image
from torch import nn

from anomseg.data import label_space, load_frames
from anomseg.detectors import load_detector
from anomseg.detectors.dicnet import DiCNet, target_from_norm
from anomseg.errors import AnomsegError, ConfigError
from anomseg.files import read_json, write_bytes, write_json, write_text
from anomseg.scores import feature_discrepancy
from anomseg.segmenters import Segmenter, load_segmenter, make_scene
from anomseg.segmenters.trainable import EncoderNetwork

Json = Mapping[str, Any]
KNOWN, ODD = "#4a6785", "#c0392b"


def head_unused(detector: DiCNet, segmenter: Segmenter | None) -> bool | None:
    """Whether a map comes out while the teacher's classifiers refuse to run; None of a teacher that does not name them.

    The same map comes out with them in place.
    """
    teacher = detector.segmenter or segmenter
    if not isinstance(teacher, EncoderNetwork):
        return None
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    with torch.inference_mode():
        expected = detector.score(make_scene([image], ["a"], teacher))

        def refuse(*_: object) -> None:
            raise RuntimeError("the classifier was called")

        parts = [teacher.classifier, *([teacher.auxiliary] if hasattr(teacher, "auxiliary") else [])]
        handles = [part.register_forward_pre_hook(refuse) for part in parts]
        try:
            return bool(torch.equal(detector.score(make_scene([image], ["a"], teacher)), expected))
        except RuntimeError:
            return False
        finally:
            for handle in handles:
                handle.remove()


def toy() -> list[tuple[str, str, str]]:
    """Worked numbers: what, expected, computed."""
    one = torch.ones(1, 4, 1, 1)
    teacher = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)
    norm = nn.BatchNorm2d(4).eval()
    with torch.no_grad():
        norm.weight.fill_(2.0)
        norm.bias.fill_(1.0)
        y = norm(teacher)
    standardized = target_from_norm(norm, "standardized").of(y)
    gap = (target_from_norm(norm, "affine").of(y) - standardized - (standardized + 1)).abs().max()
    return [
        ("discrepancy of (1,2,3,4) and (1,1,1,1)", "3.5", f"{feature_discrepancy(teacher, one).item():g}"),
        ("of a feature with itself", "0", f"{feature_discrepancy(teacher, teacher).item():g}"),
        ("both times 3", "31.5", f"{feature_discrepancy(3 * teacher, 3 * one).item():g}"),
        ("affine less standardized, gamma 2 and beta 1: standardized + 1, off by", "0", f"{gap.item():.2g}"),
    ]


def picture(found: Mapping[str, tuple[Histograms, Json]]) -> bytes:
    """Discrepancy by class, a column a network: boxes above, histograms below, held-out classes in red."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - heavy
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(4.4 * len(found), 5.8), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(found), squeeze=False, sharex=True, gridspec_kw={"height_ratios": [3, 2]})
    for boxes, lines, (title, (histograms, own)) in zip(*grid, found.items(), strict=True):
        _boxes(boxes, histograms, own)
        _densities(lines, histograms, own)
        boxes.set_title(title, fontsize=9)
        boxes.set_xscale("log")
        every = histograms.counts.sum((0, 1))
        boxes.set_xlim(quantile(every, 0.005) / 1.5, quantile(every, 0.995) * 1.5)
        lines.set_xlabel("discrepancy")
    stream, small = io.BytesIO(), io.BytesIO()
    figure.savefig(stream, format="png", dpi=80, metadata={"Software": None})
    Image.open(stream).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return small.getvalue()


def _boxes(axes: Any, histograms: Histograms, own: Json) -> None:
    total = histograms.counts.sum(0)
    order = [index for index in np.argsort([quantile(row, 0.5) for row in total]) if total[index].sum()]
    for place, index in enumerate(order):
        low, first, middle, third, high = (quantile(total[index], share) for share in (0.05, 0.25, 0.5, 0.75, 0.95))
        colour = ODD if own["classes"][histograms.names[index]]["held_out"] else KNOWN
        axes.plot([low, high], [place, place], color=colour, linewidth=1)
        axes.barh(place, third - first, left=first, height=0.6, color=colour, alpha=0.6)
        axes.plot([middle], [place], "|", color="black", markersize=9)
    axes.set_yticks(range(len(order)), [histograms.names[index] for index in order], fontsize=8)


def _densities(axes: Any, histograms: Histograms, own: Json) -> None:
    total = histograms.counts.sum(0)
    odd = [own["classes"][name]["held_out"] for name in histograms.names]
    parts = {"known": (total[np.invert(odd)].sum(0), KNOWN), "held out": (total[odd].sum(0), ODD)}
    middles = np.sqrt(BINS[1:-2] * BINS[2:-1])[: BINS.size // 10 * 10 - 10]
    for label, (counts, colour) in parts.items():
        inner = counts[1:-1][: len(middles)] / max(counts.sum(), 1)
        coarse = inner.reshape(-1, 10).sum(1)  # ten bins a step, so that the line is smooth
        axes.plot(middles.reshape(-1, 10).mean(1), coarse, color=colour, label=label)
    axes.set_ylabel("share of pixels", fontsize=8)
    axes.set_yticks([])
    axes.legend(fontsize=8)


def page(found: Mapping[str, tuple[Histograms, Json]], drawn: str) -> str:
    """The document.

    Args:
        found: Histograms and figures by network's name.
        drawn: The picture, as the page refers to it.
    """
    lines = [
        "# DiCNet: claims D3 and D4",
        "",
        "Written by `python benchmarks/claims/dicnet.py`; do not edit. D1 and D2 are answered in "
        "[claims of the learned methods](claims-learned.md). Every network was not taught one class of CamVid, and "
        "neither were its student's images; figures are over CamVid test at label resolution. Intervals are 95 % "
        f"percentiles of 1000 resamples of blocks of {BLOCK} neighbouring frames (seed 0); quantiles are read from "
        f"histograms of {BINS.size - 1} bins. Tier cpu. The teachers' encoder is a Cityscapes one, which has seen "
        "riders and bicycles.",
        "",
        "A pixel of the held-out class is compared with a known one at random: *by pixels* over all known pixels, *by "
        "classes* with every known class counting alike. D3 is supported where both intervals lie above 1/2. Known "
        "classes that are as odd as the held-out one, or odder, are named: the disagreement is then not one with the "
        "unknown alone.",
        "",
        "| network | held out | frames | odder, by pixels | odder, by classes | D3: features agree on known, disagree "
        "on unknown | known classes as odd | D4: no classification head at inference |",
        "|---|---|---:|---|---|---|---|---|",
    ]
    for name, (_, own) in found.items():
        held = ", ".join(key for key, one in own["classes"].items() if one["held_out"])
        head = {
            True: "**supported**: the map is bit-equal where a call of the head is an error",
            False: "**not supported**",
        }
        cells = [f"{_number(own['exceeds'][key])} {_interval(own['ci95'][key])}" for key in ("pixels", "classes")]
        rivals = [key for key, one in own["classes"].items() if not one["held_out"] and (one["exceeded"] or 1) <= 0.5]
        lines.append(
            f"| {name} | {held} | {own['frames']} | {cells[0]} | {cells[1]} | **{own['verdict']}** | "
            f"{', '.join(rivals) or 'none'} | "
            f"{head.get(own['head_unused'], 'undecided: the teacher does not name its head')} |"
        )
    lines += ["", f"![Discrepancy by class, the held-out one in red]({drawn})", ""]
    lines += [
        "Boxes are quartiles, the stroke the median, lines reach from 5 to 95 %; below, all known pixels beside the "
        "held-out ones.",
        "",
    ]
    for name, (_, own) in found.items():
        lines += [f"## {name}", "", f"{own['detector']}", ""]
        lines += ["| class | pixels | first quartile | median | third quartile | held-out pixel is odder |"]
        lines += ["|---|---:|---:|---:|---:|---:|"]
        ranked = sorted(own["classes"].items(), key=lambda item: -(item[1]["quartiles"][1] if item[1]["pixels"] else 0))
        for key, one in ranked:
            if one["pixels"]:
                quartiles = " | ".join(f"{value:.3f}" for value in one["quartiles"])
                title = f"**{key}** (held out)" if one["held_out"] else key
                odder = "-" if one["held_out"] else _number(one["exceeded"])
                lines.append(f"| {title} | {one['pixels']} | {quartiles} | {odder} |")
        lines.append("")
    lines += ["## Worked numbers", "", "| what | expected | computed |", "|---|---:|---:|"]
    lines += [f"| {what} | {expected} | {computed} |" for what, expected, computed in toy()]
    return "\n".join(lines) + "\n"


def entries(found: Mapping[str, Json]) -> list[Entry]:
    """D3 and D4 of every network, for the record beside the page."""
    made = []
    for name, own in found.items():
        held = ", ".join(key for key, one in own["classes"].items() if one["held_out"])
        frames = {f"CamVid without {held}": int(own["frames"])}
        figure = "chance that a held-out pixel is odder than a known one, classes alike"
        limits = tuple(own["ci95"].get("classes") or ())
        says = f"features agree on known, disagree on unknown classes: {name}"
        value = own["exceeds"]["classes"]
        made.append(Entry("D3", says, own["verdict"], "both intervals above 1/2", figure, value, limits, frames, (0,)))
        words = {True: "supported", False: "not supported"}
        word = words.get(own["head_unused"], "undecided: the teacher does not name its head")
        says = f"no classification head at inference: {name}"
        made.append(Entry("D4", says, word, "the map is bit-equal where a call of the head is an error", frames=frames))
    return made


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(limits: list[float] | None) -> str:
    return f"[{limits[0]:.3f}, {limits[1]:.3f}]" if limits else "(no interval)"


def _told(detector: DiCNet) -> str:
    """One line on what was measured."""
    training = (detector.fitted_on or {}).get("training") or {}
    first, last = (training.get(key, {}).get("val_loss") for key in ("validation_start", "validation"))
    fall = (
        f", validation discrepancy {first:g} before and {last:g} after"
        if first is not None and last is not None
        else ""
    )
    return (
        f"`{detector.feature}`, teacher_norm {detector.teacher_norm}, {training.get('parameters', 0) / 1e6:.2f} M "
        f"parameters of the student, {training.get('steps', 0)} steps in {training.get('seconds', 0):g} s{fall}."
    )


def run(arguments: argparse.Namespace) -> None:
    """Measure what is asked for, and write the page out of everything in the work folder."""
    work = Path(arguments.work)
    if arguments.detector:
        detector = load_detector(arguments.detector)
        if not isinstance(detector, DiCNet):
            raise ConfigError(f"{arguments.detector} holds {detector.registry_name}, not dicnet")
        segmenter = load_segmenter(arguments.segmenter) if arguments.segmenter else None
        if detector.attached and segmenter is None:
            raise ConfigError(f"{arguments.detector} does not carry its teacher; name it with --segmenter")
        detector.needs(segmenter)
        held_out = arguments.held_out.split(",")
        names = label_space("camvid").names
        frames = load_frames("camvid", root=arguments.camvid, split="test", limit=arguments.limit)
        histograms = measure(
            detector, segmenter, frames, names, work / f"{arguments.name}.npz", lambda _: print(".", end="", flush=True)
        )
        own = study(histograms, held_out)
        own |= {"head_unused": head_unused(detector, segmenter), "detector": _told(detector)}
        write_json(work / f"{arguments.name}.json", own)
        print(f"\n{arguments.name}: {own['exceeds']} {own['ci95']} {own['verdict']}")
    found = {
        path.stem: (Histograms.load(path.with_suffix(".npz")), read_json(path)) for path in sorted(work.glob("*.json"))
    }
    if arguments.page and found:
        target = Path(arguments.page)
        drawn = target.parent / "pictures" / "dicnet-classes.png"
        write_bytes(drawn, picture(found))
        write_text(target, page(found, f"pictures/{drawn.name}"))
        write_record(target, entries({name: own for name, (_, own) in found.items()}))


def parser() -> argparse.ArgumentParser:
    """Its command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--detector", help="directory of a trained dicnet; without it only the page is written")
    options.add_argument("--segmenter", help="its teacher, where it is attached")
    options.add_argument("--name", default="dicnet", help="what the page calls it")
    options.add_argument("--camvid", help="folder of CamVid")
    options.add_argument("--held-out", default="bicyclist", help="classes that the teacher was not taught")
    options.add_argument("--limit", type=int, help="first frames only")
    options.add_argument("--work", required=True, help="where measurements are kept")
    options.add_argument("--page", help="page to write, such as docs/claims-dicnet.md")
    return options


if __name__ == "__main__":
    try:
        run(parser().parse_args())
    except AnomsegError as error:
        sys.exit(str(error))
