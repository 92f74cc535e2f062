"""A variational autoencoder of true masks: what it cannot give back has no shape that it knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.detectors.options import whole
from anomseg.detectors.synthcp.carried import packed, unpacked
from anomseg.detectors.synthcp.generator_files import rebuild
from anomseg.detectors.synthcp.volumes.regressed import RegressedDetector
from anomseg.detectors.synthcp.volumes.setting import PreparedCase, VolumeSetting
from anomseg.errors import CompatibilityError

_HALVINGS = 3


class ShapeVAE(nn.Module):
    """Encodes a mask of some targets into a few numbers, and draws it from them.

    Three convolutions that halve, a linear layer to mean and log-variance, and the way back. MONAI's ``VarAutoEncoder``
    would do as well; this one scores without MONAI and takes grids of any size.

    Args:
        targets: Channels of the mask.
        size: ``(D, H, W)``.
        width: Channels of the first convolution; the next ones have twice and four times as many.
        latent: Numbers that a shape is described by.

    Attributes:
        options: All of these, in plain types.
        meta: What it was saved with.

    Example:
        >>> vae = ShapeVAE(1, (5, 12, 10), width=2, latent=3)
        >>> logits, mean, log_variance = vae(torch.zeros(2, 1, 5, 12, 10))
        >>> tuple(logits.shape), tuple(mean.shape)
        ((2, 1, 5, 12, 10), (2, 3))
    """

    def __init__(self, targets: int, size: Sequence[int], width: int = 8, latent: int = 32) -> None:
        super().__init__()
        for name, value in (("targets", targets), ("width", width), ("latent", latent)):
            whole(name, value)
        self.options: dict[str, Any] = {
            "targets": targets,
            "size": [int(side) for side in size],
            "width": width,
            "latent": latent,
        }
        self.meta: dict[str, Any] = {}
        self.sizes = [tuple(int(side) for side in size)]
        for _ in range(_HALVINGS):
            self.sizes.append(tuple(-(-side // 2) for side in self.sizes[-1]))
        widths = [targets, *(width * 2**step for step in range(_HALVINGS))]
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(nn.Conv3d(inside, outside, 3, 2, 1) for inside, outside in pairs)
        cells = widths[-1] * self.sizes[-1][0] * self.sizes[-1][1] * self.sizes[-1][2]
        self.moments = nn.Linear(cells, 2 * latent)
        self.start = nn.Linear(latent, cells)
        self.up = nn.ModuleList(nn.Conv3d(outside, inside, 3, 1, 1) for inside, outside in reversed(pairs))

    def encode(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance ``(B, latent)`` of masks ``(B, targets, D, H, W)`` in [0, 1]."""
        x = mask
        for layer in self.down:
            x = F.leaky_relu(layer(x), 0.1)
        mean, log_variance = self.moments(x.flatten(1)).chunk(2, 1)
        return mean, log_variance.clamp(-12, 12)

    def decode(self, code: Tensor) -> Tensor:
        """Logits ``(B, targets, D, H, W)`` of codes ``(B, latent)``."""
        x = F.leaky_relu(self.start(code), 0.1).view(len(code), -1, *self.sizes[-1])
        for number, layer in enumerate(self.up):
            x = layer(F.interpolate(x, self.sizes[-2 - number], mode="nearest"))
            if number < _HALVINGS - 1:
                x = F.leaky_relu(x, 0.1)
        return x

    def forward(self, mask: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, mean and log-variance of masks; ``noise`` ``(B, latent)`` draws the code, else it is the mean."""
        mean, log_variance = self.encode(mask)
        code = mean if noise is None else mean + noise * torch.exp(0.5 * log_variance)
        return self.decode(code), mean, log_variance


def shape_loss(logits: Tensor, mask: Tensor, mean: Tensor, log_variance: Tensor, divergence: float) -> Tensor:
    """What the autoencoder learns: one less Dice, cross-entropy, and the divergence of the code from a unit Gaussian.

    Args:
        logits: ``(B, T, D, H, W)``.
        mask: Same shape, in [0, 1].
        mean: ``(B, L)``.
        log_variance: ``(B, L)``.
        divergence: Weight of ``KL / number of code dimensions``.

    Returns:
        A scalar.
    """
    drawn = logits.sigmoid()
    axes = (2, 3, 4)
    dice = (2 * (drawn * mask).sum(axes) + 1) / (drawn.sum(axes) + mask.sum(axes) + 1)
    cross = F.binary_cross_entropy_with_logits(logits, mask)
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    return 1 - dice.mean() + cross + divergence * kl


class ShapeVAEDetector(RegressedDetector):
    """Dice between a mask and its reconstruction, from which the true Dice is told by a line.

    Liu, Xia, Yang, Yuille, Xu, "An Alarm System for Segmentation Algorithm Based on Shape Model", ICCV 2019.

    Args:
        setting: Classes, targets and grid.
        line: See `RegressedDetector`.
        vae: Trained on true masks.
    """

    registry_name = "shape_vae"

    def __init__(self, setting: VolumeSetting, line: Tensor | None = None, vae: ShapeVAE | None = None) -> None:
        super().__init__(setting, line)
        if vae is None:
            raise CompatibilityError("shape_vae carries no autoencoder; train it by a recipe")
        wanted = {"targets": len(setting.targets), "size": list(setting.grid.size)}
        if {key: vae.options[key] for key in wanted} != wanted:
            raise CompatibilityError(f"the autoencoder is of {vae.options}, and {wanted} is needed; train it again")
        self.vae = vae

    def feature(self, prepared: PreparedCase) -> Tensor:
        """``(T,)`` Dice of each target with its reconstruction, cut at one half."""
        mask = prepared.layout[self.setting.indices]
        again = (self.vae(mask[None])[0][0] > 0).float()
        sizes = mask.sum((1, 2, 3)) + again.sum((1, 2, 3))
        return 2 * torch.minimum(mask, again).sum((1, 2, 3)) / sizes.clamp_min(1e-12)

    def state(self) -> dict[str, Tensor]:
        """Lines and autoencoder."""
        return {**super().state(), **packed("vae", self.vae)}

    @classmethod
    def rebuild(
        cls, setting: VolumeSetting, options: Mapping[str, Any], state: Mapping[str, Tensor]
    ) -> ShapeVAEDetector:
        """See `VolumeDetector.rebuild`."""
        vae = unpacked("vae", state, rebuild_vae, cls.registry_name)
        return cls(setting, state.get("line"), vae, **options)


def rebuild_vae(options: Mapping[str, Any], weights: Mapping[str, Tensor], where: str) -> ShapeVAE:
    """An autoencoder of its options and weights, in evaluation mode.

    Raises:
        DataError: The options or weights are damaged.
        CompatibilityError: The weights do not fit.
    """
    return rebuild(ShapeVAE, options, weights, where).eval()
