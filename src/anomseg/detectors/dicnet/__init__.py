"""DiCNet: known content is where a student guesses its teacher's features, unknown content where it fails to."""

from anomseg.detectors.dicnet.detector import DiCNet
from anomseg.detectors.dicnet.target import Target, distilled_feature, target_from_maps, target_from_norm

__all__ = ["DiCNet", "Target", "distilled_feature", "target_from_maps", "target_from_norm"]
