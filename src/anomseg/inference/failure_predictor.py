"""Assessing segmentations in batches: scenes in, checked assessments out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from anomseg.detectors.base import Detector
from anomseg.errors import CompatibilityError
from anomseg.inference.assessing import Assessed, assess_images
from anomseg.inference.assessment import FailureAssessment
from anomseg.inference.image_predictor import MAX_INDEXED_CLASSES, Answer, ImagePredictor, check_scores
from anomseg.inference.roi import Roi, confine
from anomseg.inference.sources import Source
from anomseg.segmenters.base import Segmenter, Size
from anomseg.segmenters.scene import Scene
from anomseg.types import UInt8Array

SIGN = "higher = more likely wrong"


class FailurePredictor(ImagePredictor[Assessed, FailureAssessment]):
    """A network and a detector made ready to say where the network's segmentation is likely wrong.

    Args:
        segmenter: The network; a detector that owns its network goes without.
        detector: Ready to assess; each one is, see `Detector.assess`.
        size: Working size ``(height, width)`` that overrides the segmenter's.
        device: Where to run; None leaves the network where it is.
        roi: Region that counts.
        seed: Random passes are seeded by it and the frame's name.
        pictures: Also keep the pictures that the detector has.
        threshold: Score from which a pixel counts as wrong, for the assessments to remember.

    Raises:
        CompatibilityError: There is no network with a segmentation, or it does not fit the detector.
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
        pictures: bool = True,
        threshold: float | None = None,
    ) -> None:
        super().__init__(segmenter, detector, size=size, device=device, roi=roi, seed=seed, pictures=pictures)
        if self.segmenter is None or not self.segmentation:
            raise CompatibilityError(
                f"failure detection asks where a segmentation is wrong; give a segmenter of 1 to {MAX_INDEXED_CLASSES} "
                "classes"
            )
        self.threshold = threshold
        score = {"name": detector.registry_name, "sign": SIGN, "bounded": detector.bounded}
        self._described = {**self._described, "score": score, "task": "failure"}

    def ask(self, scene: Scene) -> Sequence[Assessed]:
        """Error maps and expected quality of classes."""
        return assess_images(self.detector, scene)

    def result(
        self, source: Source, image: UInt8Array, answer: Answer[Assessed], provenance: dict[str, Any]
    ) -> FailureAssessment:
        """The assessment of one image.

        Raises:
            FrameError: Its map is of another size, or holds NaN or infinity.
        """
        found, size = answer.found, (image.shape[0], image.shape[1])
        inside = self.roi.at(size) if self.roi else None
        error_map = found.error_map
        if error_map is not None:
            check_scores(error_map, size, source.name, self.detector.registry_name)
            error_map = error_map if inside is None else confine(error_map, inside)
        assert self.segmenter is not None and answer.classes is not None  # noqa: S101, PT018 - made sure of above
        return FailureAssessment(
            image=image,
            segmentation=answer.classes,
            classes=self.segmenter.classes,
            palette=self.segmenter.palette,
            error_map=error_map,
            class_quality=found.class_quality,
            measure=found.measure,
            provenance=provenance,
            bounded=self.detector.bounded,
            name=source.name,
            roi=inside,
            threshold=self.threshold,
            pictures=answer.pictures,
        )
