"""What the figures say of S1, S2, P2 and P3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claim_record import Entry
from knn_verdicts import above, all_of
from learned_clean import THRESHOLDS
from learned_states import share
from synthcp_failures import BASELINES

from anomseg.files import read_json

Json = Mapping[str, Any]
COUNTED = {"parameters": "parameters", "flops": "FLOPs", "seconds": "seconds"}
DECIDES = "recall"
"""The threshold that P3 rests on: what the same recall costs."""
UNMEASURED = "undecided: not measured yet"


@dataclass(frozen=True)
class Part:
    """A part of a claim, answered.

    Attributes:
        claim: Such as ``P3``.
        says: The part in short.
        word: The verdict.
        why: What it rests on.
        differences: By set the figure that decides, with its interval; empty where none does.
    """

    claim: str
    says: str
    word: str
    why: str
    differences: Mapping[str, Json]


def evaluated(runs: Sequence[Path]) -> list[Json]:
    """Figures of synthcp in folders of finished evaluations.

    Args:
        runs: As ``anomseg evaluate --out`` was given.
    """
    found: list[Json] = []
    for run in runs:
        for path in sorted(run.glob("*/metrics.json")):
            card = read_json(path)
            if card["detector"]["name"] != "synthcp":
                continue
            failure = card["task"] == "failure"
            own = card.get("failure" if failure else "pixel") or {}
            told = {"ap": own.get("aupr_error" if failure else "ap"), "auroc": own.get("auroc")}
            shared = {name: card[name] for name in ("task", "benchmark", "frames", "prevalence")}
            found.append({**shared, **told, "row": path.parent.name})
    return found


def parts(figures: Json, runs: Sequence[Json], compared: Sequence[Json] = ()) -> list[Part]:
    """All answers.

    Args:
        figures: What was measured, by kind.
        runs: See `evaluated`.
        compared: See `synthcp_failures.failures`.
    """
    return [s1(figures.get("tasks"), runs), s2(compared), p2(figures.get("costs")), *p3(figures.get("clean"))]


def s1(found: Json | None, runs: Sequence[Json]) -> Part:
    """Both tasks from one trained generator."""
    says = "one framework, two modules, both tasks, from one trained generator"
    if found is None:
        return Part("S1", says, UNMEASURED, "no run", {})
    if not found["comparator"]:
        return Part("S1", says, "undecided: the detector carries no comparator", "anomaly segmentation alone", {})
    checks = {
        "both tasks answer with finite maps": found["anomaly"] and found["failure"],
        "the anomaly map is bit-equal without the comparator": found["alone"],
        "another generator changes both answers": found["other_anomaly"] and found["other_failure"],
    }
    told = [f"{what}: {'yes' if holds else 'no'}" for what, holds in checks.items()]
    told.append(f"generator of {found['parameters'] / 1e6:.2f} M parameters, frame {found['frame']}")
    for one in runs:
        if one["ap"] is not None:
            name = "AUPR-Error" if one["task"] == "failure" else "AP"
            told.append(
                f"{one['task']}, {one['benchmark']} ({one['row']}): {name} {one['ap']:.3f} at prevalence "
                f"{one['prevalence']:.3f}"
            )
    return Part("S1", says, "supported" if all(checks.values()) else "not supported", "; ".join(told), {})


def s2(compared: Sequence[Json]) -> Part:
    """AUPR-Error above that of every baseline in every run."""
    says = "finds wrong pixels better (AUPR-Error) than " + ", ".join(BASELINES)
    gaps = {f"{one['title']} less {name}": gap for one in compared for name, gap in one["less"].items()}
    if not gaps:
        return Part("S2", says, UNMEASURED, "no run", {})
    there = {str(own["detector"]) for one in compared for own in one["rows"].values()}
    answers = [above(gap["ci95"]) for gap in gaps.values()]
    lacking = [name for name in BASELINES if name not in there]
    word = str(all_of(answers))
    if lacking and word == "supported":
        word = f"undecided: not compared with {', '.join(lacking)}"
    why = f"{answers.count('yes')} of {len(answers)} differences lie above 0, {answers.count('no')} below"
    return Part("S2", says, word, f"{why}; {'; '.join(f'{name}: {_shown(gap)}' for name, gap in gaps.items())}", gaps)


def p2(found: Json | None) -> Part:
    """PAnS is cheaper."""
    says = "PAnS is cheaper than a generative approach: parameters, FLOPs and seconds against SynthCP"
    if found is None:
        return Part("P2", says, UNMEASURED, "no run", {})
    rows = {name: total(found["detectors"][name]) for name in ("pans", "synthcp")}
    cheaper = [name for name in COUNTED if rows["pans"][name] < rows["synthcp"][name]]
    word = "supported" if len(cheaper) == len(COUNTED) else "not supported"
    if 0 < len(cheaper) < len(COUNTED):
        word = f"undecided: in {' and '.join(COUNTED[name] for name in cheaper)} alone"
    told = [f"{COUNTED[name]} of SynthCP over those of PAnS: {_ratio(rows, name)}" for name in COUNTED]
    return Part("P2", says, word, "; ".join([*told, f"threads: {found['threads']}"]), {})


def total(row: Json) -> dict[str, float]:
    """Everything that a detector needs, by the names of `COUNTED`."""
    return {"parameters": row["network"] + row["own"], "flops": row["flops"], "seconds": row["seconds"]}


def _ratio(rows: Mapping[str, Json], name: str) -> str:
    return f"{rows['synthcp'][name] / rows['pans'][name]:.2f}" if rows["pans"][name] else "no figure"


def p3(found: Json | None) -> list[Part]:
    """SynthCP raises more false alarms on clean frames than PAnS, and than the MSP of its own network."""
    says = {
        "pans": "generated artifacts create false anomalies: SynthCP flags more of clean frames than PAnS",
        "msp": "and more than MSP of SynthCP's own network, which renders nothing",
    }
    if found is None:
        return [Part("P3", text, UNMEASURED, "no run", {}) for text in says.values()]
    made = []
    for rival, text in says.items():
        gaps = {one["title"]: difference(one, "synthcp", rival, DECIDES) for one in found["sets"].values()}
        word = all_of(above(gap["ci95"]) for gap in gaps.values())
        told = [f"{title}: {_shown(gap)}" for title, gap in gaps.items()]
        why = f"share of pixels at the threshold of {THRESHOLDS[DECIDES]}, SynthCP less {rival}: {'; '.join(told)}"
        made.append(Part("P3", text, word, why, gaps))
    return made


def difference(clean: Json, first: str, second: str, kind: str) -> Json:
    """Share of pixels that one detector flags less that of another, with its interval over groups, paired."""
    totals: dict[str, list[int]] = {}
    for row in clean["frames"]:
        own = totals.setdefault(row["group"], [0, 0])
        own[0] += row["flagged"][first][kind] - row["flagged"][second][kind]
        own[1] += row["pixels"]
    flagged, pixels = zip(*totals.values(), strict=True)
    return share(flagged, pixels)


def _shown(gap: Json) -> str:
    limits = f" [{gap['ci95'][0]:+.3f}, {gap['ci95'][1]:+.3f}]" if gap["ci95"] else ", no interval"
    return f"{gap['value']:+.3f}{limits}"


def entries(answers: Sequence[Part], figures: Json, compared: Sequence[Json] = ()) -> list[Entry]:
    """The answers for the record beside the page; of several figures the one that speaks most against the claim."""
    sets = (figures.get("clean") or {}).get("sets", {})
    clean = {one["title"]: len(one["frames"]) for one in sets.values()}
    judged = {one["title"]: int(one["frames"]) for one in compared}
    used = {"S2": (judged, "difference in AUPR-Error", tuple(range(len(judged)))),
            "P3": (clean, "share of clean pixels flagged, difference", (0,))}  # fmt: skip
    made = []
    for one in answers:
        known = {title: gap for title, gap in one.differences.items() if gap["value"] is not None}
        worst = min(known, key=lambda title: (known[title]["ci95"] or [known[title]["value"]])[0], default=None)
        if worst is None:
            told = {"CamVid test": 1} if one.claim in ("S1", "P2") and figures else None
            made.append(Entry(one.claim, one.says, one.word, one.why, frames=told))
            continue
        gap, (frames, figure, seeds) = known[worst], used[one.claim]
        value, limits = gap["value"], tuple(gap["ci95"])
        made.append(Entry(one.claim, one.says, one.word, one.why, f"{worst}: {figure}", value, limits, frames, seeds))
    return made
