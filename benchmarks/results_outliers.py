"""The part of docs/results.md on noisy negatives and synthetic outliers, out of what benchmarks/outliers.py left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from learned_states import BLOCK
from learned_tables import number, spread, table
from outliers_sets import BAND, HEADLINE, VERSIONS
from results_learned import (
    FEW,
    differences_table,
    label,
    ordered,
    parameters,
    segmentation_section,
    sequences_section,
    training_table,
    verdict_lines,
)

Json = Mapping[str, Any]
PUBLISHED = ("street-hazards-noisy-negatives", "street-hazards-synthetic-outliers")
INTRODUCTION = (
    "Written from `python benchmarks/outliers.py figures`. Tier cpu: the encoder of `erfnet-int8-recovered` (not the "
    "published ERFNet), frozen; it was trained on Cityscapes, which labels riders and bicycles: what is held out is "
    "unknown to the heads alone. 360x480, one thread. Images of CamVid train that show a held-out class are dropped, "
    "and photographs of vehicles of any kind are no negatives then. "
    "Rows without outliers (`msp`, `max_logit`, `energy`, `knn-fitted`) are of a network of the same kind trained "
    f"without any; every other row is of its own network. `{HEADLINE}`: two heads, negatives of ImageNet less the "
    "tested categories (the headline regime); `-product`, `-hybrid` and `-msp` are other scores of that network; "
    "`-all` keeps the tested categories, `-made` has textures and shapes made from a seed instead, `-whole` the same "
    "negatives as whole images, never pasted, `-road10` and `-road50` mix 10 and 50 % images of CamVid train into "
    "them; `extra-class`, `sigmoid` and `outlier-exposure` are the other heads. "
    "`synthetic` draws its outliers from a Real NVP trained jointly, `synthetic-detached` from one that likelihood "
    "alone trains; `synthetic-without` takes the same steps and learns nothing from the patches, so that what the "
    "outliers give is `synthetic` less that; all three at temperature 2. `flow-likelihood` is what such a "
    "flow alone says of each place. `-untrained` is the same pipeline without an optimiser step.",
    f"Brackets hold 95 % intervals of a bootstrap (1000 resamples, seed 0) over blocks of {BLOCK} neighbouring frames "
    "on CamVid, over frames elsewhere; differences are paired over the same resamples. A version works on a set where "
    "its AP lies above every control and above the same pipeline untrained, each with the whole interval, and its "
    "validation loss fell.",
)


def section(figures: Json) -> list[str]:
    """The whole part."""
    lines = ["## Learned from outliers: noisy negatives, synthetic outliers", ""]
    for text in INTRODUCTION:
        lines += [text, ""]
    studies = figures["studies"]
    for key in dict.fromkeys((one["set"], one["bench"]) for one in studies):
        own = [one for one in studies if (one["set"], one["bench"]) == key]
        means = (one for one in figures.get("over_seeds", ()) if (one["set"], one["bench"]) == key)
        lines += study_section(own, next(means, None))
    rows = [[f"`{name}`", "not run"] for name in PUBLISHED]
    return [
        *lines,
        "### Published settings of learning from outliers, tier gpu",
        "",
        *table(["recipe", "figures"], rows),
    ]


def study_section(studies: Sequence[Json], mean: Json | None = None) -> list[str]:
    """One set and benchmark over its seeds.

    Args:
        studies: One a seed.
        mean: Mean differences over them, of what all of them have; None of a single seed.
    """
    first = studies[0]
    prevalence = next(iter(first["rows"].values()))["prevalence"]
    lines = [
        f"### {first['title']}: {first['bench']} with outliers learned",
        "",
        f"{first['frames']} frames, prevalence {prevalence:.4f}, seed {first['seed']}; tier cpu."
        + FEW.get(first["bench"], ""),
        "",
        *headline(first),
    ]
    if len(studies) > 1:
        seeds = ", ".join(str(one["seed"]) for one in studies)
        lines += [
            f"Mean over seeds {seeds} (least to greatest), as far as they are trained:",
            "",
            *seeds_table(studies),
        ]
    lines += band_section(first)
    if first["held_out"]:
        lines += segmentation_section(first) + crossed_section(first)
    lines += sequences_section(first)
    lines += ["Training:", "", *training_table(studies, [version.name for version in VERSIONS], "version")]
    lines += ["Paired differences in AP, by seed:", "", *differences_table(studies, mean)]
    return [*lines, *verdict_lines(studies, mean), ""]


def headline(study: Json) -> list[str]:
    """All rows of one seed with intervals."""
    control = any(row.get("paste_control") for row in study["rows"].values())
    head = ["detector", "closed mIoU", "AP", "nAP", "AUROC", "FPR95", "s pass + own", "parameters"]
    head += ["pasted inliers flagged", "the same classes untouched"] if control else []
    body = []
    for name in ordered(study["rows"]):
        row = study["rows"][name]
        pixel, limits, seconds = row["pixel"], row["ci95"], row["seconds"]
        cells = [
            label(name, row),
            number(row.get("miou")) if row["kind"] != "control" else "-",
            number(pixel["ap"], limits.get("ap", ()), digits=4),
            number(pixel["nap"], digits=4),
            number(pixel["auroc"], limits.get("auroc", ())),
            number(pixel["fpr95"], limits.get("fpr95", ())),
            f"{seconds['pass']:.2f} + {seconds['own']:.2f}",
            parameters(row),
        ]
        if control:
            found = row.get("paste_control") or {}
            shares = [found.get(key) or {} for key in ("pasted", "untouched")]
            cells += [number(one.get("value"), one.get("ci95") or ()) for one in shares]
        body.append(cells)
    return table(head, body)


def band_section(study: Json) -> list[str]:
    """Figures near the borders of objects."""
    body = []
    for name in ordered(study["rows"]):
        band = study["rows"][name].get("band")
        if band and band.get("ap") is not None:
            limits = band["ci95"]
            cells = [number(band["ap"], limits.get("ap", ()), digits=4), number(band["nap"], digits=4)]
            cells += [number(band[key], limits.get(key, ())) for key in ("auroc", "fpr95")]
            body.append([label(name, study["rows"][name]), *cells, f"{band['prevalence']:.3f}"])
    if not body:
        return []
    text = (
        f"Within {BAND} pixels of an anomalous object's border alone, seed {study['seed']}, from histograms; chance is "
        "the prevalence of the band:"
    )
    return [text, "", *table(["detector", "AP", "nAP", "AUROC", "FPR95", "prevalence"], body)]


def crossed_section(study: Json) -> list[str]:
    """Open-set mIoU of each half of the sequences at the threshold of the other."""
    body = []
    for name in ordered(study["rows"]):
        found = (study["rows"][name].get("open_set") or {}).get("two_fold")
        if found:
            halves = ", ".join(f"{half['miou']:.3f} ({half['frames']} frames)" for half in found["halves"])
            body.append([label(name, study["rows"][name]), number(found["miou"]), halves])
    if not body:
        return []
    text = "Open-set mIoU with the threshold of 95 % recall taken from the other half of the sequences:"
    return [text, "", *table(["detector", "mean by frames", "halves"], body)]


def seeds_table(studies: Sequence[Json]) -> list[str]:
    """Mean and range over the seeds that have a row."""
    body = []
    for name in ordered(studies[0]["rows"]):
        rows = [one["rows"][name] for one in studies if name in one["rows"]]
        if len(rows) < 2:
            continue
        pixels = [[row["pixel"][key] for row in rows] for key in ("ap", "nap", "auroc", "fpr95")]
        cells = [spread(values, 4 if place < 2 else 3) for place, values in enumerate(pixels)]
        body.append([label(name, rows[0]), str(len(rows)), spread([row.get("miou") for row in rows]), *cells])
    return table(["detector", "seeds", "closed mIoU", "AP", "nAP", "AUROC", "FPR95"], body)
