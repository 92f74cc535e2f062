"""What each row costs, measured in a process of its own, so that neither memory nor a crash of one touches another."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from anomseg.compare.config import CompareConfig, CostRules, Task
from anomseg.compare.loading import Loaded
from anomseg.errors import DataError
from anomseg.files import read_json
from anomseg.inference.provenance import plain, state_hash
from anomseg.segmenters.base import Size

COSTS = "costs"
Cost = Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """One measurement.

    Attributes:
        detector: Name with options, or a directory.
        segmenter: The network it is handed; None where it owns its own.
        size: ``(height, width)`` of the images.
        rules: How often it is repeated.
        device: Where it runs.
        seed: Of a detector that samples.
        task: What the detector is asked.
    """

    detector: str
    segmenter: str | None
    size: Size
    rules: CostRules
    device: str
    seed: int
    task: Task = "anomaly"

    def as_dict(self) -> dict[str, Any]:
        """The job, ready for JSON."""
        return {
            "detector": self.detector,
            "segmenter": self.segmenter,
            "size": list(self.size),
            "repeats": self.rules.repeats,
            "warmup": self.rules.warmup,
            "device": self.device,
            "seed": self.seed,
            # The usual task leaves no trace, so that its measurements keep their names.
            **({} if self.task == "anomaly" else {"task": self.task}),
        }


def measured(
    config: CompareConfig, rows: list[Loaded], out: Path, device: str, say: Callable[[str], None]
) -> dict[str, Cost]:
    """The cost of each row by title; what was measured before is read again.

    Args:
        config: The comparison; with rules for costs.
        rows: Rows that are ready to score.
        out: Folder of the comparison.
        device: Where networks run.
        say: Told what goes on.
    """
    if config.costs is None:
        return {}
    found: dict[str, Cost] = {}
    for one in rows:
        job = job_of(config, config.costs, one, device)
        target = out / COSTS / f"{key_of(job, one)}.json"
        if not target.is_file():
            say(f"time and memory: {one.row.title}")
            failure = run_job(job, target)
            if failure:
                say(f"time and memory of {one.row.title} are not known: {failure}")
                found[one.row.title] = {"error": failure}
                continue
        try:
            found[one.row.title] = cost_of(read_json(target))
        except (DataError, KeyError, TypeError, IndexError) as error:
            found[one.row.title] = {"error": f"{target} is damaged ({error}); remove it to measure again"}
    return with_one_pass(found, {one.row.title: one.network for one in rows})


def with_one_pass(costs: Mapping[str, Cost], networks: Mapping[str, str]) -> dict[str, Cost]:
    """The same with one time for the pass of each network: the median over the rows that were measured beside it.

    Args:
        costs: By row.
        networks: By row, what tells networks apart.

    Example:
        >>> alone = {"network_ms": None, "own_ms": 7.0, "total_ms": 7.0, "shares_pass": False}
        >>> rows = {name: {"network_ms": ms, "own_ms": 1.0, "shares_pass": True} for name, ms in zip("ab", (9.0, 5.0))}
        >>> found = with_one_pass(rows | {"c": alone}, dict.fromkeys("abc", "bundled"))
        >>> [found[name]["total_ms"] for name in "abc"]
        [8.0, 8.0, 7.0]
    """
    passes: dict[str, list[float]] = {}
    for title, cost in costs.items():
        if cost.get("shares_pass") and cost.get("network_ms") is not None:
            passes.setdefault(networks[title], []).append(cost["network_ms"])
    found = {}
    for title, cost in costs.items():
        times = passes.get(networks[title])
        if times and cost.get("shares_pass") and cost.get("own_ms") is not None:
            shared = median(times)
            cost = {**cost, "network_ms": shared, "total_ms": cost["own_ms"] + shared}  # noqa: PLW2901
        found[title] = cost
    return found


def job_of(config: CompareConfig, rules: CostRules, one: Loaded, device: str) -> Job:
    """How a row is measured: all rows at one size, that of the comparison's network where none is asked for."""
    sizes = (rules.size, *(bench.size for bench in config.benchmarks), getattr(one.scored, "size", None))
    size = next((size for size in sizes if size is not None), (512, 1024))
    named = None if one.owns else one.row.segmenter or config.segmenter
    return Job(one.text, named, size, rules, device, config.seed, config.task)


def key_of(job: Job, one: Loaded) -> str:
    """Name of a measurement's file: of the job, and of the numbers in detector and network."""
    network = one.scored
    content = [
        job.as_dict(),
        one.detector.get_params(),
        state_hash(one.detector.state()),
        network.identity() if network is not None else None,
    ]
    return hashlib.sha256(json.dumps(plain(content), sort_keys=True, default=str).encode()).hexdigest()[:16]


def run_job(job: Job, target: Path) -> str | None:
    """Measure in a fresh process.

    Args:
        job: What to measure.
        target: File of the result.

    Returns:
        Why it failed; None where it did not.
    """
    command = [sys.executable, "-m", "anomseg.compare.measure", str(target)]
    done = subprocess.run(command, input=json.dumps(job.as_dict()), capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode < 0:
        return f"the process was ended by signal {-done.returncode}, as one is that has taken too much memory"
    if done.returncode or not target.is_file():
        return next(iter(reversed(done.stderr.strip().splitlines())), "no reason was given")[:200]
    return None


def cost_of(profile: Mapping[str, Any]) -> Cost:
    """What a profile of one detector says, in milliseconds of one image and MiB.

    Returns:
        ``own_ms``: what it adds to the pass of the network that it is handed, or all of it where it shares none;
        ``total_ms``: with that pass; ``network_ms``: the pass; ``passes``; ``shares_pass``; ``peak_mib``: memory above
        what stood before, of its own step; ``size``, ``threads`` and ``device`` it holds for; ``error``.
    """
    network, own = profile["rows"][0], profile["rows"][1]
    shares = bool(own["shares_pass"])
    base, added = network["image_ms"]["p50"], own["image_ms"]["p50"]
    known = added is not None and (not shares or base is not None)
    return {
        "network_ms": base,
        "own_ms": added,
        "own_ms_p95": own["image_ms"]["p95"],
        "total_ms": (added + base if shares else added) if known else None,
        "passes": own["passes"],
        "shares_pass": shares,
        "peak_mib": own["peak_mib"],
        "network_peak_mib": network["peak_mib"],
        "size": own["size"],
        "repeats": own["repeats"],
        "threads": profile["threads"],
        "device": profile["device"]["name"],
        "error": own["error"],
    }
