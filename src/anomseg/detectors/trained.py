"""What a detector remembers of its training by a recipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from anomseg.data import frame_fingerprint
from anomseg.detectors.fitting import FitLog, source_of
from anomseg.segmenters.base import Segmenter
from anomseg.types import Frame


def trained_on(
    name: str, frames: Iterable[Frame], segmenter: Segmenter | None, summary: Mapping[str, Any]
) -> dict[str, Any]:
    """The ``fitted_on`` of a detector that a stage has trained, so that `evaluate` knows the frames again.

    Args:
        name: Registry name of the detector.
        frames: The images that its training drew from; their files are hashed, not decoded.
        segmenter: The network that it belongs to.
        summary: The stage's record of the training.

    Raises:
        DataError: There are no frames.
    """
    log = FitLog(name)
    for frame in frames:
        log.fingerprints.append(frame_fingerprint(frame))
        log.sources[source_of(frame)] += 1
    return log.record(segmenter, training=dict(summary))
