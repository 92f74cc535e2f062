"""Losses of synthesis: hinge terms of a discriminator of several scales, and the distance of its features.

MONAI's ``PatchAdversarialLoss(criterion="hinge")`` sends outputs through tanh first, and gives the generator the hinge
of real ones; the published loss does neither, hence these.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Scales = Sequence[Sequence[Tensor]]
"""Of every scale of a discriminator: its maps from the first to the last, which is the output."""


def discriminator_hinge(scales: Scales, real: bool) -> Tensor:
    """``mean(relu(1 - D))`` of real images, ``mean(relu(1 + D))`` of renderings; the mean over the scales, a scalar.

    Example:
        >>> output = [[torch.tensor([-2.0, 0.0, 3.0])]]
        >>> discriminator_hinge(output, real=True).item()   # (3 + 1 + 0) / 3
        1.3333333730697632
        >>> discriminator_hinge(output, real=False).item()  # (0 + 1 + 4) / 3
        1.6666666269302368
    """
    sign = -1.0 if real else 1.0
    return torch.stack([F.relu(1 + sign * maps[-1].float()).mean() for maps in scales]).mean()


def generator_hinge(scales: Scales) -> Tensor:
    """``-mean(D)`` of renderings, the mean over the scales, a scalar.

    Example:
        >>> generator_hinge([[torch.tensor([-2.0, 0.0, 3.0])], [torch.tensor([1.0])]]).item()
        -0.6666666865348816
    """
    return -torch.stack([maps[-1].float().mean() for maps in scales]).mean()


def feature_matching(of_rendering: Scales, of_image: Scales) -> Tensor:
    """Mean absolute difference of what the discriminator makes of both: summed over layers, the mean over scales.

    The outputs are left out, and nothing flows back to the maps of the image (Wang et al., CVPR 2018, pix2pixHD).

    Example:
        >>> ones, zeros, out = torch.ones(1, 2, 4, 4), torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 3, 3)
        >>> feature_matching([[ones, ones, out], [ones, zeros, out]], [[zeros, zeros, out + 9]] * 2).item()
        1.5
    """
    return _distance([maps[:-1] for maps in of_rendering], [maps[:-1] for maps in of_image])


def feature_distance(of_rendering: Sequence[Tensor], of_image: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of a network's maps of both, the mean over the maps: a perceptual loss.

    Example:
        >>> feature_distance([torch.ones(1, 2, 4, 4), torch.zeros(1, 3, 2, 2)], [torch.zeros(1), torch.zeros(1)]).item()
        0.5
    """
    return _distance([of_rendering], [of_image]) / len(of_rendering)


def _distance(of_rendering: Scales, of_image: Scales) -> Tensor:
    sums = [
        torch.stack(
            [(one.float() - other.detach().float()).abs().mean() for one, other in zip(ours, theirs, strict=True)]
        )
        for ours, theirs in zip(of_rendering, of_image, strict=True)
    ]
    return torch.stack([terms.sum() for terms in sums]).mean()
