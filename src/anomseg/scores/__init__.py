"""Pure score functions: tensors in, tensor out, higher = more anomalous (divergences excepted, as they say)."""

from anomseg.scores.logits import check_logits, energy, entropy, js_to_uniform, kl_from_uniform, max_logit, msp
from anomseg.scores.masks import eam, mask_semantic, rba, uno
from anomseg.scores.standardized import (
    class_boundaries,
    dilated_smoothing,
    sml_suppress_and_smooth,
    standardized_max_logit,
    suppress_boundaries,
)

__all__ = [
    "check_logits",
    "class_boundaries",
    "dilated_smoothing",
    "eam",
    "energy",
    "entropy",
    "js_to_uniform",
    "kl_from_uniform",
    "mask_semantic",
    "max_logit",
    "msp",
    "rba",
    "sml_suppress_and_smooth",
    "standardized_max_logit",
    "suppress_boundaries",
    "uno",
]
