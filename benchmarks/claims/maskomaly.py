"""Claims M1 to M5 of Maskomaly, answered from finished runs: writes docs/claims-maskomaly.md.

    python benchmarks/claims/maskomaly.py --work runs/results3 --overhead OVERHEAD.txt --margin runs/claims-margin

WORK is the folder of benchmarks/results.py; OVERHEAD.txt what benchmarks/maskomaly.py printed; the margin's folder what
benchmarks/claims/margin.py wrote. What is missing is said to be undecided.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claim_record import of_answer, write_record
from mask_families import families

from anomseg.files import read_json, write_bytes, write_text

BOUND = 10.0
"""Percent of the forward pass that a small overhead stays under."""
LEAST_IOU = 0.25
HELD_OUT = "camvid-mask-no-bicyclist-0"


@dataclass(frozen=True)
class Answer:
    """One claim answered.

    Attributes:
        claim: Such as ``M1``.
        says: The claim in short.
        word: ``supported``, ``not supported``, ``undecided`` or ``not tested here``.
        why: What the word rests on.
        frames: Frames that it was measured on, by set.
    """

    claim: str
    says: str
    word: str
    why: str
    frames: Mapping[str, int] | None = None


def cards_of(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Result cards of one evaluation by detector; none where it is not there."""
    return {path.parent.name: read_json(path) for path in sorted(folder.glob("*/metrics.json"))}


def training_free(cards: Mapping[str, Mapping[str, Any]]) -> Answer:
    """M2, first half: which profiles are fitted and on what, by their own cards."""
    says = "no training of the network, no anomalous data in training"
    plain = cards.get("maskomaly")
    if plain is None:
        return Answer("M2", says, "undecided", "no run")
    told = plain["detector"]
    free = not told["needs_fit"] and not told["uses_anomaly_labels"] and told["forward_passes"] == 1
    why = (
        f"zero_shot: fitted {told['needs_fit']}, anomaly labels {told['uses_anomaly_labels']}, "
        f"{told['forward_passes']} forward pass"
    )
    return Answer("M2", says, "supported" if free else "not supported", why)


