"""Networks that an option of a detector names, for the detector to own."""

from __future__ import annotations

from pathlib import Path

from anomseg.detectors.saved import is_detector_directory, load_detector
from anomseg.errors import CompatibilityError, ConfigError
from anomseg.segmenters.base import Segmenter
from anomseg.segmenters.catalog import load_segmenter, why_weightless


def load_named_network(text: str) -> Segmenter:
    """The network that a text names.

    Args:
        text: What `load_segmenter` takes, or the directory of a saved detector that carries the network it scores.

    Raises:
        ConfigError: The name is unknown, or of a network without weights.
        CompatibilityError: A saved detector that carries no network.
        DataError: A file is missing or damaged.
    """
    if is_detector_directory(text):
        detector = load_detector(text)
        if detector.segmenter is None:
            raise CompatibilityError(
                f"{text} is a {detector.registry_name} detector, which carries no network; name the network instead"
            )
        return detector.segmenter
    if not Path(text).is_dir():
        reason = why_weightless(text)
        if reason is not None:
            raise ConfigError(reason)
    return load_segmenter(text)
