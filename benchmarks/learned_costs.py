"""What a detector costs: learned numbers, multiplications and additions, and seconds a frame, on one thread."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import torch
from learned_clean import groups
from learned_sets import SETS, Paths, TrainingSet
from torch.utils.flop_counter import FlopCounterMode

from anomseg.data import load_frames
from anomseg.detectors import Detector, network_of, resolve_detector
from anomseg.evaluation.sizes import parameter_counts
from anomseg.evaluation.sources import NetworkSource, Sample
from anomseg.files import read_json, write_json
from anomseg.segmenters import Segmenter, load_segmenter

COSTS_FILE = "costs.json"
REPEATS = 3
Json = dict[str, Any]


def measure(paths: Paths, one: TrainingSet = SETS[-1], seed: int = 0) -> Json:
    """Cost of every detector of a set's runs on one image of CamVid test; writes ``costs.json`` and returns it.

    Each detector is alone with its network, so what it does not read is not computed. Rounds go over all detectors,
    so that a machine whose speed drifts slows all of them; the median over rounds is kept.
    """
    target = paths.work / COSTS_FILE
    if target.is_file():
        return dict(read_json(target))
    frame = load_frames("camvid", paths.data / "camvid", "test")[0]
    image = frame.image()
    sample = Sample(frame.id, (image.shape[0], image.shape[1]), image)
    sources: dict[str, NetworkSource] = {}
    found: Json = {"size": list(sample.size), "threads": torch.get_num_threads(), "detectors": {}}
    for group in groups(one, seed, paths):
        segmenter = load_segmenter(str(group.segmenter))
        for name, text in group.texts.items():
            detector = resolve_detector(text)
            sources[name] = NetworkSource({name: detector}, segmenter)
            with FlopCounterMode(display=False) as counter:
                list(sources[name].answers(sample, [name]))
            found["detectors"][name] = {"flops": counter.get_total_flops(), **numbers(detector, segmenter)}
    seconds: dict[str, list[float]] = {name: [] for name in sources}
    for _ in range(REPEATS):
        for name, source in sources.items():
            start = time.perf_counter()
            list(source.answers(sample, [name]))
            seconds[name].append(time.perf_counter() - start)
    for name, taken in seconds.items():
        found["detectors"][name]["seconds"] = median(taken)
    write_json(target, found)
    return found


def numbers(detector: Detector, given: Segmenter) -> Json:
    """Parameters of the network that a detector scores, and numbers of its own: networks beside it, fitted tensors."""
    return split_counts(parameter_counts(detector, network_of(detector, given)))


def split_counts(counts: Json) -> Json:
    """What a card's counts come to.

    Example:
        >>> split_counts({"network": 10, "carried": {"student": 4}, "total": 14, "state": 3})
        {'network': 10, 'own': 7}
    """
    return {
        "network": counts["network"] or 0,
        "own": (counts["total"] or 0) - (counts["network"] or 0) + counts["state"],
    }
