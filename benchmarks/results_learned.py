"""The part of docs/results.md on learned prototypes and distillation, out of what benchmarks/learned.py collected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from learned_clean import THRESHOLDS
from learned_sets import METHODS, TRAINED
from learned_states import BLOCK
from learned_tables import number, spread, table

Json = Mapping[str, Any]
KINDS = ("learned", "post-hoc", "untrained", "control")
PUBLISHED = tuple(f"{data}-{method.name}" for data in ("street-hazards", "bdd-anomaly") for method in METHODS)
INTRODUCTION = (
    "Written from `python benchmarks/learned.py figures`. Tier cpu: the encoder of `erfnet-int8-recovered` (not the "
    "published ERFNet), frozen, features of training crops computed once, heads trained on one thread; 360x480. The "
    "encoder was trained on Cityscapes, which labels riders, bicycles and fences: what is held out is unknown to the "
    "heads alone. Images of CamVid train that show a held-out class are dropped. `msp`, `max_logit`, what is fitted "
    "(on the same images, encoder feature), PGAN and DiCNet are of one host network, a pyramid-pooling head with a "
    "linear classifier; PAnS, `pans-msp` and `pans-max_logit` are of PAnS' own network. PGAN is a reconstruction. "
    "`-untrained` is the same pipeline without an optimiser step.",
    f"Brackets hold 95 % intervals of a bootstrap (1000 resamples, seed 0) over blocks of {BLOCK} neighbouring frames "
    "on CamVid, over frames elsewhere; differences are paired over the same resamples. A method works on a set where "
    "its AP lies above every control and above the same pipeline untrained, each with the whole interval, and its "
    "validation loss fell. With several seeds that is asked of the mean of their differences, whose interval tells of "
    "the choice of frames and not of seeds; what single seeds do is told beside it. EFPR and CFPR: false-positive "
    "rates at 95 % recall over the inliers that the network classifies wrongly and rightly. Seconds a frame: the "
    "shared pass, and the detector's own beside it, with other work on the machine.",
)


def ordered(rows: Json) -> list[str]:
    """Names of rows: learned first, then post-hoc, untrained and controls."""
    return sorted(rows, key=lambda name: (KINDS.index(rows[name]["kind"]), name))


def label(name: str, row: Json) -> str:
    """A row's name as the tables show it."""
    return f"*{name}* (control)" if row["kind"] == "control" else name


def section(figures: Json) -> list[str]:
    """The whole part."""
    lines = ["## Learned prototypes and distillation: PAnS, PGAN, DiCNet", ""]
    for text in INTRODUCTION:
        lines += [text, ""]
    studies = figures["studies"]
    for key in dict.fromkeys((one["set"], one["benchmark"]) for one in studies):
        own = [one for one in studies if (one["set"], one["benchmark"]) == key]
        means = (one for one in figures.get("over_seeds", ()) if (one["set"], one["benchmark"]) == key)
        lines += study_section(own, next(means, None))
    if figures.get("clean"):
        lines += clean_section(figures["clean"])
    return [*lines, *published_section()]


def study_section(studies: Sequence[Json], mean: Json | None = None) -> list[str]:
    """One set and benchmark over its seeds.

    Args:
        studies: One a seed.
        mean: Mean differences over them; None of a single seed.
    """
    first = studies[0]
    rows = first["rows"]
    prevalence = next(iter(rows.values()))["prevalence"]
    seeds = ", ".join(str(one["seed"]) for one in studies)
    lines = [
        f"### {first['title']}: {first['benchmark']}",
        "",
        f"{first['frames']} frames, prevalence {prevalence:.4f}, seed {first['seed']}; tier cpu."
        + FEW.get(first["benchmark"], ""),
        "",
        *headline(first),
    ]
    if len(studies) > 1:
        lines += [f"Mean over seeds {seeds} (least to greatest):", "", *seeds_table(studies)]
    lines += segmentation_section(first)
    lines += sequences_section(first)
    lines += ["Training:", "", *training_table(studies, [method.name for method in TRAINED])]
    lines += ["Paired differences in AP, by seed:", "", *differences_table(studies, mean)]
    return [*lines, *verdict_lines(studies, mean), ""]


