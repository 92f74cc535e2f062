"""How many numbers a detector and its networks carry."""

from __future__ import annotations

from typing import Any

from torch import nn

from anomseg.detectors import Detector
from anomseg.segmenters import Segmenter


def parameter_counts(detector: Detector, network: Segmenter | None) -> dict[str, Any]:
    """Numbers that a detector needs at inference.

    Args:
        detector: Ready to score.
        network: The network that it scores; None where it reads none.

    Returns:
        ``network``: parameters of the network that it scores, ``carried``: of those that it brings itself, by role,
        ``total``: of all of them together, shared ones once; None where a network does not tell, as exported ones do
        not. ``state``: numbers that a fit or a training left in the detector itself.
    """
    scored = network if detector.flags.owns_network or detector.needs(network).forward else None
    carried = detector.networks()
    return {
        "network": _count(scored) if scored is not None else 0,
        "carried": {role: _count(part) for role, part in carried.items()},
        "total": _count(*([scored] if scored is not None else []), *carried.values()),
        "state": sum(tensor.numel() for tensor in detector.state().values()),
    }


def _count(*networks: nn.Module) -> int | None:
    parts = [list(network.parameters()) for network in networks]
    if not all(parts):
        return None
    return sum(parameter.numel() for parameter in {id(item): item for part in parts for item in part}.values())
