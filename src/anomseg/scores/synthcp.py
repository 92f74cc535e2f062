"""SynthCP's anomaly score: the network where it is sure, a comparison with a rendering elsewhere (Xia et al. 2020)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from anomseg.errors import CompatibilityError, unknown_name

Above = Literal["msp", "one"]
ABOVE: tuple[Above, ...] = get_args(Above)


def synthcp_gate(confidence: Tensor, cosine: Tensor, gate: float = 0.999, above: Above = "msp") -> Tensor:
    """Minus the gated confidence: ``-(p if p > t else c)`` (Xia et al., ECCV 2020, section 3.3).

    It is a hard gate and not monotone at it: of p = .998, c = .99 the score is -.99, of p = .999001 it is -.999001
    whatever c is. ``gate=-1`` takes p everywhere, ``gate=1`` c everywhere.

    Args:
        confidence: p, the largest softmax probability, any shape.
        cosine: c in [-1, 1], of the features of image and rendering; the same shape.
        gate: t.
        above: ``"msp"`` lets what passes the gate keep p; ``"one"`` trusts it wholly, ``-(1 - (1 - c) [p <= t])``,
            which the published code has in a comment (there with t = .99).

    Returns:
        The same shape, in [-1, 1]; higher = more anomalous.

    Raises:
        CompatibilityError: The shapes differ.
        ConfigError: ``above`` is none of these.

    Example:
        >>> p, c = torch.tensor([0.9995, 0.95, 0.5]), torch.tensor([0.2, 0.9, 0.1])
        >>> synthcp_gate(p, c)
        tensor([-0.9995, -0.9000, -0.1000])
        >>> synthcp_gate(p, c, above="one")
        tensor([-1.0000, -0.9000, -0.1000])
    """
    if confidence.shape != cosine.shape:
        raise CompatibilityError(
            f"confidence and cosine must have one shape, got {tuple(confidence.shape)} and {tuple(cosine.shape)}"
        )
    if above not in ABOVE:
        raise unknown_name("value of above", above, ABOVE)
    kept = confidence if above == "msp" else torch.ones_like(confidence)
    return -torch.where(confidence > gate, kept, cosine)
