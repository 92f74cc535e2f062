"""An anomaly probability from in-distribution labels alone: every class in turn plays the one that is not known.

A cell of class k is scored twice: with all prototypes, and with those of class k taken away, as if k had never been
taught. The first scores are of known pixels, the second of pixels whose class is not known. A logistic curve between
the two, weighed to the share of anomalies that is assumed beforehand, makes the score a probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from anomseg.detectors.pgan.extractor import PrototypeExtractor
from anomseg.detectors.pgan.scoring import anomaly_of
from anomseg.errors import CompatibilityError

RIDGE = 1e-6
CELLS_PER_IMAGE = 4000


def logistic(score: Tensor, slope: float, intercept: float) -> Tensor:
    """``1 / (1 + exp(-(slope x + intercept)))``, computed in float64."""
    return torch.sigmoid(slope * score.double() + intercept)


def fit_logistic(scores: Tensor, targets: Tensor, weights: Tensor, *, iterations: int = 100) -> tuple[float, float]:
    """Slope and intercept of the weighted logistic regression, by Newton's method in float64.

    Args:
        scores: ``(n,)``.
        targets: ``(n,)`` of 0 and 1.
        weights: ``(n,)``, at least 0, not all 0.
        iterations: At most so many.

    Returns:
        Slope and intercept. A ridge of a millionth on the standardised slope keeps both finite where scores separate.

    Example:
        >>> slope, intercept = fit_logistic(torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([0, 1, 0, 1]),
        ...                                 torch.tensor([3.0, 1.0, 1.0, 3.0]))
        >>> round(intercept, 3), round(slope + intercept, 3)   # ln 1/3, ln 3
        (-1.099, 1.099)
    """
    x, y, w = (one.double() for one in (scores, targets, weights))
    w = w / w.sum()
    mean = (w * x).sum()
    spread = (w * (x - mean).square()).sum().sqrt().clamp_min(1e-12)
    design = torch.stack([(x - mean) / spread, torch.ones_like(x)], 1)
    ridge = torch.diag(torch.tensor([RIDGE, 0.0], dtype=torch.float64))
    prior = (w * y).sum()
    beta = torch.stack([torch.zeros_like(prior), torch.logit(prior.clamp(1e-12, 1 - 1e-12))])

    def cost(at: Tensor) -> Tensor:
        z = design @ at
        return (w * (torch.nn.functional.softplus(z) - y * z)).sum() + at @ ridge @ at / 2

    for _ in range(iterations):
        p = torch.sigmoid(design @ beta)
        gradient = design.T @ (w * (p - y)) + ridge @ beta
        curvature = (design * (w * p * (1 - p))[:, None]).T @ design + ridge
        step = torch.linalg.lstsq(curvature, gradient[:, None]).solution[:, 0]
        scale = 1.0
        while scale > 1e-6 and not cost(beta - scale * step) <= cost(beta):
            scale /= 2
        beta = beta - scale * step
        if float(step.abs().max()) < 1e-10:
            break
    slope = beta[0] / spread
    return float(slope), float(beta[1] - slope * mean)


@dataclass
class LeftOut:
    """Scores of cells with all prototypes, and with those of their own class taken away.

    Attributes:
        known: Of each class, the first.
        unknown: Of each class, the second.
    """

    known: dict[int, list[Tensor]] = field(default_factory=dict)
    unknown: dict[int, list[Tensor]] = field(default_factory=dict)

    @torch.no_grad()
    def update(
        self, extractor: PrototypeExtractor, maps: Sequence[Tensor], classes: Tensor, parent_term: bool = False
    ) -> None:
        """Add the cells of a batch.

        Args:
            extractor: Trained; at least two of its classes have prototypes.
            maps: Its levels.
            classes: ``(B, h, w)`` int64 on the grid of the scores; negative ones are left out.
            parent_term: See `anomaly_of`.
        """
        embeddings = extractor.embed(maps)
        flat = classes.flatten()
        chosen = torch.arange(len(flat))[:: max(1, len(flat) // (CELLS_PER_IMAGE * len(classes)))]
        labels = flat[chosen]
        whole = anomaly_of(extractor, embeddings, parent_term).flatten()[chosen].cpu()
        present = extractor.present.clone()
        for index in labels[labels >= 0].unique().tolist():
            if not present[index]:
                continue
            own = labels == index
            extractor.present[index] = False
            without = anomaly_of(extractor, embeddings, parent_term).flatten()[chosen].cpu()
            extractor.present.copy_(present)
            self.known.setdefault(index, []).append(whole[own])
            self.unknown.setdefault(index, []).append(without[own])

    def fit(self, prior: float) -> tuple[float, float]:
        """Slope and intercept of the probability.

        Known cells together weigh 1 - prior, each cell alike; those that play the unknown weigh the prior, each class
        alike.

        Args:
            prior: Share of anomalous pixels that is assumed, in (0, 1).

        Raises:
            CompatibilityError: There are no labelled cells, or taking a class away does not raise its scores.
        """
        if not self.known:
            raise CompatibilityError("no labelled in-distribution pixel to fit a probability on")
        known = [torch.cat(parts) for parts in self.known.values()]
        unknown = [torch.cat(parts) for parts in self.unknown.values()]
        count = sum(len(part) for part in known)
        weights = [torch.full((count,), (1 - prior) / count, dtype=torch.float64)]
        weights += [torch.full((len(part),), prior / len(unknown) / len(part), dtype=torch.float64) for part in unknown]
        scores = torch.cat([*known, *unknown])
        targets = torch.cat([torch.zeros(count), torch.ones(len(scores) - count)])
        slope, intercept = fit_logistic(scores, targets, torch.cat(weights))
        if slope <= 0:
            raise CompatibilityError(
                "cells score no higher when the prototypes of their class are taken away, so no probability follows "
                "from the score; train longer"
            )
        return slope, intercept
