"""False alarms on frames without anomalies: pixels at or above thresholds that were found elsewhere.

Two thresholds a detector: the one that finds 95 % of RoadAnomaly21's anomalous pixels, and the one that 5 % of the
pixels of CamVid val reach, images of the set that its network was trained on. The first says what a recall costs, the
second does not depend on anomalies: what is above 5 % on other frames is the shift of domain.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from learned_sets import KEPT, SETS, Paths, TrainingSet, own_network, row_name
from learned_states import BLOCK, share
from numpy.typing import NDArray

from anomseg.data import label_space, load_frames
from anomseg.detectors import resolve_detector
from anomseg.errors import FrameError
from anomseg.evaluation.sources import NetworkSource, Sample
from anomseg.files import read_json, write_json
from anomseg.segmenters import load_segmenter
from anomseg.types import VOID, Frame

CLEAN_FILE = "clean.json"
PASSED = 0.05
STRIDE = 3
"""Every so-manieth pixel of CamVid val settles the second threshold."""
RECALL = 0.95
THRESHOLDS = {
    "recall": "95 % of RoadAnomaly21's anomalous pixels",
    "passed": "5 % of CamVid val's pixels",
}
Json = dict[str, Any]


@dataclass(frozen=True)
class CleanSet:
    """Frames without anomalies.

    Attributes:
        key: Its name here.
        title: Its name in tables.
        dataset: Registered name.
        split: Which part.
        every: Every so-manieth frame is used.
        void: Classes that do not count: among them may be what another set calls an anomaly.
    """

    key: str
    title: str
    dataset: str
    split: str
    every: int
    void: tuple[str, ...] = ()

    def frames(self, data: Path) -> list[tuple[str, Frame]]:
        """The frames, each with the group that intervals resample: blocks of neighbours where it is of a video."""
        every = load_frames(self.dataset, data / self.dataset, self.split)
        named = [(f"{one.group}/{place // BLOCK}" if one.group else one.id, one) for place, one in enumerate(every)]
        return named[:: self.every]

    def counted(self, frame: Frame) -> NDArray[np.bool_]:
        """Which pixels count, ``(H, W)``."""
        classes = frame.classes
        if classes is None:
            raise FrameError(f"{frame.id} has no class map")
        names = label_space(self.dataset).names
        left_out = [VOID, *(names.index(name) for name in self.void)]
        return ~np.isin(classes, left_out)


SETTLED = CleanSet("camvid-val", "CamVid val", "camvid", "val", 4)
CLEAN = (
    CleanSet("camvid-test", "CamVid test", "camvid", "test", 12),
    # Animals are "living things" in IDD, and anomalies in RoadAnomaly.
    CleanSet("idd-val", "IDD-Lite val", "idd_lite", "val", 9, void=("living things",)),
)


@dataclass(frozen=True)
class Group:
    """Detectors that share one network.

    Attributes:
        segmenter: The network's folder.
        texts: By the name of a row, the detector as written on the command line.
        thresholds: By the name of a row, the threshold of its recall.
    """

    segmenter: Path
    texts: dict[str, str]
    thresholds: dict[str, float]


def groups(one: TrainingSet, seed: int, paths: Paths) -> Iterator[Group]:
    """The detectors of a set's runs on RoadAnomaly21, by the names of their rows."""
    folder = paths.work / f"{one.key}-{seed}"
    saved = {path.parent.name: str(path.parent) for path in folder.glob("**/detector.json")}
    own = own_network(paths.method(one, seed, "pans"))
    for network, segmenter in (("host", paths.host(one, seed)), (KEPT, own)):
        run = paths.run(one, seed, "road_anomaly_21", network)
        folders = {row_name(name, network): name for name in read_json(run / "run.json")["run"]["detectors"]}
        yield Group(
            segmenter,
            {row: saved.get(name, name) for row, name in folders.items()},
            {row: threshold_at_recall(run / name) for row, name in folders.items()},
        )


def threshold_at_recall(folder: Path) -> float:
    """The greatest threshold of a finished evaluation that still finds 95 % of the anomalous pixels."""
    with np.load(folder / "curve.npz", allow_pickle=False) as curve:
        return float(curve["threshold"][int(np.argmax(curve["recall"] >= RECALL))])


def measure(paths: Paths, one: TrainingSet = SETS[-1], seed: int = 0) -> Json:
    """Count false alarms of all detectors of a set's runs on RoadAnomaly21; writes ``clean.json`` and returns it."""
    target = paths.work / CLEAN_FILE
    if target.is_file():
        return dict(read_json(target))
    found: Json = {"thresholds": {}, "sets": {}}
    rows: dict[str, dict[str, Json]] = {clean.key: {} for clean in CLEAN}
    for group in groups(one, seed, paths):
        detectors = {name: resolve_detector(text) for name, text in group.texts.items()}
        source = NetworkSource(detectors, load_segmenter(str(group.segmenter)))
        passed = settle(source, paths.data)
        at = {name: {"recall": group.thresholds[name], "passed": passed[name]} for name in detectors}
        found["thresholds"] |= at
        for clean in CLEAN:
            for cluster, frame in clean.frames(paths.data):
                new = {"frame": frame.id, "group": cluster, "flagged": {}}
                row = rows[clean.key].setdefault(frame.id, new)
                kept = clean.counted(frame)
                row["pixels"] = int(kept.sum())
                for name, scores in maps(source, frame):
                    row["flagged"][name] = {kind: int((scores[kept] >= t).sum()) for kind, t in at[name].items()}
            sys.stdout.write(f"{clean.title}: {len(rows[clean.key])} frames, {', '.join(detectors)}\n")
            sys.stdout.flush()
    for clean in CLEAN:
        found["sets"][clean.key] = {"title": clean.title, "frames": list(rows[clean.key].values())}
    write_json(target, found)
    return found


def settle(source: NetworkSource, data: Path) -> dict[str, float]:
    """For each detector the threshold that a share of CamVid val's pixels reaches."""
    kept: dict[str, list[NDArray[np.float32]]] = {name: [] for name in source.detectors}
    for _, frame in SETTLED.frames(data):
        for name, scores in maps(source, frame):
            kept[name].append(scores[SETTLED.counted(frame)][::STRIDE])
    return {name: float(np.quantile(np.concatenate(parts), 1 - PASSED)) for name, parts in kept.items()}


def maps(source: NetworkSource, frame: Frame) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Maps ``(H, W)`` of one frame, detector by detector."""
    image = frame.image()
    for answer in source.answers(Sample(frame.id, (image.shape[0], image.shape[1]), image), list(source.detectors)):
        if answer.score is None:
            raise answer.error or FrameError(f"{answer.folder} gave no map of {frame.id}")
        yield answer.folder, answer.score


def shares(found: Json) -> Json:
    """For each detector and set the share of pixels at or above each threshold, with its interval over groups."""
    result: Json = {}
    for name in found["thresholds"]:
        for key, clean in found["sets"].items():
            for kind in THRESHOLDS:
                totals: dict[str, list[int]] = {}
                for row in clean["frames"]:
                    total = totals.setdefault(row["group"], [0, 0])
                    total[0] += row["flagged"][name][kind]
                    total[1] += row["pixels"]
                flagged, pixels = zip(*totals.values(), strict=True)
                result.setdefault(name, {}).setdefault(key, {})[kind] = share(flagged, pixels)
    return result
