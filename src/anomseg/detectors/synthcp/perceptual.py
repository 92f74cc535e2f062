"""Networks whose features a rendering should share with the image: a segmenter, or the published kind by name."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from anomseg.detectors.synthcp.losses import feature_distance
from anomseg.errors import ConfigError, unknown_name
from anomseg.segmenters import Segmenter, load_segmenter

HUB = ("vgg", "alex", "squeeze")
"""Networks that MONAI's ``PerceptualLoss`` downloads."""


class SegmenterDistance(nn.Module):
    """How far the feature maps of a segmenter are: our stand-in for VGG19, since it needs no download.

    Args:
        segmenter: The network, which stays as it is.
        names: Its feature maps.

    Raises:
        ConfigError: It has no such maps, or none is named.
    """

    def __init__(self, segmenter: Segmenter, names: Sequence[str]) -> None:
        super().__init__()
        if not names:
            known = ", ".join(segmenter.feature_info) or "it has none"
            raise ConfigError(f"name feature maps of {segmenter.registry_name} to compare in ({known})")
        for name in names:
            if name not in segmenter.feature_info:
                raise unknown_name(f"feature of {segmenter.registry_name}", name, segmenter.feature_info)
        self.segmenter, self.names = segmenter.requires_grad_(False), tuple(names)
        self.train()

    def train(self, mode: bool = True) -> SegmenterDistance:
        """It stays as in use."""
        del mode
        return super().train(False)

    def forward(self, rendering: Tensor, image: Tensor) -> Tensor:
        """The mean absolute difference of the maps, the mean over them, of images ``(B, 3, H, W)`` in [-1, 1]."""
        with torch.no_grad():
            known = self._maps(image)
        return feature_distance(self._maps(rendering), known)

    def _maps(self, image: Tensor) -> list[Tensor]:
        maps = self.segmenter.feature_maps(self.segmenter.pad((image + 1) / 2), self.names)
        return [maps[name] for name in self.names]


def perceptual_distance(what: str, names: Sequence[str]) -> nn.Module:
    """The perceptual loss that a recipe names.

    Args:
        what: A network whose weights MONAI downloads (`HUB`), or a segmenter as `load_segmenter` takes it.
        names: Feature maps of the segmenter.

    Returns:
        Of rendering and image to a scalar.

    Raises:
        ConfigError: It cannot be had.
        DataError: There is no such segmenter.
    """
    if what not in HUB:
        return SegmenterDistance(load_segmenter(what), names)
    if names:
        raise ConfigError(f"{what} has layers of its own; leave perceptual_features out")
    try:
        from monai.losses import PerceptualLoss  # noqa: PLC0415 - for training alone

        loss: nn.Module = PerceptualLoss(spatial_dims=2, network_type=what)
    except Exception as error:  # MONAI, torchvision and the download raise many kinds
        raise ConfigError(
            f"the perceptual loss {what} needs lpips, torchvision and a download ({' '.join(str(error).split())[:160]})"
            "; install them, or name a saved segmenter"
        ) from error
    return loss.requires_grad_(False).eval()
