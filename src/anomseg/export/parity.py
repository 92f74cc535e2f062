"""Does an exported graph say what the library says? Asked on pictures before any file is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from anomseg.detectors import Detector, anomaly_maps
from anomseg.errors import CompatibilityError
from anomseg.export.graph import OUTPUTS
from anomseg.segmenters import Segmenter, Size, make_scene
from anomseg.segmenters.onnx_session import run_session
from anomseg.types import UInt8Array

ODD_PIXELS = 5e-4
"""Share of pixels that may differ: where two classes tie, rounding decides, and some scores depend on it."""


@dataclass(frozen=True)
class Parity:
    """How far a graph under ONNX Runtime is from PyTorch.

    Attributes:
        images: Pictures compared.
        max_difference: Largest absolute difference of two anomaly maps.
        odd_pixels: Share of pixels whose difference exceeds the tolerance.
        odd_classes: Share of pixels of another class.
        tolerance: What was allowed, as a share of the larger of 1 and the largest score.
    """

    images: int
    max_difference: float
    odd_pixels: float
    odd_classes: float
    tolerance: float

    def __str__(self) -> str:
        odd = f", {self.odd_pixels:.2%} of pixels beyond {self.tolerance:g}" if self.odd_pixels else ""
        classes = f", {self.odd_classes:.2%} of another class" if self.odd_classes else ""
        return f"largest difference {self.max_difference:.2g} on {self.images} images{odd}{classes}"

    def check(self) -> None:
        """Refuse a graph that says something else.

        Raises:
            CompatibilityError: It differs on more pixels than rounding explains.
        """
        if self.odd_pixels > ODD_PIXELS or self.odd_classes > ODD_PIXELS:
            raise CompatibilityError(f"the graph does not say what PyTorch says: {self}")


def random_pictures(size: Size, count: int, seed: int = 0) -> list[UInt8Array]:
    """Pictures of soft random colours with noise on them, ``(H, W, 3)`` uint8."""
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8)).resize((size[1], size[0]))
        noise = rng.normal(0, 12, (*size, 3))
        pictures.append((np.asarray(coarse) + noise).round().clip(0, 255).astype(np.uint8))
    return pictures


def compare(
    session: Any,
    segmenter: Segmenter,
    detector: Detector,
    batches: Sequence[Sequence[UInt8Array]],
    tolerance: float,
    progress: Callable[[int, int], None] | None = None,
) -> Parity:
    """Run graph and library on the same pictures.

    Args:
        session: The graph, opened.
        segmenter: The network that was exported.
        detector: The detector that was exported.
        batches: Pictures of one size each; each batch goes through the graph at once.
        tolerance: Allowed difference, as a share of the larger of 1 and the largest score.
        progress: Called with the number of batches done and of all.

    Returns:
        The figures; nothing is refused yet.

    Raises:
        CompatibilityError: Shapes differ, or the mask does not follow the threshold.
        DataError: ONNX Runtime stopped.
    """
    largest, odd, other, pixels = 0.0, 0, 0, 0
    for done, batch in enumerate(batches, 1):
        scores, classes = library_answer(segmenter, detector, batch)
        threshold = np.array(np.median(scores), np.float32)
        images = np.stack(batch).transpose(0, 3, 1, 2).copy()
        feed: dict[str, np.ndarray[Any, Any]] = {"image": images, "threshold": threshold}
        found, mask, labels = run_session(session, OUTPUTS, feed, "the graph")
        if found.shape != scores.shape or mask.shape != scores.shape or labels.shape != scores.shape:
            raise CompatibilityError(f"the graph gives maps of {found.shape} where PyTorch gives {scores.shape}")
        if not np.array_equal(mask != 0, found >= threshold):
            raise CompatibilityError("the graph's mask is not its anomaly map at the threshold")
        difference = np.abs(found.astype(np.float64) - scores)
        difference[np.isnan(difference)] = np.inf
        largest = max(largest, float(difference.max()))
        odd += int((difference > tolerance * max(1.0, float(np.abs(scores).max()))).sum())
        other += int((labels != classes).sum())
        pixels += scores.size
        if progress is not None:
            progress(done, len(batches))
    return Parity(sum(map(len, batches)), largest, odd / pixels, other / pixels, tolerance)


def library_answer(
    segmenter: Segmenter, detector: Detector, images: Sequence[UInt8Array]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Anomaly maps ``(B, H, W)`` and class maps of the library itself, at the images' own size."""
    size = (images[0].shape[0], images[0].shape[1])
    needs = detector.needs(segmenter)
    scene = make_scene(
        images, [f"image{row}" for row in range(len(images))], segmenter, size=size, features=needs.features
    )
    scores = torch.stack(anomaly_maps(detector, scene)).numpy()
    return scores, scene.prediction().numpy()
