"""docs/claims-pgan.md out of a finished evaluation of all versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from claim_record import Entry
from pgan_plan import BASE, COUNTS, CURVE, VERSIONS, Setup, Version, by_group

Json = Mapping[str, Any]
MARGIN = 0.02
LEAST_AP = 0.1
FEW = 20
SINGLE = ("level-stage2", "level-encoder", "level-bottleneck")


@dataclass(frozen=True)
class Check:
    """One row of the verdicts.

    Attributes:
        claim: Which claim.
        says: What is checked.
        difference: Difference in AP, with its interval; empty where it was not measured.
        least: The claim holds where the difference is above this.
        open_because: Why nothing is decided whatever the interval says.
    """

    claim: str
    says: str
    difference: Json | None
    least: float
    open_because: str = ""

    @property
    def word(self) -> str:
        """Supported where the whole interval lies above the bound, not supported where it lies below."""
        limits = list((self.difference or {}).get("ci95", ()))
        if not limits or self.open_because:
            return "undecided"
        if limits[0] > self.least:
            return "supported"
        return "not supported" if limits[1] < self.least else "undecided"

    def line(self) -> str:
        """The row."""
        shown = number(self.difference["value"], self.difference["ci95"], sign=True) if self.difference else "no run"
        why = f"; {self.open_because}" if self.open_because else ""
        return f"| {self.claim} | {self.says} | **{self.word}** | {shown}, bound {self.least:+.2f}{why} |"


def number(value: float, limits: Sequence[float] = (), *, sign: bool = False) -> str:
    """A figure with its interval.

    Example:
        >>> number(0.1234, (0.1, 0.2)), number(0.5, sign=True)
        ('.123 [.100, .200]', '+.500')
    """
    form = "{:+.3f}" if sign else "{:.3f}"
    parts = [form.format(one).replace("0.", ".", 1) if abs(one) < 1 else form.format(one) for one in (value, *limits)]
    return parts[0] if not limits else f"{parts[0]} [{', '.join(parts[1:])}]"


def checks(setup: Setup, figures: Json) -> list[Check]:
    """G1 on the learning curve of each seed, G2 on the ablations.

    Args:
        setup: What was done.
        figures: ``rows`` by version and seed; ``less`` the differences of a pair of them, by ``first - second``.
    """
    found = []
    for seed in setup.seeds:
        whole = figures["rows"].get(f"{BASE}-{seed}")
        weak = f"AP of all images is below {LEAST_AP:g}" if whole and whole["ap"] < LEAST_AP else ""
        says = f"prototypes from limited annotated images: {FEW} lose less than {MARGIN:g} AP against all, draw {seed}"
        found.append(Check("G1", says, _gap(figures, f"annotated-{FEW}-{seed}", f"{BASE}-{seed}"), -MARGIN, weak))
    first = setup.seeds[0]

    def against(claim: str, says: str, other: str) -> Check:
        return Check(claim, says, _gap(figures, f"{BASE}-{first}", f"{other}-{first}"), 0.0)

    found.append(against("G2", "category hierarchy: the tree raises AP", "tree-none"))
    known = {name: figures["rows"][f"{name}-{first}"]["ap"] for name in SINGLE if f"{name}-{first}" in figures["rows"]}
    if known:
        best = max(known, key=lambda name: known[name])
        told = best.removeprefix("level-")
        found.append(against("G2", f"feature hierarchy: three levels raise AP over the best single one ({told})", best))
    found.append(
        against("G2", "similarities optimise prototypes: training raises AP over the support set", "untrained")
    )
    found.append(against("G2", "prototypes from the support set: better than random directions", "random"))
    return found


def entries(setup: Setup, figures: Json) -> list[Entry]:
    """The same checks for the record beside the page."""
    made = []
    for one in checks(setup, figures):
        value, limits = (one.difference["value"], tuple(one.difference["ci95"])) if one.difference else (None, ())
        frames = {f"CamVid without {setup.held_out}": int(figures["host"]["frames"])}
        why = f"bound {one.least:+.2f}" + (f"; {one.open_because}" if one.open_because else "")
        seeds = setup.seeds if one.claim == "G1" else setup.seeds[:1]
        made.append(Entry(one.claim, one.says, one.word, why, "difference in AP", value, limits, frames, tuple(seeds)))
    return made


def _gap(figures: Json, first: str, second: str) -> Json | None:
    return figures["less"].get(f"{first} - {second}")


def pairs(setup: Setup) -> list[tuple[str, str]]:
    """Every version against the recipe's of the same seed, both ways as they are read."""
    found = []
    for version, seed in setup.wanted():
        if version.key != BASE:
            found += [(f"{version.key}-{seed}", f"{BASE}-{seed}"), (f"{BASE}-{seed}", f"{version.key}-{seed}")]
    return found