def beats(card: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether a detector's AP lies above every control, by paired intervals, and above which it does not."""
    short = [
        f"{name} ({one['ap']:+.3f} [{one['ci95'][0]:+.3f}, {one['ci95'][1]:+.3f}])"
        if one.get("ci95")
        else f"{name} ({one['ap']:+.3f}, no interval)"
        for name, one in card["comparison"].items()
        if not one["above"]
    ]
    return not short, ", ".join(short)


def profiles(cards: Mapping[str, Mapping[str, Any]], where: str) -> list[Answer]:
    """M2, second half: what each profile finds."""
    answers = []
    for name, card in cards.items():
        if not name.startswith("maskomaly"):
            continue
        profile = card["detector"]["profile"]
        above, short = beats(card)
        ap, limits = card["pixel"]["ap"], (card.get("pixel_ci95") or {}).get("ap")
        interval = f" [{limits[0]:.3f}, {limits[1]:.3f}]" if limits else ""
        why = f"AP {ap:.3f}{interval}, prevalence {card['prevalence']:.4f}"
        why += "; above every control" if above else f"; not above {short}"
        best = ((card["detector"].get("fitted_on") or {}).get("anomaly") or {}).get("best")
        word = "supported" if above else "not supported"
        if best and best["iou"] < LEAST_IOU:
            word = "undecided"
            why += (
                f"; the best query's mean IoU with anomalies is {best['iou']:.3f}, below {LEAST_IOU:g}: what the "
                "profile rests on is absent in this network"
            )
        answers.append(Answer("M2", f"{name} ({profile}) finds anomalies, {where}", word, why, {where: card["frames"]}))
    return answers


def overhead(text: str | None) -> Answer:
    """M3 from the table of benchmarks/maskomaly.py."""
    says = "small overhead at inference"
    rows = re.findall(r"^\| (\w+) \| (\w+) \| (\w+) \| [\d.]+ \| [\d.]+ \| ([\d.]+) %", text or "", re.MULTILINE)
    if not rows:
        return Answer("M3", says, "undecided", "benchmarks/maskomaly.py was not run")
    shares = {f"{network} {size} {kind}": float(share) for network, size, kind, share in rows}
    worst = max(shares, key=shares.__getitem__)
    why = f"at most {shares[worst]:g} % of the forward pass ({worst}), bound {BOUND:g} %; random weights, Swin-T shape"
    return Answer("M3", says, "supported" if shares[worst] < BOUND else "not supported", why)


def margin(found: Mapping[str, Any] | None) -> list[Answer]:
    """M5 from benchmarks/claims/margin.py."""
    says = "the detection margin is informative about robustness"
    if found is None:
        return [Answer("M5", says, "undecided", "benchmarks/claims/margin.py was not run")]
    level = f"{found['quality']:g}" + (" of the own best F1" if found["relative_to_best_f1"] else "")
    answers = []
    for kind, part in found["kinds"].items():
        why = f"{kind} at quality {level}: {part['detectors']} detectors, {part['reason']}"
        if part["rho"] is not None:
            limits = part["ci95"]
            interval = f" [{limits[0]:+.2f}, {limits[1]:+.2f}]" if limits else ""
            why += f"; Spearman of margin with F1 lost {part['rho']:+.2f}{interval}"
        if part.get("pairs"):
            why += (
                f"; of {len(part['pairs'])} pairs of close AP the wider margin lost less in {part['wider_loses_less']}"
            )
        answers.append(Answer("M5", says, part["verdict"], why))
    return answers


def answers(work: Path, overheads: Path | None, margins: Path | None) -> list[Answer]:
    """All claims."""
    table = overheads.read_text("utf-8") if overheads and overheads.is_file() else None
    study = read_json(margins / "margin.json") if margins and (margins / "margin.json").is_file() else None
    road, held_out = cards_of(work / "bundled-mask" / "road_anomaly"), cards_of(work / HELD_OUT / "camvid")
    ran = families()
    names = ", ".join(name for name, good in ran.items() if good) or "none"
    built = f"run here on tiny networks, the map compared with the plain function: {names}"
    return [
        Answer(
            "M1",
            "builds on mask-based networks, a step on their raw outputs",
            "supported" if all(ran.values()) else "not supported",
            built,
        ),
        training_free(road or held_out),
        *profiles(road, "bundled-mask on RoadAnomaly"),
        *profiles(held_out, "CamVid without bicyclists, mask transformer on ERFNet's encoder"),
        overhead(table),
        Answer("M4", "top on SMIYC, RoadAnomaly, StreetHazards", "not tested here", "command in docs/maskomaly.md"),
        *margin(study),
    ]


def page(found: Iterable[Answer], drawn: bool) -> str:
    """The document, with the margin's picture where it is drawn."""
    lines = [
        "# Claims of Maskomaly",
        "",
        "Written by `python benchmarks/claims/maskomaly.py`; do not edit. Verdicts come from intervals, tables and "
        "cards of finished runs; tier cpu, seed 0; tables with protocol, split, resolution and checkpoint, and "
        "paired differences to random weights, in [results](results.md).",
        "",
        "| claim | says | verdict | rests on |",
        "|---|---|---|---|",
        *(f"| {one.claim} | {one.says} | **{one.word}** | {one.why} |" for one in found),
        *(("", "![F1 lost on RoadAnomaly over the margin on RoadAnomaly21](pictures/margin.png)") if drawn else ()),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read, answer, write."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of benchmarks/results.py")
    parser.add_argument("--overhead", type=Path, default=None, help="what benchmarks/maskomaly.py printed")
    parser.add_argument("--margin", type=Path, default=None, help="folder of benchmarks/claims/margin.py")
    parser.add_argument("--doc", type=Path, default=Path("docs/claims-maskomaly.md"))
    options = parser.parse_args()
    picture = options.margin / "margin.png" if options.margin else None
    drawn = picture is not None and picture.is_file()
    if picture is not None and drawn:
        write_bytes(options.doc.parent / "pictures" / picture.name, picture.read_bytes())
    found = answers(options.work, options.overhead, options.margin)
    write_text(options.doc, page(found, drawn))
    write_record(options.doc, [of_answer(one, one.frames, (0,) if one.frames else ()) for one in found])
    sys.stdout.write(f"written to {options.doc}\n")


if __name__ == "__main__":
    main()
