"""Pure score functions: tensors in, tensor out, higher = more anomalous (divergences excepted, as they say)."""

from anomseg.scores.logits import check_logits, energy, entropy, js_to_uniform, kl_from_uniform, max_logit, msp

__all__ = [
    "check_logits",
    "energy",
    "entropy",
    "js_to_uniform",
    "kl_from_uniform",
    "max_logit",
    "msp",
]
