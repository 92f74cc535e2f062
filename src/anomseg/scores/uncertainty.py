"""Scores of several stochastic passes or several networks: what their predictions say together.

Gal and Ghahramani, Dropout as a Bayesian approximation, ICML 2016; Lakshminarayanan, Pritzel and Blundell, Simple and
scalable predictive uncertainty estimation using deep ensembles, NeurIPS 2017. The total uncertainty H(mean p) is the
expected uncertainty of one member, mean H(p), plus the mutual information between prediction and member.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from anomseg.errors import CompatibilityError


def probability_entropy(probabilities: Tensor, normalized: bool = False) -> Tensor:
    """Shannon entropy of probabilities, in nats; 0 ln 0 counts as 0.

    Args:
        probabilities: ``(B, C, *S)`` float, each pixel summing to 1.
        normalized: Divide by ln C, so that it lies in [0, 1].

    Returns:
        ``(B, *S)`` in [0, ln C], or in [0, 1].

    Raises:
        CompatibilityError: Normalised entropy of a single class.

    Example:
        >>> round(probability_entropy(torch.tensor([[0.5, 0.5]])).item(), 4)
        0.6931
    """
    nats = torch.special.entr(probabilities).sum(1)
    return _share(nats, probabilities.shape[1]) if normalized else nats


def predictive_entropy(probabilities: Tensor, normalized: bool = False) -> Tensor:
    """Entropy of the mean prediction, H(mean_t p_t): the total uncertainty.

    Args:
        probabilities: ``(T, B, C, *S)`` float, one softmax a pass or member.
        normalized: Divide by ln C.

    Returns:
        ``(B, *S)`` in [0, ln C], or in [0, 1].

    Example:
        >>> members = torch.tensor([[[0.9, 0.1]], [[0.1, 0.9]]])
        >>> round(predictive_entropy(members).item(), 4)
        0.6931
    """
    return probability_entropy(probabilities.mean(0), normalized)


def mutual_information(probabilities: Tensor, normalized: bool = False) -> Tensor:
    """How much the members disagree, H(mean_t p_t) - mean_t H(p_t), at least 0.

    Args:
        probabilities: ``(T, B, C, *S)`` float, one softmax a pass or member.
        normalized: Divide by ln C, which bounds it by 1.

    Returns:
        ``(B, *S)``, 0 where all members say the same.

    Example:
        >>> members = torch.tensor([[[0.9, 0.1]], [[0.1, 0.9]]])
        >>> round(mutual_information(members).item(), 4)
        0.3681
    """
    passes = PredictionMean()
    for member in probabilities:
        passes.update(member)
    return passes.summary().mutual_information(normalized)


class PredictionMean:
    """The running mean of predictions and of their entropies: memory holds one prediction, however many passes.

    Example:
        >>> passes = PredictionMean()
        >>> for member in ([[0.9, 0.1]], [[0.1, 0.9]]):
        ...     passes.update(torch.tensor(member))
        >>> summary = passes.summary()
        >>> round(summary.mutual_information().item(), 4), round(summary.msp.item(), 4)
        (0.3681, 0.5)
    """

    def __init__(self) -> None:
        self.count = 0
        self._total: Tensor | None = None
        self._entropies: Tensor | None = None

    def update(self, probabilities: Tensor) -> None:
        """Add one pass, ``(B, C, *S)`` float; the tensor itself is left alone."""
        entropies = probability_entropy(probabilities)
        if self._total is None or self._entropies is None:
            self._total, self._entropies = probabilities.clone(), entropies
        else:
            self._total += probabilities
            self._entropies += entropies
        self.count += 1

    @property
    def mean(self) -> Tensor:
        """The mean prediction, ``(B, C, *S)``.

        Raises:
            CompatibilityError: There was no pass.
        """
        if self._total is None:
            raise CompatibilityError("there was no pass to average; make at least one")
        return self._total / self.count

    def summary(self) -> PredictionSummary:
        """What the passes say together, in three maps.

        Raises:
            CompatibilityError: There was no pass.
        """
        mean = self.mean
        assert self._entropies is not None  # noqa: S101 - there is a mean
        entropy = probability_entropy(mean)
        # It is never negative; rounding may say so where all members agree.
        information = (entropy - self._entropies / self.count).clamp(min=0)
        return PredictionSummary(mean.shape[1], entropy, information, (1 - mean.amax(1)).clamp(0, 1))


@dataclass(frozen=True)
class PredictionSummary:
    """What several passes say together: all that is kept of them where the mean of many classes would be large.

    Attributes:
        classes: Number of classes C.
        entropy: Of the mean prediction, ``(B, *S)`` in nats.
        information: Entropy of the mean less the mean entropy, ``(B, *S)`` in nats.
        msp: One minus the largest mean probability, ``(B, *S)`` in [0, 1].
    """

    classes: int
    entropy: Tensor
    information: Tensor
    msp: Tensor

    def predictive_entropy(self, normalized: bool = False) -> Tensor:
        """Entropy of the mean prediction, ``(B, *S)``; see the function of this name."""
        return _share(self.entropy, self.classes) if normalized else self.entropy

    def mutual_information(self, normalized: bool = False) -> Tensor:
        """Entropy of the mean less the mean entropy, ``(B, *S)``; see the function of this name."""
        return _share(self.information, self.classes) if normalized else self.information


def _share(nats: Tensor, classes: int) -> Tensor:
    if classes < 2:
        raise CompatibilityError("normalised entropy needs at least two classes")
    return (nats / math.log(classes)).clamp(0, 1)
