"""From embeddings to the anomaly score."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from anomseg.detectors.pgan.extractor import PrototypeExtractor
from anomseg.detectors.pgan.similarity import prototype_distance_anomaly


def anomaly_of(extractor: PrototypeExtractor, embeddings: Sequence[Tensor], parent_term: bool = False) -> Tensor:
    """Anomaly ``(1 - max_k s_k) / 2`` of each place on the finest grid, ``(B, h, w)`` in [0, 1].

    Args:
        extractor: The network.
        embeddings: As its `embed` gives them.
        parent_term: Multiply the confidence ``(1 + max_k s_k) / 2`` by ``(1 + s_parent) / 2`` of the parent of that
            class; without a category tree this changes nothing.
    """
    scores = extractor.scores(embeddings)
    anomaly = prototype_distance_anomaly(scores)
    if not (parent_term and extractor.parent_count):
        return anomaly
    parent = extractor.parents[scores.argmax(1)][:, None]
    agreement = (1 + extractor.parent_scores(embeddings).gather(1, parent)[:, 0]) / 2
    return 1 - (1 - anomaly) * agreement
