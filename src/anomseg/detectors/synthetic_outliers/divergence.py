"""How far a prediction is from knowing nothing, as a loss on what must not be recognised."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from anomseg import scores
from anomseg.errors import unknown_name

Divergence = Literal["js", "kl", "reverse_kl"]
DIVERGENCES = ("js", "kl", "reverse_kl")


def divergence_to_uniform(logits: Tensor, divergence: Divergence = "js", temperature: float = 1.0) -> Tensor:
    """Divergence of ``softmax(l / T)`` from the uniform distribution U, in nats; differentiable at any logits.

    Args:
        logits: ``(B, C, *S)`` float.
        divergence: ``js``: Jensen-Shannon, at most ln 2; ``kl``: KL(U || p), which knows no bound; ``reverse_kl``:
            KL(p || U), at most ln C.
        temperature: T > 0.

    Returns:
        ``(B, *S)``, at least 0; 0 where the prediction is uniform.

    Raises:
        ConfigError: An unknown divergence.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 1.0, 0.0]])
        >>> [round(divergence_to_uniform(logits, kind).item(), 4) for kind in ("js", "kl", "reverse_kl")]
        [0.0687, 0.309, 0.2662]
    """
    if divergence == "js":
        return scores.js_to_uniform(logits, temperature, check=False)
    logits = logits / temperature
    if divergence == "kl":
        return scores.kl_from_uniform(logits, check=False)
    if divergence == "reverse_kl":
        return math.log(logits.shape[1]) - scores.entropy(logits, check=False)
    raise unknown_name("divergence", divergence, DIVERGENCES)
