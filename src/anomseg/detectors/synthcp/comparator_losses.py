"""What a comparator learns: the overlap of each class, and which pixels are right; pure functions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.errors import CompatibilityError


def quality_loss(quality: Tensor, target: Tensor) -> Tensor:
    """SmoothL1 between predicted and true overlap, averaged over all classes of all images (SynthCP, L_iou).

    A class that is not in an image's truth has no overlap to learn: it costs nothing, and counts in the mean
    nevertheless, as in the published code.

    Args:
        quality: ``(B, C)`` float.
        target: ``(B, C)`` float in [0, 1], NaN where the class is not in the truth.

    Returns:
        A scalar.

    Raises:
        CompatibilityError: The shapes differ.

    Example:
        >>> quality_loss(torch.tensor([[0.5]]), torch.tensor([[1.0]])).item()
        0.125
        >>> quality_loss(torch.tensor([[0.5, 0.3]]), torch.tensor([[1.0, float("nan")]])).item()
        0.0625
    """
    if quality.shape != target.shape:
        raise CompatibilityError(f"quality and target differ in shape: {tuple(quality.shape)}, {tuple(target.shape)}")
    absent = target.isnan()
    # The difference is made where there is one only: a NaN under a mask would still be a NaN in the gradient.
    return F.smooth_l1_loss(quality.float().masked_fill(absent, 0), target.float().masked_fill(absent, 0))


def confidence_loss(confidence: Tensor, probabilities: Tensor, truth: Tensor, void: int = 255) -> Tensor:
    """Cross-entropy of the confidence that a pixel is right, weighed by the network's own (SynthCP, L_conf).

    ``mean over pixels of BCE(confidence, [argmax p = y]) * [y is not void] * (max p)^2``; void pixels cost nothing and
    stay in the mean. The weight makes mistakes that the network is sure of count most.

    Args:
        confidence: ``(B, *S)`` float logits.
        probabilities: ``(B, C, *S)`` in [0, 1].
        truth: ``(B, *S)`` int64 classes.
        void: The label of pixels without truth.

    Returns:
        A scalar.

    Raises:
        CompatibilityError: The shapes do not fit.

    Example:
        >>> pixel = torch.tensor([[[[0.8]], [[0.2]]]])
        >>> round(confidence_loss(torch.zeros(1, 1, 1), pixel, torch.tensor([[[0]]])).item(), 4)   # ln 2 * 0.8^2
        0.4436
    """
    wanted = (len(probabilities), *probabilities.shape[2:])
    if tuple(confidence.shape) != wanted or tuple(truth.shape) != wanted:
        raise CompatibilityError(
            f"a prediction of {tuple(probabilities.shape)} goes with a confidence and a truth of {wanted}, got "
            f"{tuple(confidence.shape)} and {tuple(truth.shape)}"
        )
    highest, predicted = probabilities.float().max(1)
    cost = F.binary_cross_entropy_with_logits(confidence.float(), (predicted == truth).float(), reduction="none")
    return (cost * (truth != void) * highest**2).mean()


def class_overlap(prediction: Tensor, truth: Tensor, classes: int, void: int = 255) -> Tensor:
    """Intersection over union of each class with the truth of an image.

    Args:
        prediction: ``(B, *S)`` int64 classes.
        truth: ``(B, *S)`` int64 classes; pixels without truth are not looked at.
        classes: How many there are.
        void: The label of pixels without truth.

    Returns:
        ``(B, classes)`` float32 in [0, 1], NaN where a class is not in the truth.

    Example:
        >>> class_overlap(torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 1, 1, 255]]), 3)
        tensor([[0.5000, 0.5000,    nan]])
    """
    rows = []
    for predicted, true in zip(prediction, truth, strict=True):
        valid = true != void
        pairs = torch.bincount(true[valid] * classes + predicted[valid], minlength=classes**2).view(classes, classes)
        right, present = pairs.diagonal(), pairs.sum(1)
        union = present + pairs.sum(0) - right
        rows.append(torch.where(present > 0, right / union.clamp_min(1), torch.nan))
    return torch.stack(rows).float()
