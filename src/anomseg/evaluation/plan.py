"""What a run is, settled before any work: frames, protocol, detectors, their folders, its identity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from anomseg.benchmarks import Benchmark, Protocol, get_benchmark, resolve_protocol
from anomseg.calibration import notes_on
from anomseg.data import ValueTable, frame_fingerprint
from anomseg.data.label_mapping import concepts_of
from anomseg.detectors import Detector, network_of, resolve_detector, seen_frames, segmenter_matches
from anomseg.detectors.sharing import share_networks
from anomseg.errors import CompatibilityError, ConfigError, DataError, FrameError, unknown_name
from anomseg.evaluation.class_table import ClassTable
from anomseg.evaluation.failure.judging import FailureJudge, Unknown
from anomseg.evaluation.failure.planning import failure_frames, failure_judges, failure_protocol, refuse_options
from anomseg.evaluation.judging import Comparison, Judge, known_classes
from anomseg.evaluation.maps import LABELS_FOLDER
from anomseg.evaluation.outside_threshold import thresholds_from
from anomseg.evaluation.run_folder import RUN_FILE, RunRecord, Shard
from anomseg.evaluation.scores_dir import ScoresDirectory
from anomseg.evaluation.segmentation import FOLDER as SEGMENTATION_FOLDER
from anomseg.evaluation.sizes import parameter_counts
from anomseg.files import sha256_of_file
from anomseg.inference.inputs import number_duplicates, safe_name
from anomseg.inference.provenance import plain, state_hash
from anomseg.registry import DETECTORS
from anomseg.segmenters import Segmenter
from anomseg.segmenters.base import Size
from anomseg.types import Frame

Task = Literal["anomaly", "segmentation", "failure"]
Detectors = Mapping[str, Detector] | Sequence[Detector | str | Path]


@dataclass(frozen=True)
class Plan:
    """A run before its work.

    Attributes:
        benchmark: Name as the user wrote it.
        protocol: The rules, with the split in force.
        frames: All frames of the run.
        task: ``anomaly``, or ``segmentation`` where the frames have classes but nothing that is anomalous; ``failure``
            where it was asked for.
        segmenter: The network given.
        detectors: Detectors by their folder in the results.
        scores: A folder of maps in place of network and detectors.
        table: How the network's classes compare to the frames'; None where they cannot be compared.
        size: Working size ``(height, width)`` by command line or protocol; None leaves it to the network.
        seed: Of the resampling for intervals.
        shard: ``(index, count)``; None for all frames.
        content: Everything that decides the figures, JSON-ready.
        judges: For each detector whose network's classes compare with the frames', by folder, who compares them.
        failure_judges: By folder, who tells right from wrong in the task of failure detection; empty in others.
    """

    benchmark: str
    protocol: Protocol
    frames: tuple[Frame, ...]
    task: Task
    segmenter: Segmenter | None
    detectors: Mapping[str, Detector]
    scores: ScoresDirectory | None
    table: ClassTable | None
    size: Size | None
    seed: int
    shard: Shard | None
    content: Mapping[str, Any]
    judges: Mapping[str, Judge] = field(default_factory=dict)
    failure_judges: Mapping[str, FailureJudge] = field(default_factory=dict)

    def known_classes(self, folder: str) -> tuple[int, ...]:
        """The data set's classes over which a detector's means are taken; see `judging.known_classes`."""
        return known_classes(self.judges[folder].table, self.content["held_out"])

    def why_no_classes(self, folder: str) -> str:
        """Why a detector has no figures on classes; empty where it has."""
        if folder in self.judges:
            return ""
        if self.scores is not None:
            return "maps were given, and no network"
        if "classes_left_out" in self.content:
            return str(self.content["classes_left_out"])
        if not any(frame.has_classes for frame in self.frames):
            return "the frames have no class map"
        if network_of(self.detectors[folder], self.segmenter) is None:
            return "no network was given"
        return "none of the network's classes is one of the data set's"

    @property
    def bands(self) -> tuple[int, ...]:
        """Widths of the bands around anomalous objects in which figures are wanted too."""
        return tuple(self.content.get("bands", ()))

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders of the detectors' results, in order."""
        return tuple(self.content["detectors"])

    @cached_property
    def own_frames(self) -> tuple[Frame, ...]:
        """The frames of this shard: every n-th, from the shard's index on."""
        return self.frames[self.shard[0] :: self.shard[1]] if self.shard else self.frames

    @property
    def record(self) -> RunRecord:
        """What ``run.json`` says of it."""
        folders = (*self.folders, LABELS_FOLDER, *([SEGMENTATION_FOLDER] if self.table else []))
        return RunRecord(self.content, folders, self.shard)