def headline(study: Json) -> list[str]:
    """All rows of one seed with intervals."""
    head = ["detector", "mIoU", "AP", "nAP", "AUROC", "FPR95", "EFPR", "CFPR", "s pass + own", "parameters"]
    body = []
    for name in ordered(study["rows"]):
        row = study["rows"][name]
        pixel, limits, errors = row["pixel"], row["ci95"], row.get("errors") or {}
        seconds = row["seconds"]
        body.append(
            [
                label(name, row),
                number(row.get("miou")) if row["kind"] != "control" else "-",
                number(pixel["ap"], limits.get("ap", ()), digits=4),
                number(pixel["nap"], digits=4),
                number(pixel["auroc"], limits.get("auroc", ())),
                number(pixel["fpr95"], limits.get("fpr95", ())),
                *(number(errors.get(key), errors.get("ci95", {}).get(key, ())) for key in ("efpr95", "cfpr95")),
                f"{seconds['pass']:.2f} + {seconds['own']:.2f}",
                parameters(row),
            ]
        )
    return table(head, body)


def parameters(row: Json) -> str:
    """Parameters of the network and numbers of the detector itself, in millions.

    Example:
        >>> parameters({"parameters": {"network": 2_500_000, "own": 120_000}})
        '2.50 + 0.12 M'
    """
    found = row["parameters"]
    return f"{found['network'] / 1e6:.2f} + {found['own'] / 1e6:.2f} M"


def seeds_table(studies: Sequence[Json]) -> list[str]:
    """Mean and range over seeds of what every seed has."""
    names = [name for name in ordered(studies[0]["rows"]) if all(name in one["rows"] for one in studies)]
    pixels: tuple[tuple[str, Callable[[Json], float | None]], ...] = (
        ("mIoU", lambda row: row.get("miou")),
        ("AP", lambda row: row["pixel"]["ap"]),
        ("nAP", lambda row: row["pixel"]["nap"]),
        ("AUROC", lambda row: row["pixel"]["auroc"]),
        ("FPR95", lambda row: row["pixel"]["fpr95"]),
        ("EFPR", lambda row: (row.get("errors") or {}).get("efpr95")),
        ("CFPR", lambda row: (row.get("errors") or {}).get("cfpr95")),
    )
    body = []
    for name in names:
        rows = [one["rows"][name] for one in studies]
        control = rows[0]["kind"] == "control"
        cells = [
            "-" if control and key == "mIoU" else spread([of(row) for row in rows], 4 if key.endswith("AP") else 3)
            for key, of in pixels
        ]
        body.append([label(name, rows[0]), *cells])
    return table(["detector", *(key for key, _ in pixels)], body)


def segmentation_section(study: Json) -> list[str]:
    """Closed and open-set mIoU of the learned rows, by the network's class map and by the detector's own."""
    body = []
    for name in ordered(study["rows"]):
        row = study["rows"][name]
        if row["kind"] not in ("learned", "post-hoc"):
            continue
        for told, key in (("network", "open_set"), ("own prototypes", "own_segmentation")):
            found = row.get(key)
            if found:
                points = [found[point]["miou"] for point in ("at_tpr95", "at_best_f1")]
                body.append([f"{name}, {told}", *map(number, [found["closed_miou"], *points])])
    if not body:
        return []
    head = ["class map", "closed mIoU", "open mIoU at 95 % recall", "open mIoU at best F1 (an oracle)"]
    text = (
        "Segmentation of the known classes: closed, and open-set, where a pixel at or above the threshold is called "
        "unknown and so lost to its class."
    )
    return [text, "", *table(head, body)]


def sequences_section(study: Json) -> list[str]:
    """The sequences of a video apart: one is continued from training, the other unseen."""
    names = [name for name in ordered(study["rows"]) if study["rows"][name]["kind"] != "untrained"]
    lines = []
    for sequence in study["rows"][names[0]]["parts"]:
        body = []
        for name in names:
            part, limits = study["rows"][name]["parts"][sequence], study["rows"][name]["parts"][sequence]["ci95"]
            cells = [number(part.get(key), limits.get(key, ())) for key in ("auroc", "fpr95")]
            ap = number(part.get("ap"), limits.get("ap", ()), digits=4)
            body.append([label(name, study["rows"][name]), ap, number(part.get("nap"), digits=4), *cells])
        part = study["rows"][names[0]]["parts"][sequence]
        told = SEQUENCES.get(sequence, "")
        lines += [
            f"Sequence {sequence} alone{told} ({part['frames']} frames, prevalence {part['prevalence']:.4f}, seed "
            f"{study['seed']}, from histograms):",
            "",
            *table(["detector", "AP", "nAP", "AUROC", "FPR95"], body),
        ]
    return lines


