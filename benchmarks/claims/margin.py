"""Claim M5: is the maximal detection margin informative about robustness?

A threshold is chosen on one benchmark (A) by best F1 and carried to another (B). The F1 lost there, against B's own
best, is compared with the margin on A, over detectors. Reads what ``anomseg evaluate`` left, whole runs or merged:

    python benchmarks/claims/margin.py --pair NAME=A_OUT,B_OUT [--pair ...] --out DIR
"""

from __future__ import annotations

import argparse
import io
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import binomtest, rankdata

from anomseg.errors import AnomsegError, ConfigError, DataError
from anomseg.evaluation import DetectorState
from anomseg.evaluation.margins import calibrated_f1, raw_f1
from anomseg.files import read_json, write_bytes, write_json, write_text
from anomseg.metrics import detection_margin

CLOSE_AP, APART = 0.02, 0.05
SAMPLES, EXACT_UP_TO, FEWEST = 10_000, 8, 5
KINDS = {"mdm": "margin of the score itself", "mdm_calibrated": "margin of the calibrated score"}


@dataclass(frozen=True)
class Row:
    """One detector on both benchmarks; margins are on A, None where the score has none of that kind."""

    name: str
    control: bool
    ap_a: float
    ap_b: float
    best_f1_a: float
    best_f1_b: float
    carried_f1: float
    f1_lost: float
    mdm: float | None
    mdm_calibrated: float | None


def row_of(name: str, first: Path, second: Path, quality: float, relative: bool) -> Row:
    """Compare one detector's folders of results on A and on B.

    Raises:
        ConfigError: They are of different detectors.
        DataError: There are no figures in one of them.
    """
    cards = [read_json(folder / "metrics.json") for folder in (first, second)]
    if _identity(cards[0]) != _identity(cards[1]):
        raise ConfigError(f"{first} and {second} are of different detectors or networks; evaluate one on both")
    states = [DetectorState.load(folder) for folder in (first, second)]
    if states[0] is None or states[1] is None or not all(state and state.evaluable for state in states):
        raise DataError(f"{first} and {second} have no figures to compare; finish both evaluations")
    a, b = states[0].result, states[1].result
    level = quality * a.best_f1 if relative else quality
    bounded = bool(cards[0]["detector"].get("bounded"))
    scaled = calibrated_f1(states[0])
    hits, alarms = (int(count[0]) for count in states[1].curve.counts_at([a.best_f1_threshold]))
    carried = 2 * hits / (hits + alarms + b.anomaly)
    return Row(
        name=name,
        control=bool(cards[0]["detector"].get("control")),
        ap_a=a.ap,
        ap_b=b.ap,
        best_f1_a=a.best_f1,
        best_f1_b=b.best_f1,
        carried_f1=carried,
        f1_lost=b.best_f1 - carried,
        mdm=detection_margin(raw_f1(states[0]), level).value if bounded else None,
        mdm_calibrated=None if scaled is None else detection_margin(scaled, level).value,
    )


def _identity(card: Mapping[str, Any]) -> Any:
    detector = card.get("detector") or {}
    network = card.get("segmenter") or {}
    calibration = detector.get("calibration") or {}
    return (
        *(detector.get(key) for key in ("name", "parameters", "state_sha256", "networks")),
        calibration.get("table_sha256"),
        network.get("sha256"),
    )


def rows_of_pair(label: str, first: Path, second: Path, quality: float, relative: bool) -> list[Row]:
    """All detectors that two result folders share, named ``label/detector``."""
    shared = sorted(path.parent.parent.name for path in first.glob("*/state/state.json"))
    shared = [name for name in shared if (second / name / "state" / "state.json").is_file()]
    if not shared:
        raise DataError(f"{first} and {second} share no detector's results; give folders that 'anomseg evaluate' wrote")
    return [
        row_of(f"{label}/{name}" if label else name, first / name, second / name, quality, relative) for name in shared
    ]


def spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Spearman's rank correlation, ties with mean ranks; NaN where either is constant."""
    x, y = rankdata(one), rankdata(other)
    x, y = x - x.mean(), y - y.mean()
    scale = math.sqrt(float((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale else math.nan


def partial(one: NDArray[np.float64], other: NDArray[np.float64], given: NDArray[np.float64]) -> float:
    """Rank correlation of two with a third held fixed; NaN where that is undefined."""
    xy, xz, yz = spearman(one, other), spearman(one, given), spearman(other, given)
    rest = (1 - xz**2) * (1 - yz**2)
    return (xy - xz * yz) / math.sqrt(rest) if rest > 1e-12 else math.nan


def permutation_p(one: NDArray[np.float64], other: NDArray[np.float64], seed: int = 0) -> tuple[float, bool]:
    """Two-sided p of a rank correlation under permutation, and whether all permutations were tried."""
    x, y = rankdata(one), rankdata(other)
    x, y = x - x.mean(), y - y.mean()
    observed = abs(float(x @ y)) - 1e-9
    if one.size <= EXACT_UP_TO:
        orders = np.array(list(itertools.permutations(range(one.size))))
        return float((np.abs(x[orders] @ y) >= observed).mean()), True
    rng = np.random.default_rng(seed)
    drawn = np.abs(rng.permuted(np.tile(x, (SAMPLES, 1)), axis=1) @ y) >= observed
    return float((1 + drawn.sum()) / (1 + SAMPLES)), False


def bootstrap(one: NDArray[np.float64], other: NDArray[np.float64], seed: int = 0) -> tuple[float, float] | None:
    """95 % percentile interval of a rank correlation over resampled detectors; None where most resamples tie."""
    rng = np.random.default_rng(seed)
    drawn = [spearman(one[rows], other[rows]) for rows in rng.integers(0, one.size, (SAMPLES // 5, one.size))]
    kept = np.array([value for value in drawn if not math.isnan(value)])
    if kept.size < len(drawn) / 2:
        return None
    low, high = np.quantile(kept, [0.025, 0.975])
    return float(low), float(high)


def correlate(rows: Sequence[Row], kind: str, seed: int = 0) -> dict[str, Any]:
    """How the margin goes with the F1 lost, over detectors that are no controls; and the same of AP, beside it."""
    used = [row for row in rows if not row.control and getattr(row, kind) is not None]
    margin, lost, ap = (np.array([getattr(row, key) for row in used]) for key in (kind, "f1_lost", "ap_a"))
    found: dict[str, Any] = {"kind": kind, "detectors": len(used), "rho": None, "ci95": None, "p": None}
    if len(used) < FEWEST or np.unique(margin).size < 3 or np.unique(lost).size < 3:
        distinct = np.unique(margin).size
        return {**found, "verdict": "undecided", "reason": f"{len(used)} detectors with {distinct} distinct margins"}
    interval = bootstrap(margin, lost, seed)
    p, exact = permutation_p(margin, lost, seed)
    decided = interval is not None and (interval[1] < 0 or interval[0] > 0)
    verdict = ("supported" if interval and interval[1] < 0 else "not supported") if decided else "undecided"
    rest = partial(margin, lost, ap)
    return {
        **found,
        "rho": spearman(margin, lost),
        "ci95": list(interval) if interval else None,
        "p": p,
        "p_exact": exact,
        "rho_of_ap": None if math.isnan(value := spearman(ap, lost)) else value,
        "rho_given_ap": None if math.isnan(rest) else rest,
        "verdict": verdict,
        "reason": "the 95 % interval over detectors" if interval else "too many ties for an interval",
    }


def close_pairs(rows: Sequence[Row], kind: str) -> dict[str, Any]:
    """Pairs of detectors with close AP on A and different margins: does the wider margin lose less F1?"""
    used = [row for row in rows if not row.control and getattr(row, kind) is not None]
    pairs = []
    for one, two in itertools.combinations(used, 2):
        wide, narrow = sorted((one, two), key=lambda row: getattr(row, kind), reverse=True)
        apart = getattr(wide, kind) - getattr(narrow, kind)
        if abs(one.ap_a - two.ap_a) <= CLOSE_AP and apart >= APART:
            pairs.append(
                {
                    "wide": wide.name,
                    "narrow": narrow.name,
                    "ap_difference": abs(one.ap_a - two.ap_a),
                    "margin_difference": apart,
                    "f1_saved": narrow.f1_lost - wide.f1_lost,
                }
            )
    wins, losses = (sum(sign * pair["f1_saved"] > 0 for pair in pairs) for sign in (1, -1))
    p = float(binomtest(wins, wins + losses).pvalue) if wins + losses else None
    return {"pairs": pairs, "wider_loses_less": wins, "wider_loses_more": losses, "sign_test_p": p}


def study(rows: Sequence[Row], *, quality: float, relative: bool, seed: int = 0) -> dict[str, Any]:
    """Everything that is written: rows, rank correlations and close pairs, for both kinds of margin."""
    return {
        "schema": 1,
        "claim": "M5",
        "quality": quality,
        "relative_to_best_f1": relative,
        "close_ap": CLOSE_AP,
        "margins_apart": APART,
        "rows": [asdict(row) for row in rows],
        "kinds": {kind: {**correlate(rows, kind, seed), **close_pairs(rows, kind)} for kind in KINDS},
    }


def markdown(found: Mapping[str, Any]) -> str:
    """The table and the verdicts."""
    level = f"{found['quality']:g}" + (" of the detector's own best F1" if found["relative_to_best_f1"] else "")
    lines = [
        f"Margins on A at quality {level}; the threshold of A's best F1 is carried to B. Controls are listed and left "
        "out of the rest. Detectors share networks and frames, so intervals over detectors are optimistic.",
        "",
        "| detector | AP A | AP B | MDM | MDM calibrated | best F1 A | best F1 B | carried F1 | F1 lost |",
        "|---|" + "---:|" * 8,
    ]
    keys = ("ap_a", "ap_b", "mdm", "mdm_calibrated", "best_f1_a", "best_f1_b", "carried_f1", "f1_lost")
    for row in sorted(found["rows"], key=lambda row: (row["control"], row["f1_lost"])):
        name = f"*{row['name']}* (control)" if row["control"] else row["name"]
        lines.append(f"| {name} | " + " | ".join(_number(row[key]) for key in keys) + " |")
    for kind, part in found["kinds"].items():
        lines += ["", f"**M5, {KINDS[kind]}: {part['verdict']}** ({part['detectors']} detectors, {part['reason']})."]
        if part["rho"] is not None:
            limits = part["ci95"]
            interval = f" [{limits[0]:+.2f}, {limits[1]:+.2f}]" if limits else ""
            lines.append(
                f"Spearman of margin with F1 lost {part['rho']:+.2f}{interval}, permutation p {part['p']:.3g} "
                f"({'exact' if part['p_exact'] else 'sampled'}); of AP with F1 lost {_number(part['rho_of_ap'])}; of "
                f"margin given AP {_number(part['rho_given_ap'])}."
            )
        if part["pairs"]:
            lines.append(
                f"Of {len(part['pairs'])} pairs within {CLOSE_AP:g} AP and {APART:g} or more apart in margin the wider "
                f"one lost less F1 in {part['wider_loses_less']} and more in {part['wider_loses_more']} (sign test p "
                f"{_number(part['sign_test_p'])}; pairs that share a detector are not independent)."
            )
            lines += ["", "| wider | narrower | AP apart | margin apart | F1 saved |", "|---|---|---:|---:|---:|"]
            for pair in sorted(part["pairs"], key=lambda pair: -pair["margin_difference"]):
                figures = (pair[key] for key in ("ap_difference", "margin_difference", "f1_saved"))
                lines.append(f"| {pair['wide']} | {pair['narrow']} | " + " | ".join(map(_number, figures)) + " |")
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def picture(found: Mapping[str, Any]) -> bytes:
    """F1 lost on B over the margin on A, one panel a kind of margin; lines join pairs of close AP. A PNG."""
    figure = Figure(figsize=(11, 5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (kind, part) in zip(figure.subplots(1, 2, sharey=True), found["kinds"].items(), strict=True):
        at = {
            row["name"]: (row[kind], row["f1_lost"], row["control"]) for row in found["rows"] if row[kind] is not None
        }
        for pair in part["pairs"]:
            ends = [at[pair[key]] for key in ("narrow", "wide")]
            axes.plot([end[0] for end in ends], [end[1] for end in ends], color="#bbbbbb", linewidth=0.8, zorder=1)
        for name, (margin, lost, control) in at.items():
            axes.scatter(margin, lost, color="#8a8a8a" if control else "#0072B2", s=28, zorder=2)
            axes.annotate(name.replace("$", r"\$"), (margin, lost), (4, 3), textcoords="offset points", fontsize=7)
        rho = "" if part["rho"] is None else f", Spearman {part['rho']:+.2f}"
        axes.set_title(f"{KINDS[kind]}: {part['verdict']}{rho}", fontsize=10)
        axes.set(xlabel="margin on A", ylabel="F1 lost on B by A's threshold")
        axes.grid(color="#dddddd", linewidth=0.6)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def write(found: Mapping[str, Any], out: Path) -> None:
    """Write ``margin.json``, ``margin.md`` and ``margin.png``."""
    write_json(out / "margin.json", found)
    write_text(out / "margin.md", markdown(found))
    write_bytes(out / "margin.png", picture(found))


def main(argv: Sequence[str] | None = None) -> int:
    """Read pairs of result folders, write the study, print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--pair", action="append", required=True, help="NAME=A_OUT,B_OUT, or A_OUT,B_OUT; may repeat")
    parser.add_argument("--quality", type=float, default=0.7, help="F1 that a threshold has to exceed")
    parser.add_argument("--relative", action="store_true", help="quality is a share of the detector's best F1 on A")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    rows: list[Row] = []
    try:
        for text in options.pair:
            label, equals, rest = text.rpartition("=")
            folders = (rest if equals else text).split(",")
            if len(folders) != 2:
                raise ConfigError(f"--pair {text!r} is not NAME=A_OUT,B_OUT")
            rows += rows_of_pair(label, Path(folders[0]), Path(folders[1]), options.quality, options.relative)
        if len({row.name for row in rows}) < len(rows):
            raise ConfigError("two pairs hold detectors of one name; write --pair NAME=A_OUT,B_OUT with names apart")
        found = study(rows, quality=options.quality, relative=options.relative)
        write(found, options.out)
    except AnomsegError as error:
        parser.exit(2, f"margin: {error}\n")
    print(markdown(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