def make_plan(
    benchmark: str | Benchmark,
    root: str | Path | None,
    segmenter: Segmenter | None,
    detectors: Detectors,
    *,
    split: str | None = None,
    layout: str | None = None,
    held_out: Sequence[str] = (),
    label_values: str | ValueTable | None = None,
    protocol: str | Protocol = "default",
    size: Size | None = None,
    shard: Shard | None = None,
    seed: int = 0,
    allow_overlap: bool = False,
    limit: int | None = None,
    scores: str | Path | ScoresDirectory | None = None,
    bands: Sequence[int] = (),
    open_set_from: str | Path | None = None,
    task: Literal["anomaly", "failure"] = "anomaly",
    unknown: Unknown = "void",
) -> Plan:
    """Settle a run; see `anomseg.evaluation.evaluate` for the arguments.

    Raises:
        ConfigError: A name or option is unknown, or options do not go together.
        DataError: There are no frames, or none with ground truth.
        CompatibilityError: A detector does not fit the network, or was fitted on frames of this run.
    """
    check_shard(shard)
    bench = get_benchmark(benchmark) if isinstance(benchmark, str) else benchmark
    rules = resolve_protocol(bench, protocol) if isinstance(protocol, str) else protocol
    held_out = tuple(held_out) or bench.spec.held_out
    frames = tuple(bench.load_frames(root, split, layout, held_out=held_out, label_values=label_values, limit=limit))
    rules = replace(
        rules, split=split or bench.spec.default_split, label_table=_table_text(bench, frames, label_values, held_out)
    )
    source = ScoresDirectory(scores) if isinstance(scores, str | Path) else scores
    network = None if source else segmenter
    kind: Task = "failure"
    if task == "failure":
        refuse_options(scores=source is not None, bands=bool(bands), open_set_from=open_set_from is not None)
        frames, rules = failure_frames(bench, frames, rules.split), failure_protocol(rules, bench, held_out, unknown)
    elif task == "anomaly":
        kind = _task(bench, frames, network, rules.split)
    else:
        raise unknown_name("task", task, ("anomaly", "failure"))
    compare = Comparison(bench.spec.label_space, frames)
    table = compare.table(network)
    named = {} if source or kind == "segmentation" else name_detectors(detectors)
    fingerprints = {frame.id: _fingerprint(frame) for frame in frames}
    working = size or rules.resize
    if kind != "segmentation" and source is None:
        _check_detectors(named, network)
    cards = (
        {safe_name(source.name): source.card([frame.id for frame in frames])}
        if source
        else {name: _detector_card(detector, network, working, fingerprints) for name, detector in named.items()}
    )
    _check_overlap(cards, frames, allow_overlap=allow_overlap)
    identity = network.identity() if network is not None else None
    content = plain(
        {
            "benchmark": str(benchmark) if isinstance(benchmark, str) else bench.name,
            "split": rules.split,
            "held_out": list(held_out),
            "task": kind,
            "protocol": rules.as_dict(),
            "segmenter": identity,
            "detectors": cards,
            "size": list(working) if working else None,
            "seed": seed,
            "frames": fingerprints,
            "warnings": _warnings(bench, rules.split, len(frames), held_out, identity, limit),
            "parameter_counts": {
                name: parameter_counts(detector, network_of(detector, network)) for name, detector in named.items()
            },
        }
    )
    # What is not asked for leaves no trace, so that runs without it keep their identity.
    if bands:
        content["bands"] = _checked_bands(bands, kind)
    if open_set_from is not None:
        if kind == "segmentation" or source is not None:
            raise ConfigError(
                "a threshold of another run goes with detectors on a network and frames with anomalies; leave "
                "--open-set-from out"
            )
        content["open_set_from"] = plain(thresholds_from(open_set_from, content))
    share_networks(named.values(), network)  # cards say what was given; what is equal runs once
    networks = {name: network_of(detector, network) for name, detector in named.items()}
    judges = compare.judges(networks) if kind == "anomaly" else {}
    tellers = failure_judges(compare, networks, bench, unknown) if kind == "failure" else {}
    if tellers:
        content["unscored_classes"] = {name: list(judge.unscored) for name, judge in tellers.items()}
    return Plan(
        content["benchmark"], rules, frames, kind, network, named, source, table, working, seed, shard, content, judges,
        tellers,
    )  # fmt: skip


