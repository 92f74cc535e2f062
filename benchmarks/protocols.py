"""The same maps under every protocol, and which choice makes which difference: the tables of docs/protocols.md.

    anomseg evaluate --benchmark road_anomaly --root RoadAnomaly --detector energy,max_logit --protocol all --out OUT
    python benchmarks/protocols.py OUT [OUT ...]

Each OUT is what `anomseg evaluate --protocol all` wrote, from a network or from a folder of maps (`--scores`); finished
runs are only read, so this takes seconds. Several benchmarks give a table each.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from doc_section import replace_section

from anomseg.errors import DataError
from anomseg.evaluation.protocols import FIRST, TABLE_FILE
from anomseg.files import read_json
from anomseg.report.protocols import protocols_text, ranks, spread_text

Json = dict[str, Any]


def same_maps(out: Path, table: Json) -> list[str]:
    """What single choices change, from the cards of one run: FPR rule, averaging, storage."""
    lines = [
        "| detector | FPR95 first >= / first > / nearest | AP pooled / mean over images | AP exact / percentile bins |",
        "|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["detector"] for row in table["rows"]):
        own, binned = (read_json(out / protocol / name / "metrics.json") for protocol in (FIRST, "smiyc"))
        rules = " / ".join(f"{own['fpr95_by_rule'][rule]:.4f}" for rule in ("first>=", "first>", "nearest"))
        pooled = (own.get("pooled") or own["pixel"])["ap"]
        mean = own["per_image_mean"]["ap"]
        lines.append(f"| {name} | {rules} | {pooled:.4f} / {mean:.4f} | {pooled:.4f} / {binned['pixel']['ap']:.4f} |")
    return lines


def turned(table: Json) -> list[str]:
    """Pairs of detectors that the protocols put in different orders, by figure."""
    lines = []
    for figure, label in (("ap", "AP"), ("fpr95", "FPR95")):
        orders = ranks(table, figure)
        names = next(iter(orders.values()))
        for index, one in enumerate(names):
            for other in names[index + 1 :]:
                before = [name for name, order in orders.items() if order.index(one) < order.index(other)]
                after = [name for name in orders if name not in before]
                if before and after:
                    lines.append(
                        f"- {label}: {one} before {other} under {', '.join(before)}; after it under {', '.join(after)}."
                    )
    return lines or ["- No pair of detectors changes its order in AP or FPR95."]


def section(out: Path) -> str:
    """The part of the page on one run."""
    path = out / TABLE_FILE
    if not path.is_file():
        raise DataError(f"{path} is missing; run 'anomseg evaluate ... --protocol all --out {out}' first")
    table = read_json(path)
    dropped = max(row["dropped_clean_frames"] for row in table["rows"])
    frames = max(row["frames"] for row in table["rows"])
    held_out = f", held out: {', '.join(table['held_out'])}" if table["held_out"] else ""
    about = f"Split {table['split']}{held_out}; {frames} frames, {dropped} of them without an anomaly."
    parts = [
        f"### {table['benchmark']}", "", about, "", protocols_text(table), "Lowest and highest over the protocols:", "",
        spread_text(table), "One choice at a time, on the same maps:", "", *same_maps(out, table), "",
        "Order of detectors:", "", *turned(table), "",
    ]  # fmt: skip
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="+", help="folders that 'anomseg evaluate --protocol all' wrote")
    parser.add_argument("--docs", type=Path, default=Path("docs/protocols.md"))
    options = parser.parse_args()
    text = "\n".join(section(out) for out in options.out)
    print(text)
    replace_section(options.docs, text)


if __name__ == "__main__":
    main()
