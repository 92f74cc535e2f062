"""Detectors that carry equal networks are made to share one, so that it runs once an image for all of them."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable

from anomseg.detectors.base import Detector
from anomseg.segmenters.base import Segmenter
from anomseg.segmenters.wrapping import WrappedSegmenter


def share_networks(detectors: Iterable[Detector], segmenter: Segmenter | None) -> None:
    """Put one network in the place of all that are equal to it: kind, options, classes, size, weights, way of running.

    Args:
        detectors: Detectors; those that own the network they score may be given an equal one in its place.
        segmenter: The network that the other ones score, which goes before any of their own.
    """
    known: dict[Hashable, Segmenter] = {}
    if segmenter is not None:
        known[_key(segmenter)] = segmenter
    for detector in detectors:
        if not detector.flags.owns_network:
            continue
        own = detector.networks()
        shared = {role: known.setdefault(_key(network), network) for role, network in own.items()}
        if any(shared[role] is not own[role] for role in own):
            detector.load_networks(shared)


def _key(network: Segmenter) -> Hashable:
    """What makes two networks answer alike; options count, as activations and means of pixels are no weights."""
    inside, run = network, []
    while isinstance(inside, WrappedSegmenter):
        run.append((inside.registry_name, inside.execution()))
        inside = inside.inner
    options = {key: value for key, value in inside.config().items() if key != "size"}
    text = json.dumps([run, options], sort_keys=True, default=str)
    return inside.registry_name, network.classes, network.size, text, network.fingerprint()
