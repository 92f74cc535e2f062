"""Backbones of timm behind the segmenter contract: features, no classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from anomseg.errors import ConfigError
from anomseg.segmenters.base import SegmentationOutput, Segmenter, Size
from anomseg.segmenters.checkpoint import load_strictly
from anomseg.segmenters.pixels import check_moments, normalised
from anomseg.segmenters.taps import Taps
from anomseg.segmenters.timm_library import (
    build_backbone,
    coarsest_stride,
    read_weights,
    stage_info,
    stage_maps,
    tapped_blocks,
)
from anomseg.types import FeatureInfo


class TimmBackbone(Segmenter):
    """A backbone of timm. It has no classes, so its logits are empty.

    Features are ``stage1``, ``stage2`` and so on, the maps of its stages, fine to coarse; of a plain vision
    transformer instead ``block0.query``, ``block0.key``, ``block0.value``, ``block0.attention`` and
    ``block0.output`` of each block, on the grid of patches without class and register tokens.

    Args:
        model: Name of a model of timm, such as ``resnet50``. Nothing is ever downloaded.
        weights: Its state dict (safetensors, or a ``.pth`` that holds tensors only) by timm's parameter names, or a
            directory with ``model.safetensors``; the classifier in it is left out.
        size: Working size ``(height, width)``; None keeps each image's own, or is the only one that the model takes.
        mean: Taken off the RGB values in [0, 1]; by default what timm says for this model.
        std: Then divided by; likewise.
        random_weights: Build it untrained; cards say so.
        architecture: In place of ``model`` and ``weights``, the name that a saved segmenter has beside its weights.

    Raises:
        MissingExtraError: The library cannot be imported.
        ConfigError: Neither weights nor ``random_weights``, an unknown name, or a model without maps.
        DataError: The file is missing or damaged.
        CompatibilityError: The weights are of another model.
    """

    registry_name: ClassVar[str] = "timm"

    def __init__(
        self,
        model: str | None = None,
        weights: str | None = None,
        size: Size | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        random_weights: bool = False,
        architecture: str | None = None,
    ) -> None:
        if architecture is not None:
            # A saved segmenter: its weights are loaded by whoever asked, strictly.
            if model or weights:
                raise ConfigError("timm: architecture stands in place of model and weights")
        elif model is None:
            raise ConfigError("timm needs the name of a model; write timm:resnet50;weights=FILE")
        elif (weights is None) != random_weights:
            raise ConfigError(f"timm takes either weights (timm:{model};weights=FILE) or random_weights=true")
        super().__init__((), size=size)
        self.architecture, self.random_weights = architecture or str(model), random_weights
        network, self.only_size = build_backbone(self.architecture)
        if weights is not None:
            what = f"{weights} (taken for {self.architecture} of timm)"
            load_strictly(network, read_weights(weights, network), what)
        facts = network.pretrained_cfg
        self.mean, self.std = tuple(mean or facts["mean"]), tuple(std or facts["std"])
        check_moments(self.mean, self.std)
        self.size = self.size or self.only_size
        self.divisor = coarsest_stride(network)
        probe = self.only_size or (4 * self.divisor, 6 * self.divisor)
        # A plain transformer has one list of blocks, and says how many class and register tokens it has.
        plain = hasattr(network, "num_prefix_tokens") and hasattr(network, "blocks")
        self.taps = tapped_blocks(network, probe) if plain else Taps(network, {})
        self._info = self.taps.info or stage_info(network, probe)
        if not self._info:
            raise ConfigError(f"the maps of {self.architecture} of timm lie on no regular grid; choose another model")
        self.network = network
        self.eval()

    @property
    def feature_info(self) -> Mapping[str, FeatureInfo]:
        """The maps of the stages, or of the blocks of a plain transformer."""
        return self._info

    @property
    def provides(self) -> frozenset[str]:
        """Features and their gradients; without classes there are no logits, nor anything for dropout to vary."""
        return frozenset({"features", "gradient"})

    def working_size(self, image_size: Size, size: Size | None = None) -> Size:
        """``(height, width)`` an image of ``image_size`` is resized to.

        Raises:
            ConfigError: The model takes images of one size alone, and another was asked for.
        """
        chosen = super().working_size(image_size, size)
        if self.only_size is not None and tuple(chosen) != self.only_size:
            raise ConfigError(
                f"{self.architecture} of timm takes images of {self.only_size[0]}x{self.only_size[1]} alone, "
                f"not {chosen[0]}x{chosen[1]}; leave size out"
            )
        return chosen

    def identity(self) -> dict[str, object]:
        """What a result card says about the network: also which model it is and how its input is made."""
        return {
            **super().identity(),
            "network": self.architecture,
            "mean": list(self.mean),
            "std": list(self.std),
            "random_weights": self.random_weights,
        }

    def config(self) -> dict[str, object]:
        """Options that rebuild this network, without weights."""
        return {
            **super().config(),
            "architecture": self.architecture,
            "mean": list(self.mean),
            "std": list(self.std),
            "random_weights": self.random_weights,
        }

    def segment(self, batch: Tensor, features: Sequence[str]) -> SegmentationOutput:
        """Run the backbone as far as the wanted maps ask for; see `Segmenter.forward`."""
        height, width = batch.shape[-2:]
        return SegmentationOutput(
            logits=batch.new_zeros(len(batch), 0, height, width),
            padded_size=(height, width),
            input_size=(height, width),
            features=self._features(batch, features) if features else {},
        )

    def _features(self, batch: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        pixels = normalised(batch, self.mean, self.std)
        if self.taps.taps:
            with self.taps.recording(names) as found:
                self.network.forward_features(pixels)
            return found
        number = {name: int(name.removeprefix("stage")) - 1 for name in names}
        indices = sorted(set(number.values()))
        maps = dict(zip(indices, stage_maps(self.network, pixels, indices), strict=True))
        return {name: maps[index].contiguous() for name, index in number.items()}
