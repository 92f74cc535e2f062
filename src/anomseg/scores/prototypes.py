"""Cosine similarity of features to class prototypes, and how unlike every prototype a feature is."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from anomseg.errors import CompatibilityError

EPSILON = 1e-12
"""Least norm that a feature is divided by, so that a feature of zeros is at right angles to every prototype."""


def cosine_logits(features: Tensor, prototypes: Tensor, scale: float = 10.0) -> Tensor:
    """Cosine between each feature and each prototype, times a scale (Fontanel et al. 2021, section 3).

    Args:
        features: ``(B, D, H, W)`` float, of any length.
        prototypes: ``(K, D)`` float, of any length but zero.
        scale: What a cosine of 1 becomes.

    Returns:
        ``(B, K, H, W)`` in ``[-scale, scale]``; 0 where a feature is all zeros. Of float16 it is float32.

    Raises:
        CompatibilityError: Features and prototypes differ in length.

    Example:
        >>> features = torch.tensor([[3.0, 4.0], [0.0, 0.0]]).T[None, :, None]   # two cells
        >>> cosine_logits(features, torch.eye(2))[0, :, 0].T
        tensor([[6., 8.],
                [0., 0.]])
    """
    if prototypes.ndim != 2 or features.ndim != 4 or features.shape[1] != prototypes.shape[1]:
        raise CompatibilityError(
            f"features {tuple(features.shape)} and prototypes {tuple(prototypes.shape)} do not fit: expected "
            "(batch, channels, height, width) and (classes, channels)"
        )
    if torch.float16 in (features.dtype, prototypes.dtype):  # which has no EPSILON: zeros would become NaN
        features, prototypes = features.float(), prototypes.float()
    unit = F.normalize(prototypes, dim=1, eps=EPSILON)
    # A 1x1 convolution of unit features is the product with every unit prototype at every cell.
    return scale * F.conv2d(F.normalize(features, dim=1, eps=EPSILON), unit[:, :, None, None])


def prototype_anomaly(cosine_logits: Tensor, scale: float = 10.0) -> Tensor:
    """How unlike every prototype: ``(1 - max cosine) / 2`` (Fontanel et al. 2021, section 3).

    Args:
        cosine_logits: ``(B, K, H, W)`` float in ``[-scale, scale]``, as `cosine_logits` gives them.
        scale: Their scale; the score does not depend on it.

    Returns:
        ``(B, H, W)`` in [0, 1]: 0 along a prototype, 1/2 at right angles to all, 1 against all.

    Example:
        >>> round(prototype_anomaly(torch.tensor([6.0, 8.0]).view(1, 2, 1, 1)).item(), 6)
        0.1
    """
    # Rounding may leave a cosine just outside of [-1, 1].
    return ((1 - cosine_logits.amax(1) / scale) / 2).clamp(0, 1)
