"""What a detector is asked of images: what is anomalous, or where the network's own segmentation is likely wrong."""

from __future__ import annotations

from typing import Literal

import torch

from anomseg.detectors.base import Detector
from anomseg.errors import ConfigError, unknown_name
from anomseg.inference.failure_predictor import FailurePredictor
from anomseg.inference.predictor import Predictor
from anomseg.inference.roi import Roi
from anomseg.segmenters.base import Segmenter, Size

Task = Literal["anomaly", "failure"]
TASKS: tuple[Task, ...] = ("anomaly", "failure")


def make_predictor(
    task: Task,
    segmenter: Segmenter | None,
    detector: Detector,
    *,
    size: Size | None = None,
    device: str | torch.device | None = None,
    roi: Roi | None = None,
    seed: int = 0,
    drawn: bool = True,
    calibrated: bool = False,
    threshold: float | None = None,
) -> Predictor | FailurePredictor:
    """A network and a detector made ready for a task.

    Args:
        task: ``anomaly`` or ``failure``.
        segmenter: The network; None for a detector that needs none or carries its own.
        detector: Ready to score.
        size: Working size ``(height, width)`` that overrides the segmenter's.
        device: Where to run; None leaves the network where it is.
        roi: Region that counts.
        seed: Of random passes.
        drawn: Pictures are wanted: the segmentation, and those that the detector has.
        calibrated: Bring scores to the scale of the detector's calibration; of anomalies only.
        threshold: For the results to remember.

    Raises:
        ConfigError: There is no such task, or scores of failures are to be calibrated.
        CompatibilityError: The detector does not fit the segmenter.
    """
    common = {"size": size, "device": device, "roi": roi, "seed": seed, "pictures": drawn, "threshold": threshold}
    if task == "anomaly":
        return Predictor(segmenter, detector, segmentation=drawn, calibrated=calibrated, **common)  # type: ignore[arg-type]
    if task == "failure":
        if calibrated:
            raise ConfigError("a calibration is of false alarms on anomalies, not of failures; leave it out")
        return FailurePredictor(segmenter, detector, **common)  # type: ignore[arg-type]
    raise unknown_name("task", task, TASKS)
