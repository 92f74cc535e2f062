"""What a student is to match: a teacher's feature map, each channel on a scale that `teacher_norm` chooses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from anomseg.detectors.features import default_feature
from anomseg.errors import CompatibilityError
from anomseg.segmenters.base import Segmenter
from anomseg.segmenters.trainable import EncoderNetwork
from anomseg.segmenters.wrapping import WrappedSegmenter

TeacherNorm = Literal["standardized", "affine", "none"]
NORMS: tuple[TeacherNorm, ...] = ("standardized", "affine", "none")
PREFERRED = ("bottleneck_linear", "bottleneck")
_LEAST_SCALE = 1e-6  # a channel that the batch norm scales by less than this cannot be told from its shift


@dataclass(frozen=True)
class Target:
    """A feature map's channels, scaled and shifted.

    Attributes:
        scale: ``(C,)`` float32.
        shift: ``(C,)`` float32.
        said: Where they come from, for the record.
    """

    scale: Tensor
    shift: Tensor
    said: str

    def of(self, features: Tensor) -> Tensor:
        """``(B, C, h, w)`` of any float type, as the student is to match it, float32."""
        scale, shift = (one.to(features.device)[:, None, None] for one in (self.scale, self.shift))
        return features.float() * scale + shift

    def rectified(self, values: Tensor) -> Tensor:
        """What a ReLU leaves of the feature whose values `of` gave, on the network's own scale.

        Args:
            values: ``(B, C, h, w)`` float32, as `of` or a student gives them.

        Returns:
            The same shape, at least 0; 0 in channels that carry nothing.
        """
        scale, shift = (one.to(values.device)[:, None, None] for one in (self.scale, self.shift))
        live = scale != 0
        return torch.where(live, (values - shift) / torch.where(live, scale, 1.0), 0.0).clamp(min=0)


def distilled_feature(segmenter: Segmenter) -> str | None:
    """The feature map to match where none is named: the one before the classifier, without its activation if possible.

    ``bottleneck_linear`` where there is one, as published; else ``bottleneck``; else `default_feature`.
    """
    names = segmenter.feature_info
    return next((name for name in PREFERRED if name in names), default_feature(segmenter))


def norm_of(segmenter: Segmenter, feature: str) -> nn.BatchNorm2d | None:
    """The batch norm whose output a feature map is, whatever way the network is run; None where it is none's."""
    while isinstance(segmenter, WrappedSegmenter):
        segmenter = segmenter.inner
    return segmenter.feature_norm(feature) if isinstance(segmenter, EncoderNetwork) else None


def target_from_norm(norm: nn.BatchNorm2d, teacher_norm: TeacherNorm) -> Target:
    """The target where the feature is the output ``gamma (x - mean) / sqrt(var + eps) + beta`` of a batch norm.

    Args:
        norm: The batch norm, with running statistics.
        teacher_norm: ``affine``: its output. ``standardized``: without gamma and beta. ``none``: x itself. The latter
            two are computed from its output; a channel whose gamma is 0 carries nothing and becomes constant.

    Raises:
        CompatibilityError: The batch norm keeps no running statistics.
    """
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise CompatibilityError("the teacher's batch norm keeps no running statistics; choose another feature")
    ones = torch.ones(norm.num_features)
    if teacher_norm == "affine":
        return Target(ones, torch.zeros_like(ones), "output of its batch norm")
    gamma = ones if norm.weight is None else norm.weight.detach().cpu().double()
    beta = torch.zeros_like(ones) if norm.bias is None else norm.bias.detach().cpu().double()
    live = gamma.abs() > _LEAST_SCALE
    scale = torch.where(live, 1 / torch.where(live, gamma, 1.0), 0.0)
    shift = -beta * scale
    if teacher_norm == "standardized":
        return Target(scale.float(), shift.float(), "running statistics of its batch norm, gamma and beta taken off")
    deviation = (variance.cpu().double() + norm.eps).sqrt()
    return Target(
        (scale * deviation).float(), (shift * deviation + mean.cpu().double()).float(), "input of its batch norm"
    )


def target_from_maps(channels: int, maps: Iterable[Tensor], teacher_norm: TeacherNorm) -> Target:
    """The target of a feature map that is no batch norm's output.

    Args:
        channels: How many it has.
        maps: ``(C, h, w)`` each, of training images; read where ``teacher_norm`` is ``standardized`` alone.
        teacher_norm: ``standardized`` takes off each channel's mean and divides by its deviation over all cells; the
            other two leave the feature as it is.

    Raises:
        CompatibilityError: There are no maps, or they have another number of channels.
    """
    ones = torch.ones(channels)
    if teacher_norm != "standardized":
        return Target(ones, torch.zeros_like(ones), "the feature as it is, which is no batch norm's output")
    count, total, squares = 0, torch.zeros(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)
    images = 0
    for one in maps:
        if one.shape[0] != channels:
            raise CompatibilityError(f"the teacher's feature has {one.shape[0]} channels, not {channels}")
        cells = one.flatten(1).double()
        count, images = count + cells.shape[1], images + 1
        total, squares = total + cells.sum(1), squares + cells.square().sum(1)
    if not count:
        raise CompatibilityError("no training images to estimate the scale of the teacher's channels on")
    mean = total / count
    deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
    scale = torch.where(deviation > _LEAST_SCALE, 1 / deviation.clamp(min=_LEAST_SCALE), 0.0)
    return Target(
        scale.float(), (-mean * scale).float(), f"mean and deviation of each channel over {images} training crops"
    )
