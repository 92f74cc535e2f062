"""From decoded images to results in batches: what predicting has in common, whatever is asked of the detector."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from anomseg.detectors.base import Detector, network_of
from anomseg.detectors.seeding import frame_seed
from anomseg.errors import CompatibilityError, ConfigError, FrameError
from anomseg.inference.provenance import describe
from anomseg.inference.roi import Roi
from anomseg.inference.sources import Source, array_hash
from anomseg.segmenters.base import Segmenter, Size
from anomseg.segmenters.scene import Scene, make_scene
from anomseg.types import UInt8Array

MAX_INDEXED_CLASSES = 256

Found = TypeVar("Found")
Result_co = TypeVar("Result_co", covariant=True)


@dataclass(frozen=True)
class Answer(Generic[Found]):
    """What network and detector say of one image.

    Attributes:
        found: What the detector was asked for.
        classes: ``(H, W)`` uint8; None where nobody asked.
        pictures: ``(H, W, 3)`` uint8 by name, see `Detector.pictures`.
    """

    found: Found
    classes: np.ndarray | None = None
    pictures: Mapping[str, UInt8Array] = field(default_factory=dict)


class ImagePredictor(Generic[Found, Result_co]):
    """A network and a detector made ready for images; subclasses say what is asked and what comes of it.

    Args:
        segmenter: The network; a detector that owns its network goes without, and scores its own in any case.
        detector: Ready to score.
        size: Working size ``(height, width)`` that overrides the segmenter's.
        device: Where to run; ``"auto"`` takes a GPU if there is one, None leaves the network where it is.
        roi: Region that counts.
        seed: Random passes are seeded by it and the frame's name, so order and resuming do not matter.
        segmentation: Also keep the predicted classes.
        pictures: Also keep the pictures that the detector has.

    Raises:
        CompatibilityError: The detector needs what the segmenter lacks, or has not been fitted.
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
    ) -> None:
        self.segmenter: Segmenter | None = network_of(detector, segmenter)
        self.detector = detector
        self.size = size
        self.roi = roi
        self.seed = seed
        self.needs = detector.needs(self.segmenter)
        if self.needs.forward and self.segmenter is None:
            raise CompatibilityError(f"{detector.registry_name} scores a network's answers; give a segmenter")
        if not detector.is_fitted:
            raise CompatibilityError(
                f"{detector.registry_name} has not been fitted; run 'anomseg fit --detector {detector.registry_name}' "
                "and give the saved directory"
            )
        self.device = find_device(device, self.segmenter)
        if self.segmenter is not None:
            self.segmenter.to(self.device).eval()
        self.segmentation = (
            segmentation and self.segmenter is not None and 0 < len(self.segmenter.classes) <= MAX_INDEXED_CLASSES
        )
        self.pictures = pictures
        self._described = describe(self.segmenter, detector)

    def ask(self, scene: Scene) -> Sequence[Found]:
        """What the detector says of each image of a scene, whose images share one size."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it asks")

    def result(self, source: Source, image: UInt8Array, answer: Answer[Found], provenance: dict[str, Any]) -> Result_co:
        """What comes of one image.

        Raises:
            FrameError: The answer cannot be used.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what comes of an answer")

    def settings(self) -> dict[str, Any]:
        """What decides results beside image, network and detector, JSON-ready."""
        return {
            "size": list(self.size) if self.size else None,
            "roi": self.roi.identity if self.roi else None,
            "seed": self.seed,
        }

    def provenance(self, image: dict[str, Any]) -> dict[str, Any]:
        """What decides the result for one image, known before any work on it."""
        return {**self._described, "image": image, "settings": self.settings()}

    def working_size(self, image: UInt8Array) -> Size:
        """``(height, width)`` that an image is resized to before the network sees it."""
        own = (image.shape[0], image.shape[1])
        return self.segmenter.working_size(own, self.size) if self.segmenter is not None else self.size or own

    def run(
        self, sources: Sequence[Source], images: Sequence[UInt8Array], described: Sequence[dict[str, Any]]
    ) -> list[Result_co | FrameError]:
        """Score images that share one working size.

        Args:
            sources: Where they come from.
            images: ``(H, W, 3)`` uint8 each; their own sizes may differ.
            described: Path and hash of each, for the sidecar.

        Returns:
            A result for each, or what was wrong with it.
        """
        started = time.perf_counter()
        try:
            scene = make_scene(
                images,
                [source.name for source in sources],
                self.segmenter,
                size=self.size,
                features=self.needs.features,
                device=self.device,
            )
            scored = self._score(scene)
        except FrameError as error:
            if len(sources) == 1:
                return [error]
            # Which of them it was is only known one by one.
            alone = zip(sources, images, described, strict=True)
            return [self.run([source], [image], [about])[0] for source, image, about in alone]
        except (RuntimeError, MemoryError) as error:
            if "memory" in str(error).lower() or isinstance(error, MemoryError):
                raise ConfigError(
                    f"out of memory on {self.device} with {len(images)} image(s) of {images[0].shape[1]}x"
                    f"{images[0].shape[0]}; use a smaller batch or working size"
                ) from error
            raise
        seconds = (time.perf_counter() - started) / len(sources)
        results: list[Result_co | FrameError] = []
        for source, image, about, answer in zip(sources, images, described, scored, strict=True):
            try:
                results.append(self._result(source, image, about, answer, seconds))
            except FrameError as error:
                results.append(error)
        return results

    def _score(self, scene: Scene) -> list[Answer[Found]]:
        scored: dict[int, Answer[Found]] = {}
        for rows, part in scene.by_image_size():
            if self.segmentation and not self.detector.reads_head:
                with torch.no_grad():
                    _ = part.output  # the class map is wanted anyway: one pass gives it and the features
            with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
                torch.manual_seed(frame_seed(self.seed, part.frame_ids))
                found = self.ask(part)
            classes, pictures = None, {}
            if self.segmentation:
                with torch.inference_mode():
                    classes = part.prediction().to("cpu", torch.uint8).numpy()
            if self.pictures:
                with torch.inference_mode():
                    pictures = {key: one.cpu().numpy() for key, one in self.detector.pictures(part).items()}
            for index, row in enumerate(rows):
                own = {key: one[index] for key, one in pictures.items()}
                scored[row] = Answer(found[index], None if classes is None else classes[index], own)
        return [scored[row] for row in range(len(scene.frame_ids))]

    def _result(
        self, source: Source, image: UInt8Array, about: dict[str, Any], answer: Answer[Found], seconds: float
    ) -> Result_co:
        height, width = image.shape[:2]
        if about["sha256"] is None:
            about = {**about, "sha256": array_hash(image)}
        about = {**about, "height": height, "width": width, "working_size": list(self.working_size(image))}
        return self.result(source, image, answer, {**self.provenance(about), "seconds": {"score": round(seconds, 4)}})


def check_scores(scores: np.ndarray, size: Size, name: str, detector: str) -> None:
    """Refuse an anomaly map that cannot be trusted.

    Raises:
        FrameError: Its size is not the image's, or it holds NaN or infinity.
    """
    if scores.shape != size:
        raise FrameError(f"{name}: {detector} gave a map of {scores.shape} for an image of {size}")
    broken = int(scores.size - np.isfinite(scores).sum())
    if broken:
        raise FrameError(
            f"{name}: {detector} gave {broken} NaN or infinite scores of {scores.size}; check the network's weights"
        )


def find_device(device: str | torch.device | None, segmenter: Segmenter | None = None) -> torch.device:
    """The device to run on.

    Args:
        device: A name such as ``"cpu"`` or ``"cuda:0"``, ``"auto"``, or None for where the network lies.
        segmenter: The network.

    Raises:
        ConfigError: There is no such device.
    """
    if device is None:
        parameter = next(segmenter.parameters(), None) if segmenter is not None else None
        return parameter.device if parameter is not None else torch.device("cpu")
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ConfigError(f"device {device!r} is not available here; use cpu or auto") from error
    return found
