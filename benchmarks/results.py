"""Measure what docs/results.md says, and write it.

    python benchmarks/results.py --data DIR [--weights ERFNET.safetensors] [--work runs/results] [--doc docs/results.md]

DIR holds anomaly/RoadAnomaly, anomaly/RoadAnomaly21 and camvid. Each step is an ``anomseg`` command that is printed
and can be run by hand; finished steps are kept, so that the command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomseg.cli.main import run
from anomseg.files import write_text
from anomseg.report import markdown_table

SCORES = ("msp", "max_logit", "entropy", "energy")
CONTROLS = ("chance", "position_prior", "local_contrast", "not_road")
BENCHMARKS = {"road_anomaly": "anomaly/RoadAnomaly", "road_anomaly_21": "anomaly/RoadAnomaly21"}


@dataclass(frozen=True)
class Network:
    """A network whose detectors are measured.

    Attributes:
        key: Name of its folder.
        spec: As written on the command line.
        title: Heading.
        note: What must be said of it beside every figure.
    """

    key: str
    spec: str
    title: str
    note: str


def command(arguments: list[str], accepted: tuple[int, ...] = (0,)) -> None:
    """Run one command, printed as a user would type it."""
    sys.stdout.write("$ anomseg " + shlex.join(arguments) + "\n")
    sys.stdout.flush()
    code = run(arguments)
    if code not in accepted:
        raise SystemExit(f"the command above ended with {code}")


def measure(network: Network, data: Path, work: Path, limit: int | None) -> dict[str, list[dict[str, Any]]]:
    """All figures of one network: cards by benchmark."""
    fitted = []
    for name in ("sml", "position_prior"):
        target = work / "fitted" / f"{name}-{network.key}"
        if not (target / "detector.json").is_file():
            camvid = f"camvid={data / 'camvid'}@train"
            options = ["--limit", str(limit)] if limit else []
            command(
                [
                    "fit",
                    "--detector",
                    name,
                    "--segmenter",
                    network.spec,
                    "--data",
                    camvid,
                    "--out",
                    str(target),
                    *options,
                ]
            )
        fitted.append(str(target))
    cards = {}
    for benchmark, folder in BENCHMARKS.items():
        out = work / network.key / benchmark
        detectors = ",".join([*SCORES, *fitted, *CONTROLS])
        command(
            [
                "evaluate",
                "--benchmark",
                benchmark,
                "--root",
                str(data / folder),
                "--segmenter",
                network.spec,
                "--detector",
                detectors,
                "--out",
                str(out),
            ]
        )
        cards[benchmark] = read_cards(out)
    out = work / network.key / "camvid"
    command(
        [
            "evaluate",
            "--benchmark",
            "camvid",
            "--root",
            str(data / "camvid"),
            "--split",
            "test",
            "--segmenter",
            network.spec,
            "--out",
            str(out),
        ]
    )
    cards["camvid"] = read_cards(out)
    return cards


def read_cards(out: Path) -> list[dict[str, Any]]:
    """The cards of a run, in the order of its detectors."""
    folders = json.loads((out / "run.json").read_text("utf-8"))["folders"]
    found = [out / folder / "metrics.json" for folder in folders] or sorted(out.glob("*/metrics.json"))
    return [json.loads(path.read_text("utf-8")) for path in found if path.is_file()]


def against_controls(cards: list[dict[str, Any]]) -> list[str]:
    """For each detector, whether it beats every control with the interval of the paired difference above 0."""
    lines = []
    for card in cards:
        rows = card.get("comparison") or {}
        if not rows or card["detector"].get("control"):
            continue
        lost = [f"{name} ({row['ap']:+.3f})" for name, row in rows.items() if not row["above"]]
        verdict = "beats every control" if not lost else "does not beat " + ", ".join(lost)
        lines.append(f"- {card['folder']} {verdict}.")
    return lines


def page(measured: dict[str, tuple[Network, dict[str, list[dict[str, Any]]]]], arguments: str) -> str:
    """The document."""
    lines = [
        "# Results",
        "",
        f"Written by `python benchmarks/results.py {arguments}`; do not edit. Tier cpu: no network is trained here and "
        "every detector sees the same forward pass. Brackets hold 95 % intervals of a bootstrap over frames "
        "(1000 resamples, seed 0). AP means little without the prevalence under each table; nAP is "
        "(AP - prevalence) / (1 - prevalence). RoadAnomaly21's validation split has ten frames: never rank on it.",
        "",
    ]
    for network, results in measured.values():
        lines += [f"## {network.title}", "", network.note, ""]
        for benchmark, cards in results.items():
            lines += [f"### {benchmark}", "", markdown_table(cards).rstrip(), ""]
            seconds = [card["seconds"]["total"] for card in cards if card.get("seconds")]
            verdicts = against_controls(cards)
            if verdicts:
                lines += ["Paired AP differences on the same frames, interval above 0 asked for:", "", *verdicts, ""]
            if seconds:
                lines += [f"Wall time of the run with all detectors: {max(seconds):.0f} s.", ""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--weights", type=Path, default=None, help="an ERFNet checkpoint trained on Cityscapes")
    parser.add_argument("--work", type=Path, default=Path("runs/results"), help="where runs are kept")
    parser.add_argument("--doc", type=Path, default=Path("docs/results.md"), help="the document")
    parser.add_argument("--limit", type=int, default=None, help="fit on the first frames only")
    options = parser.parse_args()
    networks = []
    if options.weights:
        note = (
            "The network is `erfnet-int8-recovered`, recovered from a public int8 file, not the published ERFNet. "
            "Images are resized by Pillow BILINEAR to 1024x512, logits upsampled bilinearly to label size and scored. "
            "`sml` and the second position prior were fitted on CamVid train, a domain other than the network's own."
        )
        networks.append(Network("erfnet", f"erfnet:{options.weights}", "ERFNet on Cityscapes' classes", note))
    note = (
        'The bundled network saw CamVid and IDD-Lite images in training (IDD\'s "living things" as void). `sml` and '
        "the second position prior were fitted on CamVid train. Its eleven classes know no truck, bus or terrain."
    )
    networks.append(Network("bundled", "bundled", "Bundled network on CamVid's classes", note))
    measured = {one.key: (one, measure(one, options.data, options.work, options.limit)) for one in networks}
    arguments = "--data DATA" + (" --weights ERFNET" if options.weights else "")
    write_text(options.doc, page(measured, arguments))
    sys.stdout.write(f"written to {options.doc}\n")


if __name__ == "__main__":
    main()