def _checked_bands(bands: Sequence[int], task: Task) -> list[int]:
    wrong = [width for width in bands if width < 1]
    if wrong:
        raise ConfigError(f"a band of {wrong[0]} pixels holds no pixel; give 1 or more")
    if task == "segmentation":
        raise ConfigError("a band around anomalous objects needs frames with anomalies; name classes with --held-out")
    return sorted(set(bands))


def check_shard(shard: Shard | None) -> None:
    """Refuse a shard that does not exist.

    Raises:
        ConfigError: The index is not in 0 .. count - 1.
    """
    if shard is not None and not 0 <= shard[0] < shard[1]:
        raise ConfigError(f"there is no shard {shard[0]}/{shard[1]}; shards count from 0 to {max(shard[1] - 1, 0)}")


def name_detectors(detectors: Detectors) -> dict[str, Detector]:
    """Detectors by their folder in the results: registry name or saved directory's base name, ``-2`` on collision.

    Args:
        detectors: Detectors, their names or their directories; or a mapping that gives the folders itself.

    Raises:
        ConfigError: A name is unknown, or there is none.

    Example:
        >>> list(name_detectors(["msp", "energy", "msp"]))
        ['msp', 'energy', 'msp-2']
    """
    if isinstance(detectors, Mapping):
        names, parts = [safe_name(name) for name in detectors], list(detectors.values())
    else:
        parts = [resolve_detector(item) for item in detectors]
        names = [_name_of(item, part) for item, part in zip(detectors, parts, strict=True)]
    if not parts:
        raise ConfigError("no detector was named; try --detector energy")
    reserved = [SEGMENTATION_FOLDER, LABELS_FOLDER, RUN_FILE]
    return dict(zip(number_duplicates([*reserved, *names])[len(reserved) :], parts, strict=True))


def is_control(detector: Detector) -> bool:
    """Whether a detector is one of the controls that stand in every comparison."""
    return detector.registry_name in DETECTORS and "control" in DETECTORS.get(detector.registry_name).tags


def _name_of(item: Detector | str | Path, detector: Detector) -> str:
    saved = not isinstance(item, Detector) and str(item) not in DETECTORS and Path(item).is_dir()
    return safe_name(Path(str(item)).resolve().name) if saved else detector.registry_name


def _check_detectors(detectors: Mapping[str, Detector], segmenter: Segmenter | None) -> None:
    for name, detector in detectors.items():
        if not detector.needs_fit:
            detector.require_fitted()  # one that a training gives says which
        network = network_of(detector, segmenter)
        needs = detector.needs(network)
        if needs.forward and network is None:
            raise CompatibilityError(f"{name} scores the output of a network; give --segmenter")
        if not detector.is_fitted:
            raise CompatibilityError(
                f"{name} has not been fitted; run 'anomseg fit --detector {detector.registry_name} ...' and give the "
                "saved directory"
            )


