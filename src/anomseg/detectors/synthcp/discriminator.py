"""The discriminator of synthesis: patch discriminators on several scales of layout and image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomseg.detectors.options import one_of, whole
from anomseg.detectors.synthcp.spade import SpectralConvolution
from anomseg.errors import ConfigError

_POOLS = {2: F.avg_pool2d, 3: F.avg_pool3d}


class PyramidDiscriminator(nn.Module):
    """A patch discriminator on layout and image, another on both at half the size, and so on (pix2pixHD, SPADE).

    Each is MONAI's ``PatchDiscriminator``: convolutions of kernel 4, instance norm, leaky ReLU; those between the first
    and the last are divided by their largest singular values. MONAI's ``MultiScalePatchDiscriminator`` reads every
    scale at full size and is deeper instead, up to 4096 channels at the published width, so it is not used.

    Args:
        classes: Channels of the layout.
        channels: Of the image.
        spatial_dims: 2 for images, 3 for volumes.
        width: Channels of the first layer; 64 as published.
        scales: How many discriminators.
        layers: Layers between the first and the last, each of twice as many channels; all but the last of these halve.

    Raises:
        ConfigError: An option has a value that it cannot have, or MONAI is not installed.
    """

    def __init__(
        self,
        classes: int,
        channels: int = 3,
        spatial_dims: int = 2,
        width: int = 16,
        scales: int = 2,
        layers: int = 3,
    ) -> None:
        super().__init__()
        try:
            from monai.networks.nets import PatchDiscriminator  # noqa: PLC0415 - for training alone
        except ImportError as error:
            raise ConfigError("training a generator needs MONAI: pip install 'anomseg[train]'") from error
        self.spatial_dims = one_of("spatial_dims", spatial_dims, (2, 3))
        self.networks = nn.ModuleList()
        for _ in range(whole("scales", scales)):
            network = PatchDiscriminator(
                spatial_dims=spatial_dims,
                channels=whole("width", width),
                in_channels=whole("classes", classes) + whole("channels", channels),
                num_layers_d=whole("layers", layers),
                norm="INSTANCE",
                padding=2,
            )
            for number in range(layers):
                block = network.get_submodule(str(number))
                block.conv = SpectralConvolution(block.conv)  # type: ignore[arg-type] # one of two or three dimensions
            self.networks.append(network)

    def forward(self, layout: Tensor, image: Tensor) -> list[list[Tensor]]:
        """Every scale's maps, from the first layer's to the output.

        Args:
            layout: ``(B, classes, *S)``.
            image: ``(B, channels, *S)`` in [-1, 1].
        """
        x = torch.cat([layout, image], 1)
        found = []
        for number, network in enumerate(self.networks):
            if number:
                x = _POOLS[self.spatial_dims](x, 3, 2, 1, count_include_pad=False)
            found.append(network(x))
        return found
