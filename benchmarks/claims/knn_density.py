"""Parametric densities of the same cached features, and the controls: what k-NN is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from knn_cache import CachedFrame, Say
from knn_search import Cells, queries
from numpy.typing import NDArray

from anomseg.detectors import Detector, anomaly_maps, create_detector
from anomseg.detectors.mahalanobis import Mahalanobis
from anomseg.detectors.mixture import GaussianMixture
from anomseg.detectors.moments import FeatureMoments
from anomseg.detectors.reservoir import ClassReservoir
from anomseg.segmenters import make_scene
from anomseg.types import VOID

DENSITIES = ("mahalanobis", "mahalanobis:precision=class", "gmm")
CONTROLS = ("chance", "position_prior", "local_contrast", "not_road")
Formula = Callable[[torch.Tensor], torch.Tensor]


def densities(frames: Sequence[CachedFrame], layer: str, classes: Sequence[str], say: Say) -> Mapping[str, Formula]:
    """The library's parametric densities, fitted on the cells of a bank whose class is known.

    Args:
        frames: Frames of the bank, extracted.
        layer: The feature map.
        classes: The network's class names.
        say: Told of progress.

    Returns:
        By name the formula from features ``(1, D, n, 1)`` to scores ``(1, n, 1)``.
    """
    width = frames[0].features(layer).shape[1]
    moments = FeatureMoments(len(classes), width)
    mixture = GaussianMixture()
    reservoir = ClassReservoir(len(classes), mixture.samples, mixture.seed)
    for one in frames:
        known = one.classes(layer)
        kept = np.flatnonzero(known != VOID)
        vectors = torch.from_numpy(np.array(one.features(layer)[kept])).to(torch.float32)
        labels = torch.from_numpy(known[kept].astype(np.int64))
        moments.update(vectors, labels)
        reservoir.update(one.frame.id, vectors, labels)
    shared = Mahalanobis()
    own = Mahalanobis(precision="class")
    # The detectors' own estimates, from moments gathered on the cache instead of on frames.
    shared.load_state(shared._estimate(moments, tuple(classes))[0])
    own.load_state(own._estimate(moments, tuple(classes))[0])
    mixture.load_state(mixture._estimate(reservoir, tuple(classes))[0])
    say(f"fitted {', '.join(DENSITIES)} on {layer} of {len(frames)} frames")
    return dict(zip(DENSITIES, (shared.formula, own.formula, mixture.formula), strict=True))


def density_scores(one: CachedFrame, layer: str, formula: Formula) -> NDArray[np.float32]:
    """Scores ``(n,)`` of all cells of a frame."""
    features = queries(one, layer, Cells()).T[None, :, :, None]
    return formula(features.contiguous())[0, :, 0].to(torch.float32).numpy()


def control_map(name: str) -> Callable[[int, CachedFrame], NDArray[np.float32]]:
    """The map of a control at label size; that which reads the network comes from the cache."""
    if name == "not_road":
        return lambda _, one: one.map("not_road")
    detector: Detector = create_detector(name)

    def score(_: int, one: CachedFrame) -> NDArray[np.float32]:
        return anomaly_maps(detector, make_scene([one.frame.image()], [one.frame.id]))[0].numpy()

    return score
