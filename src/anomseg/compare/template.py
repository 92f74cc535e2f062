"""A configuration to start from, with every registered detector."""

from __future__ import annotations

from anomseg.compare.rows import default_kind, described
from anomseg.detectors import create_detector
from anomseg.errors import AnomsegError
from anomseg.registry import DETECTORS, Entry

HEAD = """\
# anomseg compare --config compare.yaml --out comparison
# Relative paths start from this file's folder. --root.NAME DIR takes the place of a root.
task: anomaly
segmenter: bundled          # the network of all rows that do not own theirs
seed: 0
# reference: energy         # each row is also compared with this one

benchmarks:
  - name: road_anomaly
    root: RoadAnomaly
    # title, split, held_out, protocol, size, bands, blocks

# Frames for detectors that have to be fitted; each is fitted once and kept.
# fit: {data: camvid=CamVid@train}

costs: {repeats: 5, warmup: 1}    # time and memory of each row; false leaves them out

# Each row: a detector with options, or a saved directory. More keys: title; kind (method, baseline, control);
# segmenter, where a row must be scored on another network.
detectors:
"""
EXAMPLE = """
example:
  segmenter: bundled
  benchmark: {name: road_anomaly, root: RoadAnomaly}
  fit: {data: camvid=CamVid@train}
  reference: energy
  detectors:
    - {detector: "knn:k=3", title: k-NN}
    - {detector: runs/camvid-pans, title: PAnS}
    - {detector: maskomaly, segmenter: bundled-mask}
    - energy
    - chance
    - position_prior
'anomseg compare --template' prints a file with every detector.
"""


def template() -> str:
    """The file as text: what scores as it is stands ready, the rest commented out with what it asks for."""
    entries = sorted(DETECTORS, key=lambda entry: ("method", "baseline", "control").index(default_kind(entry.name)))
    return HEAD + "".join(f"  {_line(entry)}\n" for entry in entries)


def _line(entry: Entry) -> str:
    asks = _asks(entry)
    told = f"{asks[1]}; {entry.summary}" if asks[1] else entry.summary
    return f"- {entry.name}    # {told}" if asks[0] else f"# - {entry.name}    # {told}"


def _asks(entry: Entry) -> tuple[bool, str]:
    """Whether a detector runs on the default network as it is, and what it asks for."""
    if "trained" in entry.tags:
        return False, "name the directory that 'anomseg train' wrote"
    try:
        fits = described(entry.name)[1]
        if create_detector(entry.name).flags.owns_network and "weights" not in entry.tags:
            return False, "name its networks in its options, or a saved directory"
    except AnomsegError as error:
        return False, str(error)
    if fits:
        return False, "with fit: above, or a saved directory"
    if {"masks", "void", "outlier-head"} & entry.tags:
        return False, f"segmenter: with {', '.join(sorted({'masks', 'void', 'outlier-head'} & entry.tags))}"
    return True, ""
