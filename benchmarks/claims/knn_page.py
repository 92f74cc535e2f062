"""docs/claims-knn.md out of measured units."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from knn_choice import CHOICE_KS, best_layer
from knn_study import ROWS
from knn_tables import (
    differences_table,
    figures_table,
    number,
    protocol_line,
    seconds_table,
    table,
    verdict_table,
)
from knn_verdicts import FEW_IMAGES, LEAST_AP, MARGIN, Verdict, over_networks

Json = Mapping[str, Any]
INTRODUCTION = [
    "# Dense k-NN (DNP, cDNP): claims K1 to K6",
    "",
    "",
    "Verdicts are computed from the intervals: a claim is supported where every check holds with its whole 95 % "
    "interval, not supported where one check is contradicted with its whole interval, else undecided. Checks that AP "
    f"stays within {MARGIN} are left open where AP is below {LEAST_AP}. Intervals are "
    "percentiles of 1000 cluster-bootstrap resamples (seed 0): over frames on RoadAnomaly and RoadAnomaly21, over "
    "blocks of 20 neighbouring frames on CamVid; differences are paired over the same resamples. AP means little "
    "without the prevalence under each table; nAP is (AP - prevalence) / (1 - prevalence). K7 (+23 and +16 AP on "
    "RoadAnomaly and StreetHazards with the published transformers) is not tested here: neither those weights nor that "
    "data set can be had. Tier cpu.",
    "",
    "Layer, k and upsampling are chosen once, on RoadAnomaly21 val (ten frames) or on CamVid val, by the greatest AP "
    f"among k = {', '.join(map(str, CHOICE_KS))} and all layers listed; the bank has {{rows}} rows, fixed beforehand. "
    "RoadAnomaly and CamVid test are looked at with that choice; what else they show was not chosen on. A cell's score "
    "is repeated over its pixels in every sweep; figures are over the pixels of the cells read, at full label "
    "resolution.",
    "",
]
PICTURES = {
    "knn-images": "AP over images in the bank",
    "knn-rows": "AP over rows of the bank",
    "knn-seconds": "Seconds a frame over rows of the bank",
    "knn-gains": "Gain of cDNP over its parts",
}
CLAIMS = {
    "K1": f"good with small reference sets and runtimes: {FEW_IMAGES} images lose less than {MARGIN} AP against all, "
    "in each of three draws, and a search of 10 000 rows takes less time than the forward pass",
    "K2": f"robust to k and bank size: no k and no number of rows moves AP by {MARGIN}",
    "K3": "combines well with parametric scores: the sum beats both of its parts, for MSP, max logit, entropy, energy",
    "K4": "density of features beats parametric density: against Mahalanobis (shared, by class) and a Gaussian mixture "
    "at the same layer",
    "K5": "transformer features suit it best: a small transformer against a convolutional network trained alike",
    "K6": "does not affect the primary segmentation: logits bit-equal; no anomalies are used in fitting",
}


def page(
    studies: Mapping[str, Json],
    verdicts: Sequence[Verdict],
    pictures: Sequence[str],
    command: str,
    bank_rows: int = ROWS,
) -> str:
    """The document.

    Args:
        studies: Measured units by network's title.
        verdicts: What they come to.
        pictures: Names of the pictures drawn.
        command: How it was made.
        bank_rows: Rows of the bank where they are not what varies.
    """
    lines = [*(line.format(rows=bank_rows) for line in INTRODUCTION), "## Verdicts", ""]
    lines.insert(2, f"Written by `{command}`; do not edit.")
    for claim, text in CLAIMS.items():
        own = [verdict.word for verdict in verdicts if verdict.claim == claim]
        count = f" (measured on {len(own)} of {len(studies)} networks)" if own else ""
        lines.append(f"- **{claim}**: {over_networks(own)}{count}. Claim: {text}.")
    lines += ["", *verdict_table([verdict for verdict in verdicts if verdict.claim in CLAIMS])]
    lines += ["A method counts as working on a set where it beats every control (same rule):", ""]
    lines += verdict_table([verdict for verdict in verdicts if verdict.claim not in CLAIMS])
    for name in pictures:
        lines += [f"![{PICTURES[name]}](pictures/{name}.png)", ""]
    for title, study in studies.items():
        lines += network_section(title, study)
    return "\n".join(lines).rstrip() + "\n"


def network_section(title: str, study: Json) -> list[str]:
    """Everything of one network that has been measured."""
    lines = [f"## {title}", "", study["note"], ""]
    if "choice" not in study:
        return [*lines, "Not measured yet.", ""]
    lines += choice_section(study)
    for name, maker in SECTIONS:
        if study.get(name):
            lines += maker(study[name])
    if "clean" in study and "headline" in study:
        lines += clean_section(study["clean"], study["headline"]["protocol"]["set"])
    if "compared" in study:
        lines += ["### Transformer less convolution (K5)", "", *differences_table(study["compared"])]
    return lines


def choice_section(study: Json) -> list[str]:
    """Layers and k on the frames to choose on, and what the test set shows of the layers not chosen."""
    chosen = study["choice"]
    by_set = [study[name] for name in ("layers", "layers_test") if name in study]
    rows = []
    for layer, found in study["layers"].items():
        for k in found["k"]:
            mark = " **chosen**" if (layer, int(k)) == (chosen["layer"], chosen["k"]) else ""
            figures = [own[layer]["k"][k] for own in by_set]
            shown = [number(own["ap"], own["ci95"].get("ap", ())) for own in figures]
            rows.append([f"{layer} ({found['channels']}), k={k}{mark}", *shown])
    sets = [next(iter(own.values()))["protocol"] for own in by_set]
    names = " and ".join(one["set"] for one in sets)
    lines = ["### Layer and k", "", f"AP on {names}; chosen on the first.", ""]
    lines += table(["layer (channels)", *(f"AP, {one['set']}" for one in sets)], rows)
    lines += [protocol_line(one) + "\n" for one in sets]
    if "layers_test" in study:
        lines += [best_elsewhere(study["layers_test"], chosen), ""]
    ups = ", ".join(f"{name} {number(own['ap'])}" for name, own in study["upsampling"]["upsample"].items())
    return [*lines, f"Upsampling, AP on the frames chosen on: {ups}; chosen: {chosen['upsample']}.", ""]


def best_elsewhere(layers: Mapping[str, Json], chosen: Json) -> str:
    """What would have been chosen had it been chosen on the test set."""
    layer, k = best_layer(dict(layers))
    figures, own = layers[layer]["k"][str(k)], layers[chosen["layer"]]["k"][str(chosen["k"])]
    name = layers[layer]["protocol"]["set"]
    if (layer, k) == (chosen["layer"], chosen["k"]):
        return f"{name} would have chosen the same."
    return (
        f"{name} alone would have chosen {layer}, k={k} (AP {number(figures['ap'])}) instead of {chosen['layer']}, "
        f"k={chosen['k']} ({number(own['ap'])}): no figure to report, but what a choice on few frames costs."
    )


def headline_section(found: Json, text: str) -> list[str]:
    """Figures and differences of the chosen configuration."""
    chosen, protocol = found["choice"], found["protocol"]
    lines = [
        f"### {protocol['set']}: {text}",
        "",
        f"knn: {chosen['layer']}, k={chosen['k']}, {chosen['upsample']}; cdnp:X is its range-normalised sum with X.",
        "",
        *figures_table(found["figures"]),
        protocol_line(protocol, found["figures"]["knn"]),
        "",
        *differences_table(found["differences"]),
    ]
    for sequence, figures in found["parts"].items():
        prevalence = figures["knn"]["prevalence"]
        lines += [f"Sequence {sequence} alone (prevalence {prevalence:.3f}):", "", *figures_table(figures)]
    return lines


def rows_section(found: Json) -> list[str]:
    """Rows and k."""
    pairs = [tuple(map(int, key.split("/"))) for key in found["figures"]]
    ks = sorted({k for _, k in pairs})
    body = []
    for size in sorted({size for size, _ in pairs}):
        own = [found["figures"][f"{size}/{k}"] for k in ks]
        body.append([str(size), *(number(one["ap"], one["ci95"].get("ap", ())) for one in own)])
    seeds = "; ".join(
        f"seed {seed}: " + ", ".join(f"{key} {number(own['ap'])}" for key, own in figures.items())
        for seed, figures in found["seeds"].items()
    )
    return [
        "### Rows of the bank and k (K1, K2)",
        "",
        "AP:",
        "",
        *table(["rows", *(f"k={k}" for k in ks)], body),
        protocol_line(found["protocol"], next(iter(found["figures"].values()))),
        "",
        f"Other draws of the rows, AP by rows/k: {seeds}.",
        "",
    ]


def everything_section(found: Json) -> list[str]:
    """All rows of the bank."""
    few, many = found["rows"]
    own, ap = found["figures"], found["difference"]["ap"]
    text = (
        f"All {many} rows: AP {number(own['all']['ap'])} against {number(own['headline']['ap'])} of {few}, difference "
        f"{number(ap['value'], ap['ci95'], True)}."
    )
    return [text, "", protocol_line(found["protocol"]), ""]


def timing_section(found: Json) -> list[str]:
    """Seconds of the exact search."""
    text = (
        "Seconds of the exact search and of the forward pass (one thread of a busy shared machine, all cells of a "
        f"frame, {found['queries']} queries):"
    )
    return [text, "", *seconds_table(found)]


def untouched_section(found: Json) -> list[str]:
    """K6."""
    return [
        f"K6: logits and classes of {found['equal']} of {found['frames']} frames are equal to the last bit with and "
        "without the detector.",
        "",
    ]


def images_section(found: Json) -> list[str]:
    """Images in the bank."""
    body = []
    for draw, counts in found["draws"].items():
        for count, own in counts.items():
            ap = own["less_all"]["ap"]
            body.append([f"{count}, draw {draw}", *_ap_fpr(own["figures"]), number(ap["value"], ap["ci95"], True)])
    lines = ["### Images in the bank (K1)", "", *table(["images", "AP", "FPR95", "AP less all images"], body)]
    return [*lines, protocol_line(found["protocol"]), ""]


def engines_section(found: Json) -> list[str]:
    """Approximate search on real features."""
    body = []
    for name, own in found["engines"].items():
        ap = own["less_exact"]["ap"]
        body.append(
            [
                name,
                f"{own['recall']:.3f}",
                *_ap_fpr(own["figures"]),
                number(ap["value"], ap["ci95"], True),
                f"{own['seconds']:.2f}",
            ]
        )
    head = ["engine", "recall", "AP", "FPR95", "AP less exact", "s a frame"]
    lines = [f"### Approximate search, {found['rows']} rows", "", *table(head, body)]
    return [*lines, protocol_line(found["protocol"]), ""]


def compression_section(found: Json) -> list[str]:
    """Smaller banks out of a larger one."""
    body = []
    for name, own in found["banks"].items():
        ap = own["less_source"]["ap"]
        body.append([name, *_ap_fpr(own["figures"]), number(ap["value"], ap["ci95"], True)])
    head = ["bank", "AP", "FPR95", "AP less source"]
    lines = [f"### Compressed banks, out of {found['source']} rows", "", *table(head, body)]
    return [*lines, protocol_line(found["protocol"]), ""]


def clean_section(found: Mapping[str, Json], test: str) -> list[str]:
    """False alarms on frames without anomalies, at thresholds of the test set."""
    if not found:
        return []
    names = list(next(iter(found.values()))["alarms"])
    body = [
        [name, *(number(own["alarms"][name]["share"], own["alarms"][name]["ci95"]) for own in found.values())]
        for name in names
    ]
    head = ["score", *(f"{own['protocol']['set']}, {own['protocol']['frames']} frames" for own in found.values())]
    return [
        "### False alarms on clean frames",
        "",
        f"Share of pixels at or above the threshold that finds 95 % of {test}'s "
        "anomalous pixels. A shift of domain is no anomaly.",
        "",
        *table(head, body),
    ]


def _ap_fpr(figures: Json) -> list[str]:
    return [number(figures[name], figures["ci95"].get(name, ())) for name in ("ap", "fpr95")]


SECTIONS: tuple[tuple[str, Callable[[Json], list[str]]], ...] = (
    ("headline", lambda found: headline_section(found, "chosen configuration")),
    ("usual", lambda found: headline_section(found, "the library's defaults, not chosen on anything")),
    ("headline_select", lambda found: headline_section(found, "the frames chosen on")),
    ("untouched", untouched_section),
    ("rows_k", rows_section),
    ("rows_all", everything_section),
    ("timing", timing_section),
    ("images", images_section),
    ("approximate", engines_section),
    ("compression", compression_section),
)