FEW = {"road_anomaly_21": " Ten frames: nothing is ranked on them."}
SEQUENCES = {"0001TP": ", continued from one that is trained on", "Seq05VD": ", of no training image"}


def training_table(studies: Sequence[Json], names: Sequence[str], what: str = "method") -> list[str]:
    """What each training took.

    Args:
        studies: One set and benchmark over its seeds.
        names: Rows that are trained.
        what: What those are called.
    """
    head = [f"{what}, seed", "steps", "images seen", "seconds", "features, s", "validation loss", "validation mIoU"]
    body = []
    for name in names:
        for one in studies:
            found = (one["rows"].get(name) or {}).get("training")
            if not found:
                continue
            start, end = found["validation_loss"]
            body.append(
                [
                    f"{name}, {one['seed']}",
                    str(found["steps"]),
                    str(found["images_seen"]),
                    f"{found['seconds']:.0f}",
                    f"{found['seconds_before']:.0f}",
                    f"{number(start)} to {number(end)}",
                    number(found["validation"].get("val_miou")),
                ]
            )
    return table(head, body)


def differences_table(studies: Sequence[Json], mean: Json | None = None) -> list[str]:
    """Paired AP differences, a column a seed, and their mean."""
    names = list(dict.fromkeys(name for one in studies for name in one["differences"]))
    columns = [*studies, *([mean] if mean else [])]
    body = []
    for name in names:
        cells = []
        for one in columns:
            found = one["differences"].get(name)
            cells.append(number(found["ap"]["value"], found["ap"]["ci95"], True, 4) if found else "-")
        body.append([name, *cells])
    head = ["difference", *(f"seed {one['seed']}" for one in studies), *(["mean over seeds"] if mean else [])]
    return table(head, body)


def verdict_lines(studies: Sequence[Json], mean: Json | None = None) -> list[str]:
    """Whether each learned row works, by the project's rule: in the mean over seeds where there are several.

    Args:
        studies: One a seed.
        mean: Mean differences over them, with what works by them.
    """
    lines = []
    for name in dict.fromkeys(name for one in studies for name in one["works"]):
        found = {one["seed"]: one["works"][name] for one in studies if name in one["works"]}
        short = {seed: one["against"] for seed, one in found.items() if not one["works"]}
        reasons = "; ".join(f"seed {seed}: {', '.join(reasons)}" for seed, reasons in short.items())
        kept = f"{len(found) - len(short)} of {len(found)} seeds"
        overall = ((mean or {}).get("works") or {}).get(name)
        if not short:
            over = "all seeds" if len(found) > 1 else f"seed {next(iter(found))}"
            lines.append(f"- {name} **works** here ({over}).")
        elif overall and overall["works"]:
            lines.append(f"- {name} **works** here in the mean over seeds ({kept} by themselves): {reasons}.")
        else:
            in_mean = f"mean over seeds: {', '.join(overall['against'])}; " if overall else ""
            lines.append(f"- {name} **does not work yet** here ({kept}): {in_mean}{reasons}.")
    return lines


def clean_section(found: Json) -> list[str]:
    """False alarms on clean frames."""
    sets = found["titles"]
    head = ["detector", *(f"{title}, {THRESHOLDS[kind]}" for kind in THRESHOLDS for title in sets.values())]
    body = [
        [name, *(number(own[key][kind]["value"], own[key][kind]["ci95"]) for kind in THRESHOLDS for key in sets)]
        for name, own in found["shares"].items()
    ]
    frames = ", ".join(f"{sets[key]} {count}" for key, count in found["frames"].items())
    return [
        "### False alarms on clean frames",
        "",
        "Networks of all CamVid classes, seed 0. Share of the pixels of frames without anomalies at or above a "
        f"threshold: the one that finds {THRESHOLDS['recall']}, and the one that {THRESHOLDS['passed']} reach. Frames: "
        f"{frames}; IDD's living things count as void. A shift of domain is no anomaly.",
        "",
        *table(head, body),
    ]


def published_section() -> list[str]:
    """The published settings, which nobody has run here."""
    return [
        "### Published settings, tier gpu",
        "",
        "Neither StreetHazards nor BDD-Anomaly can be had here; the recipes are there to be run by whoever has them.",
        "",
        *table(["recipe", "figures"], [[f"`{name}`", "not run"] for name in PUBLISHED]),
    ]
