"""One measurement in a process of its own: ``python -m anomseg.compare.measure TARGET``, the job as JSON on stdin."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anomseg.detectors import Detector, resolve_detector
from anomseg.detectors.saved import is_detector_directory
from anomseg.errors import EXIT_ERROR, EXIT_OK, ConfigError
from anomseg.files import write_json
from anomseg.inference.costs import describe_run, measure_costs
from anomseg.inference.predictor import find_device
from anomseg.inference.profiling import reason
from anomseg.segmenters import Segmenter, load_segmenter

NAME = "detector"


def profile(job: Mapping[str, Any]) -> dict[str, Any]:
    """Time and memory of one detector and of the network beside it, as ``anomseg profile`` writes them.

    Args:
        job: What `anomseg.compare.costs.Job` describes.

    Raises:
        AnomsegError: It cannot be loaded.
    """
    device = find_device(job["device"])
    text = str(job["detector"])
    detector = resolve_detector(text)
    if "seed" in detector.get_params() and "seed=" not in text and not is_detector_directory(text):
        detector.seed = int(job["seed"])  # type: ignore[attr-defined]
    segmenter = _network(job, detector).to(device)
    size = (int(job["size"][0]), int(job["size"][1]))
    rows = measure_costs(
        segmenter,
        {NAME: detector},
        sizes=[size],
        batches=[1],
        repeats=int(job["repeats"]),
        warmup=int(job["warmup"]),
        task=job.get("task", "anomaly"),
    )
    found = [row.as_dict() for part in rows for row in part]
    return {"schema": 1, **describe_run(segmenter, device), "job": dict(job), "rows": found}


def _network(job: Mapping[str, Any], detector: Detector) -> Segmenter:
    own = detector.segmenter if detector.flags.owns_network else None
    if own is not None:
        return own
    if job["segmenter"] is None:
        raise ConfigError(f"{detector.registry_name} names no network to measure it on")
    return load_segmenter(str(job["segmenter"]))


def main() -> int:
    """Measure and write."""
    try:
        write_json(Path(sys.argv[1]), profile(json.load(sys.stdin)))
    except Exception as error:  # told in one line to whoever started this
        sys.stderr.write(f"{reason(error)}\n")
        return EXIT_ERROR
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(main())