def row(version: Version, seed: int, figures: Json) -> list[str]:
    """A version's figures, with its difference from the recipe's version of the same seed."""
    own = figures["rows"].get(f"{version.key}-{seed}")
    if own is None:
        return [version.title, *["not measured"] * 6]
    less = _gap(figures, f"{version.key}-{seed}", f"{BASE}-{seed}")
    limits = own["ci95"]
    shown = [number(own[name], limits.get(name, ())) for name in ("ap", "auroc", "fpr95")]
    gap = number(less["value"], less["ci95"], sign=True) if less else ""
    mious = [number(own[name]) if own.get(name) is not None else "" for name in ("closed_miou", "open_miou")]
    return [version.title, *shown, gap, *mious]


def table(rows: Sequence[Sequence[str]], first: str = "version") -> list[str]:
    """Lines of a table of versions."""
    head = [first, "AP", "AUROC", "FPR95", "AP less the recipe's", "closed mIoU", "open mIoU"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return [*lines, *("| " + " | ".join(one) + " |" for one in rows), ""]


def page(setup: Setup, figures: Json, command: str) -> str:
    """The document.

    Args:
        setup: What was done.
        figures: See `checks`; with ``host``: frames, prevalence, closed mIoU and the other rows.
        command: How it was made.
    """
    first, host = setup.seeds[0], figures["host"]
    lines = [
        "# PGAN-style reconstruction: claims G1 and G2",
        "",
        f"Written by `{command}`; do not edit. A reconstruction from the abstract alone ([pgan.md](pgan.md)): what is "
        "decided here is decided about the reconstruction, not about the published network.",
        "",
        f"CamVid test with `{setup.held_out}` as the anomaly, {host['frames']} frames, prevalence "
        f"{host['prevalence']:.3f}; host `{setup.host.name}`, an ERFNet encoder (`erfnet-int8-recovered`, trained on "
        f"Cityscapes; not the published ERFNet) and a head trained on CamVid without images that show a "
        f"{setup.held_out} (rule `drop`). Its closed-set mIoU is {number(host['miou'])}. {setup.steps} optimiser steps "
        "a version, fewer than the recipe's; seeds "
        f"{', '.join(map(str, setup.seeds))}; tier cpu.",
        "",
        "A check is supported where its whole 95 % interval lies above the bound, not supported where it lies below, "
        "else undecided. Intervals are percentiles of 1000 cluster-bootstrap resamples over blocks of 20 neighbouring "
        "frames; differences are paired. Closed mIoU is that of the prototypes' own class map over the known classes; "
        "open mIoU takes pixels above the threshold at TPR 95 % for anomalies. Nothing was chosen on these frames.",
        "",
        "The learning curve counts the images whose labels the extraction network's training and support set use. The "
        "host itself was trained on labels of all of them.",
        "",
        "## Verdicts",
        "",
        "| claim | check | verdict | difference in AP |",
        "|---|---|---|---|",
        *(one.line() for one in checks(setup, figures)),
        "",
        "## Learning curve",
        "",
    ]
    curve = [one for one in VERSIONS if one.group == CURVE]
    for seed in setup.seeds:
        rows = [row(one, seed, figures) for one in curve]
        whole = row(VERSIONS[0], seed, figures)
        count = figures["annotated"].get(f"{BASE}-{seed}")
        lines += [f"Draw {seed}:", "", *table([*rows, [f"all ({count})", *whole[1:]]], "annotated images")]
    lines += [f"Classes that {min(COUNTS)} to {max(COUNTS)} images do not show are masked out: {masked(figures)}.", ""]
    lines += ["## Ablations", "", *table([row(VERSIONS[0], first, figures)])]
    for group, versions in by_group(VERSIONS).items():
        if group != CURVE:
            lines += [f"### {group}", "", *table([row(one, first, figures) for one in versions])]
    others = Version("", "", "")
    body = [[f"*{name}* of the host", *row(others, 0, {"rows": {"-0": own}, "less": {}})[1:4], "", "", ""]
            for name, own in host["rows"].items()]  # fmt: skip
    return "\n".join([*lines, "## Beside it", "", *table(body, "score")]).rstrip() + "\n"


def masked(figures: Json) -> str:
    """Which classes were masked in which version."""
    told = [f"{name}: {', '.join(absent)}" for name, absent in figures["absent"].items() if absent]
    return "; ".join(told) or "none"
