"""What the stage ``pgan`` can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from anomseg.detectors.features import AUTO
from anomseg.detectors.pgan.detector import Probability
from anomseg.detectors.pgan.extractor import Projection
from anomseg.detectors.pgan.objective import Weights
from anomseg.detectors.pgan.similarity import Similarity
from anomseg.errors import ConfigError
from anomseg.training.bounds import check_bounds

SEPARATION = 0.1
"""Weight of the separation loss where prototypes are learned and nothing else is said."""


@dataclass(frozen=True)
class PGANConfig:
    """The extraction network, its prototypes and its losses.

    Attributes:
        host: A saved segmenter whose features are read, where no earlier stage gives one.
        levels: Names of its feature maps joined by ``+``; ``auto``: those of the features stage, else its last three.
        level_weights: Weight of each level in the scores; equal where not given.
        dimension: Channels D of the embeddings.
        prototypes: Prototypes M of each class at each level.
        projection: ``mlp``, or ``identity`` for the features as they are.
        similarity: ``cosine``, ``euclidean`` or ``dot``.
        temperature: Factor on similarities in the cross-entropies.
        update: How prototypes move: ``ema``, averages of the embeddings assigned to them; ``learned``, by gradients.
        momentum: Of the averages, the share of the old.
        stochastic: Draw the assignments behind the averages from the plan instead of taking its largest entries.
        tree: Super-categories: ``auto``, ``none``, ``camvid``, ``cityscapes``, ``street_hazards``, or a tree such as
            ``flat=road+sidewalk,vehicle=car``.
        init: Where prototypes begin: ``support``, masked average pooling over the support set; ``random`` directions.
        support: Images of the support set S.
        annotated: The training may use the labels of so many images; all where not given.
        absent: What becomes of a class that the support set does not show: ``refuse`` it, or ``mask`` it out.
        segmentation: Weight of the cross-entropy over the classes.
        parent: Weight of the cross-entropy over the super-categories.
        contrast: Weight of the cross-entropy over all prototypes to the assigned one.
        compactness: Weight of the squared distance to it.
        separation: Weight of the separation of prototypes: 0.1 where they are learned, else 0, for it could not act.
        margin: Cosine below which prototypes are apart enough.
        loss_stride: The cross-entropies read every n-th pixel of a crop in both directions.
        balance: Weigh classes by the inverse logarithm of their frequency.
        parent_term: Of the detector, see `PGAN`.
        probability: Of the detector, see `PGAN`.
        prior: Share of anomalous pixels that the probability assumes.
        attached: Of the detector, see `PGAN`.
    """

    host: str | None = None
    levels: str = AUTO
    level_weights: Sequence[float] | None = None
    dimension: int = 256
    prototypes: int = 1
    projection: Projection = "mlp"
    similarity: Similarity = "cosine"
    temperature: float = 10.0
    update: Literal["ema", "learned"] = "ema"
    momentum: float = 0.999
    stochastic: bool = False
    tree: str = AUTO
    init: Literal["support", "random"] = "support"
    support: int = 50
    annotated: int | None = None
    absent: Literal["refuse", "mask"] = "refuse"
    segmentation: float = 1.0
    parent: float = 0.5
    contrast: float = 0.01
    compactness: float = 0.001
    separation: float | None = None
    margin: float = 0.2
    loss_stride: int = 4
    balance: bool = False
    parent_term: bool = False
    probability: Probability = "raw"
    prior: float = 0.01
    attached: bool = False

    def __post_init__(self) -> None:
        for name in ("dimension", "prototypes", "support", "loss_stride"):
            check_bounds(name, getattr(self, name), 1)
        if self.annotated is not None:
            check_bounds("annotated", self.annotated, 1)
        for name in ("segmentation", "parent", "contrast", "compactness"):
            check_bounds(name, getattr(self, name), 0)
        check_bounds("temperature", self.temperature, 1e-3)
        check_bounds("momentum", self.momentum, 0, 1)
        check_bounds("margin", self.margin, -1, 1)
        check_bounds("prior", self.prior, 1e-6, 1 - 1e-6)
        if self.separation is not None:
            check_bounds("separation", self.separation, 0)
            if self.separation and self.update != "learned":
                raise ConfigError(
                    "separation moves prototypes that are learned; set update: learned, or leave separation out"
                )
        if self.level_weights is not None:
            check_bounds("level_weights", self.level_weights, 0)
            if not sum(self.level_weights) > 0:
                raise ConfigError("level_weights must not all be 0")

    def weights(self) -> Weights:
        """Weight of each loss."""
        separation = (SEPARATION if self.update == "learned" else 0.0) if self.separation is None else self.separation
        return Weights(self.segmentation, self.parent, self.contrast, self.compactness, separation, self.margin)