def _warnings(
    bench: Benchmark,
    split: str,
    found: int,
    held_out: Sequence[str],
    network: Mapping[str, Any] | None,
    limit: int | None,
) -> list[str]:
    """What a reader of the figures must know of the run as a whole."""
    warnings = []
    expected = bench.spec.split(split).expected
    own = bench.spec.split(split).shows is None or set(held_out) == set(bench.spec.held_out)
    if expected is not None and own and found != expected and limit is None:
        warnings.append(
            f"{found} frames are here where split {split} of {bench.name} has {expected}, so figures do not compare; "
            f"'anomseg data verify {bench.name}' names what differs"
        )
    if held_out and network is not None:
        known = {concept for name in network["classes"] for concept in concepts_of(name)}
        taught = [name for name in held_out if known & set(concepts_of(name))]
        if taught:
            warnings.append(f"the network was taught {', '.join(taught)}, so it is not unknown to it")
        for part, start in network.get("origin", {}).items():
            warnings.append(
                f"training the network began from {part} {start.get('file') or start.get('name')}, "
                f"which may have been taught {', '.join(held_out)}"
            )
    return warnings


def _detector_card(
    detector: Detector, segmenter: Segmenter | None, size: Size | None, fingerprints: Mapping[str, str]
) -> dict[str, Any]:
    card = {**detector.card(), "state_sha256": state_hash(detector.state()), "control": is_control(detector)}
    network = network_of(detector, segmenter)
    card["warnings"] = [text for text in (*detector.warnings, segmenter_matches(detector, network, size)) if text]
    if detector.calibration is not None:
        card["warnings"] += notes_on(detector.calibration)
    if detector.flags.owns_network:
        card["network"] = network.identity() if network is not None else None
    # A card leaves the fingerprints of single frames out; its hash of them all identifies the list.
    seen = seen_frames(detector)
    card["overlap"] = [frame for frame, prints in fingerprints.items() if prints.partition(":")[0] in seen]
    return card


def _check_overlap(cards: Mapping[str, Mapping[str, Any]], frames: Sequence[Frame], *, allow_overlap: bool) -> None:
    for name, card in cards.items():
        seen = card.get("overlap", [])
        if seen and not allow_overlap:
            listed = ", ".join(seen[:5]) + (" ..." if len(seen) > 5 else "")
            raise CompatibilityError(
                f"{name} was {_how(card)} on {len(seen)} of these {len(frames)} frames ({listed}); evaluate on other "
                "frames, "
                "or give --allow-overlap to go on with marked cards"
            )


def _how(card: Mapping[str, Any]) -> str:
    done = [word for word, key in (("fitted", "fitted_on"), ("calibrated", "calibration")) if card.get(key)]
    return " or ".join(done)


def _task(bench: Benchmark, frames: Sequence[Frame], segmenter: Segmenter | None, split: str) -> Task:
    if any(frame.has_label for frame in frames):
        return "anomaly"
    if not any(frame.has_classes for frame in frames):
        raise DataError(
            f"no frame of {bench.name} (split {split}) has ground truth, so there is nothing to evaluate; choose "
            "another --split, or write maps with 'anomseg predict'"
        )
    if segmenter is None:
        raise ConfigError(
            f"{bench.name} has classes but no anomalies; name classes to hold out with --held-out, or give --segmenter "
            "for closed-set figures"
        )
    return "segmentation"


def _table_text(
    bench: Benchmark, frames: Sequence[Frame], label_values: str | ValueTable | None, held_out: Sequence[str]
) -> str:
    layout = frames[0].meta.get("layout")
    if bench.spec.kind == "classes":
        return bench.spec.told(held_out)
    table = bench.spec.table_for(bench.spec.layout(layout), label_values) if layout else bench.spec.table
    return f"{table.name} ({table})"


def _fingerprint(frame: Frame) -> str:
    """Hashes of a frame's image and of its label file, so that a run notices when either changed."""
    try:
        image = frame_fingerprint(frame)
    except FrameError:
        image = "unreadable"
    path = frame.meta.get("label_path")
    label = sha256_of_file(path)[:16] if path and Path(path).is_file() else "none"
    return f"{image}:{label}"
