"""What SynthCP and PAnS do and cost: both tasks of one generator, parameters, FLOPs, seconds, and false alarms."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from learned_clean import CLEAN, RECALL, CleanSet, maps, settle
from learned_costs import REPEATS, numbers
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from anomseg.data import load_frames
from anomseg.detectors import anomaly_maps, create_detector, resolve_detector
from anomseg.detectors.synthcp import SPADEGenerator, SynthCP
from anomseg.errors import CompatibilityError
from anomseg.evaluation.sources import NetworkSource, Sample
from anomseg.files import write_json
from anomseg.segmenters import Scene, Segmenter, load_segmenter, make_scene
from anomseg.types import ANOMALY, Frame

SYNTHCP, PANS, MSP = "synthcp", "pans", "msp"
Json = dict[str, Any]


@dataclass(frozen=True)
class Rivals:
    """What is compared.

    Attributes:
        data: Folder of the data sets.
        segmenter: The network that SynthCP scores.
        synthcp: Its saved detector.
        pans: The saved detector of PAnS, which carries its network.
    """

    data: Path
    segmenter: str
    synthcp: str
    pans: str

    def network(self) -> Segmenter:
        """SynthCP's network, in evaluation mode."""
        return load_segmenter(self.segmenter).eval()

    def detector(self) -> SynthCP:
        """SynthCP.

        Raises:
            CompatibilityError: Another detector is saved there.
        """
        found = resolve_detector(self.synthcp)
        if not isinstance(found, SynthCP):
            raise CompatibilityError(f"{self.synthcp} is a {found.registry_name} detector; give one of synthcp")
        return found

    def sources(self) -> list[NetworkSource]:
        """SynthCP and MSP on their network, PAnS on its own."""
        network = self.network()
        host = NetworkSource({SYNTHCP: self.detector(), MSP: create_detector("msp")}, network)
        return [host, NetworkSource({PANS: resolve_detector(self.pans)}, network)]

    def street(self) -> Frame:
        """A frame of CamVid test."""
        return load_frames("camvid", self.data / "camvid", "test")[0]


def tasks(rivals: Rivals, target: Path) -> None:
    """Whether both tasks come from one generator (S1), on one frame of CamVid test.

    Without the comparator the anomaly map stays what it is, to the last bit; another generator changes both answers.
    """
    network, detector = rivals.network(), rivals.detector()
    generator, comparator = detector.networks_at_hand()
    options = {name: value for name, value in detector.get_params().items() if name not in ("generator", "comparator")}
    options["gate"] = detector.threshold
    frame = rivals.street()

    def scene(read: SynthCP) -> Scene:
        return make_scene([frame.image()], [frame.id], network, features=read.needs(network).features)

    torch.manual_seed(0)
    stranger = SPADEGenerator(**generator.options).eval()
    stranger.meta = generator.meta
    other, alone = SynthCP.of(stranger, comparator, **options), SynthCP.of(generator, **options)
    scores = [anomaly_maps(one, scene(one))[0] for one in (detector, alone, other)]
    found: Json = {
        "frame": frame.id,
        "parameters": sum(one.numel() for one in generator.parameters()),
        "comparator": comparator is not None,
        "anomaly": bool(scores[0].isfinite().all()),
        "alone": torch.equal(scores[0], scores[1]),
        "other_anomaly": not torch.equal(scores[0], scores[2]),
    }
    if comparator is not None:
        judged = [one.assess(scene(one)) for one in (detector, other)]
        error = judged[0].error_map
        found["failure"] = error is not None and bool(error.isfinite().all())
        found["other_failure"] = error is not None and not torch.equal(error, judged[1].error_map)
    write_json(target, found)


def costs(rivals: Rivals, target: Path) -> None:
    """Parameters, FLOPs and seconds of each detector alone with its network, on one frame of CamVid test (P2).

    Rounds go over all detectors, so that a machine whose speed drifts slows all of them; the median is kept.
    """
    frame = rivals.street()
    image = frame.image()
    sample = Sample(frame.id, (image.shape[0], image.shape[1]), image)
    found: Json = {"size": list(sample.size), "threads": torch.get_num_threads(), "detectors": {}}
    alone: dict[str, NetworkSource] = {}
    for source in rivals.sources():
        for name, detector in source.detectors.items():
            assert source.segmenter is not None
            alone[name] = NetworkSource({name: detector}, source.segmenter)
            with FlopCounterMode(display=False) as counter:
                list(alone[name].answers(sample, [name]))
            told = {"flops": counter.get_total_flops(), **numbers(detector, source.segmenter)}
            found["detectors"][name] = {**told, "passes": detector.forward_passes}
    seconds: dict[str, list[float]] = {name: [] for name in alone}
    for _ in range(REPEATS):
        for name, source in alone.items():
            start = time.perf_counter()
            list(source.answers(sample, [name]))
            seconds[name].append(time.perf_counter() - start)
    for name, taken in seconds.items():
        found["detectors"][name]["seconds"] = median(taken)
    write_json(target, found)


def clean(rivals: Rivals, target: Path) -> None:
    """False alarms on frames without anomalies (P3), at the thresholds of benchmarks/learned_clean.py."""
    found: Json = {"thresholds": {}, "sets": {}}
    rows: dict[str, dict[str, Json]] = {one.key: {} for one in CLEAN}
    for source in rivals.sources():
        passed, recall = settle(source, rivals.data), at_recall(source, rivals.data)
        at = {name: {"recall": recall[name], "passed": passed[name]} for name in source.detectors}
        found["thresholds"] |= at
        for one in CLEAN:
            for cluster, frame, counted in _counted(one, rivals.data):
                new: Json = {"frame": frame.id, "group": cluster, "flagged": {}, "pixels": int(counted.sum())}
                row = rows[one.key].setdefault(frame.id, new)
                for name, scores in maps(source, frame):
                    flagged = {kind: int((scores[counted] >= bar).sum()) for kind, bar in at[name].items()}
                    row["flagged"][name] = flagged
    found["sets"] = {one.key: {"title": one.title, "frames": list(rows[one.key].values())} for one in CLEAN}
    write_json(target, found)


def _counted(one: CleanSet, data: Path) -> Iterator[tuple[str, Frame, NDArray[np.bool_]]]:
    for cluster, frame in one.frames(data):
        yield cluster, frame, one.counted(frame)


def at_recall(source: NetworkSource, data: Path) -> dict[str, float]:
    """For each detector the greatest threshold that finds 95 % of the anomalous pixels of RoadAnomaly21 val."""
    kept: dict[str, list[NDArray[np.float32]]] = {name: [] for name in source.detectors}
    for frame in load_frames("road_anomaly_21", data / "anomaly" / "RoadAnomaly21"):
        label = frame.label
        if label is None:
            continue
        for name, scores in maps(source, frame):
            kept[name].append(scores[label == ANOMALY])
    return {name: lowest_found(np.concatenate(parts)) for name, parts in kept.items()}


def lowest_found(scores: NDArray[np.float32], recall: float = RECALL) -> float:
    """The greatest score that a share of others reach.

    Example:
        >>> lowest_found(np.arange(100, dtype=np.float32))
        5.0
    """
    return float(np.sort(scores)[::-1][math.ceil(recall * len(scores)) - 1])
