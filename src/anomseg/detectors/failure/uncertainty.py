"""How unsure a prediction is of each class, and the quality that this has meant so far; pure functions."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomseg.errors import CompatibilityError

MOST_ENTROPY = math.log(2)
"""Of one class against all others."""


def class_uncertainty(probabilities: Tensor, prediction: Tensor, entropy: bool = True) -> Tensor:
    """Mean uncertainty of each class over the pixels that it is predicted on.

    Args:
        probabilities: ``(B, C, *S)`` in [0, 1].
        prediction: ``(B, *S)`` int64, the segmentation that is judged.
        entropy: Of the class against all others, in [0, ln 2]; else one minus its probability, in [0, 1].

    Returns:
        ``(B, C)`` float64; the largest uncertainty there is for a class that is predicted nowhere.

    Raises:
        CompatibilityError: The shapes do not fit.

    Example:
        >>> p = torch.tensor([[[0.5, 0.9], [0.5, 0.1]]])
        >>> class_uncertainty(p, torch.tensor([[0, 0]]), entropy=False)
        tensor([[0.3000, 1.0000]], dtype=torch.float64)
    """
    if probabilities.ndim < 3 or probabilities[:, 0].shape != prediction.shape:
        raise CompatibilityError(
            f"probabilities {tuple(probabilities.shape)} and a prediction {tuple(prediction.shape)} do not fit"
        )
    own = probabilities.flatten(2).double()
    doubt = torch.special.entr(own) + torch.special.entr(1 - own) if entropy else 1 - own
    classes = torch.arange(own.shape[1], device=own.device).view(1, -1, 1)
    chosen = prediction.flatten(1)[:, None] == classes
    count = chosen.sum(2)
    mean = (doubt * chosen).sum(2) / count.clamp_min(1)
    return torch.where(count > 0, mean, MOST_ENTROPY if entropy else 1.0)


def fit_lines(
    uncertainty: NDArray[np.float64], quality: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """The least-squares line from uncertainty to quality of each class.

    Args:
        uncertainty: ``(N, C)``.
        quality: ``(N, C)``, NaN where an image does not show a class.

    Returns:
        Slope and intercept ``(C,)``, NaN for a class that no image shows, and the number of images that show it. The
        line of a class whose uncertainty never changes is level.

    Example:
        >>> slope, intercept, count = fit_lines(np.array([[0.0], [0.5], [0.7]]), np.array([[1.0], [0.5], [np.nan]]))
        >>> slope.tolist(), intercept.tolist(), count.tolist()
        ([-1.0], [1.0], [2])
    """
    shown = ~np.isnan(quality)
    count = shown.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_x = np.where(shown, uncertainty, 0).sum(0) / count
        mean_y = np.where(shown, quality, 0).sum(0) / count
        x = np.where(shown, uncertainty - mean_x, 0)
        spread = (x**2).sum(0)
        slope = np.where(spread > 0, (x * np.where(shown, quality - mean_y, 0)).sum(0) / spread, 0.0)
    slope = np.where(count > 0, slope, np.nan)
    return slope, mean_y - slope * mean_x, count


def predicted_quality(uncertainty: Tensor, slope: Tensor, intercept: Tensor) -> Tensor:
    """Quality ``(B, C)`` float32 in [0, 1] on the lines of `fit_lines`; NaN for a class without one."""
    return (slope * uncertainty + intercept).clamp(0, 1).float()
