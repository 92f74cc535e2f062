"""Scoring decoded images in batches: scenes in, checked predictions out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from anomseg.calibration import calibration_of
from anomseg.detectors.base import Detector, anomaly_maps
from anomseg.errors import CompatibilityError
from anomseg.inference.image_predictor import MAX_INDEXED_CLASSES, Answer, ImagePredictor, check_scores, find_device
from anomseg.inference.prediction import Prediction
from anomseg.inference.provenance import SIGN
from anomseg.inference.roi import Roi, confine
from anomseg.inference.sources import Source
from anomseg.inference.thresholds import threshold_of
from anomseg.segmenters.base import Segmenter, Size
from anomseg.segmenters.scene import Scene
from anomseg.types import UInt8Array

__all__ = ["MAX_INDEXED_CLASSES", "Predictor", "check_scores", "find_device"]


class Predictor(ImagePredictor[np.ndarray, Prediction]):
    """A network and a detector made ready to score images.

    Args:
        segmenter: The network; a detector that owns its network goes without, and scores its own in any case.
        detector: Ready to score.
        size: Working size ``(height, width)`` that overrides the segmenter's.
        device: Where to run; ``"auto"`` takes a GPU if there is one, None leaves the network where it is.
        roi: Region that counts.
        seed: Random passes are seeded by it and the frame's name, so order and resuming do not matter.
        segmentation: Also keep the predicted classes.
        pictures: Also keep the pictures that the detector has.
        calibrated: Bring scores to the scale of the detector's calibration, in [0, 1).
        threshold: Score from which a pixel is an anomaly, for the predictions to remember; no result depends on it.
            The one stored with the detector where not given, if there is any.

    Raises:
        CompatibilityError: The detector needs what the segmenter lacks, has not been fitted, or carries no
            calibration where one is asked for.
        ConfigError: The device does not exist.
    """

    def __init__(
        self,
        segmenter: Segmenter | None,
        detector: Detector,
        *,
        size: Size | None = None,
        device: str | torch.device | None = None,
        roi: Roi | None = None,
        seed: int = 0,
        segmentation: bool = True,
        pictures: bool = True,
        calibrated: bool = False,
        threshold: float | None = None,
    ) -> None:
        super().__init__(
            segmenter,
            detector,
            size=size,
            device=device,
            roi=roi,
            seed=seed,
            segmentation=segmentation,
            pictures=pictures,
        )
        stored = threshold_of(detector, calibrated=calibrated) if threshold is None else None
        self.threshold = threshold if stored is None else stored[0]
        self.scale = calibration_of(detector) if calibrated else None
        if calibrated and self.scale is None:
            raise CompatibilityError(
                f"{detector.registry_name} carries no calibration; run 'anomseg calibrate' and give the directory that "
                "it saves"
            )
        self.bounded = detector.bounded or calibrated
        if calibrated:
            name = f"{detector.registry_name}, calibrated"
            self._described = {**self._described, "score": {"name": name, "sign": SIGN, "bounded": True}}

    def settings(self) -> dict[str, Any]:
        """What decides results beside image, network and detector, JSON-ready."""
        return {**super().settings(), **({"calibrated": True} if self.scale is not None else {})}

    def ask(self, scene: Scene) -> Sequence[np.ndarray]:
        """Anomaly maps ``(H, W)`` float32."""
        return [scores.numpy() for scores in anomaly_maps(self.detector, scene)]

    def result(
        self, source: Source, image: UInt8Array, answer: Answer[np.ndarray], provenance: dict[str, Any]
    ) -> Prediction:
        """The prediction for one image.

        Raises:
            FrameError: Its map is of another size, or holds NaN or infinity.
        """
        scores, size = answer.found, (image.shape[0], image.shape[1])
        check_scores(scores, size, source.name, self.detector.registry_name)
        if self.scale is not None:
            scores = self.scale(scores, source.name)
        inside = self.roi.at(size) if self.roi else None
        network = self.segmenter if answer.classes is not None else None
        return Prediction(
            image=image,
            anomaly_map=scores if inside is None else confine(scores, inside),
            segmentation=answer.classes,
            classes=network.classes if network is not None else (),
            palette=network.palette if network is not None else (),
            provenance=provenance,
            bounded=self.bounded,
            name=source.name,
            roi=inside,
            threshold=self.threshold,
            pictures=answer.pictures,
        )
