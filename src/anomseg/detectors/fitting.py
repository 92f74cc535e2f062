"""What all fits share: frames become scenes one by one, and a log of what was seen."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from anomseg.data import frame_fingerprint
from anomseg.detectors.base import Detector, Progress
from anomseg.errors import DataError, FrameError
from anomseg.segmenters.base import Segmenter, Size
from anomseg.segmenters.scene import Scene, make_scene
from anomseg.types import Frame


class FitLog:
    """Collects what a detector was fitted on.

    Args:
        detector: Registry name of the detector, for messages.
    """

    def __init__(self, detector: str) -> None:
        self.detector = detector
        self.fingerprints: list[str] = []
        self.skipped: dict[str, str] = {}
        self.sources: Counter[str] = Counter()

    def run(
        self,
        segmenter: Segmenter | None,
        frames: Iterable[Frame],
        use: Callable[[Frame, Scene], None],
        *,
        features: Sequence[str] = (),
        size: Size | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Go through the frames once, one scene each, on the network's device.

        Args:
            segmenter: The network, if one is read.
            frames: Read once; a `FrameError`, on decoding or out of ``use``, skips that frame.
            use: Called with each frame and its scene; it changes nothing before it has read all it needs.
            features: Feature maps that each pass computes.
            size: Working size that overrides the segmenter's.
            progress: Called after each frame.
        """
        first = next(segmenter.parameters(), None) if segmenter is not None else None
        device = first.device if first is not None else "cpu"
        for frame in frames:
            failure: FrameError | None = None
            try:
                image = frame.image()
                fingerprint = frame_fingerprint(frame)
                use(frame, make_scene([image], [frame.id], segmenter, size=size, features=features, device=device))
            except FrameError as error:
                failure = error
                self.skipped[frame.id] = str(error)
            else:
                self.fingerprints.append(fingerprint)
                self.sources[source_of(frame)] += 1
            if progress is not None:
                progress(frame, failure)

    def record(self, segmenter: Segmenter | None, **more: Any) -> dict[str, Any]:
        """Say what was fitted on, JSON-ready: the ``fitted_on`` of the detector.

        Args:
            segmenter: The network that was read.
            **more: Further entries of the detector's own.

        Raises:
            DataError: No frame could be used.
        """
        if not self.fingerprints:
            reasons = list(self.skipped.values())
            why = f"; all {len(reasons)} were skipped, the first because: {reasons[0]}" if reasons else ""
            raise DataError(f"no frames to fit {self.detector} on: give in-distribution images{why}")
        return {
            "data": ", ".join(f"{name} ({count})" for name, count in sorted(self.sources.items())),
            "frames": len(self.fingerprints),
            "sha256": digest_of(self.fingerprints),
            "fingerprints": sorted(self.fingerprints),
            "skipped": list(self.skipped),
            "segmenter": segmenter.identity() if segmenter is not None else None,
            **more,
        }


def source_of(frame: Frame) -> str:
    """Data set and split of a frame, as text.

    Example:
        >>> source_of(Frame("a", None, meta={"dataset": "camvid", "split": "train"}))
        'camvid@train'
    """
    dataset, split = frame.meta.get("dataset"), frame.meta.get("split")
    return f"{dataset}@{split}" if dataset and split else str(dataset or "unnamed")


def digest_of(fingerprints: Iterable[str]) -> str:
    """SHA-256 over sorted frame fingerprints, one a line: the identity of a set of frames."""
    return hashlib.sha256("\n".join(sorted(fingerprints)).encode()).hexdigest()


def seen_frames(detector: Detector) -> frozenset[str]:
    """Fingerprints of the frames that a detector was fitted or calibrated on."""
    fitted = frozenset((detector.fitted_on or {}).get("fingerprints", ()))
    return fitted | detector.calibration.fingerprints if detector.calibration is not None else fitted


def overlapping_frames(detector: Detector, frames: Iterable[Frame]) -> list[str]:
    """Ids of those frames that a detector was fitted or calibrated on, by the content of their images.

    Args:
        detector: Any detector.
        frames: Frames to evaluate on.
    """
    seen = seen_frames(detector)
    return [frame.id for frame in frames if frame_fingerprint(frame) in seen] if seen else []
