"""The first table of docs/results.md: a finished ``anomseg compare``, or the same table out of runs that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomseg.compare import Entry, Table, make_table, read_tables
from anomseg.compare.compare import JSON_FILE
from anomseg.compare.measures import measure_of
from anomseg.compare.paired import Pairs
from anomseg.compare.rows import Kind
from anomseg.compare.runs import row_identities
from anomseg.evaluation import read_record
from anomseg.files import read_json
from anomseg.report.cards import common_lines

HOST = "camvid-erfnet-pyramid-0"
TITLE = "RoadAnomaly, networks of CamVid's classes"
PAIRED = "paired-runs.json"


@dataclass(frozen=True)
class Source:
    """A row out of a finished run.

    Attributes:
        title: Its name in the table.
        kind: What it stands for.
        run: Folder of the run below that of its plan, see `SOURCES`.
        folder: The row's folder in the run.
        network: What its network is called.
        own: It scores a network of its own.
        note: What must be said beside it.
    """

    title: str
    kind: Kind
    run: str
    folder: str
    network: str = HOST
    own: bool = False
    note: str = ""


_HOST_RUN = "{learned}/runs/camvid-0/road_anomaly-host"
_OUTLIERS = "{outliers}/runs/camvid-0/road_anomaly-{name}"
_START = "its network started from the same encoder"
SOURCES = (
    Source(
        "Maskomaly",
        "method",
        "{work}/bundled-mask/road_anomaly",
        "maskomaly",
        "bundled-mask",
        note="scored on bundled-mask, a mask transformer, not on the network of the other rows",
    ),
    Source("k-NN", "method", _HOST_RUN, "knn-fitted"),
    Source("PAnS", "method", "{learned}/runs/camvid-0/road_anomaly-pans-network", "pans", "PAnS'", True, _START),
    Source("PGAN (reconstruction)", "method", _HOST_RUN, "pgan"),
    Source("DiCNet", "method", _HOST_RUN, "dicnet"),
    Source(
        "noisy negatives", "method", _OUTLIERS.replace("{name}", "negatives"), "negatives", "two heads", True, _START
    ),
    Source(
        "synthetic outliers", "method", _OUTLIERS.replace("{name}", "synthetic"), "synthetic", "joint", True, _START
    ),
    Source("SynthCP", "method", "{synthcp}/road_anomaly-host", "synthcp"),
    Source("msp", "baseline", _HOST_RUN, "msp"),
    Source("max_logit", "baseline", _HOST_RUN, "max_logit"),
    Source("mahalanobis", "baseline", _HOST_RUN, "mahalanobis-fitted"),
    Source("bundled detector", "baseline", "{work}/bundled-detector/road_anomaly", "bundled", "bundled's", own=True),
    *(
        Source(name, "control", _HOST_RUN, name, HOST if name == "not_road" else "none")
        for name in ("chance", "position_prior", "position_prior-fitted", "local_contrast", "not_road")
    ),
)
"""Rows, method by method; what is not finished is left out of the table and named below it."""
NOTE = (
    f"The network of all rows that do not own theirs is `{HOST}`: the encoder of `erfnet-int8-recovered` (not the "
    "published ERFNet), frozen, and a head trained on CamVid train, seed 0. Milliseconds are those of the runs, with "
    "other work on the machine."
)


def main_tables(folders: Mapping[str, Path], compared: Path | None) -> tuple[list[Table], list[str]]:
    """The tables that the page begins with.

    Args:
        folders: Of runs: ``work``, ``learned``, ``outliers``, ``synthcp``.
        compared: Folder of a finished ``anomseg compare``, which goes before single runs.

    Returns:
        The tables, and what must be said of them.
    """
    if compared is not None and (compared / JSON_FILE).is_file():
        return read_tables(compared), []
    entries, missing = found_entries(folders)
    if not entries:
        return [], []
    conditions = common_lines([one.card for one in entries if one.card is not None and one.title == "msp"])
    pairs = Pairs(measure_of("anomaly"), 0, compared / PAIRED if compared is not None else None)
    table = make_table(TITLE, entries, measure_of("anomaly"), pairs, reference="msp", conditions=conditions)
    pairs.save()
    told = f"Not in the table, since not finished: {', '.join(missing)}." if missing else ""
    return [table], [NOTE, *([told] if told else [])]


def found_entries(folders: Mapping[str, Path], sources: Sequence[Source] = SOURCES) -> tuple[list[Entry], list[str]]:
    """The rows whose runs are finished, and the titles of the others."""
    entries, missing = [], []
    for source in sources:
        run = Path(source.run.format(**folders))
        record, path = read_record(run), run / source.folder / "metrics.json"
        if record is None or not path.is_file():
            missing.append(source.title)
            continue
        card = read_json(path)
        entries.append(
            Entry(
                title=source.title,
                kind=source.kind,
                detector=str(card["detector"]["name"]),
                network=source.network,
                own_network=source.own,
                card=card,
                folder=run / source.folder,
                identity=row_identities(record.content)[source.folder],
                cost=cost_of(card, own=source.own),
                note=source.note,
            )
        )
    return entries, missing


def cost_of(card: Mapping[str, Any], *, own: bool = False) -> dict[str, Any] | None:
    """Milliseconds of an image out of the seconds of a run; memory was not measured there.

    Args:
        card: A result card.
        own: The pass is that of a network of its own, so that no other row shares it.

    Example:
        >>> seconds = {"forward": 2.0, "score": 1.0}
        >>> cost_of({"frames": 4, "seconds": seconds, "detector": {"forward_passes": 1}})["own_ms"]
        250.0
        >>> cost_of({"frames": 4, "seconds": seconds, "detector": {"forward_passes": 1}}, own=True)["own_ms"]
        750.0
    """
    seconds, frames = card.get("seconds") or {}, card.get("frames")
    if not frames or not seconds.get("score"):
        return None
    added, network = (1000 * seconds.get(key, 0.0) / frames for key in ("score", "forward"))
    passes = card["detector"]["forward_passes"]
    total = added + network if passes else added
    return {"own_ms": total if own else added, "total_ms": total, "shares_pass": bool(passes) and not own,
            "passes": passes, "network_ms": network, "peak_mib": None}  # fmt: skip
