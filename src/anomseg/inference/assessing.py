"""What a detector says of a segmentation, image by image, checked before anybody relies on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from anomseg.detectors.base import Detector
from anomseg.errors import CompatibilityError
from anomseg.segmenters.scene import Scene
from anomseg.types import Measure


@dataclass(frozen=True, eq=False)
class Assessed:
    """What a detector says of the segmentation of one image.

    Attributes:
        error_map: ``(H, W)`` float32, higher = more likely wrong; None where single pixels are not judged.
        class_quality: ``(C,)`` float32, the expected overlap of each class, NaN where nothing is said of one; None
            where classes are not judged.
        measure: The overlap that is meant.
    """

    error_map: NDArray[np.float32] | None
    class_quality: NDArray[np.float32] | None
    measure: Measure


def assess_images(detector: Detector, scene: Scene) -> list[Assessed]:
    """Ask a detector where the segmentation of a scene is likely wrong; images may differ in size.

    Args:
        detector: A detector that is ready to score.
        scene: Any scene with a network.

    Returns:
        One answer an image, on the CPU, in the scene's order.

    Raises:
        CompatibilityError: The detector has not been fitted, says nothing at all, or of another number of classes than
            the network has.
    """
    detector.require_fitted()
    answers: dict[int, Assessed] = {}
    with torch.no_grad() if detector.uses_gradients else torch.inference_mode():
        for rows, part in scene.by_image_size():
            found = detector.assess(part)
            maps = None if found.error_map is None else _on_host(found.error_map)
            quality = None if found.class_quality is None else _on_host(found.class_quality)
            _check(detector, part, maps is not None, quality)
            for index, row in enumerate(rows):
                answers[row] = Assessed(
                    None if maps is None else maps[index], None if quality is None else quality[index], found.measure
                )
    return [answers[row] for row in range(len(scene.frame_ids))]


def _on_host(tensor: torch.Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().to("cpu", torch.float32).numpy())


def _check(detector: Detector, scene: Scene, maps: bool, quality: NDArray[np.float32] | None) -> None:
    if not maps and quality is None:
        raise CompatibilityError(
            f"{detector.registry_name} gives neither an error map nor the quality of classes; choose another detector"
        )
    if quality is None:
        return
    classes = len(scene.segmenter.classes) if scene.segmenter is not None else 0
    if quality.shape != (len(scene.frame_ids), classes):
        raise CompatibilityError(
            f"{detector.registry_name} gives the quality of classes as {quality.shape} for {len(scene.frame_ids)} "
            f"images and {classes} classes; it belongs to another network"
        )
    if np.isinf(quality).any():
        raise CompatibilityError(f"{detector.registry_name} gives infinite quality of classes; train it again")
