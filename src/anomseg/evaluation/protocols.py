"""The same scores under every protocol: one pass of the network, then counts of its maps by each protocol's rules."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from anomseg.benchmarks import PROTOCOLS, Protocol
from anomseg.errors import ConfigError, DataError, FrameError
from anomseg.evaluation.cards import CARD_FILE
from anomseg.evaluation.evaluate import run_plan
from anomseg.evaluation.maps import MapCache
from anomseg.evaluation.plan import Plan
from anomseg.evaluation.progress import Progress, silent
from anomseg.evaluation.run_folder import identity_of, read_record
from anomseg.evaluation.sources import Answer, Sample
from anomseg.files import read_json, write_json
from anomseg.types import UInt8Array

FIRST = "default"
TABLE_FILE = "protocols.json"
ONLY_MAPS = "counted from maps; see the protocol default"
FIGURES = ("ap", "auroc", "fpr95")


@dataclass
class CachedSource:
    """The maps that an earlier run kept, in place of its network.

    Args:
        out: That run's folder of results.
        reasons: Why frames have no map, by detector and frame.
    """

    out: Path
    reasons: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    reads_images: bool = field(default=False, init=False)

    def answers(self, sample: Sample, folders: Sequence[str]) -> Iterator[Answer]:
        """Yield one answer a detector; a frame that it failed on is an error again.

        Raises:
            DataError: A map is missing or damaged.
        """
        for name in folders:
            start = time.perf_counter()
            reason = self.reasons.get(name, {}).get(sample.frame_id)
            if reason is not None:
                yield Answer(name, error=FrameError(reason))
                continue
            score = MapCache(self.out / name).read(sample.frame_id)
            yield Answer(name, score, seconds=time.perf_counter() - start)

    def prediction(self, folder: str | None = None) -> UInt8Array | None:
        """None: there is no network."""
        del folder
        return None

    def own_segmentation(self, folder: str) -> UInt8Array | None:
        """None: there are only maps of scores."""
        del folder
        return None


def evaluate_protocols(
    plan: Plan,
    out: str | Path,
    device: torch.device | str = "cpu",
    *,
    names: Sequence[str] = (),
    keep_maps: bool = False,
    overwrite: bool = False,
    on_progress: Progress = silent,
) -> dict[str, list[dict[str, Any]]]:
    """Carry out a run under several protocols, and put their figures into one table.

    The network and its detectors run once, under the benchmark's own rules; the other protocols count the float32
    maps that this pass keeps. ``OUT/<protocol>/<detector>/`` has each one's full results (figures with respect to
    classes under ``default`` alone), ``OUT/protocols.json`` the table.

    Args:
        plan: A run under the protocol ``default``, of all its frames.
        out: Folder of results.
        device: Where networks run.
        names: Protocols; all that are registered where none is given.
        keep_maps: Keep the float32 maps of ``default``.
        overwrite: Replace other runs' results.
        on_progress: Called after each frame.

    Returns:
        The cards by protocol.

    Raises:
        ConfigError: A protocol is unknown, the run is a shard or of another task, or a folder holds another run.
        DataError: See `run_plan`.
    """
    target = Path(out)
    chosen = list(names) or PROTOCOLS.names()
    chosen = [FIRST, *(name for name in chosen if name != FIRST)]
    if plan.shard is not None:
        raise ConfigError("a shard goes with one protocol; name it")
    if plan.task != "anomaly":
        raise ConfigError("protocols are of anomalies; leave --protocol out with this task")
    plans = {name: plan if name == FIRST else under(plan, name) for name in chosen}
    pending = [name for name in chosen if overwrite or not _finished(plans[name], target / name)]
    maps_needed = plan.scores is None and any(name != FIRST for name in pending)
    cards: dict[str, list[dict[str, Any]]] = {}
    reasons: dict[str, dict[str, str]] = {}
    for name in chosen:
        if name not in pending and not (name == FIRST and (maps_needed or keep_maps)):
            cards[name] = [read_json(target / name / folder / CARD_FILE) for folder in plan.folders]
            continue
        first = name == FIRST
        cards[name] = run_plan(
            plans[name],
            target / name,
            torch.device(device),
            keep_maps=first and (keep_maps or maps_needed),
            overwrite=overwrite,
            on_progress=on_progress,
            source=None if first or plan.scores is not None else CachedSource(target / FIRST, reasons),
        )
        if first:
            reasons = {
                card["folder"]: {one["frame"]: one["reason"] for one in card["skipped"]} for card in cards[FIRST]
            }
    if maps_needed and not keep_maps:
        for folder in plan.folders:
            MapCache(target / FIRST / folder).clear()
    write_json(target / TABLE_FILE, protocol_table(cards))
    return cards


def under(plan: Plan, name: str) -> Plan:
    """The same run under another protocol, counted from maps.

    Args:
        plan: Under the benchmark's own.
        name: A registered preset.

    Raises:
        ConfigError: There is no such protocol.
    """
    rules: Protocol = PROTOCOLS.get(name).factory(plan.protocol)
    content = {**plan.content, "protocol": rules.as_dict()}
    if plan.scores is None:
        content["classes_left_out"] = ONLY_MAPS
    return replace(plan, protocol=rules, content=content, judges={}, table=None)


def protocol_table(cards: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The table of protocols, JSON-ready.

    Args:
        cards: By protocol, each with the cards of the same detectors.

    Returns:
        ``protocols``: the rules of each; ``rows``: for each detector and protocol its AP, AUROC and FPR95, frames and
        the prevalence among the pixels that count.
    """
    rows = []
    for index, card in enumerate(next(iter(cards.values()))):
        for name, of_protocol in cards.items():
            other = of_protocol[index]
            rows.append(
                {
                    "detector": card["folder"],
                    "protocol": name,
                    **{key: other["pixel"][key] for key in FIGURES},
                    "frames": other["frames"],
                    "prevalence": other["prevalence"],
                    "dropped_clean_frames": other["dropped_clean_frames"],
                }
            )
    first = next(iter(cards.values()))[0]
    about = {key: first[key] for key in ("benchmark", "split", "held_out")}
    return {
        "schema": 1,
        **about,
        "protocols": {name: part[0]["protocol"] for name, part in cards.items()},
        "rows": rows,
    }


def _finished(plan: Plan, out: Path) -> bool:
    try:
        record = read_record(out)
    except DataError:
        return False
    same = record is not None and record.identity == identity_of(plan.content)
    return same and all((out / folder / CARD_FILE).is_file() for folder in plan.folders)
