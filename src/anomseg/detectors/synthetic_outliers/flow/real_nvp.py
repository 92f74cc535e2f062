"""A convolutional Real NVP for images of any even size (Dinh, Sohl-Dickstein, Bengio, ICLR 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from anomseg.detectors.options import positive, whole, whole_or_zero
from anomseg.detectors.synthetic_outliers.flow.affine import LEVELS, bits_of, normal_log_density
from anomseg.detectors.synthetic_outliers.flow.coupling import AffineCoupling, Chain, ResidualConditioner
from anomseg.detectors.synthetic_outliers.flow.layout import (
    Parts,
    checkerboard,
    halves,
    latent_shapes,
    squeeze,
    unsqueeze,
)
from anomseg.detectors.synthetic_outliers.flow.pixels import dequantise, from_logits, to_logits
from anomseg.errors import AnomsegError, ConfigError
from anomseg.segmenters.base import Size


class FlowDivergedError(AnomsegError):
    """A flow whose samples or densities are no longer finite."""


class RealNVP(nn.Module):
    """A density over images, and a sampler of images, in one invertible network.

    Each scale squeezes 2 x 2 squares into channels, transforms them by couplings that part the pixels like a
    checkerboard and by couplings that part the channels in halves, and sets one colour of the checkerboard aside as
    latents. The last scale has checkerboard couplings alone and keeps everything. All is convolution: any size whose
    sides are multiples of `divisor` can be encoded and sampled. There is no batch norm.

    A checkerboard coupling runs its network on the squeezed map, where a colour is half of the channels; the paper runs
    it on the full map with the other colour at zero, at four times the cost.

    Args:
        channels: Of the images.
        scales: How many; each halves the resolution.
        width: Channels of the couplings' networks; 64 as published.
        blocks: Residual blocks of them; 8 as published.
        checkerboards: Checkerboard couplings of a scale.
        channelwise: Couplings of channel halves of a scale.
        last: Checkerboard couplings of the last scale.
        constraint: How far the logit transform stays within its ends, see `to_logits`.

    Raises:
        ConfigError: An option has a value that it cannot have.
    """

    registry_name = "real_nvp"

    def __init__(
        self,
        channels: int = 3,
        scales: int = 2,
        width: int = 32,
        blocks: int = 2,
        checkerboards: int = 3,
        channelwise: int = 3,
        last: int = 4,
        constraint: float = 0.9,
    ) -> None:
        super().__init__()
        self.channels = whole("channels", channels)
        self.scales = whole("scales", scales)
        self.width = whole("width", width)
        self.blocks = whole_or_zero("blocks", blocks)
        self.checkerboards = whole_or_zero("checkerboards", checkerboards)
        self.channelwise = whole_or_zero("channelwise", channelwise)
        self.last = whole_or_zero("last", last)
        self.constraint = positive("constraint", constraint)
        if constraint >= 1:
            raise ConfigError(f"constraint must be below 1, got {constraint!r}")
        levels = []
        squeezed = channels * 4
        for scale in range(scales):
            final = scale == scales - 1
            parts = [(checkerboard(squeezed), last if final else checkerboards)]
            parts += [] if final else [(halves(squeezed), channelwise)]
            levels.append(Chain(self._couplings(parts)))
            squeezed *= 2  # half of the channels are set aside, the rest squeezed again
        self.levels = nn.ModuleList(levels)

    def _couplings(self, parts: Sequence[tuple[Parts, int]]) -> list[AffineCoupling]:
        made = []
        for both, count in parts:
            for index in range(count):
                reads, writes = both if index % 2 == 0 else both[::-1]
                network = ResidualConditioner(len(reads), 2 * len(writes), self.width, self.blocks)
                made.append(AffineCoupling((reads, writes), network))
        return made

    @property
    def divisor(self) -> int:
        """Sides of images must be multiples of it."""
        return int(2**self.scales)

    def options(self) -> dict[str, Any]:
        """What the constructor was given."""
        names = ("channels", "scales", "width", "blocks", "checkerboards", "channelwise", "last", "constraint")
        return {name: getattr(self, name) for name in names}

    def check_size(self, size: Size) -> None:
        """Refuse a size that cannot be halved as often as there are scales.

        Raises:
            ConfigError: A side is no multiple of `divisor`, or 0.
        """
        if any(side < 1 or side % self.divisor for side in size):
            raise ConfigError(
                f"a flow of {self.scales} scales takes images whose sides are multiples of {self.divisor}, got "
                f"{size[0]}x{size[1]}"
            )

    def to_latents(self, real: Tensor) -> tuple[list[Tensor], Tensor]:
        """Real numbers ``(B, C, h, w)`` to latent maps (see `latent_shapes`) and the log-determinant ``(B,)``."""
        self._check_images(real)
        latents, logdet = [], real.new_zeros(len(real))
        for index, level in enumerate(self.levels):
            real, change = level(squeeze(real))
            logdet = logdet + change
            if index < self.scales - 1:
                kept, aside = self._colours(real)
                latents.append(real[:, aside])
                real = real[:, kept]
        return [*latents, real], logdet

    def from_latents(self, latents: Sequence[Tensor]) -> Tensor:
        """The real numbers of which `to_latents` made these latents."""
        real = latents[-1]
        for index in reversed(range(self.scales)):
            if index < self.scales - 1:
                real = torch.cat([real, latents[index]], 1)
                kept, aside = self._colours(real)
                real = real[:, torch.tensor([*kept, *aside], device=real.device).argsort()]
            level = self.levels[index]
            assert isinstance(level, Chain)  # noqa: S101 - a module list forgets what it holds
            real = unsqueeze(level.inverse(real))
        return real

    @staticmethod
    def _colours(squeezed: Tensor) -> Parts:
        return checkerboard(squeezed.shape[1])

    def encode(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Latents of continuous images.

        Args:
            x: ``(B, C, h, w)`` in [0, 1], sides multiples of `divisor`.

        Returns:
            Latent maps, and ``(B,)`` the log-determinant of the whole transform, logit included.

        Raises:
            ConfigError: The size or the number of channels does not fit.
        """
        self._check_images(x)
        real, logdet = to_logits(x.float(), self.constraint)
        latents, more = self.to_latents(real)
        return latents, logdet + more

    def decode(self, latents: Sequence[Tensor]) -> Tensor:
        """The images of which `encode` made these latents; latents of no image may lead a little beyond [0, 1]."""
        return from_logits(self.from_latents(latents), self.constraint)

    def log_density(self, x: Tensor) -> Tensor:
        """Log-density ``(B,)`` in nats of continuous images ``(B, C, h, w)`` in [0, 1]."""
        latents, logdet = self.encode(x)
        return logdet + torch.stack([normal_log_density(latent) for latent in latents]).sum(0)

    def bits_per_dimension(
        self, images: Tensor, generator: torch.Generator | None = None, *, noise: bool = True
    ) -> Tensor:
        """Bits that a channel of a pixel takes under this density, ``(B,)``; a uniform density takes 8.

        Args:
            images: ``(B, C, h, w)`` in [0, 1], of 256 levels, see `dequantise`.
            generator: Source of the dequantisation.
            noise: Draw it; else every level is taken at its middle, the same at every call.
        """
        values = dequantise(images.float(), generator, noise=noise)
        return bits_of(self.log_density(values), values[0].numel(), LEVELS)

    def sample(
        self, count: int, size: Size, generator: torch.Generator | None = None, temperature: float = 1.0
    ) -> Tensor:
        """Draw images.

        They are continuous, so that a loss on them has a gradient with respect to the flow's parameters.

        Args:
            count: How many.
            size: ``(h, w)``, multiples of `divisor`.
            generator: Source of the latents, on the flow's device.
            temperature: Standard deviation of the latents.

        Returns:
            ``(count, C, h, w)`` in [0, 1]; what would lie beyond is set to the end.

        Raises:
            ConfigError: The size does not fit.
            FlowDivergedError: A sample is not finite.
        """
        self.check_size(size)
        device = next(self.parameters()).device
        latents = [
            temperature * torch.randn((count, *shape), generator=generator, device=device)
            for shape in latent_shapes(self.channels, self.scales, size)
        ]
        images = self.decode(latents)
        if not bool(torch.isfinite(images).all()):
            raise FlowDivergedError(
                "samples of the flow are not finite: it has diverged; train it again with a lower learning_rate or clip"
            )
        return images.clamp(0, 1)

    def _check_images(self, images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != self.channels:
            raise ConfigError(f"this flow takes images (B, {self.channels}, h, w), got {tuple(images.shape)}")
        self.check_size((images.shape[-2], images.shape[-1]))
